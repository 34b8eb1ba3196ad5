@system
Feature: No tenant sees another tenant's data
  The promise: whatever the load, nobody ever receives a record of another company.

  @SYS-2 @stress
  Scenario: Isolation under stress
    Given the stress load
    And they arrive over 1 minute
    And the load holds for 4 minutes
    Then no tenant ever sees another tenant's data

  @SYS-2
  Scenario: Isolation of answers and live messages together
    Given 200 WebSocket connections subscribed to live metrics
    And they arrive over 10 seconds
    And the load holds for 1 minute
    And 1000 messages are delivered per second
    And 200 concurrent users of the API
    Then no tenant ever sees another tenant's data
    And no message carries another tenant's data
