"""Workflows: several steps of a user, over any protocols, which succeed or fail together."""

import asyncio
from types import TracebackType
from typing import Self

from loadkit.drivers.base import NoResponse
from loadkit.drivers.http.response import BodyError, StatusError
from loadkit.recording.examples import DeferredExchange
from loadkit.recording.sample import OK, Sample
from loadkit.recording.timing import WORKFLOW
from loadkit.users.meter import Meter

__all__ = ["Step", "Workflow"]

_SERVICES = (NoResponse, StatusError, BodyError, AssertionError, TimeoutError)
"""Errors of the service, which are not errors in the journey's code."""


class Workflow:
    """A context manager around the steps of one workflow. It records one operation at the end.

    The time of the workflow is the sum of its steps; pauses between them do not count. In an open
    load of journeys, the time for which the arrival waited for a user counts too. If requests arrive
    at a stated rate, the time for which the user waits for the next arrival does not. It fails if
    a step fails, and its outcome names the first failed step. A step without an answer at the end
    of the drain fails. A workflow is not recorded if it is left early because the user's time is
    over, or because of an error in the journey's code.

    Its example shows the latest operation of the first failed step. If that step has none, such as
    a step that waits for a message, it shows the latest one before it.
    """

    __slots__ = ("_broken", "_exchange", "_is_recorded", "_label", "_meter", "_seconds", "_waited")

    def __init__(self, label: str, meter: Meter) -> None:
        self._label = label
        self._meter = meter
        self._is_recorded = meter.is_recorded
        self._seconds = self._waited = 0.0
        self._broken = ""
        self._exchange: DeferredExchange | None = None

    def step(self, name: str) -> "Step":
        """A step, as a context manager around its code.

        Args:
            name: what the step achieves, for the report if it fails: "see the event".

        """
        return Step(name, self, self._meter)

    def ended(
        self, name: str, seconds: float, exchange: DeferredExchange | None, *, has_failed: bool
    ) -> None:
        """Note the end of a step, and its latest operation; None for no operation."""
        self._seconds += seconds
        if self._broken:
            return
        if exchange is not None:
            self._exchange = exchange
        if has_failed:
            self._broken = name
            if self._exchange is not None:
                # Now, because the queries of later steps would change what it describes.
                described = self._meter.described(self._exchange)
                self._exchange = (lambda: described,)

    def __enter__(self) -> Self:
        self._seconds = self._waited = self._meter.arrival_wait
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._is_recorded or (error is not None and not self._broken):
            return
        meter = self._meter
        is_unfinished = isinstance(error, asyncio.CancelledError) and not meter.is_cut
        if error is not None and not isinstance(error, Exception) and not is_unfinished:
            return  # the user's time is over, or the run was ended
        end = meter.now()
        begun = end - self._seconds
        outcome = f"step failed: {self._broken}" if self._broken else OK
        sent = begun + self._waited
        sample = Sample(self._label, outcome, begun, sent, end, 0, meter.tenant, meter.region)
        meter.recorder.timing(WORKFLOW).samples.append(sample)
        meter.record_example(sample, WORKFLOW, self._exchange if self._broken else None)


class Step:
    """One step of a workflow.

    It fails if an operation or a check in it fails, or if it ends with an error of the service.
    """

    __slots__ = ("_began", "_had_failed", "_idle", "_meter", "_name", "_workflow")

    def __init__(self, name: str, workflow: Workflow, meter: Meter) -> None:
        self._name, self._workflow, self._meter = name, workflow, meter
        self._began = self._idle = 0.0
        self._had_failed = False

    def __enter__(self) -> Self:
        meter = self._meter
        meter.settle()
        self._had_failed, meter.has_failed = meter.has_failed, False
        self._began, self._idle = meter.now(), meter.idle
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        meter = self._meter
        pending = meter.pending
        has_failed = (
            isinstance(error, _SERVICES)
            # The drain ended before its answer arrived.
            or (isinstance(error, asyncio.CancelledError) and not meter.is_cut)
            or meter.has_failed
            or (pending is not None and pending.outcome != OK)
        )
        meter.has_failed = meter.has_failed or self._had_failed
        seconds = meter.now() - self._began - (meter.idle - self._idle)
        self._workflow.ended(self._name, seconds, meter.exchange, has_failed=has_failed)
