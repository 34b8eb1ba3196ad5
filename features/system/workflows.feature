@system
Feature: Complete workflows
  The promise: more than 99 % of the workflows succeed, with a p95 below 5 seconds. In a workflow, a
  user logs in, posts an event, sees it live and in the database, edits a dashboard, reads the usage
  figures of the tenant and logs out.

  @SYS-1
  Scenario: Complete workflows succeed
    Given 100 concurrent users following complete workflows
    And they arrive over 20 seconds
    And the load holds for 2 minutes
    Then the workflow success rate is above 99%
    And the p95 workflow time is below 5 s
    And no tenant ever sees another tenant's data
    And every acknowledged write is stored exactly once
