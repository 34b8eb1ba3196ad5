"""The machine under the load: was it full, what used it, and can that explain a violation?

`contention` finds the seconds in which a cause outside the service delayed operations. The causes
are:

- Other processes took a tenth of a full machine, and a quarter of what the environment's parts took
  on it.
- The host of a virtual machine took a tenth of its processors (steal).
- The machine was short of memory, and the environment's parts held at most half of the memory in
  use.
- The machine was full. The load generator itself took 15 % of it, and a quarter of what the
  environment's parts took. No part alone took most of a processor, because this may be its own
  limit.

A machine is full if at most 5 % of it was idle. For other processes, it is enough that some process
waited for a processor half of the time. They may share one processor with the service while another
processor is idle. All figures are means over five seconds, because the kernel counts in ticks.

For other machines, a monitoring system reports the figures. Only the first two causes are looked
for there, because the system does not state which processes used the memory.

If figures are missing, a cause that needs them is not found, and no verdict changes because of it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from loadkit.observers.machine import (
    HOSTS,
    MEMORY,
    OTHERS,
    PARTS,
    PRESSURE,
    PROCESSORS,
    SWAPPING,
    HostFigure,
    Use,
)
from loadkit.observers.observation import Observation, Series
from loadkit.recording.run import Run
from loadkit.units import format_bytes
from loadkit.verdict import Window

__all__ = ["Contention", "contention"]

_IDLE = 0.05
"""A machine with a smaller idle share is full."""
_WAITING = 0.5
"""The share of time in which some process waits for a processor. Others may be the cause."""
_TAKEN = 0.1
"""The share of a machine that other processes, or its host, must take to be a cause."""
_GENERATOR = 0.15
"""The same for the load generator, which is part of every load."""
_BESIDE = 0.25
"""The least ratio of a cause to what the environment's parts took on the same machine."""
_ONE_PART = 0.6
"""Processors. On a full machine, a part that takes at least this many is near its own limit, which
is often one processor."""
_SHORT = 0.1
"""The share of the time in which some process waits for memory."""
_SWAPPED = 1e6
"""Bytes swapped per second."""
_HELD = 0.5
"""The largest share of the memory in use that the environment's parts may hold."""
_MEAN = (-2, 3)
"""The figure of a second is the mean between these two offsets in seconds from its start."""
_AFTER = 5
"""Seconds after a cause in which the service still processes the queues that it built up."""
_NAMED, _LEAST_NAMED = 3, 0.02
"""The number of processes that a sentence names, and the least share of the machine of each."""

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Contention:
    """The causes of delay in a window, other than the service."""

    seconds: Booleans
    """By second of the window: was there a cause?"""
    sentence: str
    """The causes with their shares, in one clause."""
    advice: str = ""
    """What to do about it, in one clause; empty if the sentence says enough."""
    figures: Mapping[str, Any] = field(default_factory=dict)
    """Means over the seconds with a cause, as JSON values; shares are ratios of 0 to 1."""

    @property
    def after(self) -> Booleans:
        """The seconds with a cause, and those after it in which its queues are still processed."""
        marks = self.seconds.copy()
        for later in range(1, _AFTER + 1):
            marks[later:] |= self.seconds[:-later]
        return marks


def contention(run: Run, window: Window) -> Contention | None:
    """The causes of delay in a window, other than the service; None if there are none."""
    if not window.seconds:
        return None
    here, others = _Figures.of(run, window), list(_hosts(run, window))
    causes = [cause for each in (here, *others) for cause in _causes(each) if cause.seconds.any()]
    if not causes:
        return None
    together = np.logical_or.reduce([cause.seconds for cause in causes])
    causes.sort(key=lambda cause: -int(cause.seconds.sum()))
    partly = "" if together.all() else f" in {int(together.sum())} of {window.seconds} seconds"
    return Contention(
        together,
        " and ".join(cause.sentence for cause in causes) + partly,
        next((cause.advice for cause in causes if cause.advice), ""),
        {
            "seconds": int(together.sum()),
            **here.means(together),
            **({"other machines": {each.name: each.means(together) for each in others}} if others else {}),
        },
    )


@dataclass(frozen=True, slots=True)
class _Figures:
    """The figures of the machine by second of a window; NaN where unknown; shape (`seconds`,)."""

    use: Mapping[str, Floats]
    """Shares of the machine by `Use`."""
    waiting: Mapping[str, Floats]
    """The share of the time in which some process waited, by resource."""
    swapped: Floats
    """Bytes per second."""
    held: Floats
    """The share of the memory in use that the environment's parts held."""
    others: Mapping[str, Floats]
    """Shares of the machine by the name of other processes."""
    largest: Floats
    """Processors that the busiest process of the environment took."""
    name: str = "this machine"

    @classmethod
    def of(cls, run: Run, window: Window) -> "_Figures":
        """The figures of a run in a window."""
        seconds = run.started + np.arange(window.start, window.end, dtype=np.float64)

        def rates(name: str) -> dict[str, Floats]:
            return {each.instance: _rate(each, seconds) for each in _series(run.observations.get(name))}

        parts, swapped = rates(PARTS), rates(SWAPPING)
        memory = {
            each.instance: np.interp(seconds, each.times, each.values)
            for each in _series(run.observations.get(MEMORY))
        }
        unknown = np.full(window.seconds, np.nan)
        nothing = np.zeros(window.seconds)
        in_use = memory.get("all", unknown)
        return cls(
            use=rates(PROCESSORS),
            waiting=rates(PRESSURE),
            swapped=sum(swapped.values(), nothing),
            held=memory.get(Use.ENVIRONMENT, unknown) / np.where(in_use > 0, in_use, np.nan),
            others=rates(OTHERS),
            largest=np.max([nothing, *parts.values()], axis=0),
        )

    def share(self, use: Use) -> Floats:
        """The share of the machine of one use, NaN where unknown."""
        return self.use.get(use, np.full(len(self.swapped), np.nan))

    def wait(self, resource: str) -> Floats:
        """The share of the time in which some process waited for a resource, NaN where unknown."""
        return self.waiting.get(resource, np.full(len(self.swapped), np.nan))

    def means(self, seconds: Booleans) -> dict[str, Any]:
        """The means over some seconds, as JSON values."""
        named = dict(_named(self.others, seconds))
        return {
            **{f"{use}": _mean(each, seconds) for use, each in self.use.items()},
            **{f"waiting for {name}": _mean(each, seconds) for name, each in self.waiting.items()},
            **({"swapped per second": swapped} if (swapped := _mean(self.swapped, seconds)) else {}),
            **({"busiest other processes": named} if named else {}),
        }


@dataclass(frozen=True, slots=True)
class _Cause:
    seconds: Booleans
    sentence: str
    advice: str = ""


def _causes(figures: _Figures) -> Iterator[_Cause]:
    """All causes with their seconds. A comparison with NaN, which is unknown, is false."""
    environment, generator = figures.share(Use.ENVIRONMENT), figures.share(Use.GENERATOR)
    others, steal = figures.share(Use.OTHERS), figures.share(Use.STEAL)
    is_full = figures.share(Use.IDLE) <= _IDLE
    is_waited_for = figures.wait("cpu") >= _WAITING

    taken = (is_full | is_waited_for) & (others >= _TAKEN) & (others >= _BESIDE * environment)
    names = ", ".join(f"{name} {_percent(share)}" for name, share in _named(figures.others, taken))
    yield _Cause(
        taken,
        f"other processes took {_percent(_mean(others, taken))} of {figures.name}"
        + (f" ({names})" if names else ""),
    )

    stolen = steal >= _TAKEN
    yield _Cause(
        stolen,
        f"the host took {_percent(_mean(steal, stolen))} of {figures.name}'s processors (steal)",
    )

    waiting = figures.wait("memory")
    is_others_memory = ~(figures.held > _HELD)
    short = ((waiting >= _SHORT) | (figures.swapped >= _SWAPPED)) & is_others_memory
    yield _Cause(
        short,
        f"{figures.name} was short of memory: processes waited for it {_percent(_mean(waiting, short))} of the "
        f"time, and {format_bytes(_mean(figures.swapped, short))} per second were swapped",
    )

    is_part_at_its_limit = (figures.largest >= _ONE_PART) & (environment >= generator)
    filled = (
        is_full
        & (generator >= _GENERATOR)
        & (generator >= _BESIDE * environment)
        & ~is_part_at_its_limit
        & ~(figures.share(Use.OUTSIDE) >= _TAKEN)
        & ~taken
    )
    yield _Cause(
        filled,
        f"{figures.name} was full, and the load generator itself took {_percent(_mean(generator, filled))} of it",
        "measure from another machine or on a faster one",
    )


def _hosts(run: Run, window: Window) -> Iterator[_Figures]:
    """The figures of other machines, with the names that the source gives them."""
    seconds = run.started + np.arange(window.start, window.end, dtype=np.float64) + 0.5
    read = {
        figure: {
            each.instance: np.interp(seconds, each.times, each.values, np.nan, np.nan)
            for each in _series(run.observations.get(f"{HOSTS}{figure}"))
        }
        for figure in HostFigure
    }
    nothing, unknown = np.zeros(window.seconds), np.full(window.seconds, np.nan)
    for name in sorted(read[HostFigure.IDLE].keys() | read[HostFigure.STEAL].keys()):
        idle, steal, pressure, environment = (read[figure].get(name, unknown) for figure in HostFigure)
        use = {
            str(Use.IDLE): idle,
            str(Use.STEAL): steal,
            str(Use.ENVIRONMENT): environment,
            str(Use.OTHERS): np.clip(1 - idle - np.nan_to_num(steal) - environment, 0, 1),
        }
        yield _Figures(
            use=use,
            waiting={"cpu": pressure},
            swapped=nothing,
            held=unknown,
            others={},
            largest=nothing,
            name=name,
        )


def _series(observation: Observation | None) -> Iterable[Series]:
    return () if observation is None else (each for each in observation.series if len(each.times) > 1)


def _rate(series: Series, seconds: Floats) -> Floats:
    """The growth of a counter per second, as a mean over `_MEAN`; NaN outside its samples."""
    first, last = series.times[0], series.times[-1]
    starts, ends = (np.clip(seconds + offset, first, last) for offset in _MEAN)
    growth = np.interp(ends, series.times, series.values) - np.interp(starts, series.times, series.values)
    lengths = ends - starts
    return np.where(lengths >= 1, growth / np.maximum(lengths, 1), np.nan)


def _named(others: Mapping[str, Floats], seconds: Booleans) -> list[tuple[str, float]]:
    """The busiest other processes in some seconds, with their shares of the machine."""
    shares = sorted(((name, _mean(each, seconds)) for name, each in others.items()), key=lambda row: -row[1])
    return [(name, share) for name, share in shares[:_NAMED] if share >= _LEAST_NAMED]


def _mean(values: Floats, seconds: Booleans) -> float:
    """The mean over some seconds, without unknown values; 0 if there are no known values."""
    known = values[seconds & ~np.isnan(values)]
    return float(known.mean()) if len(known) else 0.0


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
