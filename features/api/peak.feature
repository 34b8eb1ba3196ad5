@api @peak
Feature: The API at peak load
  The promise: with 1000 concurrent users, every endpoint group of the API responds quickly.

  Background:
    Given 1000 concurrent users of the API
    And they arrive over 30 seconds
    And the load holds for 3 minutes

  @API-1 @API-3
  Scenario Outline: Response time and error rate of the <group> endpoints
    Then the p95 response time of the <group> endpoints stays below 500 ms
    And the error rate of the <group> endpoints stays below 1%

    Examples:
      | group     |
      | auth      |
      | metrics   |
      | dashboard |
      | admin     |

  @API-2
  Scenario: Throughput
    Then throughput stays above 1000 requests per second

  @API-4
  Scenario: Database connection pool utilization
    Then database connection pool utilization stays below 80%

  @DB-4
  Scenario: Requests get a database connection without waiting
    Then connection pool efficiency is above 90%

  @API-6
  Scenario: CPU and memory of the instances
    Then CPU utilization stays below 70% on every instance
    And memory usage stays below 2 GB per instance
