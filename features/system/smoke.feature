@system @smoke
Feature: System smoke test
  The promise: with 200 concurrent users, each user receives only data of their own tenant, and each
  acknowledged record is stored exactly once.

  This scenario shares the run of the API smoke test, so it adds no load time.

  @SYS-2 @SYS-4
  Scenario: Tenant isolation and consistency of acknowledged writes
    Given 200 concurrent users of the API
    And they arrive over 5 seconds
    And the load holds for 50 seconds
    And 110 metric inserts per second
    Then no tenant ever sees another tenant's data
    And every acknowledged write is stored exactly once
