"""When each instance was there, in a run that took instances away or added some."""

from loadkit.observers.observation import Observation

__all__ = ["lifespans"]


def lifespans(
    observation: Observation, acted: float, start: float, end: float
) -> dict[str, tuple[float, float]]:
    """When each instance was there, in Unix seconds, where that is not from `start` to `end`.

    Of those alone that went or came after `acted`, the moment of the plan's first action: that is no gap.
    """
    lives: dict[str, tuple[float, float]] = {}
    near = 3 * observation.scrape_interval
    for series in observation.series:
        if not len(series.times):
            continue
        first, last = float(series.times[0]), float(series.times[-1])
        born = first if first > max(acted, start + near) else start
        gone = last if acted < last < end - near else end
        if (born, gone) != (start, end):
            lives[series.instance] = (born, gone)
    return lives
