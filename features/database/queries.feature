@database @DB-2
Feature: Analysts get their answers at once
  The promise: with ten million records stored, each question that people ask takes less than a tenth
  of a second.

  Background:
    Given 100 analysts querying 10 million records
    And they arrive over 1 minute
    And the load holds for 2 minutes

  Scenario Outline: "<query>" is quick
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

  Scenario: No key query is slow for many
    Then the p95 query time of the key queries stays below 200 ms
    And the error rate of the analysts is below 1%
