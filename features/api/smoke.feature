@api @smoke
Feature: API smoke test
  The promise: with 200 concurrent users, the API responds quickly, with few errors and with spare
  resources.

  Background:
    Given 200 concurrent users of the API
    And they arrive over 5 seconds
    And the load holds for 50 seconds
    And 110 metric inserts per second

  @API-1 @API-3
  Scenario Outline: Response time and error rate of the <group> endpoints
    Then the p95 response time of the <group> endpoints is below 500 ms
    And the error rate of the <group> endpoints is below 1%

    Examples:
      | group     |
      | auth      |
      | metrics   |
      | dashboard |
      | admin     |

  @API-2
  Scenario: Throughput
    Then throughput stays above 300 requests per second

  @API-4
  Scenario: Database connection pool utilization
    Then database connection pool utilization stays below 80%

  @API-6
  Scenario: CPU and memory of the instances
    Then CPU utilization stays below 70% on every instance
    And memory usage stays below 2 GB per instance
