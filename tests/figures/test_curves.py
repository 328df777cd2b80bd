import dataclasses

import numpy as np
import pytest
from matplotlib import colors

from rdt_jax import config as configs
from rdt_jax.figures import curves, diagram, page, palette, words
from rdt_jax.figures import study as studies
from rdt_jax.tasks import presets
from tests import fake_runs
from tests.figures.drawn import legend, texts

TASK = """
from rdt_jax.tasks import Row

def task():
    yield from (Row(f"a{n}", "xy"[n % 2]) for n in range(100))
"""
OOD = "ood_generalized"
JUMP = {1: None, 2: 150, 4: 60}  # loops -> step of the jump on ood


def run(loops, decay=0.1, seed=0, **options):
    jump = JUMP[loops] and JUMP[loops] + 10 * seed
    jumps = {"train": 20, "id": 40, "ood": jump}
    return fake_runs.make(jumps=jumps, loops=loops, decay=decay, seed=seed, **options)


@pytest.fixture(scope="module")
def sweep():
    return [
        run(loops, decay, seed)
        for loops in (1, 2, 4)
        for decay in (0.1, 0.3)
        for seed in (0, 1, 2)
    ]


def panels_by_title(figure):
    return {p.get_title(): p for p in figure.axes if p.get_title()}


def lines_of(panel, color):
    """The curves, which have more than a bar's two points."""
    return [
        line
        for line in panel.lines
        if colors.same_color(line.get_color(), color) and len(line.get_xdata()) > 2
    ]


def test_accuracy_has_a_panel_per_cell_and_says_what_it_shows(sweep):
    figure = curves.accuracy(sweep)
    assert len(figure.axes) == 2 * 3
    assert list(panels_by_title(figure)) == [
        "R = 1 (no loop)",
        "R = 2 loops",
        "R = 4 loops",
    ]
    header = " ".join(texts(figure))
    assert "knowledge composition" in header
    assert "training loop count R" in header
    assert "0.99 (train), 0.95 (ID), 0.50 (OOD)" in header
    assert "step (optimizer updates)" in header
    assert [bool(panel.get_title()) for panel in figure.axes] == [True] * 3 + [
        False
    ] * 3
    assert [texts(panel) for panel in figure.axes] == [
        *([], [], ["weight decay 0.1"]),
        *([], [], ["weight decay 0.3"]),
    ]


def test_accuracy_draws_the_median_and_all_runs_from_the_first_evaluation(sweep):
    panel = panels_by_title(curves.accuracy(sweep))["R = 2 loops"]
    for split in ("train", "id", "ood"):
        (line,) = lines_of(panel, palette.SPLITS[split])
        assert line.get_xdata()[0] == fake_runs.EVERY
        assert line.get_xdata()[-1] == fake_runs.BUDGET
    assert jump_of(line) == JUMP[2] + 10  # that of the second of three seeds
    band = panel.collections[-1].get_paths()[0].vertices
    low, high = JUMP[2], JUMP[2] + 20
    filled = {x for x, y in band if y == 1} - {x for x, y in band if y == 0}
    assert low <= min(filled) and {low, high} <= {x for x, _ in band}
    (raw, line) = lines_of(curves.accuracy([run(2)]).axes[0], palette.SPLITS["ood"])
    assert jump_of(raw) == jump_of(line) == JUMP[2]
    assert raw.get_linewidth() < line.get_linewidth()


def jump_of(line):
    return line.get_xdata()[np.argmax(line.get_ydata() > 0.5)]


def test_a_median_ends_where_the_first_of_its_runs_does_and_says_so():
    short, long = run(2, until=120), run(2, seed=1)
    short = dataclasses.replace(short, status=short.status | {"reason": "phases"})
    figure = curves.split_by_axis([short, long])
    bold, rest = lines_of(figure.axes[0], palette.of_loops(2).color)
    assert (bold.get_xdata()[-1], rest.get_xdata()[0]) == (120, 120)
    assert rest.get_xdata()[-1] == fake_runs.BUDGET
    assert rest.get_linewidth() < bold.get_linewidth()
    ends = [line for line in figure.axes[0].lines if line.get_marker() == "|"]
    assert [line.get_xdata()[0] for line in ends] == [120]
    assert legend(figure)[-1] == "runs end"
    assert "runs end" not in legend(curves.split_by_axis([long]))


def test_the_step_axis_spans_the_evaluations(sweep):
    for figure in (curves.accuracy(sweep), curves.split_by_axis(sweep)):
        for panel in figure.axes:
            low, high = panel.get_xlim()
            assert fake_runs.EVERY / 2 < low < fake_runs.EVERY
            assert fake_runs.BUDGET < high < fake_runs.BUDGET * 2


def test_accuracy_has_bars_of_the_median_seed_and_ticks_of_the_others():
    members = [run(2, seed=seed) for seed in (0, 1, 2)]
    panel = curves.accuracy(members).axes[0]
    color = palette.SPLITS["ood"]
    jump = JUMP[2] + 10
    filled = [
        line.get_xdata()[0]
        for line in panel.lines
        if line.get_marker() == "o" and line.get_markerfacecolor() == color
    ]
    assert filled == [jump + fake_runs.DELAY]
    ticks = {line.get_xdata()[0] for line in panel.lines if line.get_marker() == "|"}
    assert {JUMP[2] + fake_runs.DELAY, JUMP[2] + 20 + fake_runs.DELAY} <= ticks


def test_the_legend_explains_bars_and_ticks_where_there_are_several_seeds(sweep):
    several = curves.accuracy(sweep)
    assert legend(several)[-1] == "completed, other seeds"
    assert any(
        "Bars: the seed of the median rank by updates to OOD; ticks: the other seeds."
        in text
        for text in texts(several)
    )
    alone = curves.accuracy([run(2)])
    assert "completed, other seeds" not in legend(alone)
    header = " ".join(texts(alone))
    assert "One seed." in header and "Bars" not in header


def test_the_longest_legend_stays_on_the_page(sweep):
    broken = run(4, 0.3, seed=3, until=100, state="failed", reason="nan")
    figure = curves.accuracy([*sweep, broken])
    figure.canvas.draw()
    box = figure.legends[0].get_window_extent()
    assert box.x1 < figure.bbox.x1


def test_accuracy_marks_an_onset_that_did_not_complete():
    half = fake_runs.make(
        jumps={"train": 0, "id": 30, "ood": 100}, top={"ood": 0.3}, until=170
    )
    panel = curves.accuracy([half]).axes[0]
    open_ends = [line for line in panel.lines if line.get_marker() == ">"]
    assert [line.get_xdata()[0] for line in open_ends] == [170]


def test_accuracy_says_why_a_panel_is_empty_and_which_runs_broke():
    members = [
        run(1, 0.1, until=100, state="failed", reason="nan"),
        run(2, 0.1, until=-1, state="pending", reason=None),
        run(2, 0.3),
    ]
    figure = curves.accuracy(members)
    by_row = [[t for t in texts(panel) if "weight" not in t] for panel in figure.axes]
    assert by_row == [[], ["not evaluated yet"], ["not in the sweep"], []]
    crosses = [line for line in figure.axes[0].lines if line.get_marker() == "x"]
    assert {line.get_xdata()[0] for line in crosses} == {100}
    (legend,) = figure.legends
    assert "loss not finite" in texts(legend)


def test_ood_has_one_color_per_depth_in_every_panel(sweep):
    figure = curves.split_by_axis(sweep, chance=0.04)
    panels = panels_by_title(figure)
    assert list(panels) == ["weight decay 0.1", "weight decay 0.3"]
    (legend,) = figure.legends
    assert texts(legend)[:3] == ["R = 1 (no loop)", "R = 2 loops", "R = 4 loops"]
    shades = [handle.get_color() for handle in legend.legend_handles[:3]]
    assert len(set(shades)) == 3
    for panel in panels.values():
        for loops, shade in zip((1, 2, 4), shades, strict=True):
            (line,) = lines_of(panel, shade)
            assert (line.get_ydata()[-1] == 1) == (loops > 1)


def test_depths_of_one_gray_have_dashes_of_their_own(sweep):
    figure = curves.split_by_axis(sweep)
    styles = palette.of_each_loops([1, 2, 4])
    drawn = {}
    for depth in (1, 2, 4):
        shown = lines_of(figure.axes[0], styles[depth].color)
        (drawn[depth],) = {str(line._unscaled_dash_pattern) for line in shown}
    assert len(set(drawn.values())) == 3
    handles = figure.legends[0].legend_handles[:3]
    assert [str(each._unscaled_dash_pattern) for each in handles] == [*drawn.values()]


def levels(panel):
    return sorted(
        line.get_ydata()[0]
        for line in panel.lines
        if len(line.get_xdata()) == 2 and line.get_xdata()[1] == 1
    )


def test_ood_names_the_threshold_and_chance(sweep):
    figure = curves.split_by_axis(sweep, chance=0.04)
    assert levels(figure.axes[0]) == [0.04, 0.5]
    assert texts(figure.axes[1]) == ["threshold\n0.50", "chance\n0.04"]
    assert levels(curves.split_by_axis(sweep).axes[0]) == [0.5]
    figure = curves.split_by_axis(sweep, event="id_generalized")
    assert levels(figure.axes[0]) == [0.95]
    assert figure.axes[0].get_ylabel() == "ID accuracy"
    assert texts(figure)[0].startswith("ID completes in 6 of 6 runs with R = 1, ")


def test_ood_of_three_weight_decays_leaves_no_empty_panel():
    figure = curves.split_by_axis([run(2, decay) for decay in (0.1, 0.3, 1.0)])
    assert [panel.get_visible() for panel in figure.axes] == [True, True, True, False]


def cell_texts(panel):
    width, height = len(panel.get_xticks()), len(panel.get_yticks())
    found = {text.get_position(): text.get_text() for text in panel.texts}
    return [[found.get((x, y)) for x in range(width)] for y in range(height)]


def hatched(panel):
    return [bool(patch.get_hatch()) for patch in panel.patches]


def test_phase_diagram_writes_median_and_count_into_each_cell(sweep):
    members = [r for r in sweep if (r.num_loops, r.config.seed) != (4, 2)]
    panels = panels_by_title(diagram.phase_diagram(members))
    assert list(panels) == ["memorized", "ID generalized", "OOD generalized"]
    panel = panels["OOD generalized"]
    assert cell_texts(panel) == [
        ["> 230\n0/3\nends 0.00"] * 2,
        ["180\n3/3\n170-190"] * 2,
        ["85\n2/2\n80-90"] * 2,
    ]
    assert hatched(panel) == [True, True, False, False, False, False]
    depths = panels["memorized"].get_yticklabels()
    assert [label.get_text() for label in depths] == ["1", "2", "4"]
    assert not any(hatched(panels["memorized"]))


def test_phase_diagram_colors_are_shared_and_follow_the_updates(sweep):
    panels = panels_by_title(diagram.phase_diagram(sweep))
    light = lambda patch: sum(patch.get_facecolor()[:3])
    early, late = panels["memorized"].patches[0], panels["OOD generalized"].patches[2]
    assert light(early) > light(late) + 0.5
    memorized = {patch.get_facecolor() for patch in panels["memorized"].patches}
    assert len(memorized) == 1  # the same everywhere


@pytest.mark.parametrize(
    ("members", "entries"),
    [
        # An unfinished run is not called late.
        (
            [run(1, until=50, state="running", reason=None), run(2)],
            [["...\n0/1"], ["170\n1/1"]],
        ),
        ([run(2, until=-1, state="pending", reason=None)], [["...\n0/1"]]),
        # Cells that are not in the sweep stay empty.
        (
            [run(1, 0.1), run(2, 0.3)],
            [["> 230\n0/1\nends 0.00", None], [None, "170\n1/1"]],
        ),
    ],
)
def test_phase_diagram_says_what_is_not_known(members, entries):
    figure = diagram.phase_diagram(members)
    panel = panels_by_title(figure)["OOD generalized"]
    assert cell_texts(panel) == entries
    late = [">" in text for row in entries for text in row if text]
    assert hatched(panel) == late
    waits = "not known yet: unfinished runs (...)" in legend(figure)
    assert waits == any("..." in text for row in entries for text in row if text)


def test_phase_diagram_has_a_scale_with_numbers():
    only = fake_runs.make(jumps={"train": 20, "id": None, "ood": None})  # at 40
    (*_, scale) = diagram.phase_diagram([only]).axes
    low, high = scale.get_ylim()
    assert scale.get_ylabel() == "optimizer updates"
    assert any(low < tick < high for tick in scale.get_yticks())


@pytest.mark.parametrize("threshold", [None, 0.9])
def test_depth_has_a_curve_always_and_marks_where_it_is_awaited(threshold):
    jumps = {"train": 20, "id": 40, "depth": 90}
    keys = {"phases__depth_generalized": threshold, "recurrence__eval_loops": (8,)}
    one = fake_runs.make(jumps=jumps, phases__depth_loops=8, **keys)
    figure = curves.accuracy([one])
    assert "depth (8 loops)" in legend(figure)
    assert "training loop count R, depth at 8 loops." in " ".join(texts(figure))
    color = palette.SPLITS["depth"]
    (_, curve) = lines_of(figure.axes[0], color)
    assert curve.get_xdata()[np.argmax(curve.get_ydata())] == 90
    completed = [
        line.get_xdata()[0]
        for line in figure.axes[0].lines
        if line.get_marker() == "o" and line.get_markerfacecolor() == color
    ]
    assert completed == ([] if threshold is None else [90 + fake_runs.DELAY])
    only = curves.split_by_axis([one], event="depth_generalized")
    assert only.axes[0].get_ylabel() == "depth (8 loops) accuracy"
    figure = curves.accuracy([fake_runs.make(jumps=jumps, **keys)])
    assert "depth (R)" in legend(figure)


@pytest.mark.parametrize(
    "draw", [curves.accuracy, curves.split_by_axis, diagram.phase_diagram]
)
def test_nothing_to_draw(draw):
    with pytest.raises(ValueError, match="got no run"):
        draw([])


def test_runs_with_different_thresholds_show_both_of_them():
    other = run(4, phases__ood_generalized=0.8)
    figure = curves.split_by_axis([run(2), other])
    assert "at or above 0.50 or 0.80 (OOD)" in " ".join(texts(figure))
    assert list(panels_by_title(figure)) == [
        "ood generalized 0.5",
        "ood generalized 0.8",
    ]
    assert levels(figure.axes[0]) == [0.5] and levels(figure.axes[1]) == [0.8]
    assert texts(figure.axes[1]) == ["threshold\n0.80"]


FURTHER = ("half: id >= 0.5", "late: id@8 >= 0.9", "two: id[hops=2] >= 0.9")


def test_further_phases_are_bars_and_curves_of_their_splits_color():
    jumps = {"train": 20, "id": 60, "id@8": 90, "id[hops=2]": None}
    keys = {"phases__further": FURTHER, "recurrence__eval_loops": (8,)}
    one = fake_runs.make(jumps=jumps, **keys)
    figure = curves.accuracy([one])
    assert legend(figure)[:4] == [
        "train", "ID", "ID (8 loops)", "ID, hops=2",
    ]  # fmt: skip
    (panel,) = figure.axes
    shown = lines_of(panel, palette.SPLITS["id"])[::2]
    assert [curve.get_linestyle() for curve in shown] == ["-", "--", ":"]
    _, *bars = [x for x in panel.lines if len(x.get_xdata()) == 2]
    assert [(*x.get_xdata(),) for x in bars] == [
        (30, 40),
        (80, 80),
        (80, 80),
        (110, 110),
    ]
    heights = [x.get_ydata()[0] for x in bars]
    assert heights == sorted(heights, reverse=True) and len(set(heights)) == 4
    header = " ".join(texts(figure))
    assert "0.50 (ID), 0.90 (ID (8 loops)), 0.90 (ID, hops=2)" in header
    titles = [p.get_title() for p in diagram.phase_diagram([one]).axes[:5]]
    assert titles == ["memorized", "ID generalized", "half", "late", "two"]


def test_a_panel_whose_runs_lack_the_last_phase_is_ranked_by_its_own():
    jumps = {"train": 20, "id": 60, "id@8": 90}
    late = {"phases__further": "late: id@8 >= 0.9", "recurrence__eval_loops": (8,)}
    one = [fake_runs.make(jumps=jumps, seed=seed, **late) for seed in (0, 1)]
    other = [
        fake_runs.make(jumps=jumps | {"id": at}, seed=seed, recurrence__eval_loops=(8,))
        for seed, at in enumerate((60, 90, 120))
    ]
    figure = curves.accuracy([*one, *other])
    header = " ".join(texts(figure))
    assert "R = 2 (or as named)." in header and "by updates to the last phase" in header
    panel = figure.axes[0]
    bars = [x for x in panel.lines if len(x.get_xdata()) == 2][1:]
    assert [x.get_xdata()[1] for x in bars] == [40, 110]  # of the second seed
    assert "by updates to ID (8 loops)" in " ".join(texts(curves.accuracy(one)))


def test_what_is_only_shown_is_said_not_to_end_a_run(sweep):
    shown = fake_runs.staged(2, 90, phases__shown=("ood_generalized",))
    (said,) = {words.end_note([shown]), words.end_note([shown, *sweep])}
    assert said == "A run ends once all phases but OOD generalized have completed."


def widths(**options):
    return [run(2, model__width=width, **options) for width in (16, 24, 32)]


def test_one_axis_of_ones_own_has_a_panel_a_line_and_a_field_for_each_value():
    members = widths()
    titles = ["width 16", "width 24", "width 32"]
    assert list(panels_by_title(curves.accuracy(members))) == titles
    lines = curves.split_by_axis(members, chance=0.1)
    assert texts(lines)[0].startswith("OOD completes in 1 of 1 run with width 16, 1 of")
    assert legend(lines)[:3] == titles
    assert len({handle.get_color() for handle in lines.legends[0].legend_handles}) == 4
    (panel,) = lines.axes
    assert "loop count R = 2." in " ".join(texts(lines))
    strip = panels_by_title(diagram.phase_diagram(members))["OOD generalized"]
    assert cell_texts(strip) == [["170\n1/1"]] * 3
    assert [label.get_text() for label in strip.get_yticklabels()] == []
    first = diagram.phase_diagram(members).axes[0]
    assert [label.get_text() for label in first.get_yticklabels()] == ["16", "24", "32"]


@pytest.mark.exhaustive
def test_more_than_two_axes_are_a_list_of_cells():
    members = [
        run(loops, decay, optimizer__name=name)
        for loops in (1, 2)
        for decay in (0.1, 0.3)
        for name in ("adamw", "muon")
    ]
    figure = diagram.phase_diagram(members)
    labels = figure.axes[0].get_yticklabels()
    figure.canvas.draw()
    assert all(label.get_window_extent().x0 > 0 for label in labels)
    names = [label.get_text() for label in labels]
    assert len(names) == 8 and names[-1] == "R = 2, decay 0.3, optimizer muon"
    assert cell_texts(figure.axes[2])[-1] == ["170   1/1"]
    (low, high) = figure.axes[0].get_ylim()
    assert low > high  # The first cell is at the top.
    titles = list(panels_by_title(curves.accuracy(members)))
    assert titles == [f"R = {r}, decay {d}" for r in (1, 2) for d in (0.1, 0.3)]
    sparse = list(panels_by_title(curves.accuracy(members[:-1])))
    assert sparse[0] == "R = 1, decay 0.1,\noptimizer adamw" and len(sparse) == 7
    made = studies.of_sweep(members)
    assert list(made) == ["accuracy", "ood_by_depth", "phase_diagram"]
    assert len(panels_by_title(made["ood_by_depth"])) == 4


def test_models_that_differ_in_loops_and_blocks_stand_side_by_side():
    blocks = {"model__preset": "custom", "model__core_blocks": 2}
    members = [
        run(loops, decay, **blocks | {"model__core_blocks": count})
        for loops, count in ((1, 2), (1, 4), (2, 2))
        for decay in (0.1, 0.3)
    ]
    figure = curves.accuracy(members, {"ood": 0.25, "id": 0.1})
    names = ["R = 1, 2 blocks", "R = 1, 4 blocks", "R = 2, 2 blocks"]
    assert list(panels_by_title(figure)) == names and len(figure.axes) == 6
    assert texts(figure)[0] == (
        "OOD completes in 0 of 4 runs with R = 1, 2 of 2 with R = 2; "
        "train and ID in all"
    )
    assert "chance (0.25)" in legend(figure)
    assert [0.25] in [list(line.get_ydata())[:1] for line in figure.axes[0].lines]


@pytest.mark.exhaustive
def test_a_page_says_how_many_cells_it_has_no_room_for():
    members = [
        run(2, x / 100, model__width=8 * y, until=20)
        for x in range(9)
        for y in range(1, 9)
    ]
    figure = curves.accuracy(members)
    assert len(panels_by_title(figure)) == 60
    assert "The first 60 of 72 cells; the table has them all." in texts(figure)
    assert not any("cells" in text for text in texts(curves.accuracy(members[:60])))


def test_values_that_no_lines_can_tell_have_no_figure_of_lines():
    members = [run(2, optimizer__learning_rate=x / 1000) for x in range(1, 11)]
    assert list(studies.of_sweep(members)) == ["accuracy", "phase_diagram"]
    assert list(studies.of_sweep(members[1:]))[1] == "ood_by_learning_rate"


@pytest.mark.exhaustive
def test_long_names_and_wide_grids_stay_on_the_page():
    members = [
        run(2, model__width=8 * width, task__kwargs__ood_share=share)
        for width in range(1, 8)
        for share in (0.05, 0.123456789)
    ]
    for figure in studies.of_sweep(members).values():
        figure.canvas.draw()
        page_box = figure.bbox
        for text in [*figure.texts, *(t for panel in figure.axes for t in panel.texts)]:
            box = text.get_window_extent()
            assert 0 <= box.x0 and box.x1 <= page_box.x1, text
        for panel in figure.axes:
            for label in panel.get_yticklabels():
                assert label.get_window_extent().x0 >= 0
    wide = [run(2, decay, model__width=8 * w) for decay in (0, 1) for w in range(1, 10)]
    drawn = diagram.phase_diagram(wide)
    fields = [panel.get_position().width * page.WIDTH / 9 for panel in drawn.axes[:3]]
    assert min(fields) > 0.46  # inches, for an entry


def test_where_other_seeds_differ_runs_are_named_and_not_seeds():
    graphs = [
        run(2, seed=seed, task__seed=graph) for seed in (0, 1) for graph in (0, 1)
    ]
    figure = curves.accuracy(graphs)
    assert legend(figure)[-1] == "completed, other runs"
    assert "the run of the median rank" in " ".join(texts(figure))


@pytest.mark.parametrize("change", ["gone", "another"])
def test_the_chance_of_another_table_is_not_drawn(change, tmp_path):
    file = tmp_path / "task.py"
    file.write_text(TASK)
    base = presets.config_of(f"{file}:task", "smoke")
    member = fake_runs.make(jumps={"train": 20, "id": 40}, base=base)
    member = dataclasses.replace(member, folder=tmp_path / member.run_id)
    (drawn,) = [f for n, f in studies.of_sweep([member]).items() if "id_by" in n]
    assert texts(drawn.axes[0])[1] == "chance\n0.50"
    if change == "gone":
        file.unlink()
    else:
        member.folder.mkdir()
        (member.folder / "environment.json").write_text('{"table": "another"}')
    (drawn,) = [f for n, f in studies.of_sweep([member]).items() if "id_by" in n]
    assert texts(drawn.axes[0]) == ["threshold\n0.95"]


def test_axes_that_titles_and_notes_speak_of_need_not_be_shared(root):
    members = [
        run(2, recurrence__eval_loops=(4, 8), phases__depth_loops=n) for n in (None, 8)
    ]
    assert words.split_name(members, "depth") == "depth (R or 8 loops)"
    assert "depth at R or 8 loops" in " ".join(texts(curves.accuracy(members)))
    base = configs.load(f"{root}/configs/modular.py:cpu")
    primes = [
        fake_runs.make(
            jumps={"train": 20, "id": 40}, base=base, task__kwargs__modulus=modulus
        )
        for modulus in (31, 37)
    ]
    assert words.task_name(primes) == "modular (add)"
    by_modulus = studies.of_sweep(primes)["id_by_modulus"]
    assert texts(by_modulus.axes[0]) == ["threshold\n0.95"]  # There are two chances.
    alone = studies.of_sweep(primes[:1])["id_by_depth"]
    assert texts(alone.axes[0]) == ["threshold\n0.95", "chance\n0.03"]
    pending = fake_runs.make(jumps={}, base=base, until=-1, state="pending")
    assert list(studies.of_sweep([pending]))[1] == "id_by_depth"
    assert words.task_name([*primes, *members]) == "2 tasks"


def test_the_name_of_modular_arithmetic_says_which(sweep, root):
    assert words.task_name(sweep) == "knowledge composition"
    base = configs.load(f"{root}/configs/modular.py:cpu")
    one = fake_runs.make(jumps={"train": 20, "id": 40}, base=base)
    assert words.task_name([one]) == "modular (add, p = 31)"
