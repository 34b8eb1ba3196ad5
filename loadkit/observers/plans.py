"""Reads the plans of queries: how each table is read, and which index is missing."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loadkit.observers.database import LARGE, QueryPlan, Scan

__all__ = ["Relation", "read_plan"]

_LITERAL = re.compile(r"'(?:[^']|'')*'(?:::[\w\" \[\]]+)?")
_QUALIFIER = re.compile(r"(?:\"[^\"]+\"|\b[A-Za-z_]\w*)\.(?=[\"A-Za-z_])")
_WORD = re.compile(r"\"?\b([A-Za-z_]\w*)\b\"?")
_REMOVED = ("Rows Removed by Filter", "Rows Removed by Index Recheck")
"""The figures of rows that a scan read and discarded. A lossy index, such as BRIN, has the second."""
_DETAILS = (
    "Index Cond",
    "Recheck Cond",
    "Filter",
    "Rows Removed by Filter",
    "Rows Removed by Index Recheck",
    "Join Filter",
    "Hash Cond",
    "Merge Cond",
    "Sort Key",
    "Sort Method",
    "Group Key",
    "Workers Launched",
    "Shared Hit Blocks",
    "Shared Read Blocks",
    "Temp Written Blocks",
)
"""What is shown of a node of a plan, besides its rows and times."""


@dataclass(frozen=True, slots=True)
class Relation:
    """A table that plans may name."""

    root: str
    """The partitioned table that it belongs to; otherwise its own name."""
    pages: int
    columns: tuple[str, ...] = ()


def read_plan(
    query: str,
    purpose: str,
    explained: Sequence[Mapping[str, Any]],
    relations: Mapping[tuple[str, str], Relation],
    problem: str = "",
) -> QueryPlan:
    """Read the plan of a query from the JSON of EXPLAIN.

    Args:
        query: the name of the query.
        purpose: what the query is for.
        explained: the parsed value of ``EXPLAIN (VERBOSE, FORMAT JSON)``. Without VERBOSE, it has no
            schemas.
        relations: the tables by schema and name.
        problem: why the query was not executed; empty if it was.

    """
    (whole,) = explained
    root = whole["Plan"]
    took = whole.get("Execution Time")
    return QueryPlan(
        query,
        purpose,
        tuple(_lines(root, 0)),
        tuple(_scans(root, relations)),
        None if took is None else took / 1000,
        problem,
    )


def _scans(node: Mapping[str, Any], relations: Mapping[tuple[str, str], Relation]) -> Iterator[Scan]:
    children = node.get("Plans", [])
    relation = relations.get((node.get("Schema", ""), node.get("Relation Name", "")))
    if relation is not None:
        loops = node.get("Actual Loops")
        index = node.get("Index Name") or ", ".join(
            each["Index Name"] for each in _bitmaps(children) if "Index Name" in each
        )
        found_by = " AND ".join(
            filter(
                None,
                (
                    node.get("Index Cond", ""),
                    node.get("Recheck Cond", ""),
                    condition := node.get("Filter", ""),
                ),
            )
        )
        yield Scan(
            table=relation.root,
            node=node["Node Type"],
            is_large=relation.pages >= LARGE,
            index=index,
            filter=condition,
            kept=None if loops is None else round(node.get("Actual Rows", 0) * loops),
            removed=None if loops is None else round(sum(node.get(each, 0) for each in _REMOVED) * loops),
            columns=_columns(found_by, relation.columns),
        )
    # A scan of a table can have subplans, such as those of a policy for row-level security.
    for child in children:
        yield from _scans(child, relations)


def _bitmaps(nodes: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The nodes that find rows for a bitmap heap scan, their combinations included."""
    for node in nodes:
        if node["Node Type"].startswith("Bitmap"):
            yield node
            yield from _bitmaps(node.get("Plans", []))


def _columns(condition: str, known: Sequence[str]) -> tuple[str, ...]:
    """The columns that a condition compares; the columns compared with = come first."""
    bare = _QUALIFIER.sub("", _LITERAL.sub("?", condition))
    words = set(_WORD.findall(bare))
    used = [column for column in known if column in words]
    equal = [
        word
        for word in used
        if re.search(rf'\b{re.escape(word)}"?\)?(?:::\w+)? = |= "?{re.escape(word)}\b', bare)
    ]
    return (*equal, *(word for word in used if word not in equal))


def _lines(node: Mapping[str, Any], depth: int) -> Iterator[str]:
    """A node and the nodes below it, in the text form of EXPLAIN."""
    indent = "  " * depth
    words = f"{'Parallel ' if node.get('Parallel Aware') else ''}{node['Node Type']}"
    if index := node.get("Index Name"):
        words += f" using {index}"
    if table := node.get("Relation Name"):
        schema = node.get("Schema", "public")
        words += f" on {table}" if schema == "public" else f" on {schema}.{table}"
    figures = f"estimated rows {node.get('Plan Rows', 0):,.0f}"
    if "Actual Loops" in node:
        figures += (
            f", rows {node['Actual Rows'] * node['Actual Loops']:,.0f}, loops {node['Actual Loops']:,.0f}"
        )
    if "Actual Total Time" in node:
        figures += f", {node['Actual Total Time'] * max(node['Actual Loops'], 1):,.3f} ms"
    yield f"{indent}{'-> ' if depth else ''}{words}  ({figures})"
    for name in _DETAILS:
        value = node.get(name)
        if value in (None, 0, "", []):
            continue
        shown = (
            ", ".join(value) if isinstance(value, list) else f"{value:,}" if isinstance(value, int) else value
        )
        yield f"{indent}     {name}: {shown}"
    for child in node.get("Plans", []):
        yield from _lines(child, depth + 1)
