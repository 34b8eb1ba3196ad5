"""An instance that the plan takes away leaves no gap."""

from loadkit.observers.lifespans import lifespans
from tests.test_restarts import START, scraped


def test_only_what_goes_or_comes_after_the_action_has_a_life_of_its_own():
    observation = scraped((-2, 60), (-2, 30), (40, 60), (-2, 10))
    lives = lifespans(observation, START + 20, START, START + 60)
    assert lives == {"metrics-2": (START, START + 29), "metrics-3": (START + 40, START + 60)}
