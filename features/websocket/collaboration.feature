@websocket
Feature: Shared editing of dashboards
  The promise: an edit reaches the other editors within 100 ms, and all editors see the same
  dashboard.

  @WS-8
  Scenario: Edits reach all editors, and all editors see the same state
    Given 40 dashboards shared by 5 users each
    And they arrive over 10 seconds
    And the load holds for 1 minute
    And each user thinks for 2 to 6 seconds
    Then the p95 message latency is below 100 ms
    And the p95 message round trip is below 200 ms
    And no message is lost
    And messages arrive in order
    And all users see the same dashboard
