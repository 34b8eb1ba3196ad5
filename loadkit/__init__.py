"""The load kit loads a service, measures it, and judges its criteria.

It does not depend on behave, on Allure, or on the service under test. The packages are listed from
low to high. Each imports only those above it in this list, and no two modules import each other.
`make check` enforces this with the contracts in pyproject.toml:

- values: `errors`, `clock`, `units`, `verdict`, `sql_tokens`, `tables`, `target`, `queries`,
  `structuring`, `criterion`
- `workload`: load plans, their phases, and when each operation is due
- `grammar`: sentences to values, and suggestions for a sentence that cannot be read
- `observers`: sources of service metrics, and their observations
- `recording`: from a sample to a run on disk, and back
- `drivers`: one per protocol, and the fake driver
- `users`: virtual users, their journeys and their load; authors of journeys import `journey`
- `network`: the relay that gives users of a region its latency, jitter and loss
- `environment`: environment files, the control command, the lock, the preflight
- `planning`: from sentences to a plan
- `engine`: workers that execute a plan
- `judging`: from a run and a criterion to a verdict
- `analysis`: comparisons of several runs or several loads
- `reports`: tables, charts, results, the gate
- `live`: the live status of a running load
- `cli`: one module per command

The path of one sentence: `grammar` reads it, `planning` makes a plan, and `engine.run` starts
workers. Their `users` send through `drivers`, and `recording.recorder` counts in
`recording.slices`. `recording.run` stores the result, and `judging.judge` gives the verdict.
"""

import os

# numpy's linear algebra would start one thread per core in every process, workers included.
# Idle threads spin for a while. No computation here is large enough to benefit from them.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
