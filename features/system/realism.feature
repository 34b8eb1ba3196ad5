@system @SYS-5 @peak
Feature: People as they are
  The promise: the service is as quick for people as they are, and not only for people who are all alike.

  People pause for different times, stay for different times, come and go, and ask for a few things far more often than
  for the others. Some companies are much larger than others.

  Background:
    Given 1000 concurrent users of the API
    And each user thinks for a median of 600 ms and a p95 of 2 s
    And sessions last a median of 1 minute and a p95 of 4 minutes
    And they arrive over 1 minute
    And the load holds for 3 minutes

  Scenario Outline: The <group> endpoints answer quickly
    Then the p95 response time of the <group> endpoints stays below 500 ms
    And the error rate of the <group> endpoints is below 1%

    Examples:
      | group     |
      | auth      |
      | metrics   |
      | dashboard |
      | admin     |

  Scenario: The service gets a thousand requests per second done
    Then throughput stays above 1000 requests per second

  Scenario: The database has connections left
    Then database connection pool utilization stays below 80%
