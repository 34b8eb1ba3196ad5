@api @peak
Feature: The API at peak load
  The promise: with 1000 people at work, every part of the API still answers at once.

  Background:
    Given 1000 concurrent users of the API
    And they arrive over 1 minute
    And the load holds for 4 minutes

  @API-1 @API-3
  Scenario Outline: The <group> endpoints answer quickly
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
  Scenario: The database has room
    Then database connection pool utilization stays below 80%

  @API-6
  Scenario: The instances have room
    Then CPU utilization stays below 70% on every instance
    And memory usage stays below 2 GB per instance
