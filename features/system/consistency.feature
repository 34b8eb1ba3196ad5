@system @SYS-4
Feature: Consistency of acknowledged writes
  The promise: each acknowledged record is stored exactly once, and no rejected record is stored,
  also when an instance or the database fails.

  Some users send batches with an invalid record, which the service must reject as a whole.

  Scenario: Normal operation
    Given 300 metric inserts per second
    And they arrive over 10 seconds
    And the load holds for 1 minute
    And 10 concurrent users following the "insert invalid metrics" journey
    Then every acknowledged write is stored exactly once
    And no rejected write is stored

  @disturbing
  Scenario: An instance is killed
    Given 200 WebSocket connections subscribed to live metrics
    And they arrive over 10 seconds
    And the load holds for 2 minutes
    And 1000 messages are delivered per second
    And 300 metric inserts per second
    And 100 concurrent users of the API
    And 10 concurrent users following the "insert invalid metrics" journey
    When an instance is killed after 50 seconds
    Then every acknowledged write is stored exactly once
    And no rejected write is stored

  @disturbing
  Scenario: The database is restarted
    Given 200 WebSocket connections subscribed to live metrics
    And they arrive over 10 seconds
    And the load holds for 2 minutes
    And 1000 messages are delivered per second
    And 300 metric inserts per second
    And 100 concurrent users of the API
    And 20 analysts querying 100,000 records
    And 10 concurrent users following the "insert invalid metrics" journey
    When the database is restarted after 50 seconds
    Then every acknowledged write is stored exactly once
    And no rejected write is stored
