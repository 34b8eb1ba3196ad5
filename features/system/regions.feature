@system @normal
Feature: Users in distant regions
  The promise: users in distant regions wait longer only because of the latency of their network, for
  answers and for live messages.

  Background:
    Given 90 WebSocket connections subscribed to live metrics
    And the users are spread over Europe, Asia and America
    And they arrive over 30 seconds
    And the load holds for 2 minutes
    And 900 messages are delivered per second
    And 500 concurrent users of the API

  @SYS-6
  Scenario Outline: Response time and error rate for users in <region>
    Then the p95 response time for users in <region> is below <limit>
    And the error rate for users in <region> is below 1%
    Examples:
      | region  | limit  |
      | Europe  | 300 ms |
      | America | 400 ms |
      | Asia    | 700 ms |

  @SYS-6
  Scenario Outline: Message latency for users in <region>
    Then the p95 message latency for users in <region> is below <limit>
    Examples:
      | region  | limit  |
      | Europe  | 100 ms |
      | America | 150 ms |
      | Asia    | 250 ms |
