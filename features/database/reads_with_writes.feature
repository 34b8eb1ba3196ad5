@database
Feature: Reading and writing at the same time
  The promise: those who store records and those who ask for them do not get in each other's way.

  Background:
    Given 1100 metric inserts per second
    And they arrive over 30 seconds
    And the load holds for 3 minutes
    And 50 analysts querying 10 million records

  @DB-3
  Scenario: Records are stored while analysts work
    Then throughput stays above 1000 records per second
    And every acknowledged write is stored exactly once
    And no deadlock occurs

  @DB-3
  Scenario Outline: "<query>" is quick while records are stored
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
