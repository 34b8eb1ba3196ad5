"""A family of criteria from outside the load kit: how many echoes were doubled, for each echo asked for."""

from loadkit.criterion import Comparison, Criterion, Family, Measure, Unit
from loadkit.judging.evidence import Case
from loadkit.judging.families import Basis, FamilyRules, register
from loadkit.judging.finding import Finding
from loadkit.verdict import Status
from tests.toy_protocol import ECHO

SURPLUS = Family("echo surplus")


def find_surplus(case: Case) -> Finding:
    echoes, doubled = case.traffic.size, case.evidence.count("echoes doubled")
    surplus = doubled / echoes
    status = Status.PASS if surplus <= case.criterion.limit else Status.FAIL
    return Finding(status, f"{doubled} of {echoes} echoes were doubled", surplus, samples=echoes)


register(FamilyRules(family=SURPLUS, basis=Basis.OPERATIONS, find=find_surplus))


def surplus(limit: float) -> Criterion:
    """A criterion on the share of the echoes that were doubled."""
    measure = Measure("echo surplus", SURPLUS, Unit.RATIO, timing=ECHO.key)
    return Criterion(f"the echo surplus is at most {limit}", measure, Comparison.IS_AT_MOST, limit)
