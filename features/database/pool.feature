@database
Feature: Database connection pool
  The promise: the service has enough database connections, so requests do not wait for one.

  @DB-4
  Scenario: Requests get a database connection without waiting
    Given 1100 metric inserts per second
    And they arrive over 10 seconds
    And the load holds for 3 minutes
    And 50 analysts querying 10 million records
    Then connection pool efficiency is above 90%
    And database connection pool utilization stays below 80%
