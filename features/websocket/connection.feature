@websocket
Feature: WebSocket connections
  The promise: 1000 clients connect within a second each, and their connections stay open.

  @WS-1
  Scenario: 500 connections open quickly and stay open
    Given 500 WebSocket connections
    And they arrive over 10 seconds
    And the load holds for 60 seconds
    Then the connection success rate is above 99%
    And the p99 connection time is below 1 s
    And at least 500 connections stay open

  @WS-1 @peak
  Scenario: 1000 connections open quickly and stay open
    Given 1000 WebSocket connections subscribed to live metrics
    And they arrive over 30 seconds
    And the load holds for 3 minutes
    And 11000 messages are delivered per second
    Then the connection success rate is above 99%
    And the p99 connection time is below 1 s
    And at least 1000 connections stay open

  @WS-4 @endurance
  Scenario: Connections stay open for 30 minutes
    Given 1000 WebSocket connections subscribed to live metrics
    And they arrive over 30 seconds
    And the load holds for 30 minutes
    And 11000 messages are delivered per second
    Then 99.9% of the connections stay open for 30 minutes
    And at least 999 connections stay open
