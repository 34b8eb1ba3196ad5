@system
Feature: The service gets over what hits it
  The promise: when an instance dies, its cache is lost or the rush is over, people soon work as before.

  @SYS-3
  Scenario: After a rush the service is soon as it was before
    Given the load follows
      | for       | users |
      | 10 s      | 100   |
      | 1 minute  | 100   |
      | 30 s      | 1000  |
      | 2 minutes | 1000  |
      | 10 s      | 100   |
      | 2 minutes | 100   |
    Then the service recovers within 60 s

  @SYS-3 @disturbing
  Scenario: An instance dies while people work, watch and store
    Given 200 WebSocket connections subscribed to live metrics
    And they arrive over 10 seconds
    And the load holds for 3 minutes
    And 1000 messages are delivered per second
    And 100 concurrent users of the API
    And 300 metric inserts per second
    When an instance is killed after 1 minute
    Then the service recovers within 30 seconds
    And the "InstanceDown" alert fires within 30 seconds

  @SYS-3 @disturbing
  Scenario: The database restarts while people work, watch, store and query
    Given 200 WebSocket connections subscribed to live metrics
    And they arrive over 10 seconds
    And the load holds for 3 minutes
    And 1000 messages are delivered per second
    And 100 concurrent users of the API
    And 300 metric inserts per second
    And 20 analysts querying 100,000 records
    When the database is restarted after 1 minute
    Then the service recovers within 30 seconds

  @disturbing
  Scenario: The cache is lost
    Given 200 concurrent users of the API
    And they arrive over 10 seconds
    And the load holds for 3 minutes
    When the cache is emptied after 1 minute
    Then the service recovers within 30 seconds
