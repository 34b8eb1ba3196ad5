Feature: The shortest form
  A load and a promise are enough: the first Then puts the load on, each Then judges.

  Scenario: Users feel no delay at peak
    Given 1000 concurrent users
    Then p95 stays below 500ms
