@database
Feature: Every record that is sent is kept
  The promise: a thousand records per second are stored, and each of them is there afterwards, once.

  @DB-1 @smoke
  Scenario: Records at a tenth of the rate
    Given 200 concurrent users of the API
    And they arrive over 5 seconds
    And the load holds for 50 seconds
    And 110 metric inserts per second
    Then throughput stays above 100 records per second
    And every acknowledged write is stored exactly once

  @DB-1 @peak
  Scenario: A thousand records per second
    Given 1100 metric inserts per second
    And they arrive over 30 seconds
    And the load holds for 2 minutes
    Then throughput stays above 1000 records per second
    And the error rate of the inserts is below 1%
    And every acknowledged write is stored exactly once
