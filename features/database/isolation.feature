@database @DB-6
Feature: Tenant isolation in the database
  The promise: queries return only rows of their own tenant, and high load from one tenant has
  little effect on the query times of the others.

  Scenario: Queries return no rows of other tenants
    Given 1100 metric inserts per second
    And they arrive over 10 seconds
    And the load holds for 3 minutes
    And 50 analysts querying 10 million records
    Then no tenant ever sees another tenant's data

  # One query of the mix takes ten times as long as the others. The p95 lies between the two kinds
  # and changes at random from one to the other. The mean is stable.
  Scenario: Query time of a tenant with a noisy neighbour
    Given 100 analysts querying 10 million records
    And they arrive over 10 seconds
    And the load holds for 2 minutes
    And tenant "globex" sends 10 times its usual load
    Then the mean query time of tenant "acme" is at most 1.5 times that without tenant "globex"
