"""Lulls: ten-second windows in which users waited for the service, so that traffic nearly stopped.

The plan and the journeys make lulls too: users who start a journey every 20 seconds come in waves.
Such users do not wait for answers. Little's law tells the two kinds apart.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from loadkit.criterion import Scope, ScopeKind
from loadkit.judging.evidence import Case
from loadkit.judging.spells import in_spells, thin
from loadkit.recording.traffic import Traffic

__all__ = ["find_lulls", "waited_for"]

_WAITING = 0.5
"""At least this share of the users missing from circulation must wait for an answer. If the service
caused the lull, all of them do. The number in flight is known once a second, so a stall that starts
or ends within a window can show fewer."""
_CHANCE = 2.0
"""More users must wait than usual by this many standard deviations of the usual number."""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]


def find_lulls(case: Case) -> Booleans:
    """The spell windows with under half the usual traffic because of the service; (windows,).

    There are none if the planned load is not constant. Arrivals of an open load come whatever the
    service does and whatever the journeys are. So a thin window is a lull if the arrivals of the
    open populations are thin too. Otherwise, users of the closed ones must wait for the service.
    """
    arrivals = case.traffic.per_second()
    found = thin(arrivals)
    if not found.any() or not case.is_steady:
        return np.zeros_like(found)
    evidence, window = case.evidence, case.window
    populations = evidence.makers(case.criterion.scope) or evidence.run.plan.populations
    closed = [each.name for each in populations if each in evidence.closed]
    if not closed:
        return found
    kept = slice(None) if case.kept is None else case.kept

    def operations(names: Iterable[str]) -> Integers:
        scopes = (Scope(ScopeKind.POPULATION, name) for name in names)
        by_population = [evidence.traffic(scope, window, timing=case.timing) for scope in scopes]
        return Traffic.sum_of(by_population).per_second()[kept]

    waiting = np.sum([evidence.in_flight(window, name) for name in closed], axis=0)[kept]
    users = np.sum([evidence.held(window, name)[0] for name in closed], axis=0)[kept]
    is_waited_for = waited_for(arrivals, operations(closed), waiting, users)
    open_ones = [each.name for each in populations if each.name not in closed]
    return found & (is_waited_for | thin(operations(open_ones)) if open_ones else is_waited_for)


def waited_for(arrivals: Integers, operations: Integers, waiting: Floats, users: Floats) -> Booleans:
    """In which spell windows users missing from circulation wait for the service; (windows,).

    By second, (seconds,): `arrivals`: operations of the judged scope; `operations`: all
    operations of the users; `waiting`: those without an answer; `users`: users held. The median window
    is the usual one.

    N users make X operations per second, so each makes one every N/X seconds. A scope with x_s
    instead of X_s operations per second lacks (X_s − x_s) · N/X users. At the usual response time,
    a window with x operations per second has x · L/X in flight (Little's law), and L is the usual
    number. What is in flight beyond that waits for the service.
    """
    lengths = in_spells(np.ones(len(arrivals)))
    of_scope, of_all = in_spells(arrivals) / lengths, in_spells(operations) / lengths
    in_flight, held = in_spells(waiting) / lengths, in_spells(users) / lengths
    usual_in_scope, usual_waiting = float(np.median(of_scope)), float(np.median(in_flight))
    # Corrected arrivals can be more than the operations of all users.
    usual = max(float(np.median(of_all)), usual_in_scope)
    if usual == 0:
        return np.zeros(len(lengths), np.bool_)
    missing = (usual_in_scope - of_scope) / usual * held
    excess = in_flight - of_all / usual * usual_waiting
    # Users wait independently of each other, so the number in flight is binomial.
    deviation = np.sqrt(usual_waiting * np.clip(1 - usual_waiting / np.maximum(held, 1.0), 0.0, None))
    return np.asarray((excess > 0) & (excess >= _WAITING * missing) & (excess >= _CHANCE * deviation))
