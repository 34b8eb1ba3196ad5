"""Coordinated-omission correction: adds the arrivals that waiting users of a closed load prevented.

Users of a closed load wait for their answers, so they send no requests during a stall. A stall of
20 s in 300 s therefore affects under 1 % of the requests, although it is 7 % of the time. This is
coordinated omission (Tene, "How NOT to measure latency"). Two cases are corrected:

- *The service stood still*: no user received an answer. The correction adds arrivals to each long
  stall, at the window's usual rate. Each added arrival waits until the stall ends.
- *Some users were stuck*, for example on one of two instances, and the others continued. The
  correction adds the operations that each stuck user would have begun meanwhile. They wait until
  the stuck operation ends. This is HdrHistogram's `recordValueWithExpectedInterval`, limited to
  operations that independent random times do not explain (`stuck_operations`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
import numpy.typing as npt

from loadkit.judging.statistics import batch_edges
from loadkit.recording import histogram as buckets
from loadkit.recording.slices import Kind, SliceTable
from loadkit.recording.stalls import Stall
from loadkit.recording.traffic import LONGEST, StuckUsers, Traffic
from loadkit.verdict import Window

__all__ = ["StuckOperations", "Users", "correct_omission", "shared", "stuck_operations"]

_LONG = 20
"""A gap longer than this multiple of the usual time between two completions is a stall. An
operation longer than this multiple of its user's cycle, and than `_SURELY`, is stuck. The cycle is
the user's usual time between two operations."""
_SURELY = 10.0
"""An operation is stuck because of its own length only if it takes longer than this (seconds). A
user without think time has a short cycle, and a single slow answer could take 20 of them."""
_UNUSUAL = 2
"""An operation longer than this multiple of the cycle is stuck while too many are in progress."""
_CHANCE = 0.05
"""The probability that independent operations count as stuck in any second of a window."""
_STRETCH = 10
"""The shortest quiet stretch in seconds that shows how many operations are usually long."""
_STRETCHES = (0.05, 0.1, 0.25)
"""The lengths of quiet stretches, as shares of a window."""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]
_Rows = tuple[Integers, Integers, Integers, Integers]
"""Second, outcome number, bucket and count; shapes (n,)."""


@dataclass(frozen=True, slots=True)
class Users:
    """The users of a closed population in a window."""

    population: str
    held: Floats
    """Users held in each second; shape (`seconds`,)."""
    arrivals: Integers
    """Their operations by the second of the intended start; shape (`seconds`,)."""

    @property
    def cycle(self) -> float:
        """Seconds between the starts of two operations of a user who is not stuck; 0 if unknown.

        The usual rate is the upper quartile of 30 batches. The median would be too low if users are
        stuck for half of the window. The median of single seconds would be 0 for users who send
        less than one operation in most seconds.
        """
        edges = batch_edges(len(self.arrivals))
        rates = np.add.reduceat(self.arrivals, edges[:-1]) / np.diff(edges)
        usual = float(np.quantile(rates, 0.75))
        return float(np.median(self.held)) / usual if usual else 0.0


@dataclass(frozen=True, slots=True)
class StuckOperations:
    """Operations whose users waited longer than independent random times explain; shapes (n,)."""

    users: Users
    second: Integers
    """Second of the intended start, from the window's start; negative if it began before."""
    took: Floats
    """Seconds until the answer, or until the operation was given up."""
    count: Integers
    is_always: Booleans
    """Is it stuck because of its own length, and not only in crowded seconds?"""
    crowded: Booleans
    """Seconds of the window in which too many operations waited long; shape (`seconds`,)."""
    share: float = 1.0
    """The share of the prevented operations that belongs to the judged scope."""

    def prevented(self) -> tuple[Floats, Floats]:
        """The prevented operations in the window: their moments and waits in seconds, shapes (m,).

        A user with the cycle c began at s and waited r seconds. Without the wait, the user would
        have begun operations at s + c, s + 2c, … before s + r. Their mean number is r / c − 1/2,
        evenly spread over the time from s + c/2 on. These times of all users are put end to end,
        and one operation is added every c / `share`. So no fraction is lost. A start is known to a
        second, and the middle of that second is used.
        """
        cycle, seconds = self.users.cycle, len(self.crowded)
        # Use only the part of the wait in the window. The part outside can last for hours.
        begin = np.maximum(cycle / 2, -(self.second + 0.5))
        each = np.maximum(np.minimum(self.took, seconds - (self.second + 0.5)) - begin, 0.0)
        ends = np.cumsum(self.count * each)
        number = int(ends[-1] * self.share / cycle + 0.5) if len(ends) else 0
        places = (np.arange(number) + 0.5) * cycle / self.share
        row = np.minimum(np.searchsorted(ends, places, side="right"), len(ends) - 1)
        after = begin[row] + (places - (ends - self.count * each)[row]) % np.maximum(each[row], 1e-9)
        moment = np.minimum(self.second[row] + 0.5 + after, np.nextafter(seconds, 0.0))
        counts = self.is_always[row] | self.crowded[moment.astype(np.int64)]
        return moment[counts], (self.took[row] - after)[counts]

    def summary(self, added: int, counted: Booleans) -> StuckUsers:
        """A summary of the stuck users, for whom `added` arrivals were added.

        `counted`: the seconds of the window at whose start they are counted; shape (`seconds`,).
        """
        first, end = self.second + 1, np.floor(self.second + 0.5 + self.took).astype(np.int64) + 1
        waiting = _in_progress(first, end, self.count, len(counted))[counted]
        so_far = np.append(0, np.cumsum(counted))
        first, end = (np.clip(each, 0, len(counted)) for each in (first, end))
        took = self.took[so_far[end] > so_far[first]]
        held = float(np.median(self.users.held))
        return StuckUsers(
            self.users.population,
            max(1, min(int(waiting.max(initial=0)), round(held))),
            held,
            float((took if len(took) else self.took).max()),
            added,
        )


def stuck_operations(
    table: SliceTable,
    kind: Kind,
    window: Window,
    limit: float,
    users: Users,
    series: Sequence[str],
    own: Sequence[str],
) -> StuckOperations | None:
    """The stuck operations of a population that began in or before a window; None without any.

    An operation is stuck if it took longer than 20 cycles of its user (`Users.cycle`) and longer
    than 10 s. Up to half of the users may be stuck during the whole window, because the cycle is
    that of the others.

    An operation is also stuck if it took longer than 2 cycles, in seconds in which too many such
    operations are in progress. If long operations are independent of each other, the number in
    progress follows a Poisson distribution (M/G/∞). A larger number is a hang of some users. This
    second rule finds hangs if the client has a short time-out. One user's long answer is not a
    hang. A service in which 4 % of the operations independently take long is not a hang either.

    By simulation, the correction adds nothing for users with think time. This was tested with
    independent Pareto times (shape 1.5, up to 10 s), and in a closed M/M/1 system at any load. For
    20 users without think time at one server, it adds 0.01 %.

    One case is not found: the same users time out during the whole window, each after less than 20
    cycles. Its record is the same as that of independently long operations.

    `limit`: each stuck operation is longer than this (seconds), because a shorter one cannot change
    the verdict. `series`: the series of the population's operations. `own`: the series of the
    judged operations, of which only those of the population count.
    """
    cycle = users.cycle
    if not cycle:
        return None
    shortest = max(limit, _UNUSUAL * cycle)
    second, outcome, bucket, count = _longer(table, kind, series, window.end, shortest)
    if not len(second):
        return None
    took = buckets.middles(bucket)
    end = np.ceil(second + 0.5 + took).astype(np.int64)
    # Users who are stuck all the time make the cycle of all users look longer than it is.
    is_long = took > max(limit, _LONG / 2 * cycle, _SURELY)
    first, after, counts = (each[is_long] for each in (second - window.start, end - window.start, count))
    waiting = float(np.median(_in_progress(first, after, counts, window.seconds)))
    cycle *= max(1 / 2, 1 - waiting / max(1.0, float(np.median(users.held))))
    number = _in_progress(second - window.start, end - window.start, count, window.seconds)
    quiet = _quiet_rate(second - window.start, count, users.held)
    crowded = _is_crowded(number, users.held, quiet * float(np.average(end - second, weights=count)))
    if set(own) != set(series):
        others = _longer(table, kind, own, window.end, shortest)
        second, bucket, count = _common((second, outcome, bucket, count), others)
        took = buckets.middles(bucket)
    second = second - window.start
    is_always = took > max(limit, _LONG * cycle, _SURELY)
    last = np.clip(second + 0.5 + took, 0, window.seconds).astype(np.int64)
    so_far = np.append(0, np.cumsum(crowded))
    in_crowd = so_far[last] > so_far[np.clip(second, 0, window.seconds)]
    rows = (is_always | in_crowd) & (second + 0.5 + took > 0)
    if not rows.any():
        return None
    return StuckOperations(users, second[rows], took[rows], count[rows], is_always[rows], crowded)


def correct_omission(
    traffic: Traffic,
    stalls: Sequence[Stall],
    start: int,
    limit: float,
    stuck: Iterable[StuckOperations] = (),
    whole: Traffic | None = None,
) -> Traffic:
    """The traffic of a closed load, with the arrivals that its stalls and stuck users prevented.

    In a gap, the correction subtracts operations that did arrive, and skips those that stuck users
    prevented. So no operation counts twice.

    Args:
        traffic: the operations.
        stalls: in seconds since the run's start.
        start: the window's start on the same clock.
        limit: the criterion's limit in seconds, because a shorter gap cannot change the verdict.
        stuck: the operations of users who wait for very long.
        whole: the traffic whose stalls these are, if `traffic` is a part of it.

    """
    corrected, filled = _fill(traffic, stalls, start, limit, whole)
    counted = ~_is_within(np.arange(start, start + traffic.seconds, dtype=np.float64), filled)
    for each in stuck:
        moment, wait = each.prevented()
        counts = ~_is_within(moment + start, filled)
        if added := int(counts.sum()):
            second = moment[counts].astype(np.int64)
            corrected = corrected.plus(second, wait[counts], each.summary(added, counted))
    return corrected


def _fill(
    traffic: Traffic, stalls: Sequence[Stall], start: int, limit: float, whole: Traffic | None
) -> tuple[Traffic, list[Stall]]:
    """The traffic with the arrivals that stalls prevented, and the stalls that were long enough.

    Arrivals vary by chance. So a second of a stall with more arrivals than usual makes up for one
    with fewer. Otherwise, users who think for minutes would seem to be prevented.
    """
    arrivals = traffic.per_second()
    begins = np.arange(traffic.seconds) + start
    stalled = np.zeros(traffic.seconds, np.bool_)
    for stall in stalls:
        if stall.seconds > limit:
            stalled |= (stall.start <= begins) & (begins + 1 <= stall.end)
    if stalled.all():
        return traffic, []
    # The median of a rare part is often 0.
    usual = float(np.median(arrivals[~stalled]) if whole is None else np.mean(arrivals[~stalled]))
    rate = usual if whole is None else float(np.median(whole.per_second()[~stalled]))
    if usual == 0 or rate == 0:
        return traffic, []
    # For random (Poisson) completions, the median of the times between them is ln 2 times the mean.
    shortest = max(limit, _LONG * np.log(2) / rate)
    filled = [stall for stall in stalls if stall.seconds > shortest]
    seconds: list[int] = []
    waits: list[float] = []
    missing = 0.0
    for stall in filled:
        first, last = stall.start - start, min(stall.end - start, float(traffic.seconds))
        for second in range(max(0, int(first)), int(np.ceil(last))):
            begin, end = max(first, float(second)), min(last, second + 1.0)
            deficit = usual - arrivals[second]
            if deficit > 0 or end - begin >= 1:
                missing += min(usual * (end - begin), deficit)
            number = max(0, int(missing))
            missing -= number
            moments = begin + (np.arange(number) + 0.5) / max(number, 1) * (end - begin)
            seconds += [second] * number
            waits += list(stall.end - start - moments)
    if not seconds:
        return traffic, filled
    return traffic.plus(np.array(seconds, np.int64), np.array(waits)), filled


def _is_within(moments: Floats, stalls: Sequence[Stall]) -> Booleans:
    """Does each moment lie in a stall?

    Moments are known to half a second. Stalls are in order of their start.
    """
    if not stalls:
        return np.zeros(len(moments), np.bool_)
    starts = np.array([stall.start for stall in stalls]) - 0.5
    ends = np.maximum.accumulate([stall.end for stall in stalls]) + 0.5
    before = np.searchsorted(starts, moments, side="right") - 1
    return (before >= 0) & (moments < ends[before])


def _longer(table: SliceTable, kind: Kind, series: Sequence[str], end: int, shortest: float) -> _Rows:
    """The operations longer than `shortest` (seconds) that began before the second `end`."""
    when, _, sums = table.totals(series, 0, end)
    when = when[sums[:, LONGEST] > shortest]
    if not len(when):  # the usual case; selecting all operations takes far longer
        return (np.zeros(0, np.int64),) * 4
    rows = table.select(kind, series, int(when.min()), int(when.max()) + 1)
    longer = rows[2] > buckets.index(shortest)
    second, outcome, bucket, count = (each[longer] for each in rows)
    return second, outcome, bucket, count


def _common(ones: _Rows, others: _Rows) -> tuple[Integers, Integers, Integers]:
    """Second, bucket and count of the operations that are in both of two records of operations."""
    known, sums = [], []
    for second, outcome, bucket, count in (ones, others):
        cells, place = np.unique(((second << 6 | outcome) << 14) | bucket, return_inverse=True)
        known.append(cells)
        sums.append(np.bincount(place, count, len(cells)).astype(np.int64))
    cells, *places = np.intersect1d(known[0], known[1], assume_unique=True, return_indices=True)
    count = np.minimum(sums[0][places[0]], sums[1][places[1]])
    return cells >> 20, cells & ((1 << 14) - 1), count


def _in_progress(first: Integers, end: Integers, count: Integers, seconds: int) -> Floats:
    """Operations in progress in each second s of a window: those with `first` <= s < `end`."""
    begun, ended = (np.bincount(np.clip(each, 0, seconds), count, seconds + 1)[:-1] for each in (first, end))
    return np.cumsum(begun - ended)


def _quiet_rate(second: Integers, count: Integers, held: Floats) -> float:
    """An upper bound of the long operations per user and second, from the quietest stretch.

    A hang of some users can last for most of a window. Then it raises the mean of the window, and
    only the rest of the window shows the usual rate. `second`, `count` (n,): the long operations;
    `held`: the users held in each second, shape (`seconds`,).
    """
    from scipy import special

    seconds = len(held)
    in_window = (second >= 0) & (second < seconds)
    begun = np.append(0.0, np.cumsum(np.bincount(second[in_window], count[in_window], seconds)))
    user_seconds = np.append(0.0, np.cumsum(held))
    lengths = sorted({max(_STRETCH, round(part * seconds)) for part in _STRETCHES})
    rates = [np.inf]
    for length in (each for each in lengths if each <= seconds):
        number = begun[length:] - begun[:-length]
        chance = _CHANCE / (len(lengths) * len(number))
        most = special.gammaincinv(number + 1, 1 - chance)
        rates.append(float((most / np.maximum(user_seconds[length:] - user_seconds[:-length], 1e-9)).min()))
    return min(rates)


def _is_crowded(number: Floats, held: Floats, quiet: float) -> Booleans:
    """Mark the seconds with more long operations in progress than independence explains.

    The usual number is the mean over the seconds that are not crowded, in proportion to the users
    held, and at most `quiet` per user. It is found by iteration, because a long hang raises the
    mean of all seconds.
    """
    from scipy import special

    crowded = np.zeros(len(number), np.bool_)
    while True:
        mean = float(number[~crowded].sum()) / max(1e-9, float(held[~crowded].sum()))
        chance = special.pdtrc(number - 1, min(mean, quiet) * held)
        more = crowded | ((number > 0) & (held > 0) & (chance < _CHANCE / len(number)))
        if (more == crowded).all():
            return crowded
        crowded = more


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
