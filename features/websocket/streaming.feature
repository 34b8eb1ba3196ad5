@websocket
Feature: Delivery of live metrics
  The promise: at peak, clients receive 10,000 messages per second, once, in order and with a p95
  latency below 100 ms.

  @smoke @WS-2 @WS-3
  Scenario: Delivery of 1000 messages per second
    Given 200 WebSocket connections
    And they arrive over 5 seconds
    And the load holds for 30 seconds
    And 1000 messages are delivered per second
    Then the p95 message latency is below 100 ms
    And throughput stays above 900 messages per second
    And no message is lost
    And no message is delivered twice
    And messages arrive in order
    And no message carries another tenant's data

  @peak
  Rule: Peak load

    Background:
      Given 1000 WebSocket connections subscribed to live metrics
      And they arrive over 30 seconds
      And the load holds for 3 minutes
      And 11000 messages are delivered per second

    @WS-2
    Scenario: Message latency
      Then the p95 message latency stays below 100 ms

    @WS-3
    Scenario: Message throughput, loss and order
      Then throughput stays above 10000 messages per second
      And reach is above 99.9%
      And no message is lost
      And no message is delivered twice
      And messages arrive in order

    @SYS-2
    Scenario: Tenant isolation of messages
      Then no message carries another tenant's data

    @WS-6
    Scenario: CPU and memory of the instances
      Then CPU utilization stays below 70% on every instance
      And memory usage stays below 2 GB per instance
