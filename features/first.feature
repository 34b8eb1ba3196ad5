Feature: A minimal feature file
  A load and a criterion are enough. The first Then starts the load, and each Then is a criterion.

  Scenario: Users feel no delay at peak
    Given 1000 concurrent users
    Then p95 stays below 500ms
