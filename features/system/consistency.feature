@system @SYS-4
Feature: What was confirmed is there, once
  The promise: a record that the service has confirmed is never lost and never there twice, and a
  record that it has refused is never there, whatever happens to the service meanwhile.

  Background:
    Given 300 metric inserts per second
    And they arrive over 10 seconds
    And the load holds for 3 minutes

  Scenario: In quiet times
    Then every acknowledged write is stored exactly once

  @disturbing
  Scenario: An instance dies
    When an instance is killed after 1 minute
    Then every acknowledged write is stored exactly once

  @disturbing
  Scenario: The database restarts
    When the database is restarted after 1 minute
    Then every acknowledged write is stored exactly once
    And the service recovers within 30 seconds
