@system @peak @SYS-8
Feature: The service is up while people use it
  The promise: whoever comes, by whatever way, finds the service there, 999 times of a thousand.

  Each way is probed twenty times a second beside the load. The runs are those of other features, so
  uptime costs no time of its own.

  Scenario: Up while a thousand people use the API
    Given 1000 concurrent users of the API
    And they arrive over 1 minute
    And the load holds for 4 minutes
    Then uptime is above 99.9%

  Scenario: Up while a thousand people watch live metrics
    Given 1000 WebSocket connections subscribed to live metrics
    And they arrive over 1 minute
    And the load holds for 3 minutes
    And 11000 messages are delivered per second
    Then uptime is above 99.9%

  Scenario: Up while records are stored and queried
    Given 1100 metric inserts per second
    And they arrive over 30 seconds
    And the load holds for 3 minutes
    And 50 analysts querying 10 million records
    Then uptime is above 99.9%
