@api
Feature: There is room left
  The promise: the service does its work with something in hand, so that the next busy day is no surprise.

  @API-4 @<level>
  Scenario Outline: The database has room at <level> load
    Given the <level> load
    And they arrive over 1 minute
    And the load holds for 4 minutes
    Then database connection pool utilization stays below 80%

    Examples:
      | level    |
      | baseline |
      | normal   |
      | peak     |

  @API-6 @<level>
  Scenario Outline: The instances have room at <level> load
    Given the <level> load
    And they arrive over 1 minute
    And the load holds for 4 minutes
    Then CPU utilization stays below 70% on every instance
    And memory usage stays below 2 GB per instance

    Examples:
      | level  |
      | normal |
      | peak   |
