@database
Feature: Each question has its index
  The promise: the database finds what people ask for by an index, and reads no table from end to end.

  @DB-5
  Scenario: The key queries use indexes
    Given 1100 metric inserts per second
    And they arrive over 30 seconds
    And the load holds for 3 minutes
    And 50 analysts querying 10 million records
    Then index utilization of the key queries is above 95%
