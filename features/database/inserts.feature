@database
Feature: Insert throughput without data loss
  The promise: the service stores 1000 records per second, each acknowledged record exactly once.

  @DB-1 @smoke
  Scenario: 100 records per second with concurrent API users
    Given 200 concurrent users of the API
    And they arrive over 5 seconds
    And the load holds for 50 seconds
    And 110 metric inserts per second
    Then throughput stays above 100 records per second
    And every acknowledged write is stored exactly once

  @DB-1 @peak
  Scenario: 1000 records per second
    Given 1100 metric inserts per second
    And they arrive over 10 seconds
    And the load holds for 2 minutes
    Then throughput stays above 1000 records per second
    And the error rate of the inserts is below 1%
    And every acknowledged write is stored exactly once
