"""The load kit: puts load on a service, measures it, and judges its criteria.

It knows nothing of behave, of Allure, or of the service under test. Packages, low to high; each imports only those
above it in this list, and no two modules import each other (`make check`, the contracts in pyproject.toml):

- values: `errors`, `clock`, `units`, `target`, `verdict`, `criterion`
- `workload`: what load is put on, its phases, and when each operation is due
- `grammar`: sentences to values, and suggestions for a sentence that cannot be read
- `observers`: what watches the service, and what it saw
- `recording`: from a sample to a run on disk, and back
- `drivers`: one per protocol, with the fake beside them
- `users`: virtual users, their journeys and their load; `journey` is what authors of journeys import
- `environment`: environment files, the control command, the lock, the preflight
- `planning`: from what sentences describe to a plan
- `engine`: workers put a plan's load on, start to finish
- `judging`: from a run and a criterion to a verdict
- `analysis`: several runs, or several loads, side by side
- `reports`: tables, charts, results, the gate
- `live`: how a load goes, while it goes
- `cli`: one module per command

One sentence, followed through: `grammar` reads it, `planning` makes a plan, `engine.run` starts workers, `users` send
through `drivers`, `recording.recorder` counts in `recording.slices`, a `recording.run` is what is kept of it, and
`judging.judge` gives the verdict.
"""

import os

# numpy's linear algebra would start a thread for each core, which spins for a while in every process, the workers too;
# nothing here is large enough to gain by it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
