@api
Feature: Resource headroom
  The promise: up to peak load, the service has spare database connections, CPU and memory.

  @API-4 @<level>
  Scenario Outline: Database connection pool utilization at <level> load
    Given the <level> load
    And they arrive over 30 seconds
    And the load holds for 3 minutes
    Then database connection pool utilization stays below 80%

    Examples:
      | level    |
      | baseline |
      | normal   |
      | peak     |

  @API-6 @<level>
  Scenario Outline: CPU and memory of the instances at <level> load
    Given the <level> load
    And they arrive over 30 seconds
    And the load holds for 3 minutes
    Then CPU utilization stays below 70% on every instance
    And memory usage stays below 2 GB per instance

    Examples:
      | level  |
      | normal |
      | peak   |
