@system
Feature: Tenant isolation
  The promise: at any load, users receive only data of their own tenant.

  @SYS-2 @peak
  Scenario: Tenant isolation of HTTP responses at peak load
    Given the peak load
    And they arrive over 30 seconds
    And the load holds for 3 minutes
    Then no tenant ever sees another tenant's data

  @SYS-2 @stress
  Scenario: Tenant isolation under stress
    Given the stress load
    And they arrive over 30 seconds
    And the load holds for 3 minutes
    Then no tenant ever sees another tenant's data

  @SYS-2
  Scenario: Tenant isolation of HTTP responses and live messages
    Given 200 WebSocket connections subscribed to live metrics
    And they arrive over 10 seconds
    And the load holds for 1 minute
    And 1000 messages are delivered per second
    And 200 concurrent users of the API
    Then no tenant ever sees another tenant's data
    And no message carries another tenant's data
