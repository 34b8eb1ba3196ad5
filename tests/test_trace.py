"""Every requirement, what judges it, and what is left out."""

from pathlib import Path

import pytest

from loadkit.errors import ConfigurationError
from loadkit.reports.results import CriterionEntry, Results, VerdictEntry, write
from loadkit.reports.trace import JudgingScenario, Requirement, requirements_of, trace, verdicts_of
from loadkit.verdict import Status
from steps.suite.scenarios import scenarios

ROOT = Path(__file__).parent.parent
QUICK = Requirement("API-1", "quick", "api", ("baseline", "peak"), ("auth", "admin"))


def promise(group: str, *tags: str) -> JudgingScenario:
    return JudgingScenario("f.feature:3", frozenset(tags), (f"p95 of the {group} endpoints is below 1 s",))


COMPLETE = [promise(group, "API-1", level) for group in QUICK.groups for level in QUICK.levels]


def problems(*requirements: Requirement, judged=COMPLETE, proofs=()) -> list[str]:
    return trace(requirements, judged, {}, frozenset(proofs))[1]


def test_a_requirement_judged_at_each_level_for_each_group_lacks_nothing():
    assert problems(QUICK) == []


def test_each_combination_of_level_and_group_that_is_left_out_is_told():
    assert problems(QUICK, judged=COMPLETE[1:]) == ["API-1 has no criterion for baseline/auth"]


def test_a_requirement_that_nothing_judges_is_told_unless_it_is_planned():
    alone = Requirement("API-2", "much", "api")
    assert problems(QUICK, alone) == ["API-2 has no criterion"]
    assert problems(QUICK, Requirement("API-2", "much", "api", ("peak",), planned=True)) == []


def test_an_id_in_no_catalogue_is_told_with_its_place():
    assert problems(judged=COMPLETE[:1]) == ["f.feature:3: @API-1 is not in the catalogue"]


def test_a_proof_stands_for_scenarios_where_it_exists():
    proven = Requirement("OPS-6", "dashboards", "operations", proof="docs/grafana.md")
    assert problems(proven, judged=[], proofs=["docs/grafana.md"]) == []
    assert problems(proven, judged=[]) == ["OPS-6 names a proof that does not exist: docs/grafana.md"]


def judged(*tags: str, status: Status = Status.PASS, rehearsed: str = "") -> CriterionEntry:
    verdict = VerdictEntry(status, "", rehearsed=rehearsed)
    return CriterionEntry(
        "p95 is below 1 s", "f.feature", 3, False, verdict, tags=tags, requirements=("API-1",)
    )


def line_of(requirement: Requirement, *entries: CriterionEntry) -> str:
    return str(trace([requirement], COMPLETE, {"API-1": entries})[0][0])


def test_the_last_verdicts_are_counted(tmp_path):
    rows = [judged("peak", status=status) for status in (Status.PASS, Status.PASS, Status.FAIL)]
    write(Results(tuple(rows)), tmp_path)
    verdicts = verdicts_of(tmp_path / "criteria.json")
    assert [entry.verdict.status for entry in verdicts["API-1"]] == [Status.PASS, Status.PASS, Status.FAIL]
    line = str(trace([QUICK], COMPLETE, verdicts)[0][0])
    assert "4 criteria · baseline peak · auth admin · last: 2 pass, 1 fail" in line


def test_a_verdict_at_another_load_is_none_on_a_requirement_with_levels():
    assert line_of(QUICK, judged("smoke")).endswith(" · last: none (1 pass in a smoke)")
    assert line_of(QUICK, judged("stress"), judged()).endswith(" · last: none (2 pass at another load)")
    mixed = line_of(QUICK, judged("smoke", status=Status.FAIL), judged("peak"), judged("smoke", "baseline"))
    assert mixed.endswith(" · last: 2 pass (1 fail in a smoke)")


def test_a_smoke_is_no_verdict_on_a_requirement_without_levels_either():
    without = Requirement("API-1", "quick", "api")
    assert line_of(without, judged("smoke"), judged("api")).endswith(" · last: 1 pass (1 pass in a smoke)")
    assert line_of(without, judged("peak")).endswith(" · last: 1 pass")


def test_a_rehearsal_is_no_verdict_on_a_requirement():
    rehearsed = "100 of 1000 users"
    line = line_of(QUICK, judged("peak", rehearsed=rehearsed), judged("smoke", rehearsed=rehearsed))
    assert line.endswith(" · last: none (1 pass rehearsed; 1 pass in a smoke, rehearsed)")


def test_without_a_session_there_are_no_verdicts_and_what_is_no_session_is_refused(tmp_path):
    file = tmp_path / "criteria.json"
    assert verdicts_of(file) == {}
    file.write_text("{}")
    with pytest.raises(ConfigurationError):
        verdicts_of(file)


def test_a_catalogue_with_a_key_unknown_is_refused(tmp_path):
    file = tmp_path / "requirements.toml"
    file.write_text('[API-1]\ntext = "quick"\narea = "api"\nlevles = []\n')
    with pytest.raises(ConfigurationError, match="levles"):
        requirements_of(file)


def own_scenarios() -> list[JudgingScenario]:
    return [
        JudgingScenario(row["where"], frozenset(row["tags"]), tuple(row["criteria"]))
        for row in scenarios(ROOT / "features")
    ]


OWN = requirements_of(ROOT / "features" / "requirements.toml")


def test_the_suites_own_features_leave_nothing_out_that_is_not_planned():
    proofs = frozenset(each.proof for each in OWN if (ROOT / each.proof).exists())
    assert trace(OWN, own_scenarios(), {}, proofs)[1] == []


@pytest.mark.parametrize(
    ("name", "level"),
    [
        *((name, "peak") for name in ("WS-1", "WS-2", "WS-3", "WS-6", "DB-1", "SYS-2", "SYS-5", "SYS-8")),
        ("SYS-2", "stress"),
    ],
)
def test_the_suite_misses_the_scenario_at_the_load_that_a_requirement_states(name: str, level: str):
    left = [each for each in own_scenarios() if not {name, level} <= each.tags]
    assert [each for each in trace(OWN, left, {})[1] if each.startswith(f"{name} has no criterion")]


@pytest.mark.parametrize("name", ["SYS-5", "SYS-7"])
def test_the_suite_misses_an_endpoint_group_of_realistic_users_and_of_the_peak_hour(name: str):
    left = [each for each in own_scenarios() if name not in each.tags or "admin" not in each.groups]
    (problem,) = trace(OWN, left, {})[1]
    assert problem.startswith(f"{name} has no criterion for ")
    assert problem.endswith("admin")


def test_a_pasted_feature_is_traced_by_its_criteria(tmp_path):
    pasted = "\ufeff@API-1\nFeature: F\n  Scenario: S\n    Then\u00a0p95  of the auth\u00a0endpoints is below 1\u202fs."
    (tmp_path / "f.feature").write_text(pasted)
    [row] = scenarios(tmp_path)
    assert JudgingScenario(row["where"], frozenset(row["tags"]), tuple(row["criteria"])).groups == {"auth"}
