"""Prometheus, which scrapes the service and evaluates the alerts every second."""

import asyncio
import json
import shutil
import signal
from collections.abc import Callable

from environments.local import binaries
from environments.local.layout import Layout
from environments.local.process import Program, start_listening, start_on

_CONFIGURATION = """\
global:
  scrape_interval: 1s
  scrape_timeout: 1s
  evaluation_interval: 1s
rule_files: [rules.yml]
scrape_configs:
  - job_name: service
    file_sd_configs: [{files: [instances.json]}]
  - job_name: haproxy
    file_sd_configs: [{files: [haproxy.json]}]
"""

# A rate over ten seconds reacts to a fault within about ten seconds. It does not react to single
# requests.
_RULES = """\
groups:
  - name: service
    rules:
      - alert: HighLatency
        expr: histogram_quantile(0.95, sum by (le, group) (rate(%(duration)s[10s]))) > 0.5
        for: 5s
        annotations: {summary: "p95 of the {{ $labels.group }} endpoints is above 500 ms"}
      - alert: HighErrorRate
        expr: >-
          sum by (group) (rate(http_requests_total{status=~"5.."}[10s]))
          / sum by (group) (rate(http_requests_total[10s])) > 0.01
        for: 5s
        annotations: {summary: "more than 1 %% of the {{ $labels.group }} requests fail"}
      - alert: InstanceDown
        expr: up{job="service"} == 0
        for: 3s
        annotations: {summary: "{{ $labels.instance }} is down"}
      - alert: PoolExhausted
        expr: db_pool_used >= db_pool_size and db_pool_waiting > 0
        for: 3s
        annotations: {summary: "requests on {{ $labels.instance }} wait for a database connection"}
      - alert: CacheMisses
        expr: >-
          sum(rate(cache_hits_total[10s])) / (sum(rate(cache_hits_total[10s])) + sum(rate(cache_misses_total[10s]))) < 0.5
          and sum(rate(cache_misses_total[10s])) > 10
        for: 5s
        annotations: {summary: "less than half of the reads are served by the cache"}
"""


class Monitor:
    """The running Prometheus. Its data are deleted at each start of the environment."""

    def __init__(self, layout: Layout, tell: Callable[[str], None]) -> None:
        self._directory = layout.directory / "prometheus"
        self._log = layout.logs / "prometheus.log"
        self._program_file = binaries.prometheus(layout.programs, tell)
        self.port = 0
        self.program: Program | None = None

    async def start(self) -> None:
        """Start Prometheus; it scrapes targets after its next discovery, within five seconds."""
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir()
        (self._directory / "prometheus.yml").write_text(_CONFIGURATION)
        self._write_rules(broken=False)
        self.program, self.port = await start_listening(self._make, _is_ready)

    def _make(self, port: int) -> Program:
        command = [
            str(self._program_file),
            f"--config.file={self._directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        ]
        # The garbage collector then runs twice as often, which takes a third less memory.
        return Program("prometheus", command, self._log, self._directory, environment={"GOGC": "50"})

    def scrape(self, instances: dict[str, int], exporter: int) -> None:
        """Set the targets to scrape: instances by name, and HAProxy's exporter (loopback ports)."""
        self._write_targets("instances.json", instances)
        self._write_targets("haproxy.json", {"haproxy": exporter})

    def _write_targets(self, name: str, targets: dict[str, int]) -> None:
        groups = [
            {"targets": [f"127.0.0.1:{port}"], "labels": {"instance": instance}}
            for instance, port in targets.items()
        ]
        draft = self._directory / f"{name}.draft"
        draft.write_text(json.dumps(groups))
        draft.replace(self._directory / name)

    def break_rules(self, *, broken: bool) -> None:
        """Make HighLatency use a metric that does not exist, so it never fires; or repair it."""
        self._write_rules(broken=broken)
        assert self.program is not None
        self.program.signal(signal.SIGHUP)

    def _write_rules(self, *, broken: bool) -> None:
        duration = "http_request_duration_second_bucket" if broken else "http_request_duration_seconds_bucket"
        (self._directory / "rules.yml").write_text(_RULES % {"duration": duration})

    async def stop(self) -> None:
        """Stop Prometheus; its data are kept."""
        assert self.program is not None
        await self.program.stop()

    async def resume(self) -> None:
        """Start Prometheus again at the same address, with its data."""
        self.program = self._make(self.port)
        await start_on(self.program, self.port, _is_ready)


async def _is_ready(port: int) -> bool:
    """Whether Prometheus answers queries; while it reads its data, it is unavailable."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /-/ready HTTP/1.0\r\n\r\n")
        status = await reader.readline()
        writer.close()
    except OSError:
        return False
    return b" 200 " in status
