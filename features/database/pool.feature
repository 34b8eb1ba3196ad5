@database
Feature: The service has connections enough
  The promise: nobody waits because the service has run out of connections to its database.

  @DB-4
  Scenario: Nobody waits for a connection
    Given 1100 metric inserts per second
    And they arrive over 30 seconds
    And the load holds for 3 minutes
    And 50 analysts querying 10 million records
    Then connection pool efficiency is above 90%
    And database connection pool utilization stays below 80%
