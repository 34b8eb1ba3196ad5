@websocket
Feature: Real-time dashboards
  The promise: a stored event reaches every open dashboard of its tenant within 100 ms.

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
