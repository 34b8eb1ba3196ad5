@database
Feature: Key queries use indexes
  The promise: the database finds the rows of the key queries by an index, without full table scans.

  @DB-5
  Scenario: Index utilization of the key queries
    Given 1100 metric inserts per second
    And they arrive over 10 seconds
    And the load holds for 3 minutes
    And 50 analysts querying 10 million records
    Then index utilization of the key queries is above 95%
