"""The load kit's layers import only downward; see loadkit/__init__.py."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = (
    # values
    {"errors", "clock", "buckets", "sample", "slices", "workload", "criterion", "observation", "record", "target", "verdict"},
    # pure
    {"arrival", "beside", "gaps", "judge", "judging", "phrases", "quantities", "statistics", "steady"},
    # seams
    {"control", "drivers", "observers", "environment"},
    # engine
    {"journey", "line", "lock", "meanwhile", "planning", "preflight", "probe", "progress", "recorder", "run", "users", "worker"},
    # outside
    {"archive", "calibration", "charts", "cli", "commands", "drawing", "gate", "live", "project", "summary", "table", "timeline", "trace"},
)  # fmt: skip
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
FOREIGN = {"behave", "allure", "allure_commons", "steps", "environments", "features", "matplotlib.pyplot"}
IO_FREE = {"asyncio", "socket", "subprocess", "httpx", "requests", "uvloop", "time"}


def modules() -> list[Path]:
    return sorted(path for path in (ROOT / "loadkit").rglob("*.py") if path.name != "__init__.py")


def part_of(path: Path) -> str:
    """The layered part that a file belongs to: its module, or the package it lies in."""
    return path.relative_to(ROOT / "loadkit").parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module == "loadkit":
                found |= {f"loadkit.{name.name}" for name in node.names}
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_has_a_layer_and_imports_only_downward(path: Path) -> None:
    part = part_of(path)
    assert part in LEVEL, f"loadkit/{part} is in no layer; put it into LAYERS"
    for name in imports(path):
        if name.startswith("loadkit."):
            other = name.split(".")[1]
            assert LEVEL[other] <= LEVEL[part], f"{path.name} imports upward: {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_loadkit_knows_nothing_of_behave_allure_or_the_service(path: Path) -> None:
    for name in imports(path):
        assert name not in FOREIGN
        assert name.split(".")[0] not in FOREIGN


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_values_and_pure_modules_do_no_input_or_output(path: Path) -> None:
    if LEVEL[part_of(path)] > 1 or path.stem == "clock":
        return
    assert not {name.split(".")[0] for name in imports(path)} & IO_FREE


def test_there_is_no_package_named_allure_that_would_shadow_the_real_one() -> None:
    assert not (ROOT / "allure" / "__init__.py").exists()
