@system @SYS-4
Feature: What was confirmed is there, once
  The promise: a record that the service has confirmed is never lost and never there twice, and a
  record that it has refused is never there, whatever happens to the service meanwhile.

  Scenario: In quiet times
    Given 300 metric inserts per second
    And they arrive over 10 seconds
    And the load holds for 3 minutes
    Then every acknowledged write is stored exactly once

  @disturbing
  Scenario: An instance dies
    Given 200 WebSocket connections subscribed to live metrics
    And they arrive over 10 seconds
    And the load holds for 3 minutes
    And 1000 messages are delivered per second
    And 100 concurrent users of the API
    And 300 metric inserts per second
    When an instance is killed after 1 minute
    Then every acknowledged write is stored exactly once

  @disturbing
  Scenario: The database restarts
    Given 200 WebSocket connections subscribed to live metrics
    And they arrive over 10 seconds
    And the load holds for 3 minutes
    And 1000 messages are delivered per second
    And 100 concurrent users of the API
    And 300 metric inserts per second
    And 20 analysts querying 100,000 records
    When the database is restarted after 1 minute
    Then every acknowledged write is stored exactly once
