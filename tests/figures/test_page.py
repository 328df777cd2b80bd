import numpy as np
import pytest
from matplotlib import colors, lines

from rdt_jax.figures import page, palette


def make(num_rows, num_columns, **options):
    options = {"title": "title", **options}
    return page.make(
        num_rows,
        num_columns,
        notes=["one", "two"],
        handles=[lines.Line2D([], [], label="line")],
        label="label",
        **options,
    )


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 3), (5, 1)])
def test_panels_have_the_height_asked_for_and_stay_on_the_page(rows, columns):
    figure, panels = make(rows, columns, height=1.7)
    width, total = figure.get_size_inches()
    assert width == page.WIDTH
    boxes = [panel.get_position() for row in panels for panel in row]
    assert len(boxes) == rows * columns
    for box in boxes:
        assert box.height * total == pytest.approx(1.7)
        assert 0 < box.x0 < box.x1 < 1 and 0 < box.y0 < box.y1 < 1
    for one, other in zip(boxes, boxes[1:], strict=False):
        assert one.x1 < other.x0 or one.y0 > other.y1  # beside it or below it


def test_only_outer_panels_carry_tick_labels():
    _, panels = make(2, 3)
    shown = lambda axis: axis.get_tick_params()
    for row, of_row in enumerate(panels):
        for column, panel in enumerate(of_row):
            assert shown(panel.yaxis)["labelleft"] == (column == 0)
            assert shown(panel.xaxis)["labelbottom"] == (row == 1)


def test_header_does_not_touch_the_panels():
    figure, panels = make(1, 2)
    figure.canvas.draw()
    top = panels[0][0].get_window_extent().y1
    header = [t for t in figure.texts if t.get_visible() and t.get_text() != "label"]
    assert min(t.get_window_extent().y0 for t in header) > top
    assert figure.legends[0].get_window_extent().y0 > top
    extents = [t.get_window_extent() for t in header]
    for upper, lower in zip(extents, extents[1:], strict=False):
        assert upper.y0 >= lower.y1 - 1  # pixels


@pytest.mark.parametrize(
    ("first", "last"), [(50, 300), (100, 6_000), (250, 10_000), (1_000, 1_500_000)]
)
def test_steps_have_few_round_ticks_within_the_axis(first, last):
    _, ((panel,),) = make(1, 1)
    page.use_steps(panel, first, last)
    low, high = panel.get_xlim()
    ticks = [t for t in panel.get_xticks() if low <= t <= high]
    assert 2 <= len(ticks) <= 7
    leading = {float(f"{tick:e}".partition("e")[0]) for tick in ticks}
    assert leading <= {1.0, 2.0, 3.0, 5.0}


def test_room_above_moves_the_header_and_not_the_panels():
    (low, ((one,),)), (high, ((other,),)) = make(1, 1), make(1, 1, above=0.3)
    assert high.get_figheight() - low.get_figheight() == pytest.approx(0.3)
    for figure, panel in ((low, one), (high, other)):
        box = panel.get_position()
        assert box.y0 * figure.get_figheight() == pytest.approx(0.47)


def test_groups_and_loop_counts_are_told_apart_without_color():
    told = lambda style: (str(style.dash), style.mark)
    groups = [palette.of_place(index) for index in range(9)]
    assert len({told(style) for style in groups}) == 9
    for one, other in zip(groups, groups[1:], strict=False):
        assert one.dash != other.dash and one.mark != other.mark
    for depths in ([1, 2, 4], [1, 2, 4, 8], [2, 4, 6, 8]):
        styles = palette.of_each_loops(depths)
        assert len({str(styles[depth].dash) for depth in depths}) == len(depths)
        light = [luminance(styles[depth].color) for depth in depths[1:]]
        assert light == sorted(light, reverse=True)  # Deeper is darker.


def test_no_loop_count_has_the_color_of_a_split():
    """Colors are apart in CIE L*a*b*, of which 2.3 is a just noticeable difference."""

    def lab(color):
        channels = np.array(colors.to_rgb(color))
        linear = np.where(
            channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
        )
        to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722],
                  [0.0193, 0.1192, 0.9505]]  # fmt: skip
        x, y, z = np.cbrt(np.array(to_xyz) @ linear / (0.9505, 1, 1.089))
        return np.array((116 * y - 16, 500 * (x - y), 200 * (y - z)))

    loops = [palette.of_loops(count).color for count in (*range(1, 17), 32, 64)]
    for color in (*loops, palette.DRAWN_LOOPS.color):
        for split, other in palette.SPLITS.items():
            apart = np.linalg.norm(lab(color) - lab(other))
            assert apart > 20, (color, split)


def luminance(color):
    channels = np.array(colors.to_rgb(color))
    linear = np.where(
        channels <= 0.03928, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
    )
    return linear @ (0.2126, 0.7152, 0.0722)


def test_chance_is_lighter_than_a_run_that_lies_on_it():
    _, ((panel,),) = make(1, 1)
    page.draw_chance(panel, 0.04, "chance")
    (line,) = panel.lines
    run = palette.of_loops(1)
    assert sum(colors.to_rgb(line.get_color())) > 0.5 + sum(colors.to_rgb(run.color))
    assert line.get_zorder() < 2  # That of a curve.
    assert [(text.get_text(), text.xy) for text in panel.texts] == [
        ("chance", (1, 0.04))
    ]


def test_text_reads_on_every_color():
    for gray in np.linspace(0, 1, 41):
        face = colors.to_hex((gray, gray, gray))
        light, dark = sorted((luminance(face), luminance(palette.ink_on(face))))[::-1]
        assert (light + 0.05) / (dark + 0.05) > 4.5, face


def test_a_note_that_is_too_wide_has_lines():
    words = [f"word{number}" for number in range(60)]
    lines = page.wrapped(" ".join(words), 4.0)
    assert " ".join(lines).split() == words and len(lines) > 3
    assert max(map(page.text_width, lines)) <= 4.0
    assert page.wrapped("short", 4.0) == ["short"]
    assert page.wrapped("a" * 200, 4.0) == ["a" * 200]


@pytest.mark.parametrize("more", range(4))
def test_a_title_of_two_lines_is_no_wider_than_the_page(more):
    figure, _ = make(1, 1, title=more * "i" + "4 of 4 with R = 16, " * 7)
    figure.set_dpi(72)  # Whole pixels make letters widest.
    figure.canvas.draw()
    titles = [text for text in figure.texts if text.get_weight() == "bold"]
    assert len(titles) == 2
    for title in titles:
        assert title.get_window_extent().x1 < figure.bbox.x1
        assert not title.get_text().endswith(("R", "="))


def test_a_legend_has_as_many_rows_as_it_needs():
    labels = [f"optimizer adamw {index}" for index in range(12)]
    handles = [lines.Line2D([], [], label=label) for label in labels]
    figure, ((panel,),) = page.make(
        1, 1, title="title", notes=[], handles=handles, label="label"
    )
    figure.canvas.draw()
    box = figure.legends[0].get_window_extent()
    assert box.x1 < figure.bbox.x1
    assert box.y0 > panel.get_window_extent().y1
