"""Coordinated-omission correction: adds the arrivals that a stall prevented in a closed load.

Users of a closed load wait for their answers, so they send no requests during a stall. A stall of
20 s in 300 s is therefore under 1 % of the requests, although it is 7 % of the time (coordinated
omission: Tene, "How NOT to measure latency"). The correction adds arrivals to each long stall, at
the window's usual rate. Each added arrival waits until the stall ends.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce

import numpy as np

from loadkit.recording.stalls import Stall
from loadkit.recording.traffic import Traffic

__all__ = ["correct_omission", "shared"]

_LONG = 20
"""A gap is a stall from this multiple of the usual time between two completions."""


def correct_omission(traffic: Traffic, stalls: Sequence[Stall], start: int, limit: float) -> Traffic:
    """The traffic of a closed load, with the arrivals that its stalls prevented.

    `stalls`: in seconds since the run's start; `start`: the window's start on the same clock;
    `limit`: the criterion's limit in seconds, because a shorter gap cannot change the verdict. The
    correction subtracts operations that did arrive in a gap, so none is counted twice.
    """
    arrivals = traffic.per_second()
    begins = np.arange(traffic.seconds) + start
    stalled = np.zeros(traffic.seconds, np.bool_)
    for stall in stalls:
        if stall.seconds > limit:
            stalled |= (stall.start <= begins) & (begins + 1 <= stall.end)
    usual = 0.0 if stalled.all() else float(np.median(arrivals[~stalled]))
    if usual == 0:
        return traffic
    # For random (Poisson) completions, the median of the times between them is ln 2 of their mean.
    shortest = max(limit, _LONG * np.log(2) / usual)
    seconds: list[int] = []
    waits: list[float] = []
    missing = 0.0
    for stall in stalls:
        if stall.seconds <= shortest:
            continue
        first, last = stall.start - start, min(stall.end - start, float(traffic.seconds))
        for second in range(max(0, int(first)), int(np.ceil(last))):
            begin, end = max(first, float(second)), min(last, second + 1.0)
            missing += min(usual * (end - begin), max(0.0, usual - arrivals[second]))
            number = int(missing)
            missing -= number
            moments = begin + (np.arange(number) + 0.5) / max(number, 1) * (end - begin)
            seconds += [second] * number
            waits += list(stall.end - start - moments)
    if not seconds:
        return traffic
    return traffic.plus(np.array(seconds, np.int64), np.array(waits))


def shared(stalls: Iterable[Sequence[Stall]]) -> Sequence[Stall]:
    """The intersection of several series of stalls, each in ascending order of time."""
    return reduce(_overlaps, stalls)


def _overlaps(ones: Sequence[Stall], others: Sequence[Stall]) -> Sequence[Stall]:
    common: list[Stall] = []
    one = other = 0
    while one < len(ones) and other < len(others):
        start = max(ones[one].start, others[other].start)
        end = min(ones[one].end, others[other].end)
        if start < end:
            common.append(replace(ones[one], start=start, end=end, population=""))
        if ones[one].end < others[other].end:
            one += 1
        else:
            other += 1
    return common
