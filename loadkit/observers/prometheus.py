"""Prometheus: raw scrapes of named measures, and free PromQL."""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np

from loadkit.observers.measures import MeasureQuery
from loadkit.observers.observation import LIFE_SIGN, Judged, Observation, Reading, Series
from loadkit.target import Address

__all__ = ["PrometheusObserver"]

_TIMEOUT = 10
"""Seconds for one query."""
_MOST_STEPS = 10_000
"""Steps of a free query per request; Prometheus refuses more than 11,000."""
_NEWEST_SCRAPE = "max(timestamp(up))"
"""The Unix time of the newest scrape of any target. `up` has a sample of each scrape, also of a
failed one."""
_REPEATED = 1.5
"""Scrape intervals since the newest scrape after which Prometheus only repeats the value of a free
query."""
_HISTOGRAMS = (
    "the query returns native histograms; expected numbers, for example histogram_quantile(0.95, ...)"
)
_JUDGED = {"p95": Judged.P95, "max": Judged.MAXIMUM, "mean": Judged.MEAN}

Query = Callable[[str], list[Mapping[str, Any]]]


class PrometheusObserver:
    """Queries Prometheus for raw scrapes (a range vector), so that no rate() smooths the data."""

    def __init__(
        self,
        url: Address,
        measures: Sequence[MeasureQuery],
        queries: Sequence[str] = (),
        *,
        scrape_interval: float,
        alerts: Mapping[str, str] = MappingProxyType({}),
        hosts: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Configure the queries; `observe` sends them.

        Args:
            url: the address of Prometheus, without a trailing slash. Its credentials are sent but
                not printed.
            measures: the named measures.
            queries: free PromQL.
            scrape_interval: seconds between scrapes, as configured in Prometheus.
            alerts: regular expressions for the names of alerts, by the name of their observation.
            hosts: PromQL of ratios with one value for each "instance", by the name of the
                observation.

        """
        self._url = url
        self._measures = measures
        self._queries = queries
        self._interval = scrape_interval
        self._alerts = alerts
        self._hosts = hosts

    @property
    def names(self) -> Sequence[str]:
        """See `Observer`."""
        return (*(measure.name for measure in self._measures), *self._queries, *self._alerts, *self._hosts)

    def observe(self, start: float, end: float) -> dict[str, Observation]:
        """See `Observer.observe`. It includes two scrapes before `start` as a base for counters."""
        # The client imports pandas, which would add a second to the start of every command.
        import requests
        from prometheus_api_client import PrometheusConnect
        from urllib3 import Retry

        session = requests.Session()
        session.trust_env = False  # ignores the proxy settings of this machine
        warnings: list[str] = []

        def collect(response: requests.Response, **_: Any) -> None:
            warnings.extend(_warnings(response))

        # The client returns only the result, without the warnings in the same answer.
        session.hooks["response"].append(collect)
        source = PrometheusConnect(
            self._url.reveal(), session=session, timeout=_TIMEOUT, retry=Retry(total=2)
        )
        first = start - 2 * self._interval
        span = f"[{math.ceil(end - first)}s]"

        def scrapes(selector: str) -> list[Mapping[str, Any]]:
            return list(source.custom_query(selector + span, params={"time": end}))

        def evaluated_as_is(promql: str) -> list[Mapping[str, Any]]:
            return _joined(
                source.custom_query_range(
                    promql,
                    *(datetime.fromtimestamp(moment, UTC) for moment in stretch),
                    step=f"{self._interval:g}",
                )
                for stretch in _stretches(start, end, self._interval)
            )

        @cache
        def rules() -> list[Mapping[str, Any]] | None:
            """The alerting rules; None if the source does not tell them."""
            path = f"{self._url.reveal()}/api/v1/rules"
            try:
                answer = session.get(path, params={"type": "alert"}, timeout=_TIMEOUT)
                answer.raise_for_status()
                groups = answer.json()["data"]["groups"]
                return [each for group in groups for each in group["rules"] if each["type"] == "alerting"]
            except Exception:  # some sources have no rules of their own, such as a store of others' samples
                return None

        @cache
        def newest_scrapes() -> dict[float, float]:
            rows = evaluated_as_is(_NEWEST_SCRAPE)
            return {float(at): float(newest) for row in rows for at, newest in row["values"]}

        def evaluated(promql: str) -> list[Mapping[str, Any]]:
            rows = evaluated_as_is(promql)
            return _scraped(rows, newest_scrapes(), _REPEATED * self._interval) if rows else rows

        def observations() -> Iterator[Observation]:
            for measure in self._measures:
                yield self._measured(measure, scrapes)
            for promql in self._queries:
                yield self._evaluated(promql, evaluated)
            for name, names in self._alerts.items():
                yield self._alerts_of(name, names, scrapes, rules)
            for name, promql in self._hosts.items():
                yield replace(self._evaluated(promql, evaluated, "instance"), name=name, unit="ratio")

        found = {}
        with session:
            for observation in observations():
                found[observation.name] = replace(observation, warnings=tuple(dict.fromkeys(warnings)))
                warnings.clear()
        return found

    def _measured(self, measure: MeasureQuery, scrapes: Query) -> Observation:
        capacity: tuple[Series, ...] = ()
        series, problem = self._ask(measure.query, measure.per, scrapes)
        if measure.capacity and not problem:
            capacity, problem = self._ask(measure.capacity, measure.per, scrapes)
        elif measure.capacity_value:
            capacity = tuple(
                Series(one.instance, one.times, np.full(len(one.times), measure.capacity_value))
                for one in series
            )
        judged = _JUDGED[measure.judged]
        # A mean of one counter divided by another is a share of counted events (hits of lookups).
        # Otherwise the capacity is a size.
        is_counted = measure.reading is Reading.COUNTER and bool(measure.capacity) and judged is Judged.MEAN
        return Observation(
            name=measure.name,
            reading=measure.reading,
            unit=str(measure.unit),
            series=series,
            scrape_interval=self._interval,
            capacity=capacity,
            capacity_reading=Reading.COUNTER if is_counted else Reading.GAUGE,
            judged=judged,
            query=measure.query,
            source=str(self._url),
            problem=problem,
        )

    def _evaluated(self, promql: str, query: Query, per: str = "") -> Observation:
        series, problem = self._ask(promql, per, query)
        return Observation(
            name=promql,
            reading=Reading.GAUGE,
            unit="",
            series=series,
            scrape_interval=self._interval,
            query=promql,
            source=str(self._url),
            problem=problem,
        )

    def _alerts_of(
        self, name: str, names: str, scrapes: Query, rules: Callable[[], list[Mapping[str, Any]] | None]
    ) -> Observation:
        """The alerts that were firing, by name, and a series that shows when the source worked.

        That series distinguishes "no alert fired" from "no data". Without a rule that works, no
        alert can fire.
        """
        quoted = names.replace("\\", "\\\\").replace('"', '\\"')
        query = f'ALERTS{{alertstate="firing",alertname=~"{quoted}"}}'
        alive, problem = self._ask("up", "", scrapes)
        moments = np.unique(np.concatenate([one.times for one in alive] or [np.empty(0)]))
        series = [Series(LIFE_SIGN, moments, np.ones(len(moments)))]
        try:
            series += [
                replace(_series(row, "alertname"), instance=_alert(row))
                for row in (scrapes(query) if not problem else [])
            ]
        except Exception as error:  # as in `_ask`
            problem = self._failure(query, error)
        if not problem and (known := rules()) is not None:
            problem = self._without_rule(names, known)
        return Observation(
            name=name,
            reading=Reading.GAUGE,
            unit="",
            series=tuple(series),
            scrape_interval=self._interval,
            judged=Judged.MAXIMUM,
            query=query,
            source=str(self._url),
            problem=problem,
        )

    def _without_rule(self, names: str, rules: Iterable[Mapping[str, Any]]) -> str:
        """The reason why no alert with such a name can fire; "" for none."""
        try:
            matching = [each for each in rules if re.fullmatch(names, each["name"])]
        except re.error:  # Prometheus has other regular expressions
            return ""
        if not matching:
            return f'Prometheus at {self._url} has no alerting rule with a name like "{names}"'
        failed = next((each for each in matching if each.get("health") == "err"), None)
        if failed is None:
            return ""
        why = str(failed.get("lastError") or "no reason given").splitlines()[0]
        return f'the alerting rule "{failed["name"]}" of Prometheus at {self._url} failed: {why}'

    def _ask(self, text: str, per: str, query: Query) -> tuple[tuple[Series, ...], str]:
        """Return the series of a query, and the problem with them in one sentence.

        The problem is "" if there is none. `per` is the label that identifies the series, "" for
        all labels.
        """
        try:
            found = query(text)
            if any("histograms" in row for row in found):
                return (), _HISTOGRAMS
            series = tuple(_series(row, per) for row in found)
        except Exception as error:  # an error of the source or its client is never the service's fault
            return (), self._failure(text, error)
        if not any(len(one.known.times) for one in series):
            return (), f"Prometheus at {self._url} has no samples for {text}"
        names = [one.instance for one in series]
        duplicate = next((name for name in names if names.count(name) > 1), None)
        if duplicate is not None:
            return (), f'{text} returns more than one series with {per}="{duplicate}": narrow it down'
        return series, ""

    def _failure(self, query: str, error: Exception) -> str:
        return f"Prometheus at {self._url} failed to answer {query}: {_first_line(error)}"


def _stretches(start: float, end: float, step: float) -> Iterator[tuple[float, float]]:
    """Divide a time span into parts, and return the first and last moment of each."""
    while end - start > _MOST_STEPS * step:
        yield start, start + (_MOST_STEPS - 1) * step
        start += _MOST_STEPS * step
    yield start, end


def _joined(stretches: Iterable[Iterable[Mapping[str, Any]]]) -> list[Mapping[str, Any]]:
    """Join the rows of all parts, one row per metric. A moment that is in two parts counts once."""
    found: dict[frozenset[tuple[str, str]], Mapping[str, Any]] = {}
    for rows in stretches:
        for row in rows:
            metric = frozenset(row["metric"].items())
            earlier = found.get(metric, {}).get("values", [])
            last = float(earlier[-1][0]) if earlier else -math.inf
            later = [each for each in row.get("values", []) if float(each[0]) > last]
            found[metric] = {**found.get(metric, {}), **row, "values": [*earlier, *later]}
    return list(found.values())


def _scraped(
    rows: Iterable[Mapping[str, Any]], newest: Mapping[float, float], longest: float
) -> list[Mapping[str, Any]]:
    """Set values to NaN at moments at which the newest scrape was older than `longest`.

    Prometheus repeats a sample for five minutes if it was down or hung, because it could not mark
    the end of a series. If the source has no `up`, this is not known, and all values stay.
    """
    if not newest:
        return list(rows)

    def value_at(at: float, value: str) -> str:
        return value if float(at) - newest.get(float(at), -math.inf) <= longest else "NaN"

    return [
        {**row, "values": [[at, value_at(at, value)] for at, value in row.get("values", [])]} for row in rows
    ]


def _series(row: Mapping[str, Any], per: str) -> Series:
    labels = {name: value for name, value in row["metric"].items() if name != "__name__"}
    instance = labels.get(per, "") if per else ", ".join(f"{name}={labels[name]}" for name in sorted(labels))
    samples = np.array([(float(time), float(value)) for time, value in row["values"]], np.float64).reshape(
        -1, 2
    )
    return Series(instance, samples[:, 0], samples[:, 1])


def _warnings(response: Any) -> list[str]:
    """The warnings in an answer, which say that the result may be incomplete.

    An example is a store that was unavailable. The `infos` of an answer are remarks on the query,
    and say nothing about the result.
    """
    try:
        warnings = response.json().get("warnings") or []
    except (ValueError, AttributeError):  # not an answer of the API; the client reports that
        return []
    return [" ".join(str(warning).split())[:200] for warning in warnings]


def _alert(row: Mapping[str, Any]) -> str:
    """The name of an alert and, after a comma, the labels that distinguish it from other alerts."""
    labels = {
        name: value
        for name, value in row["metric"].items()
        if name not in {"__name__", "alertname", "alertstate"}
    }
    return ",".join([row["metric"]["alertname"], *(f"{name}={labels[name]}" for name in sorted(labels))])


def _first_line(error: Exception) -> str:
    if isinstance(error, OSError):  # `requests` describes a failed connection in a long paragraph
        return f"no answer ({type(error).__name__})"
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
