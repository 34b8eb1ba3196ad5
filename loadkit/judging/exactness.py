"""Exactness: a count that must be zero, such as lost messages."""

from loadkit.judging.evidence import Case
from loadkit.judging.finding import Finding
from loadkit.recording.exact import compared, to_compare
from loadkit.verdict import Status

__all__ = ["find_exact"]


def find_exact(case: Case) -> Finding:
    """Judge a count of the whole run, drain included. One is a fail, whatever the circumstances.

    Zero is a pass only where everything that had to be compared was compared, in a run that went
    through its plan with the load that it states.
    """
    evidence, name = case.evidence, case.criterion.measure.name
    found, looked_at, due = (evidence.count(each) for each in (name, compared(name), to_compare(name)))
    details = {"found": found, "compared": looked_at, "to_compare": due}
    finding = Finding(Status.PASS, "", float(found), samples=looked_at, details=details, window=case.window)
    if found:
        return finding.become(
            Status.FAIL, f"{name}: {found:,} among the {looked_at:,} compared, and there must be none"
        )
    if not due:
        return Finding(Status.INCONCLUSIVE, f"{name}: nothing was compared in this run", details=details)
    if looked_at < due:
        return finding.become(
            Status.INCONCLUSIVE,
            f"{name}: none among the {looked_at:,} compared, but {due - looked_at:,} more had to be compared",
        )
    if not evidence.run.is_complete:
        return finding.become(
            Status.INCONCLUSIVE, f"{name}: none before the run was cut short ({evidence.run.ended})"
        )
    window = evidence.window or evidence.whole
    if lost := evidence.not_held(window):
        return finding.become(Status.INVALID, lost)
    state = evidence.health(window)
    if state.unhealthy.all():
        return finding.become(Status.INVALID, f"{state.sentence}, all the time")
    return finding.become(Status.PASS, f"{name}: none among all {due:,} that had to be compared")
