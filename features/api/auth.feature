@api
Feature: Auth endpoints: login and logout
  The promise: users log in and out quickly, also when many do so at the same time.

  @API-1 @API-3 @<level>
  Scenario Outline: Response time and error rate of the auth endpoints at <level> load
    Given the <level> load
    And they arrive over 30 seconds
    And the load holds for 3 minutes
    Then the p95 response time of the auth endpoints stays below 500 ms
    And the error rate of the auth endpoints stays below 1%

    Examples:
      | level    |
      | baseline |
      | normal   |
      | peak     |

  @API-1 @stress @advisory
  Scenario: Response time of the auth endpoints under stress
    Given the stress load
    And they arrive over 30 seconds
    And the load holds for 3 minutes
    Then the p95 response time of the auth endpoints stays below 500 ms

  @API-3 @stress
  Scenario: Error rate of the auth endpoints under stress
    Given the stress load
    And they arrive over 30 seconds
    And the load holds for 3 minutes
    Then the error rate of the auth endpoints stays below 5%
