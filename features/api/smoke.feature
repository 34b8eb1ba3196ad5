@api @smoke
Feature: A quick look at the API
  The promise: with a few hundred people at work nothing is slow, nothing fails, and there is room left.

  Background:
    Given 200 concurrent users of the API
    And they arrive over 5 seconds
    And the load holds for 50 seconds
    And 110 metric inserts per second

  @API-1 @API-3
  Scenario Outline: The <group> endpoints answer quickly and without errors
    Then the p95 response time of the <group> endpoints is below 500 ms
    And the error rate of the <group> endpoints is below 1%

    Examples:
      | group     |
      | auth      |
      | metrics   |
      | dashboard |
      | admin     |

  @API-2
  Scenario: Throughput follows the users
    Then throughput stays above 300 requests per second

  @API-4
  Scenario: The database has room
    Then database connection pool utilization stays below 80%

  @API-6
  Scenario: The instances have room
    Then CPU utilization stays below 70% on every instance
    And memory usage stays below 2 GB per instance
