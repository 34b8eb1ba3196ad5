@api @peak @API-5
Feature: No degradation from baseline to peak load
  The promise: with ten times as many users, response times at most double or stay below 50 ms, and
  throughput grows at least fivefold.

  Background:
    Given the peak load
    And they arrive over 30 seconds
    And the load holds for 3 minutes

  Scenario Outline: Response time of the <group> endpoints compared with the baseline load
    Then the p95 response time of the <group> endpoints is at most 2 times that at the baseline load, or below 50 ms

    Examples:
      | group     |
      | auth      |
      | metrics   |
      | dashboard |
      | admin     |

  Scenario: Throughput grows with the number of users
    Then throughput is at least 5 times that at the baseline load
