@api
Feature: Sending and reading metrics
  The promise: what is measured is taken in at once, and read back at once.

  @API-1 @API-3 @<level>
  Scenario Outline: The metrics endpoints are quick and without errors at <level> load
    Given the <level> load
    And they arrive over 1 minute
    And the load holds for 4 minutes
    Then the p95 response time of the metrics endpoints stays below 500 ms
    And the error rate of the metrics endpoints stays below 1%

    Examples:
      | level    |
      | baseline |
      | normal   |
      | peak     |

  @API-1 @stress @advisory
  Scenario: Under stress it is reported how quick the metrics endpoints are
    Given the stress load
    And they arrive over 1 minute
    And the load holds for 4 minutes
    Then the p95 response time of the metrics endpoints stays below 500 ms

  @API-3 @stress
  Scenario: Under stress the metrics endpoints may shed load, but little of it
    Given the stress load
    And they arrive over 1 minute
    And the load holds for 4 minutes
    Then the error rate of the metrics endpoints stays below 5%
