@websocket
Feature: Dashboards show what happens when it happens
  The promise: an event that is written shows on every open dashboard of its tenant at once.

  @WS-7
  Scenario: An event reaches every dashboard
    Given 200 WebSocket connections subscribed to live dashboards
    And they arrive over 10 seconds
    And the load holds for 1 minute
    And 20 concurrent users following the "ingest events" journey
    Then an event reaches every dashboard within 100 ms
    And no message is lost
    And no message carries another tenant's data
    And the error rate of the "ingest events" users is below 1%
