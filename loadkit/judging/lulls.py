"""Lulls: ten-second windows in which users waited for the service, so that traffic nearly stopped.

The plan and the journeys cause lulls too: users who start a journey every 20 seconds arrive in
waves. Such users do not wait for answers. Little's law distinguishes the two kinds.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from loadkit.criterion import Scope, ScopeKind
from loadkit.judging.evidence import Case
from loadkit.judging.spells import in_spells, thin
from loadkit.recording.traffic import Traffic
from loadkit.workload.workload import Model

__all__ = ["find_lulls", "waited_for"]

_WAITING = 0.5
"""At least this share of the users whose operations are missing must wait for an answer. If the
service caused the lull, all of them do. The number in flight is known once a second, so a stall
that starts or ends within a window can show fewer."""
_CHANCE = 2.0
"""The waiting users must exceed their usual number by this many standard deviations."""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]


def find_lulls(case: Case) -> Booleans:
    """The spell windows with under half the usual traffic because of the service; (windows,).

    There are none if the planned load is not constant. Requests that arrive at a stated rate depend
    on nothing else. So a window with little traffic is a lull if populations of such requests also
    have few arrivals in it. Otherwise, users of the closed populations must wait for the service.

    Open loads of journeys make no lull. Only the first request of a journey arrives at the stated
    rate, so their traffic grows from the start of the load for as long as a journey takes, and later
    varies with the number of journeys. While the service stalls, they still send requests, which
    show it.
    """
    arrivals = case.traffic.per_second()
    found = thin(arrivals)
    if not found.any() or not case.is_steady:
        return np.zeros_like(found)
    evidence, window = case.evidence, case.window
    populations = evidence.makers(case.criterion.scope) or evidence.run.plan.populations
    closed = [each.name for each in populations if each in evidence.closed]
    stated = [each.name for each in populations if each.workload.model is Model.REQUESTS]
    kept = slice(None) if case.kept is None else case.kept

    def operations(names: Iterable[str]) -> Integers:
        scopes = (Scope(ScopeKind.POPULATION, name) for name in names)
        by_population = [evidence.traffic(scope, window, timing=case.timing) for scope in scopes]
        return Traffic.sum_of(by_population).per_second()[kept]

    if not closed:
        return found & thin(operations(stated)) if stated else np.zeros_like(found)
    waiting = np.sum([evidence.in_flight(window, name) for name in closed], axis=0)[kept]
    users = np.sum([evidence.held(window, name)[0] for name in closed], axis=0)[kept]
    is_waited_for = waited_for(arrivals, operations(closed), waiting, users)
    return found & (is_waited_for | thin(operations(stated)) if stated else is_waited_for)


def waited_for(arrivals: Integers, operations: Integers, waiting: Floats, users: Floats) -> Booleans:
    """Mark the spell windows in which the users whose operations are missing wait for the service.

    The arguments are by second, shape (seconds,). `arrivals`: operations of the judged scope;
    `operations`: all operations of the users; `waiting`: those without an answer; `users`: users
    held. The result is by window, shape (windows,). The median window is the usual one.

    N users make X operations per second, so each makes one every N/X seconds. A scope with x_s
    instead of X_s operations per second lacks (X_s − x_s) · N/X users. L is the usual number in
    flight. At the usual response time, a window with x operations per second has x · L/X in flight
    (Little's law). Operations in flight beyond that number wait for the service.
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
