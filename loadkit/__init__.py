"""The load kit: puts load on a service, measures it, and judges what was promised of it.

It knows nothing of behave, of Allure, or of the service under test. Layers, each importing only downward
(a test holds it so):

- values: errors, clock, buckets, sample, slices, workload, criterion, observation, record, target, verdict,
  structuring (plain data to values)
- pure: phrases (text to values), arrival and gaps (schedules), statistics, steady, judge with judging/ (what it looks at)
- seams: drivers, observers, environment with its settings and control
- engine: planning, preflight, lock, run, worker, journey with users/ (who act), recorder, meanwhile (what happens to
  the service), probe, progress, line (between processes)
- outside: archive, summary, table, timeline, charts with drawing, live, gate, trace, calibration, cli with commands/

One request, followed through: `arrival` (when it should start) → `users.user` (sends and measures it) → `drivers.http` →
`recorder` → `slices` (counted) → `line` → `run` (gathered) → `judge`.
"""

import os

# numpy's linear algebra would start a thread for each core, which spins for a while in every process, the workers too;
# nothing here is large enough to gain by it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
