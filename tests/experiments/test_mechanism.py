"""The study of mechanism, on stored analyses that are made up."""

import itertools

import numpy as np
import pytest
from rich.console import Console

from rdt_jax import config as configs
from rdt_jax.analysis import binding, geometry, lens, patching, stages
from tests import fake_runs

LOOPS, BLOCKS, DECAY = (
    "recurrence.num_loops", "model.core_blocks", "optimizer.weight_decay",
)  # fmt: skip
TRAIN, ID, OOD = range(3)
BRIDGE, TARGET = range(2)
HEAD, FIRST, ANSWER = range(3)
MEMORIZED, GENERALIZED = "memorized-after-20", "id_generalized-after-40"
PASSED, FINAL = "ood_generalized-after-90", "final"
PRESETS = ("smoke", "cpu", "cpu_long", "paper", "paper_code")

# The claims, in their order.
(WITHOUT_BRIDGE, BRIDGE_FIRST, IN_FIRST_LOOP, LATER, NO_TARGET, FIRST_LOOP, GROWS,
 IN_TURN, ALIGNS) = range(9)  # fmt: skip


@pytest.fixture(scope="module")
def study(root):
    path = root / "experiments" / "mechanism" / "study.py"
    return configs.load_module(path, "study")


def places(depth, loops=2):
    """Stage, loop and block of `depth` blocks, and of the embedding before them."""
    blocks = depth // loops
    stage = np.array([0, *depth * [2]])
    loop_of = np.array([0, *(1 + np.arange(depth) // blocks)])
    return stage, loop_of, np.array([0, *(1 + np.arange(depth) % blocks)])


def lens_of(bridge, target, loops=2):
    """A Lens; bridge at r1 and target at the answer are {group: by depth}."""
    depth = len(next(iter(bridge.values()))) - 1
    accuracy = np.full((3, 2, depth + 1, 3), 0.02)
    for what, values, position in ((BRIDGE, bridge, FIRST), (TARGET, target, ANSWER)):
        for group, shares in values.items():
            accuracy[group, what, :, position] = shares
    return lens.Lens(
        accuracy, accuracy, 2 - accuracy, np.array(2), np.full(3, 50),
        *places(depth, loops),
    )  # fmt: skip


def patching_of(at_r1, rows=(50, 50, 50), loops=2):
    """A Patching whose shares and effects are all `at_r1`, by depth."""
    depth = len(at_r1)
    shares = np.zeros((3, depth, 3))
    shares[:, :, FIRST] = at_r1
    rows = np.array(rows)
    shares[rows == 0] = np.nan
    return patching.Patching(
        *4 * (shares,), rows, rows, *(x[1:] for x in places(depth, loops))
    )


def binding_of(to_head, to_first, loops=2):
    """A Binding of two heads, the second of which attends to nothing much."""
    depth = len(to_head)
    weights = np.full((3, depth, 2, 3, 3), 0.1)
    weights[:, :, 0, FIRST, HEAD] = to_head
    weights[:, :, 0, ANSWER, FIRST] = to_first
    return binding.Binding(
        weights, weights, weights[..., 0], np.array(2), np.full(3, 50),
        *(x[1:] for x in places(depth, loops)),
    )  # fmt: skip


def geometry_of(ood, loops=2):
    own = np.zeros((3, len(ood)))
    own[OOD] = ood
    depth = len(ood) - 1
    ranks = np.ones((2, depth + 1))
    return geometry.Geometry(
        own, 0 * own, own, 0 * own, own[0], own[0], ranks, ranks, np.full(3, 50),
        *places(depth, loops),
    )  # fmt: skip


LOW, HIGH = 5 * [0.02], [0.02, 0.6, 0.9, 0.9, 0.9]
LATE = [0.02, 0.02, 0.1, 0.9, 0.9]


def looped_model():
    """Checkpoint -> what -> result, as published, in two loops of two blocks."""
    attention = binding_of([0.9, 0.2, 0.2, 0.2], [0.2, 0.2, 0.9, 0.2])
    causal = patching_of([0, 0.8, 0.9, 0.1])
    early = {
        "lens": lens_of({TRAIN: LOW, OOD: LOW}, {TRAIN: LATE, OOD: LOW}),
        "patching": patching_of([0, 0.2, 0.3, 0.1], rows=(50, 0, 0)),
        "binding": attention,
        "geometry": geometry_of(5 * [0.1]),
    }
    middle = early | {
        "lens": lens_of({TRAIN: HIGH, OOD: LOW}, {TRAIN: LATE, OOD: LOW}),
        "patching": patching_of([0, 0.8, 0.9, 0.1], rows=(50, 50, 0)),
    }
    late = {
        "lens": lens_of({TRAIN: HIGH, OOD: HIGH}, {TRAIN: LATE, OOD: LATE}),
        "patching": causal,
        "binding": attention,
        "geometry": geometry_of([0.1, 0.4, 0.6, 0.6, 0.6]),
    }
    return {MEMORIZED: early, GENERALIZED: middle, PASSED: late, FINAL: late}


def vanilla_model():
    """Four blocks without a loop: the OOD bridge comes last, the OOD target never."""
    found = looped_model()
    found[FINAL] = found[GENERALIZED] | {
        "lens": lens_of(
            {TRAIN: HIGH, OOD: [0.02, 0.02, 0.1, 0.2, 0.6]},
            {TRAIN: LATE, OOD: LOW},
            loops=1,
        ),
        "geometry": geometry_of([0.1, 0.1, 0.1, 0.2, 0.2], loops=1),
    }
    del found[PASSED]
    return found


@pytest.fixture
def world(monkeypatch):
    """Runs of both models, whose stored analyses can be changed: (runs, analyses)."""
    runs, analyses = [], {}
    for (loops, blocks), seed in itertools.product(((2, 2), (1, 4)), (0, 1)):
        ood = 80 if loops == 2 else None
        run = fake_runs.make(
            jumps={"train": 20, "id": 40, "ood": ood},
            loops=loops,
            seed=seed,
            model__core_blocks=blocks,
            task__kwargs__answer_at="pad",
        )
        runs.append(run)
        analyses[run.run_id] = looped_model() if loops == 2 else vanilla_model()

    def of_kind(run, kind):
        names = analyses[run.run_id]
        return [n for n in names if kind in (n, n.rpartition("-")[0])]

    def load(run, what, checkpoint):
        return analyses[run.run_id][checkpoint].get(what)

    monkeypatch.setattr(stages.stored, "of_kind", of_kind)
    monkeypatch.setattr(stages.stored, "load", load)
    return runs, analyses


@pytest.mark.parametrize("preset", PRESETS)
def test_a_control_is_as_deep_as_a_looped_model(study, root, preset):
    base = configs.load(f"{root / study.CONFIG}:{preset}")
    trials = [configs.override(base, trial) for trial in study.sweep(preset)]
    depths = {t.recurrence.num_loops * t.model.core_blocks for t in trials}
    controls = {t.model.core_blocks for t in trials if t.recurrence.num_loops == 1}
    assert 4 in controls or 8 in controls
    assert controls & depths


def test_where_it_is_as_published_every_claim_holds(study, world):
    found = study.claims(world[0])
    assert [claim.holds for claim in found] == 9 * [True]
    assert {claim.seeds for claim in found} == {2}
    assert "from depth 1, target from depth 3" in found[BRIDGE_FIRST].measured
    assert "depth 1 with loops, 4 without" in found[LATER].measured


def with_lens(bridge, target, loops=2):
    return {"lens": lens_of(bridge, target, loops)}


# Claim, whose run (its index), the checkpoint, and what is stored there instead.
BREAKING = [
    (WITHOUT_BRIDGE, 0, MEMORIZED, with_lens({TRAIN: HIGH}, {TRAIN: LATE})),
    (WITHOUT_BRIDGE, 1, MEMORIZED, with_lens({TRAIN: LOW}, {TRAIN: LOW})),
    (BRIDGE_FIRST, 0, PASSED, with_lens({OOD: LATE}, {OOD: LATE})),
    (BRIDGE_FIRST, 1, PASSED, with_lens({OOD: LOW}, {OOD: LATE})),
    # A target that is never decodable comes after nothing.
    (BRIDGE_FIRST, 0, PASSED, with_lens({OOD: HIGH}, {OOD: LOW})),
    (IN_FIRST_LOOP, 1, PASSED, with_lens({OOD: LATE}, {OOD: [0, 0, 0, 0, 0.9]})),
    (NO_TARGET, 2, FINAL, with_lens({OOD: LOW}, {OOD: [0, 0, 0, 0.2, 0]}, 1)),
    (FIRST_LOOP, 0, PASSED, {"patching": patching_of([0, 0.8, 0.9, 0.7])}),
    (FIRST_LOOP, 1, PASSED, {"patching": patching_of([0.9, 0.2, 0.3, 0.1])}),
    (IN_TURN, 0, PASSED, {"binding": binding_of(4 * [0.3], 4 * [0.9])}),
    # r1 sees h and itself: that is not attending to h.
    (IN_TURN, 1, PASSED, {"binding": binding_of(4 * [0.6], 4 * [0.9])}),
    (IN_TURN, 0, PASSED, {"binding": binding_of(4 * [0.9], 4 * [0.6])}),
    (IN_TURN, 1, PASSED, {"binding": binding_of(4 * [0.9], [0.9, 0.9, 0.2, 0.2])}),
    (ALIGNS, 0, PASSED, {"geometry": geometry_of(5 * [0.05])}),
]


@pytest.mark.parametrize(("claim", "index", "checkpoint", "instead"), BREAKING)
def test_one_run_that_differs_breaks_a_claim(
    study, world, claim, index, checkpoint, instead
):
    runs, analyses = world
    analyses[runs[index].run_id][checkpoint] |= instead
    assert study.claims(runs)[claim].holds is False


def test_a_claim_about_medians_is_broken_by_all_runs(study, world):
    runs, analyses = world
    early = with_lens({OOD: HIGH}, {OOD: LOW}, 1)
    for run in runs[2:]:
        analyses[run.run_id][FINAL] |= early
    assert study.claims(runs)[LATER].holds is False
    for run in runs[2:]:
        analyses[run.run_id][FINAL] |= {"geometry": geometry_of(5 * [0.9], 1)}
    assert study.claims(runs)[ALIGNS].holds is False
    for run in runs:
        analyses[run.run_id][GENERALIZED]["patching"] = patching_of(4 * [0.05])
    assert study.claims(runs)[GROWS].holds is False


def test_what_no_run_decides_is_not_tested(study, world):
    runs, analyses = world
    assert [claim.holds for claim in study.claims([])] == 9 * [None]
    assert all("missing: " in claim.measured for claim in study.claims([]))
    of = lambda members: [claim.holds for claim in study.claims(members)]
    needs_both = (LATER, ALIGNS)
    for index, holds in enumerate(of(runs[:2])):  # Without a control.
        known = index not in (*needs_both, NO_TARGET)
        assert holds is (True if known else None)
    for index, holds in enumerate(of(runs[2:])):  # Controls alone.
        assert holds is (True if index in (NO_TARGET, GROWS) else None)
    for run in runs:
        for stored in analyses[run.run_id].values():
            stored.clear()
    assert of(runs) == 9 * [None]


def test_looped_runs_that_never_combine_are_not_what_is_asked_about(study, world):
    runs, analyses = world
    for run in runs[:2]:
        forget(run, "ood_generalized")
        del analyses[run.run_id][PASSED]
    found = study.claims(runs)
    for index in COMBINING:
        assert found[index].holds is None
        assert "runs measured" not in found[index].measured
    for index in (BRIDGE_FIRST, IN_FIRST_LOOP, FIRST_LOOP, IN_TURN):
        assert found[index].measured.endswith(
            "missing: a looped run that completes OOD."
        )


# The claims about looped models that combine OOD facts.
COMBINING = (BRIDGE_FIRST, IN_FIRST_LOOP, LATER, FIRST_LOOP, IN_TURN, ALIGNS)


def forget(run, event):
    """Takes an event out of a run, which then never came to it."""
    run.events[:] = [row for row in run.events if row["event"] != event]


@pytest.mark.parametrize("claim", [WITHOUT_BRIDGE, *COMBINING, GROWS])
def test_a_looped_run_without_its_analysis_is_counted_and_waited_for(
    study, world, claim
):
    runs, analyses = world
    for stored in analyses[runs[0].run_id].values():
        stored.clear()
    found = study.claims(runs)[claim]
    assert found.holds is None
    count = {LATER: "3 of 4", ALIGNS: "3 of 4", GROWS: "3 of 4"}.get(claim, "1 of 2")
    assert f"; {count} runs measured; missing: the " in found.measured
    assert " of 1 run" in found.measured.partition("missing: ")[2]


@pytest.mark.parametrize("claim", COMBINING)
def test_a_looped_run_that_still_trains_is_waited_for(study, world, claim):
    runs, analyses = world
    forget(runs[0], "ood_generalized")
    runs[0].status["state"] = "running"
    del analyses[runs[0].run_id][PASSED], analyses[runs[0].run_id][FINAL]
    found = study.claims(runs)[claim]
    assert found.holds is None
    assert "missing: the end of 1 run" in found.measured
    # It has come to what the others are asked about.
    early = study.claims(runs)[WITHOUT_BRIDGE]
    assert early.holds is True and "measured" not in early.measured


@pytest.mark.parametrize(
    ("claim", "checkpoint", "instead"),
    [(claim, at, what) for claim, index, at, what in BREAKING if index == 1],
)
def test_what_one_run_decides_against_waits_for_no_other(
    study, world, claim, checkpoint, instead
):
    runs, analyses = world
    analyses[runs[1].run_id][checkpoint] |= instead
    for stored in analyses[runs[0].run_id].values():
        stored.clear()
    found = study.claims(runs)[claim]
    assert found.holds is False
    assert "1 of 2 runs measured." in found.measured


def test_a_median_waits_for_runs_that_may_move_it_only(study, world):
    runs, analyses = world
    later = runs[3]
    later.status["state"] = "running"
    at_once = with_lens({OOD: HIGH}, {OOD: LOW}, 1)
    analyses[runs[2].run_id][FINAL] |= at_once
    assert study.claims(runs)[LATER].holds is None  # It may come at none.
    analyses[runs[0].run_id][PASSED] |= with_lens({OOD: LOW}, {OOD: LATE})
    analyses[runs[1].run_id][PASSED] |= with_lens({OOD: LOW}, {OOD: LATE})
    assert study.claims(runs)[LATER].holds is False  # At none, with loops.
    analyses[runs[2].run_id][FINAL] |= {"geometry": geometry_of(5 * [0.9], 1)}
    found = study.claims(runs)[ALIGNS]
    assert found.holds is None and "1 run without loops" in found.measured
    analyses[runs[0].run_id][PASSED] |= {"geometry": geometry_of(5 * [0.05])}
    assert study.claims(runs)[ALIGNS].holds is False  # One falls.


def test_controls_alone_decide_no_comparison(study, world):
    runs, analyses = world
    for run in runs[:2]:
        forget(run, "ood_generalized")
        run.status["state"] = "running"
    for run in runs[2:]:
        analyses[run.run_id][FINAL] |= with_lens({OOD: 5 * [0.9]}, {OOD: LOW}, 1)
    found = study.claims(runs)[LATER]
    assert found.holds is None
    assert "missing: the end of 2 runs with loops." in found.measured


def test_a_model_of_another_depth_is_not_waited_for(study, world):
    runs, _ = world
    other = fake_runs.make(
        jumps={"train": 20, "id": 40, "ood": None},
        loops=1,
        until=50,
        state="running",
        model__core_blocks=8,
    )
    world[1][other.run_id] = {}
    found = study.claims([*runs, other])
    assert found[LATER].holds is True and "measured" not in found[LATER].measured
    assert found[NO_TARGET].holds is None


def test_patching_says_what_it_lacks(study, world):
    runs, analyses = world
    without = {"patching": patching_of([0, 0.8, 0.9, 0.1], rows=(50, 50, 0))}
    analyses[runs[0].run_id][PASSED] |= without
    found = study.claims(runs)[FIRST_LOOP]
    assert found.holds is True
    assert "; 1 run without a question that counts" in found.measured
    analyses[runs[1].run_id][PASSED] |= without
    found = study.claims(runs)[FIRST_LOOP]
    assert found.holds is None
    assert "missing: questions that count, answered by the clean" in found.measured
    for run in runs[:2]:
        run.config.model.core_blocks = 1
    found = study.claims(runs)[FIRST_LOOP]
    assert found.holds is None
    assert found.measured.endswith(
        "missing: a looped run that completes OOD, of two or more blocks."
    )


def test_where_facts_are_answered_at_r1_they_alone_bring_the_bridge_there(study, world):
    runs, _ = world
    for run in runs:
        run.config.task.kwargs.answer_at = "last"
    found = study.claims(runs)
    assert found[WITHOUT_BRIDGE].holds is None
    assert "task.kwargs.answer_at" in found[WITHOUT_BRIDGE].measured
    assert all(claim.holds for claim in found[WITHOUT_BRIDGE + 1 :])


def test_an_unfinished_control_decides_nothing(study, world):
    runs, analyses = world
    for run in runs[2:]:
        run.status["state"] = "running"
    found = study.claims(runs)
    assert found[NO_TARGET].holds is None and found[LATER].holds is None
    assert "the end of 2 runs" in found[NO_TARGET].measured
    for run in runs[2:]:  # Over, but without having learned ID.
        run.status["state"] = "done"
        forget(run, "id_generalized")
        del analyses[run.run_id][GENERALIZED]
    found = study.claims(runs)
    assert found[NO_TARGET].holds is None and found[LATER].holds is None


def test_a_run_that_generalized_before_it_memorized_says_nothing_of_growth(
    study, world
):
    runs, analyses = world
    for run in runs:
        for row in run.events:
            if row["event"] == "memorized":
                row["step"] = 80
        stored = analyses[run.run_id]
        stored["memorized-after-80"] = stored.pop(MEMORIZED)
    found = study.claims(runs)[GROWS]
    assert found.holds is None
    assert "runs that memorize before they generalize to ID" in found.measured


def grows(study, world, pairs):
    """The claim that the cause grows, of runs that begin and end at given effects."""
    runs, analyses = world
    for run, (before, after) in zip(runs, pairs, strict=True):
        for checkpoint, effect in ((MEMORIZED, before), (GENERALIZED, after)):
            stored = analyses[run.run_id][checkpoint] = {
                **analyses[run.run_id][checkpoint]
            }
            stored["patching"] = patching_of([0, effect, 0, 0])
    return study.claims(runs)[GROWS]


@pytest.mark.parametrize(
    ("pairs", "holds"),
    [
        (4 * [(0.4, 0.8)], True),
        (4 * [(0.4, 0.45)], False),  # Less than counts as growth.
        (4 * [(0.97, 0.98)], None),  # At the ceiling.
        (3 * [(0.97, 0.98)] + [(0.4, 0.8)], True),
        (3 * [(0.97, 0.98)] + [(0.4, 0.41)], False),
        (3 * [(0.4, 0.8)] + [(0.8, 0.4)], True),
    ],
)
def test_a_cause_grows_by_some_and_from_below_the_ceiling(study, world, pairs, holds):
    found = grows(study, world, pairs)
    assert found.holds is holds
    full = sum(before > 0.9 for before, _ in pairs)
    assert ("; 3 with 0.9 or more at memorization" in found.measured) is (full == 3)
    if holds is None:
        assert "then have an effect below 0.9" in found.measured


def test_growth_waits_for_what_may_still_memorize_first(study, world):
    runs, _ = world
    runs[0].status["state"] = "running"
    forget(runs[0], "id_generalized")
    found = grows(study, world, 4 * [(0.4, 0.8)])
    assert found.holds is None
    assert "; 3 of 4 runs measured; missing: the end of 1 run." in found.measured
    assert grows(study, world, 4 * [(0.4, 0.41)]).holds is False


def test_growth_is_not_read_off_patching_without_questions(study, world):
    runs, analyses = world
    for run in runs[1:]:
        empty = patching_of([0, 0.2, 0.3, 0.1], rows=(0, 0, 0))
        analyses[run.run_id][MEMORIZED] |= {"patching": empty}
    found = study.claims(runs)[GROWS]
    assert found.holds is True
    assert "; 3 runs without a question that counts" in found.measured


def test_the_figures_draw_what_is_stored(study, world):
    runs, analyses = world
    figures = study.figures(runs)
    assert list(figures) == ["lens", "patching", "attention", "geometry"]
    panels = figures["lens"].axes
    assert len(panels) == 6
    assert [p.get_title() for p in panels[:3]] == list(stages.NAMES.values())
    drawn = [line.get_ydata() for line in panels[2].lines]
    for expected in (HIGH, LATE):
        assert any(np.array_equal(values, expected) for values in drawn)
    rows = [t.get_text() for p in panels for t in p.texts]
    assert "2 x 2 blocks" in rows and "1 x 4 blocks" in rows and "n = 2" in rows
    maps = [axis for axis in figures["patching"].axes if axis.images]
    np.testing.assert_array_equal(
        maps[-1].images[0].get_array()[FIRST], [0, 0.8, 0.9, 0.1]
    )
    for run in runs[2:]:
        analyses[run.run_id].clear()
    figures = study.figures(runs)
    for figure in figures.values():
        texts = [t.get_text() for axis in figure.axes for t in axis.texts]
        assert texts.count("no run with this analysis") == 3
    figures["patching"].draw_without_rendering()
    with pytest.raises(ValueError, match="must share one task.name, got no run"):
        study.figures([])


def test_the_table_has_a_row_per_model_and_stage(study, world):
    console = Console(width=80, record=True)
    console.print(study.table(world[0]))
    text = console.export_text()
    assert "2 x 2 blocks" in text and "1 x 4 blocks" in text
    (line,) = [
        row for row in text.splitlines() if "OOD" in row and "0.90       0.90" in row
    ]
    assert line.split()[-5:] == ["2", "0.90", "0.90", "0.90", "0.60"]
    # Without a question that counts nothing is recovered.
    assert any(row.split()[-2:] == ["-", "0.10"] for row in text.splitlines())
