@websocket
Feature: Reconnection without message loss
  The promise: after a connection loss, clients reconnect within 10 seconds and lose no message.

  @WS-5
  Scenario: 10% of the connections drop every minute
    Given 200 WebSocket connections subscribed to live metrics
    And they arrive over 10 seconds
    And the load holds for 3 minutes
    And 10% of the connections drop every minute
    And 1000 messages are delivered per second
    Then 95% of the clients are back within 10 seconds
    And no message is lost
    And no message is delivered twice

  @WS-5 @disturbing
  Scenario: All connections drop simultaneously
    Given 1000 WebSocket connections subscribed to live metrics
    And they arrive over 30 seconds
    And the load holds for 2 minutes
    And 2000 messages are delivered per second
    When all connections drop after 1 minute
    Then 95% of the clients are back within 10 seconds
    And no message is lost
    And no message is delivered twice
