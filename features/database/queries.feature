@database @DB-2
Feature: Query performance
  The promise: with 10 million stored records, each key query takes less than 100 ms on average.

  Background:
    Given 100 analysts querying 10 million records
    And they arrive over 10 seconds
    And the load holds for 2 minutes

  Scenario Outline: Mean query time of "<query>"
    Then the mean query time of "<query>" is below 100 ms

    Examples: Dashboard queries
      | query           |
      | tenant overview |
      | widget series   |
      | latest sessions |
      | recent events   |

    Examples: Joins and aggregations
      | query                 |
      | events by session     |
      | analytics by category |
      | hourly values         |

  Scenario: p95 query time and error rate of the key queries
    Then the p95 query time of the key queries stays below 200 ms
    And the error rate of the analysts is below 1%
