@api @peak @API-5
Feature: More people do not make it slow
  The promise: with ten times the people, everybody is served about as quickly, and about ten times as much gets done.

  Background:
    Given the peak load
    And they arrive over 1 minute
    And the load holds for 4 minutes

  Scenario Outline: The <group> endpoints are about as quick as with few people
    Then the p95 response time of the <group> endpoints is at most 2 times that at the baseline load, or below 50 ms

    Examples:
      | group     |
      | auth      |
      | metrics   |
      | dashboard |
      | admin     |

  Scenario: Throughput grows with the people
    Then throughput is at least 5 times that at the baseline load
