@system @peak @SYS-8
Feature: Uptime under load
  The promise: the service is available 99.9 % of the time over HTTP, WebSocket and the database.

  The suite probes each protocol twenty times per second during the load. These scenarios share the
  runs of other features, so they add no load time.

  Scenario: Uptime with 1000 API users
    Given 1000 concurrent users of the API
    And they arrive over 30 seconds
    And the load holds for 3 minutes
    Then uptime is above 99.9%

  Scenario: Uptime with 1000 WebSocket connections
    Given 1000 WebSocket connections subscribed to live metrics
    And they arrive over 30 seconds
    And the load holds for 3 minutes
    And 11000 messages are delivered per second
    Then uptime is above 99.9%

  Scenario: Uptime during inserts and queries
    Given 1100 metric inserts per second
    And they arrive over 10 seconds
    And the load holds for 3 minutes
    And 50 analysts querying 10 million records
    Then uptime is above 99.9%
