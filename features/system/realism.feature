@system @SYS-5 @peak
Feature: Realistic user behaviour
  The promise: the service meets the peak limits for realistic users too, not only for uniform ones.

  Think times and session lengths vary. Users come and go, and request a few items far more often
  than the others. Some tenants are much larger than others.

  Background:
    Given 1000 concurrent users of the API
    And each user thinks for a median of 600 ms and a p95 of 2 s
    And sessions last a median of 1 minute and a p95 of 4 minutes
    And they arrive over 30 seconds
    And the load holds for 3 minutes

  Scenario Outline: Response time and error rate of the <group> endpoints
    Then the p95 response time of the <group> endpoints stays below 500 ms
    And the error rate of the <group> endpoints is below 1%

    Examples:
      | group     |
      | auth      |
      | metrics   |
      | dashboard |
      | admin     |

  Scenario: Throughput
    Then throughput stays above 1000 requests per second

  Scenario: Database connection pool utilization
    Then database connection pool utilization stays below 80%
