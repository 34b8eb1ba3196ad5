@system
Feature: Recovery after failures and load spikes
  The promise: the service recovers within 30 seconds of a failure, and within 60 seconds of a load
  spike.

  @SYS-3
  Scenario: Recovery after a load spike
    Given 200 WebSocket connections subscribed to live metrics
    And the load follows the "load spike" curve
    And 1000 messages are delivered per second
    And 1000 concurrent users of the API
    And 20 analysts querying 100,000 records
    Then the service recovers within 60 s

  @SYS-3 @disturbing
  Scenario: Recovery after an instance is killed
    Given 200 WebSocket connections subscribed to live metrics
    And they arrive over 10 seconds
    And the load holds for 2 minutes
    And 1000 messages are delivered per second
    And 300 metric inserts per second
    And 100 concurrent users of the API
    And 10 concurrent users following the "insert invalid metrics" journey
    When an instance is killed after 50 seconds
    Then the service recovers within 30 seconds
    And the "InstanceDown" alert fires within 30 seconds

  @SYS-3 @disturbing
  Scenario: Recovery after a database restart
    Given 200 WebSocket connections subscribed to live metrics
    And they arrive over 10 seconds
    And the load holds for 2 minutes
    And 1000 messages are delivered per second
    And 300 metric inserts per second
    And 100 concurrent users of the API
    And 20 analysts querying 100,000 records
    And 10 concurrent users following the "insert invalid metrics" journey
    When the database is restarted after 50 seconds
    Then the service recovers within 30 seconds

  @disturbing
  Scenario: Recovery after the cache is emptied
    Given 200 concurrent users of the API
    And they arrive over 10 seconds
    And the load holds for 2 minutes
    When the cache is emptied after 50 seconds
    Then the service recovers within 30 seconds
