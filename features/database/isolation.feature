@database @DB-6
Feature: Tenants do not see, and hardly feel, each other
  The promise: no query returns another company's record, and one company's rush slows no other much.

  Scenario: No query returns another tenant's row
    Given 1100 metric inserts per second
    And they arrive over 30 seconds
    And the load holds for 3 minutes
    And 50 analysts querying 10 million records
    Then no tenant ever sees another tenant's data

  # One query of the mix takes ten times as long as the others. The p95 lies between the two kinds, and jumps from one to
  # the other by chance; the mean does not.
  Scenario: A noisy tenant slows no other much
    Given 100 analysts querying 10 million records
    And they arrive over 1 minute
    And the load holds for 2 minutes
    And tenant "globex" sends 10 times its usual load
    Then the mean query time of tenant "acme" is at most 1.5 times that without tenant "globex"
