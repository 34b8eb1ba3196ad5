"""The instance's metrics in Prometheus' text format.

A request costs one dictionary look-up, one bisection and three additions. The text is built only
for a scrape.
"""

import os
import time
from bisect import bisect_left
from pathlib import Path

# Upper bounds in seconds, denser around the limits of interest (100 ms, 500 ms).
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0)
_PAGE = os.sysconf("SC_PAGE_SIZE")
_STARTED = time.time()


class Timer:
    """The requests of one route: number, statuses and durations."""

    __slots__ = ("buckets", "labels", "method", "seconds", "statuses")

    def __init__(self, group: str, method: str, route: str) -> None:
        self.labels = f'group="{group}",method="{method}",route="{route}"'
        self.method = method
        self.reset()

    def reset(self) -> None:
        """Reset all counts to zero."""
        self.buckets = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0
        self.statuses: dict[int, int] = {}

    def observe(self, status: int, seconds: float) -> None:
        """Count one answered request."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.buckets[bisect_left(BUCKETS, seconds)] += 1
        self.seconds += seconds


class Telemetry:
    """All metrics of this instance. Gauges and counters of other objects are read for a scrape."""

    def __init__(self) -> None:
        self.in_flight = 0
        self._timers: list[Timer] = []
        self._values: list[tuple[str, str, object, str]] = []
        self._cpu_offset = 0.0

    def timer(self, group: str, method: str, route: str) -> Timer:
        """Create the timer of a route."""
        timer = Timer(group, method, route)
        self._timers.append(timer)
        return timer

    def watch(self, name: str, kind: str, owner: object, attribute: str) -> None:
        """Export an attribute of an object as a `counter` or `gauge`."""
        self._values.append((name, kind, owner, attribute))

    def reset(self) -> None:
        """Set all counters to zero, as a restarted process would."""
        for timer in self._timers:
            timer.reset()
        for _, kind, owner, attribute in self._values:
            if kind == "counter":
                setattr(owner, attribute, 0)
        self._cpu_offset = time.process_time()

    def text(self) -> str:
        """All metrics in the text exposition format 0.0.4."""
        lines = ["# TYPE http_requests_total counter"]
        for timer in self._timers:
            for status, count in timer.statuses.items():
                lines.append(f'http_requests_total{{{timer.labels},status="{status}"}} {count}')
        lines.append("# TYPE http_request_duration_seconds histogram")
        for timer in self._timers:
            count = 0
            for bound, hits in zip((*BUCKETS, "+Inf"), timer.buckets, strict=True):
                count += hits
                lines.append(f'http_request_duration_seconds_bucket{{{timer.labels},le="{bound}"}} {count}')
            lines.append(f"http_request_duration_seconds_sum{{{timer.labels}}} {timer.seconds:.6f}")
            lines.append(f"http_request_duration_seconds_count{{{timer.labels}}} {count}")
        lines += ["# TYPE http_requests_in_flight gauge", f"http_requests_in_flight {self.in_flight}"]
        for name, kind, owner, attribute in self._values:
            lines += [f"# TYPE {name} {kind}", f"{name} {getattr(owner, attribute)}"]
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
        lines += [
            "# TYPE process_cpu_seconds_total counter",
            f"process_cpu_seconds_total {time.process_time() - self._cpu_offset:.3f}",
            "# TYPE process_resident_memory_bytes gauge",
            f"process_resident_memory_bytes {resident}",
            "# TYPE process_start_time_seconds gauge",
            f"process_start_time_seconds {_STARTED:.3f}",
        ]
        return "\n".join(lines) + "\n"
