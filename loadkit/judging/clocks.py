"""Check that the service's clock is known well enough to judge the latency of messages."""

from loadkit.recording.messages import EARLIEST, EARLY
from loadkit.recording.run import Run

__all__ = ["latency_doubt"]

_FEW_EARLY = 0.001
"""The ratio of messages that may arrive before their creation time because of a clock's jitter."""


def latency_doubt(run: Run, received: int) -> str:
    """The reason why the latency of a run's `received` messages is not known; "" if it is known."""
    if "clock" not in run.facts:
        return (
            "the latency of messages counts from the clock of the service, and the offset between that clock "
            "and this machine's is not known"
        )
    early = sum(each.count(EARLY) for each in run.worker_seconds)
    earliest = max((each.gauge(EARLIEST) for each in run.worker_seconds), default=0.0)
    # The error of a measured offset also makes messages early. The interval already includes it.
    is_explained = 0 < earliest <= float(run.facts["clock"]["uncertainty"])
    if early > _FEW_EARLY * received and not is_explained:
        return (
            f"{early:,} of {received:,} messages arrived before they were created: "
            "the clocks of the service and of this machine differ"
        )
    return ""
