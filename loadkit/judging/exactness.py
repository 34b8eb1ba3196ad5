"""Judge exactness: a count that must be zero, such as lost messages."""

from loadkit.criterion import OTHERS_DATA
from loadkit.judging.evidence import Case, Evidence
from loadkit.judging.finding import Finding
from loadkit.recording.exact import CANARIES, compared, own_canary, to_compare
from loadkit.recording.messages import CHECKED, FOREIGN, MESSAGES_RECEIVED, MESSAGES_SEARCHED
from loadkit.recording.slices import tenant_series
from loadkit.recording.sql import FOREIGN_ROWS, ROWS_CHECKED, ROWS_READ, ROWS_SEARCHED
from loadkit.verdict import Status

__all__ = ["find_exact", "if_as_planned", "searched_messages"]

_NAMED = 3
"""The number of tenants that a warning names."""


def find_exact(case: Case) -> Finding:
    """Judge a count of the whole run, including the drain. A count of one always fails.

    Zero passes only if everything that had to be compared was compared. The run must also have
    completed its plan with the stated load. A search for the data of other tenants must have found
    the users' own data, or the canaries may be out of date.
    """
    evidence, name = case.evidence, case.criterion.measure.name
    found, done, due = (evidence.count(each) for each in (name, compared(name), to_compare(name)))
    if name == OTHERS_DATA:
        for received, searched, foreign in (
            (MESSAGES_RECEIVED, searched_messages(evidence), FOREIGN),
            (ROWS_READ, searched_rows(evidence), FOREIGN_ROWS),
        ):
            number = evidence.count(received)
            # Extra searches of one kind do not replace the missing searches of the other kind.
            found, due, done = found + evidence.count(foreign), due + number, done + min(searched, number)
    remark = f": {words}" if (words := evidence.remark(name)) else ""
    details = {"found": found, "compared": done, "to_compare": due}
    finding = Finding(Status.PASS, "", float(found), samples=done, details=details, window=case.window)
    if found:
        # Of other tenants' data, the remark is about stored rows, and answers can be what failed.
        remark = f"; {words}" if name == OTHERS_DATA and words else remark
        return finding.become(
            Status.FAIL, f"{name}: {found:,} of {done:,} compared, and none is allowed{remark}"
        )
    if not due:
        return Finding(
            Status.INCONCLUSIVE, f"{name}: nothing was compared in this run{remark}", details=details
        )
    if done < due:
        return finding.become(
            Status.INCONCLUSIVE,
            f"{name}: none of {done:,} compared, but {due - done:,} more had to be compared{remark}",
        )
    if name == OTHERS_DATA and (tenant := _only_tenant(evidence)):
        return finding.become(
            Status.INCONCLUSIVE,
            f"{name}: no answer was searched, because all users belong to one tenant ({tenant}); name accounts of "
            "several tenants",
        )
    unseen, tenants = _without_own_canary(evidence) if name == OTHERS_DATA else ([], 0)
    if unseen and len(unseen) == tenants:
        return finding.become(
            Status.INCONCLUSIVE,
            f"{name}: none of {done:,} compared, but no user received the canary of its own tenant either, so the "
            "canaries of the accounts may be out of date",
        )
    if unlike := evidence.unlike_plan():
        status, reason = unlike
        before = f"{name}: none before " if status is Status.INCONCLUSIVE else ""
        return finding.become(status, before + reason)
    reason = f"{name}: none of all {due:,} that had to be compared{remark}"
    passed = _warned(case, finding.become(Status.PASS, reason))
    if not unseen:
        return passed
    more = f" and {len(unseen) - _NAMED} more" if len(unseen) > _NAMED else ""
    return passed.warned(
        f"users of {', '.join(unseen[:_NAMED])}{more} never received the canary of their own tenant; it may be out of "
        "date, and then nobody sees whether others receive their data"
    )


def _without_own_canary(evidence: Evidence) -> tuple[list[str], int]:
    """The tenants whose users never received their own canary, and the number of all tenants.

    None of them counts if nothing was searched for canaries, or an earlier version made the run.
    """
    run = evidence.run
    names = {name for each in run.worker_seconds for named in each.counts.values() for name in named}
    if not run.facts.get(CANARIES) or names.isdisjoint({compared(OTHERS_DATA), MESSAGES_SEARCHED}):
        return [], 0
    tenants = [tenant for tenant in run.table.names(tenant_series("")) if tenant]
    return [tenant for tenant in tenants if own_canary(tenant) not in names], len(tenants)


def _only_tenant(evidence: Evidence) -> str:
    """The tenant of all users, if nothing was to be searched for the data of others; else ""."""
    received = (to_compare(OTHERS_DATA), MESSAGES_RECEIVED, ROWS_READ)
    if any(each.count(name) for each in evidence.run.worker_seconds for name in received):
        return ""
    tenants = [tenant for tenant in evidence.run.table.names(tenant_series("")) if tenant]
    return tenants[0] if len(tenants) == 1 else ""


def searched_messages(evidence: Evidence) -> int:
    """The number of received messages that were searched for the data of other tenants."""
    return _searched(evidence, MESSAGES_SEARCHED, CHECKED, MESSAGES_RECEIVED)


def searched_rows(evidence: Evidence) -> int:
    """The number of rows of queries that were searched for the data of other tenants."""
    return _searched(evidence, ROWS_SEARCHED, ROWS_CHECKED, ROWS_READ)


def _searched(evidence: Evidence, searched: str, checked: str, received: str) -> int:
    # Stored runs of earlier versions only record whether any user searched.
    return evidence.count(received) if evidence.count(checked) else evidence.count(searched)


def if_as_planned(case: Case, finding: Finding) -> Finding:
    """Make a finding on facts of the whole run a pass, if the run and its load were as planned."""
    if unlike := case.evidence.unlike_plan():
        status, reason = unlike
        return finding.become(
            status, f"{finding.reason}, but {reason}" if status is Status.INCONCLUSIVE else reason
        )
    return _warned(case, finding.become(Status.PASS, finding.reason))


def _warned(case: Case, finding: Finding) -> Finding:
    """Add a warning to a pass on the whole run if the generator was overloaded in some seconds."""
    evidence = case.evidence
    state = evidence.health(evidence.window or evidence.whole)
    return finding.warned(state.sentence) if state.unhealthy.any() else finding
