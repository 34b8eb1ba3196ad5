@system @SYS-7
Feature: A whole day, its top hour included
  The promise: from the first early riser through the busiest hour to the evening, the service keeps what it promises.

  A day takes five minutes here: the load follows its curve, over HTTP, WebSocket and the database. Its top hour is
  held in a run of its own, since that is where the throughput is promised.

  Rule: All day

    Background:
      Given 100 WebSocket connections subscribed to live metrics
      And the load follows the "peak hour" curve over 5 minutes
      And 500 messages are delivered per second
      And 1000 concurrent users of the API
      And 10 analysts querying 100,000 records

    Scenario Outline: The <group> endpoints answer quickly all day
      Then the p95 response time of the <group> endpoints stays below 500 ms
      And the error rate of the <group> endpoints is below 1%

      Examples:
        | group     |
        | auth      |
        | metrics   |
        | dashboard |
        | admin     |

    Scenario: Messages and queries are quick all day
      Then the p95 message latency stays below 100 ms
      And no message is lost
      And the p95 query time of the key queries stays below 200 ms
      And the error rate of the analysts is below 1%

    Scenario: The database has room all day
      Then database connection pool utilization stays below 80%

  Rule: The top hour

    Scenario: The top hour of the day
      Given the load follows
        | for       | users |
        | 30 s      | 300   |
        | 30 s      | 300   |
        | 30 s      | 1000  |
        | 3 minutes | 1000  |
      Then throughput stays above 1000 requests per second
      And the p95 response time stays below 500 ms
      And the error rate stays below 1%
      And database connection pool utilization stays below 80%
