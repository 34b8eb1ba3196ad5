"""What a closed tool hides, and that our clock agrees with theirs: `python -m tests.known_answers.hidden_stall`.

First a server that stands still for one second in ten, else takes 10 ms: a closed tool waits for its answer before it
asks again, so the second in which nobody was served is one slow request (coordinated omission; wrk2 was written for it).
wrk itself adds, since its version 4, the requests that its mean pace would have brought; that mends a stall, and where
some requests are slow of themselves it invents more of them. Then servers without stalls: all tools must say the same.
"""

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadkit.units import format_seconds
from loadkit.workload.workload import Model, Think
from tests.known_answers.runs import ROOT, Answer, Case, answer_of, plan_of
from tests.known_answers.servers import WORK, Behaviour, Stalling, serving

QUANTILES = (0.5, 0.9, 0.99)
STALLING = "A server that stands still for 1 s of every 10 s, else takes 10 ms: response time"
CONSTANT = "A server that takes 20 ms: service time"
_SECONDS = 30
_BACK_TO_BACK = Think(0, 0)
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_K6 = ROOT / ".cache" / "bench" / "bin" / "k6"
_K6_SCRIPT = """
import http from "k6/http";
export const options = { summaryTrendStats: ["p(50)", "p(90)", "p(99)"] };
export default function () { http.get(__ENV.URL); }
export function handleSummary(data) { return { stdout: JSON.stringify(data.metrics.http_req_duration.values) }; }
"""


@dataclass(frozen=True, slots=True)
class Row:
    """What one tool says."""

    tool: str
    times: tuple[float, ...]
    """At `QUANTILES`, in seconds."""


def wrk(behaviour: Behaviour, users: int, seconds: int) -> Row:
    """What wrk says of a server."""
    with serving(behaviour) as server:
        command = ["wrk", "-t1", f"-c{users}", f"-d{seconds}s", "--latency", server.base + WORK]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = {
        percent: float(value) * _UNITS[unit]
        for percent, value, unit in re.findall(r"(\d+)%\s+([\d.]+)(us|ms|s)\b", said)
    }
    return Row(f"wrk, {_connections(users)}", tuple(found[f"{quantile:.0%}"[:-1]] for quantile in QUANTILES))


def k6(behaviour: Behaviour, users: int, seconds: int, folder: Path) -> Row:
    """What k6 says of a server."""
    script = folder / "ask.js"
    script.write_text(_K6_SCRIPT)
    with serving(behaviour) as server:
        command = [
            *(str(_K6), "run", "--quiet", "--no-usage-report", "--vus", str(users)),
            *("--duration", f"{seconds}s", "-e", f"URL={server.base}{WORK}", str(script)),
        ]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    values: Mapping[str, float] = json.loads(said[said.index("{") :])
    return Row(
        f"k6, {_connections(users)}", tuple(values[f"p({quantile * 100:g})"] / 1e3 for quantile in QUANTILES)
    )


def ours(behaviour: Behaviour, model: Model, level: int, seconds: int) -> Answer:
    """What loadkit measures of a server."""
    return answer_of(Case(behaviour, plan_of(model, level, seconds, think=_BACK_TO_BACK, is_poisson=False)))


def stall_rows(folder: Path, seconds: int = _SECONDS) -> list[Row]:
    """One second in ten hidden, and not; the truth last, for the 100 per second that arrive whatever the answers."""
    stall = Stalling(0.01, 1.0, 5.0, 10.0)
    one = ours(stall, Model.CLOSED, 1, seconds)
    steady = ours(stall, Model.REQUESTS, 100, seconds)
    return [
        *([k6(stall, 1, seconds, folder)] if _K6.exists() else []),
        Row("loadkit, 1 user, as it came", tuple(map(one.response, QUANTILES))),
        wrk(stall, 1, seconds),
        Row("loadkit, 1 user, stalls filled", tuple(map(one.corrected, QUANTILES))),
        Row("loadkit, 100 arriving per second", tuple(map(steady.response, QUANTILES))),
        Row("the truth", (0.01, 0.01, 0.91)),
    ]


def agreement_rows(folder: Path, seconds: int = _SECONDS // 2) -> tuple[list[Row], float]:
    """What each tool that is there says of a server that takes 20 ms; and how late the machine made ours, in seconds."""
    constant, users = Stalling(0.02, 0.0, 0.0), 10
    answer = ours(constant, Model.CLOSED, users, seconds)
    rows = [Row(f"loadkit, {_connections(users)}", tuple(map(answer.service, QUANTILES)))]
    rows.append(wrk(constant, users, seconds))
    if _K6.exists():
        rows.append(k6(constant, users, seconds, folder))
    return rows, answer.disturbance(QUANTILES[-1])


def table(title: str, rows: Sequence[Row]) -> str:
    """Rows for people."""
    heads = "".join(f"{f'p{quantile * 100:g}':>12}" for quantile in QUANTILES)
    told = [title, f"  {'':34}{heads}"]
    told += [
        f"  {row.tool:34}" + "".join(f"{format_seconds(time):>12}" for time in row.times) for row in rows
    ]
    return "\n".join(told) + "\n"


def is_there() -> bool:
    """Is there a wrk to compare with?"""
    return shutil.which("wrk") is not None


def _connections(users: int) -> str:
    return "1 connection" if users == 1 else f"{users} connections"


def main() -> None:
    """Print both tables."""
    if not is_there():
        raise SystemExit("this compares with wrk: apt-get install wrk")
    with tempfile.TemporaryDirectory() as folder:
        print(table(STALLING, stall_rows(Path(folder))))
        print(table(CONSTANT, agreement_rows(Path(folder))[0]))


if __name__ == "__main__":
    main()
