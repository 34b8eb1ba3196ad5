@system @SYS-7
Feature: A whole day with its peak hour
  The promise: the service meets its limits throughout the day, including the peak hour.

  The day is compressed into five minutes: the load follows a curve, over HTTP, WebSocket and the
  database. The peak hour has its own run, over HTTP, because the throughput limit applies to that
  hour.

  Rule: The whole day

    Background:
      Given 100 WebSocket connections subscribed to live metrics
      And the load follows the "peak hour" curve over 5 minutes
      And 500 messages are delivered per second
      And 1000 concurrent users of the API
      And 10 analysts querying 100,000 records

    Scenario Outline: Response time and error rate of the <group> endpoints over the day
      Then the p95 response time of the <group> endpoints stays below 500 ms
      And the error rate of the <group> endpoints is below 1%

      Examples:
        | group     |
        | auth      |
        | metrics   |
        | dashboard |
        | admin     |

    Scenario: Message latency and query time over the day
      Then the p95 message latency stays below 100 ms
      And no message is lost
      And the p95 query time of the key queries stays below 200 ms
      And the error rate of the analysts is below 1%

    Scenario: Database connection pool utilization over the day
      Then database connection pool utilization stays below 80%

  Rule: The peak hour

    Background:
      Given the load follows
        | for       | users |
        | 30 s      | 300   |
        | 30 s      | 300   |
        | 30 s      | 1000  |
        | 3 minutes | 1000  |

    Scenario: Throughput, response time and error rate in the peak hour
      Then throughput stays above 1000 requests per second
      And the p95 response time stays below 500 ms
      And the error rate stays below 1%
      And database connection pool utilization stays below 80%

    Scenario Outline: Response time and error rate of the <group> endpoints in the peak hour
      Then the p95 response time of the <group> endpoints stays below 500 ms
      And the error rate of the <group> endpoints is below 1%

      Examples:
        | group     |
        | auth      |
        | metrics   |
        | dashboard |
        | admin     |
