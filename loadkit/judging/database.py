"""Judge the database: index use of its key queries, and acknowledged and readable records."""

import math

from loadkit.judging.evidence import Case
from loadkit.judging.exactness import if_as_planned
from loadkit.judging.finding import Finding
from loadkit.judging.rates import by_second, examine_offered, examine_throughput, relative
from loadkit.observers.database import FEW, IN_VAIN, LARGE, WRITES, DatabaseFacts
from loadkit.recording.exact import compared, to_compare
from loadkit.units import Unit, distance, format_ratio
from loadkit.verdict import Status
from loadkit.workload.offered import needed, offered

__all__ = ["DEFINITION", "find_index_use", "find_records"]

DEFINITION = (
    "Index utilization of the key queries is the lower of two shares. By plan: the share of key queries whose "
    f"plan finds its rows by an index in each table of at least {LARGE} pages. An index does not count if the "
    f"query discards more than {FEW:,} of the rows that it reads, and {IN_VAIN} for each row that it keeps. "
    "By scans: the share of the scans of these tables during the run that used an index."
)


def find_index_use(case: Case) -> Finding:
    """Judge the lower of two shares: of key queries, and of their scans, that use an index."""
    facts, criterion = case.evidence.run.database, case.criterion
    if facts is None:
        return Finding(Status.NOT_JUDGED, "the database was not observed in this run")
    by_plan, by_scans = facts.by_plan, facts.by_scans
    details = {"definition": DEFINITION, "by_plan": by_plan, "by_scans": by_scans}
    if by_plan is None:
        why = facts.problems.get("plans") or facts.problem or "there is no plan of a key query"
        if facts.plans:
            why = f'how "{facts.plans[0].query}" is executed is not known: {facts.plans[0].problem}'
        return Finding(Status.INCONCLUSIVE, f"index utilization is not known: {why}", details=details)
    value = min(by_plan, 1.0 if by_scans is None else by_scans)
    limit = criterion.limit
    known = [plan for plan in facts.plans if plan.is_by_index is not None]
    good = sum(plan.is_by_index is True for plan in known)
    scans = "not known" if by_scans is None else format_ratio(by_scans)
    shown = (
        f"index utilization of the key queries was {format_ratio(value)} "
        f"({good} of {len(known)} key queries by plan, {scans} by scans; the lower one counts), "
        f"{distance(value, limit, Unit.RATIO)} the limit of {format_ratio(limit)}"
    )
    finding = Finding(
        Status.FAIL,
        "; ".join([shown, *_misses(facts)]),
        value,
        samples=len(known),
        details=details,
        window=case.window,
    )
    # A ratio of whole numbers can differ from its limit by the rounding of its last digit.
    if not case.criterion.comparison.accepts(
        limit if math.isclose(value, limit, rel_tol=1e-9) else value, limit
    ):
        return finding
    unplanned = [plan for plan in facts.plans if plan.is_by_index is None]
    if unplanned:
        first = unplanned[0]
        return finding.become(
            Status.INCONCLUSIVE, f'{shown}, but how "{first.query}" is executed is not known: {first.problem}'
        )
    if by_scans is None and any(scan.is_large for plan in known for scan in plan.scans):
        why = (
            facts.problems.get("statistics")
            or facts.problems.get("tables")
            or "no scan of a large table was counted"
        )
        return finding.become(Status.INCONCLUSIVE, f"{shown}, but the scans are not known: {why}")
    return if_as_planned(case, finding)


def _misses(facts: DatabaseFacts) -> list[str]:
    """Clauses on the queries without an index, and on the indexes that were dropped during the run.

    If the missing index is not known, the clause states how the query reads the table.
    """
    misses = []
    for plan in facts.plans:
        if plan.is_by_index is False:
            bad = [scan for scan in plan.scans if scan.is_large and scan.is_by_index is False]
            missing = tuple(f"no index on {each}: {plan.without(each)}" for each in plan.missing_indexes)
            words = missing or tuple(dict.fromkeys(scan.in_words for scan in bad))
            misses.append(f'"{plan.query}": {", ".join(words)}')
    return [*misses, *facts.losses]


def find_records(case: Case) -> Finding:
    """Judge the records per second that are acknowledged and readable.

    Records are acknowledged while the load runs, and compared with the stored rows after it.
    """
    evidence = case.evidence
    finding = _examine_records(case)
    if finding.status is not Status.PASS or case.criterion.comparison.is_upper:
        return finding
    done, due = (evidence.count(each) for each in (compared(WRITES), to_compare(WRITES)))
    remark = evidence.remark(WRITES)
    if not due or done < due:
        why = remark or "they were not compared with the stored rows"
        return finding.become(
            Status.INCONCLUSIVE, f"{finding.reason}, but it is not known whether they are readable: {why}"
        )
    facts = evidence.run.database
    lost = 0 if facts is None or facts.writes is None else facts.writes.lost.number
    if lost:
        return finding.become(
            Status.FAIL, f"{finding.reason}, but {lost:,} acknowledged records are not readable"
        )
    return finding


def _examine_records(case: Case) -> Finding:
    """Judge the acknowledged records per second; not judged if the plan cannot reach the limit."""
    populations = case.evidence.makers(case.criterion.scope) or case.evidence.run.plan.populations
    writers = [each for each in populations if each.records]
    if not writers:
        return examine_throughput(case.criterion, case.traffic)
    offers = by_second(case, writers, lambda each, level: offered(each.workload, level) * each.records)
    least = needed([each.workload for each in writers], case.criterion.limit)
    return examine_offered(case, offers, least, relative(offers))
