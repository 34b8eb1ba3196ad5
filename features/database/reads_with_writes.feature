@database
Feature: Concurrent reads and writes
  The promise: inserts and queries meet their limits when they run at the same time.

  Background:
    Given 1100 metric inserts per second
    And they arrive over 10 seconds
    And the load holds for 3 minutes
    And 50 analysts querying 10 million records

  @DB-3
  Scenario: Inserts while analysts run queries
    Then throughput stays above 1000 records per second
    And every acknowledged write is stored exactly once
    And no deadlock occurs

  @DB-3
  Scenario Outline: Mean query time of "<query>" during inserts
    Then the mean query time of "<query>" is below 100 ms

    Examples:
      | query                 |
      | tenant overview       |
      | widget series         |
      | latest sessions       |
      | recent events         |
      | events by session     |
      | analytics by category |
      | hourly values         |
