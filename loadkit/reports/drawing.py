"""Style of the charts: lines, bars and text on the time axis of a run, as SVG.

Charts are 900 pixels wide, and readable without colour: lines differ in weight and dash, bars in
hatch.
"""

import io
import re
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from loadkit.criterion import Unit
from loadkit.judging.window import whole
from loadkit.recording.run import Run
from loadkit.units import format_quantity
from loadkit.verdict import Window

__all__ = [
    "FILLS",
    "INK",
    "LIMIT",
    "STROKES",
    "TEXT_BOX",
    "Line",
    "draw_lines",
    "drawn",
    "figure_of",
    "head",
    "label_values",
    "legend",
    "over_time",
    "say",
    "upward",
]  # fmt: skip

Floats = npt.NDArray[np.float64]
Line = tuple[str, Floats, Floats]
"""A title; times in seconds since the start of the run; values, NaN if missing."""

_WIDTH, _HEIGHT = 9.0, 3.4
"""Inches; at 100 pixels per inch, the width is the 900 pixels of a report page."""
_LEFT, _RIGHT, _BOTTOM, _TITLE, _EDGE = 0.95, 0.3, 0.5, 0.36, 0.08
"""Inches: the margins beside and below the panels; the title, and the space above it."""
_HEADING, _GAP = 0.19, 0.12
"""Inches: a row of text above a panel, and the space above it."""
_ROW, _LEGEND_COLUMNS = 110, 4
"""Characters per row of text; lines per row of a legend."""
INK, _GREY, _PALE, LIMIT = "#1b2a41", "#5c6b80", "#a3b1c2", "#b3261e"
STROKES = (
    (INK, "-", 1.8),
    (_GREY, "--", 1.4),
    (_PALE, "-", 1.4),
    ("#3d6f8e", ":", 1.8),
    ("#7a5c2e", "-.", 1.4),
    ("#000000", (0, (1, 3)), 1.4),
)
"""Colour, dash and width of the lines of a chart; they are distinguishable without colour."""
FILLS = (
    ("#1b2a41", ""),
    ("#a3b1c2", "///"),
    ("#5c6b80", "..."),
    ("#dfe5ec", "xxx"),
    ("#7a5c2e", "\\\\\\"),
    ("#ffffff", "+++"),
)
TEXT_BOX = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.0}
_PATH, _FRACTION = re.compile(rb' d="[^"]*"'), re.compile(rb"(\d\.\d\d)\d+")


def draw_lines(axes: Any, lines: Sequence[Line]) -> None:
    """Draw lines with their titles; they differ in weight and dash."""
    for number, (title, moments, values) in enumerate(lines):
        colour, dash, width = STROKES[number % len(STROKES)]
        # The first line is the subject of the chart, so it is drawn above the others.
        axes.plot(
            moments,
            values,
            color=colour,
            linestyle=dash,
            linewidth=width,
            label=title,
            zorder=3 - number / 100,
        )
    if lines:
        legend(axes)


def head(figure: Any, title: str) -> None:
    """Set the title of a figure."""
    y = 1 - _EDGE / figure.get_size_inches()[1]
    figure.suptitle(title, x=0.01, y=y, ha="left", va="top", fontsize=10)


def legend(axes: Any) -> None:
    """Put the legend above the plot on the right, where it hides no line."""
    handles, _ = axes.get_legend_handles_labels()
    if handles:
        axes.legend(
            loc="lower right",
            bbox_to_anchor=(1.0, 1.0),
            ncols=min(_LEGEND_COLUMNS, len(handles)),
            frameon=False,
            fontsize=8,
            handlelength=2.6,
            borderaxespad=0.1,
        )


def say(axes: Any, text: str) -> None:
    """Show a sentence instead of lines, wrapped to the width of the chart."""
    text = "\n".join(textwrap.wrap(text, _ROW))
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=_GREY)
    axes.set_yticks([])


def upward(axes: Any) -> None:
    """Let the vertical axis start slightly below zero, so that a line at zero is visible."""
    highest = float(axes.dataLim.y1)
    top = 1.15 * highest if 0 < highest < np.inf else 1.0
    axes.set_ylim(-0.02 * top, top)


def label_values(axes: Any, unit: Unit) -> None:
    """Label the vertical axis in a unit, with a pale grid line at each tick."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    # The legend names what is counted per second; the tick labels do not repeat it.
    plain = Unit.NUMBER if unit is Unit.PER_SECOND else unit
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: format_quantity(value, plain)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="y", color="#e3e8ee", linewidth=0.7)
    axes.set_axisbelow(True)


def over_time(figure: Any, panels: Sequence[Any], run: Run, window: Window | None) -> bytes:
    """Draw panels on the time axis of a run; shade what was not judged and mark the events."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    end = whole(run).end
    for axes in panels:
        axes.set_xlim(0, end)
        if window is not None:
            for low, high in ((0, window.start), (window.end, end)):
                if high > low:
                    axes.axvspan(low, high, color="#eef0f3", zorder=0, linewidth=0)
                    axes.axvline(high if low == 0 else low, color=_GREY, linewidth=0.7, linestyle=":")
        for event in run.events:
            axes.axvline(event.at, color=INK, linewidth=1.0, linestyle=(0, (2, 2)))
    for event in run.events:
        panels[0].annotate(
            event.what, (event.at, 1), (3, -3), xycoords=("data", "axes fraction"),
            textcoords="offset points", va="top", fontsize=8, color=INK, bbox=TEXT_BOX,
        )  # fmt: skip
    for axes in panels[:-1]:
        axes.xaxis.set_visible(False)  # its ticks take an eighth of the time of a chart of 17 panels
    last = panels[-1]
    last.xaxis.set_major_locator(MaxNLocator(10, steps=[1, 2, 3, 6, 10], integer=True))
    last.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _moment(value)))
    judged = (
        "no window was judged"
        if window is None
        else f"judged: {_moment(window.start)} to {_moment(window.end)} (shaded: not judged)"
    )
    last.set_xlabel(f"minutes:seconds since the start of the load — {judged}")
    return drawn(figure)


def _moment(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def figure_of(height: float = 1.0) -> Any:
    """An empty figure; `height` is relative to a single chart.

    It is made without pyplot, which would never release a figure.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # Two "$" in a text, such as a query, are not a formula. A text reads this at its creation.
    mpl.rcParams["text.parse_math"] = False
    # The search for a place where a title hides nothing takes a third of the time of a chart.
    mpl.rcParams["axes.titley"] = 1.0
    return Figure(figsize=(_WIDTH, _HEIGHT * max(1.0, height)))


def _set_margins(figure: Any) -> None:
    """Give the panels, one below the other, margins that are equal in all charts of a report.

    The time axes of its charts align thus. And a layout that measures each text takes three times
    as long as the drawing itself.
    """
    panels = figure.axes
    width, height = figure.get_size_inches()
    above = [_HEADING * _rows_above(axes) for axes in panels]
    top = above[0] + (_TITLE if figure.get_suptitle() else _GAP)
    gap = max(above[1:], default=0.0) + _GAP
    each = (height - top - _BOTTOM - gap * (len(panels) - 1)) / len(panels)
    figure.subplots_adjust(
        left=_LEFT / width,
        right=1 - _RIGHT / width,
        bottom=_BOTTOM / height,
        top=1 - top / height,
        hspace=gap / each,
    )


def _rows_above(axes: Any) -> int:
    """The rows of text above a panel: those of its legend, beside its own title."""
    shown = axes.get_legend()
    rows = 0 if shown is None else -(-len(shown.get_texts()) // _LEGEND_COLUMNS)
    return max(rows, 1 if axes.get_title("left") else 0)


def drawn(figure: Any) -> bytes:
    """Finish a figure, and return it as SVG.

    Its panels are one below the other, unless the figure has a layout engine.
    """
    import matplotlib as mpl

    if figure.get_layout_engine() is None:
        _set_margins(figure)
    for axes in figure.axes:
        axes.tick_params(labelsize=8, color=_PALE)
        axes.xaxis.label.set_size(8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(_PALE)
    file = io.BytesIO()
    # Text remains text: the file has a tenth of the size, and a browser can search it.
    # Without a date, equal runs have equal charts.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "charts"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    # A hundredth of a point is finer than any screen. matplotlib writes a millionth, which doubles
    # the size.
    return _PATH.sub(lambda path: _FRACTION.sub(rb"\1", path.group()), file.getvalue())
