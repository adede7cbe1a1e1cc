"""Charts: what is drawn is what was given, whole, and told apart."""

import io
import math
import re
import sys
from collections.abc import Callable

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from nvae_core.analysis.charts import (
    Curve,
    GroupSeries,
    draw_curves,
    draw_groups,
    draw_histogram,
)

LONG_NAMES = [f"run {number} ".ljust(60, "x") for number in range(10)]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Figure]:
    """Return a function that returns the figure that another one makes a PNG of."""
    figures: list[Figure] = []

    def keep(figure: Figure) -> bytes:
        FigureCanvasAgg(figure).draw()
        figures.append(figure)
        return b""

    monkeypatch.setattr("nvae_core.analysis.charts.encode_figure", keep)

    def draw(function: Callable[..., bytes], *arguments: object, **named: object) -> Figure:
        function(*arguments, **named)
        return figures.pop()

    return draw


def rising(name: str) -> Curve:
    return Curve(name, [1, 2, 3], [1.0, 2.0, 3.0])


def groups_of(*names: str, num_groups: int = 3) -> list[GroupSeries]:
    return [GroupSeries(name, [1, 2], [[1.0, 2.0]] * num_groups) for name in names]


@pytest.mark.parametrize("name", ["$\\frac$", "_hidden", "cost: 5 $ or 6 $"])
def test_any_name_of_a_run_stands_in_the_legend(name: str) -> None:
    def drawn(name: str) -> bytes:
        return draw_curves({"loss": [Curve(name, [1, 2], [1.0, 1000.0])]}, title="T")

    assert drawn(name) == drawn(name) != drawn("x")


def test_pictures_do_not_depend_on_the_settings_of_the_process() -> None:
    def drawn() -> bytes:
        return draw_groups(groups_of("a", "b"), title="T", label="l")

    first = drawn()
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "black"}):
        assert drawn() == first
        assert matplotlib.rcParams["font.size"] == 20


def test_pictures_are_on_white() -> None:
    pictures = [
        draw_curves({"loss": [rising("a")]}, title="T"),
        draw_groups(groups_of("a"), title="T", label="l"),
        draw_histogram([0.5], [0.4], title="T", label="l", names=("a", "b")),
    ]
    for png in pictures:
        with Image.open(io.BytesIO(png)) as picture:
            assert picture.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_curves_are_named_in_their_colours_and_dashes(drawn) -> None:
    curves = [Curve("a", [1, 2], [1.0, 2.0]), Curve("b", [1, 2], [5.0, 6.0])]
    figure = drawn(draw_curves, {"loss": curves, "kl": curves}, title="T")
    [legend] = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["a", "b"]
    for panel in figure.axes:
        for curve, line, handle in zip(curves, panel.get_lines(), legend.get_lines(), strict=True):
            assert line.get_ydata().tolist() == curve.values
            assert line.get_color() == handle.get_color()
            assert line.get_linestyle() == handle.get_linestyle()
    assert len({line.get_linestyle() for line in figure.axes[0].get_lines()}) == 2


def test_line_breaks_where_a_value_was_not_finite_and_the_step_is_marked(drawn) -> None:
    curve = Curve("a", [1, 2, 4, 5], [1.0, 2.0, 4.0, 5.0], not_finite_steps=[3])
    figure = drawn(draw_curves, {"loss": [curve]}, title="T")
    line, marks = figure.axes[0].get_lines()
    assert line.get_xdata().tolist() == [1, 2, 3, 4, 5]
    np.testing.assert_array_equal(line.get_ydata(), [1, 2, math.nan, 4, 5])
    assert list(marks.get_xdata()) == [3]
    assert figure.axes[0].transAxes.inverted().transform(
        marks.get_transform().transform((3, marks.get_ydata()[0]))
    )[1] == pytest.approx(0.03)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "not finite"]


@pytest.mark.parametrize(
    ("curve", "marked"),
    [
        (Curve("a", [10], [1.0]), [0]),
        (Curve("a", [10, 20], [1.0, 2.0]), [0, 1]),
        (Curve("a", [10, 20, 30], [1.0, 2.0, 3.0]), None),
        (Curve("a", [10, 30, 40], [1.0, 3.0, 4.0], [20]), [0]),
    ],
)
def test_points_that_no_line_shows_have_markers(drawn, curve, marked) -> None:
    figure = drawn(draw_curves, {"loss": [curve]}, title="T")
    assert figure.axes[0].get_lines()[0].get_markevery() == marked


def test_the_largest_values_are_drawn() -> None:
    largest = sys.float_info.max
    assert draw_curves({"loss": [Curve("a", [1, 2], [-largest, largest])]}, title="T")
    assert draw_curves({"loss": [Curve("a", [1, 2], [sys.float_info.min, largest])]}, title="T")


def shown_ticks(axis: object) -> list[float]:
    low, high = sorted(axis.get_view_interval())
    return [tick for tick in axis.get_majorticklocs() if low <= tick <= high]


def test_steps_are_whole_numbers(drawn) -> None:
    figure = drawn(draw_curves, {"loss": [Curve("a", [10], [1.0])]}, title="T")
    assert shown_ticks(figure.axes[0].xaxis) == [10]


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([1.0, 5.0], "linear"),
        ([1.0, 50.0], "log"),
        ([0.0, 0.1, 10.0], "symlog"),
        ([0.0, 0.0], "linear"),
        ([0.0, 5.0], "linear"),
        ([-1.0, 50.0], "linear"),
    ],
)
def test_values_far_apart_have_a_logarithmic_axis(drawn, values, scale) -> None:
    curves = [Curve(str(place), [1, 2, 3], [value] * 3) for place, value in enumerate(values)]
    figure = drawn(draw_curves, {"λ": curves}, title="T")
    assert figure.axes[0].get_yscale() == scale


@pytest.mark.parametrize(
    ("values", "pattern"),
    [
        ([1e-6, 1e3], r"\de[+-]\d\d"),
        ([0.01, 100.0], r"[\d.]+"),
        ([0.0, 1e-6, 1.0], r"0|\de[+-]\d\d"),
    ],
)
def test_ticks_of_an_axis_have_one_format(drawn, values, pattern) -> None:
    curves = [Curve(str(place), [1, 2, 3], [value] * 3) for place, value in enumerate(values)]
    axis = drawn(draw_curves, {"λ": curves}, title="T").axes[0].yaxis
    labels = [axis.get_major_formatter()(tick, None) for tick in shown_ticks(axis)]
    assert len(labels) > 1
    assert all(re.fullmatch(pattern, label) for label in labels)


@pytest.mark.parametrize("length", [36, 60])
@pytest.mark.parametrize("count", [1, 10])
def test_legend_is_whole_and_below_the_panels(drawn, length: int, count: int) -> None:
    names = [name[:length] for name in LONG_NAMES[:count]]
    figures = [
        drawn(draw_curves, {"loss": [rising(name) for name in names]}, title="T"),
        drawn(draw_groups, groups_of(*names), title="T", label="l"),
    ]
    for figure in figures:
        [legend] = figure.legends
        box, page = legend.get_window_extent(), figure.bbox
        assert page.x0 <= box.x0 < box.x1 <= page.x1
        assert page.y0 <= box.y0
        panels = figure.axes
        assert all(box.y1 <= panel.get_tightbbox().y0 + 1 for panel in panels)
        assert min(panel.get_window_extent().height for panel in panels) > 100


def bars_of(axes: Axes) -> list[tuple[int, float, str]]:
    """Return the group, height and colour of each bar."""
    found = [(bar.get_x() + bar.get_width() / 2, bar) for bar in axes.patches]
    return sorted((round(x), bar.get_height(), to_hex(bar.get_facecolor())) for x, bar in found)


def test_bars_and_maps_keep_the_places_of_groups(drawn) -> None:
    first = GroupSeries("a", [10, 20], [[1.0, 2.0], [None, None], [3.0, None]])
    second = GroupSeries("b", [10], [[5.0]])
    figure = drawn(draw_groups, [first, second], title="T", label="l")
    bars, *maps = figure.axes[:3]
    assert bars_of(bars) == [(0, 2.0, "#1f77b4"), (0, 5.0, "#ff7f0e"), (2, 3.0, "#1f77b4")]
    [mesh] = maps[0].collections
    assert mesh.get_array().filled(-1).tolist() == [[1, 2], [-1, -1], [3, -1]]
    assert maps[0].get_title() == "a"
    assert mesh.get_clim() == maps[1].collections[0].get_clim() == (0, 5)
    assert maps[0].yaxis_inverted()


def test_a_run_without_groups_has_an_empty_map(drawn) -> None:
    figure = drawn(draw_groups, [*groups_of("a"), GroupSeries("b", [], [])], title="T", label="l")
    assert list(figure.axes[2].collections) == []


def test_a_long_run_is_a_map_of_no_more_columns_than_can_be_seen(drawn) -> None:
    steps = list(range(5000))
    run = GroupSeries("a", steps, [[float(step) for step in steps]])
    figure = drawn(draw_groups, [run], title="T", label="l")
    shown = figure.axes[1].collections[0].get_array()
    assert shown.shape == (1, 500)
    assert (shown[0, 0], shown[0, -1]) == (0, 4999)


def test_marks_of_a_histogram_do_not_hide_it(drawn) -> None:
    values = np.linspace(0.2, 0.4, 100).tolist()
    figure = drawn(
        draw_histogram, values, [0.1, 0.3], title="T", label="distance", names=("all", "some")
    )
    [axes] = figure.axes
    assert axes.get_xlabel() == "distance"
    [marks] = axes.collections
    segments = np.array(marks.get_segments())
    assert segments[:, :, 0].tolist() == [[0.1, 0.1], [0.3, 0.3]]
    assert segments[:, :, 1].min() > max(bar.get_height() for bar in axes.patches)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["all", "some"]
