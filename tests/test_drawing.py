"""The layout of the charts: nothing overlaps, nothing is cut off, and the time axes are aligned."""

import itertools

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from loadkit.criterion import Unit
from loadkit.reports.drawing import draw_lines, drawn, figure_of, head, label_values, upward


def laid_out(panels, lines, *, title="", heading="", largest=1.0, unit=Unit.NUMBER):
    """A finished figure with panels of `lines` each, and the boxes of its panels with all their text."""
    figure = figure_of(0.55 * panels)
    all_axes = figure.subplots(panels, 1, sharex=True, squeeze=False)[:, 0]
    for axes in all_axes:
        draw_lines(axes, [(f"metrics-{number}", [0, 60], [0.0, largest]) for number in range(lines)])
        if heading:
            axes.set_title(heading, loc="left", fontsize=9)
        label_values(axes, unit)
        upward(axes)
    all_axes[-1].set_xlabel("minutes:seconds since the start of the load")
    if title:
        head(figure, title)
    drawn(figure)
    renderer = FigureCanvasAgg(figure).get_renderer()
    return figure, [axes.get_tightbbox(renderer) for axes in all_axes], renderer


@pytest.mark.parametrize("lines", [1, 4, 6])
@pytest.mark.parametrize("heading", ["", "database connection pool utilization"])
@pytest.mark.parametrize("panels", [1, 2, 5, 17])
def test_no_text_of_a_panel_reaches_into_another_or_out_of_the_chart(panels, lines, heading):
    figure, boxes, renderer = laid_out(panels, lines, title="The load", heading=heading)
    title = figure._suptitle.get_window_extent(renderer)
    assert title.y1 <= figure.bbox.y1
    assert title.y0 >= boxes[0].y1
    for upper, lower in itertools.pairwise(boxes):
        assert upper.y0 >= lower.y1
    assert boxes[-1].y0 >= 0


@pytest.mark.parametrize(
    ("largest", "unit"),
    [(999_999_999.0, Unit.NUMBER), (9.99e11, Unit.BYTES), (0.00123, Unit.SECONDS), (0.0012345, Unit.RATIO)],
)
def test_the_labels_of_the_values_are_within_the_chart(largest, unit):
    figure, boxes, _ = laid_out(1, 1, largest=largest, unit=unit)
    assert boxes[0].x0 >= 0
    assert boxes[0].x1 <= figure.bbox.x1


def test_the_time_axes_of_charts_are_aligned():
    small, large = (laid_out(panels, 2, largest=largest)[0] for panels, largest in ((1, 1.0), (9, 2e6)))
    edges = [[axes.get_position().x0, axes.get_position().x1] for axes in (small.axes[0], large.axes[-1])]
    assert edges[0] == pytest.approx(edges[1])
