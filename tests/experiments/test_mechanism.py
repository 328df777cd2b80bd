"""The study of mechanism, on stored analyses that are made up."""

import numpy as np
import pytest

from experiments.mechanism import study
from rdt_jax import config as configs
from rdt_jax.analysis import stages
from tests import fake_runs
from tests.experiments import verdicts
from tests.fake_inside import (
    FIRST,
    OOD,
    TRAIN,
    geometry_of,
    knockout_of,
    lens_of,
    patching_of,
)

MEMORIZED, GENERALIZED = "memorized-after-20", "id_generalized-after-40"
PASSED, FINAL = "ood_generalized-after-90", "final"

# The claims, in their order.
NUMBER = 10
(WITHOUT_BRIDGE, BRIDGE_FIRST, IN_FIRST_LOOP, LATER, NO_TARGET, FIRST_LOOP, GROWS,
 READS_H, READS_R1, ALIGNS) = range(NUMBER)  # fmt: skip
# Those about looped models that combine OOD facts.
COMBINING = (BRIDGE_FIRST, IN_FIRST_LOOP, FIRST_LOOP, READS_H, READS_R1, ALIGNS)

ask = verdicts.asked(study.claims, range(NUMBER))


LOW, HIGH = 5 * [0.02], [0.02, 0.6, 0.9, 0.9, 0.9]
LATE = [0.02, 0.02, 0.1, 0.9, 0.9]
# What is lost without the edge in each loop alone, and in all loops but each.
FIRST_NEEDED, SECOND_NEEDED = ([0.9, 0], [0, 0.9]), ([0, 0.9], [0.9, 0])


def looped_model(combines):
    """Checkpoint -> what -> result, as published, in two loops of two blocks."""
    early = {
        "lens": lens_of({TRAIN: LOW, OOD: LOW}, {TRAIN: LATE, OOD: LOW}),
        "patching": patching_of([0, 0.2, 0.3, 0.1], rows=(50, 0, 0)),
        "geometry": geometry_of(5 * [0.1]),
    }
    middle = early | {
        "lens": lens_of({TRAIN: HIGH, OOD: LOW}, {TRAIN: LATE, OOD: LOW}),
        "patching": patching_of([0, 0.8, 0.9, 0.1], rows=(50, 50, 0)),
    }
    if not combines:
        return {MEMORIZED: early, GENERALIZED: middle, FINAL: {**middle}}
    late = {
        "lens": lens_of({TRAIN: HIGH, OOD: HIGH}, {TRAIN: LATE, OOD: LATE}),
        "patching": patching_of([0, 0.8, 0.9, 0.1]),
        "knockout": knockout_of(FIRST_NEEDED, SECOND_NEEDED),
        "geometry": geometry_of([0.1, 0.4, 0.6, 0.6, 0.6]),
    }
    return {MEMORIZED: early, GENERALIZED: middle, PASSED: late, FINAL: {**late}}


def vanilla_model():
    """Four blocks without a loop: the OOD bridge comes last, the OOD target never."""
    found = looped_model(False)
    found[FINAL] = found[GENERALIZED] | {
        "lens": lens_of(
            {TRAIN: HIGH, OOD: [0.02, 0.02, 0.1, 0.2, 0.6]},
            {TRAIN: LATE, OOD: LOW},
            loops=1,
        ),
        "geometry": geometry_of([0.1, 0.1, 0.1, 0.2, 0.2], loops=1),
    }
    return found


MODELS = 3 * ((2, 2),) + 3 * ((1, 4),) + 3 * ((4, 2),)
SEVERAL = range(3)  # indices of the looped runs that combine
ALONE, NEVER = range(3, 6), range(6, 9)  # without loops, and looped that do not combine


class World:
    """Three runs of each, whose stored analyses can be changed."""

    def __init__(self):
        self.runs, self.analyses = [], {}
        for index, (loops, blocks) in enumerate(MODELS):
            combines = index in SEVERAL
            run = fake_runs.make(
                jumps={"train": 20, "id": 40, "ood": 80 if combines else None},
                loops=loops,
                seed=index % 3,
                task__seed=index % 3,
                model__core_blocks=blocks,
                task__kwargs__answer_at="pad",
            )
            self.runs.append(run)
            looped = looped_model(combines)
            self.analyses[run.run_id] = vanilla_model() if loops == 1 else looped

    def stored(self, index):
        return self.analyses[self.runs[index].run_id]

    def store(self, index, checkpoint, what):
        self.stored(index)[checkpoint] |= what

    def clear(self, *indices):
        for index in indices:
            for kept in self.stored(index).values():
                kept.clear()

    def train(self, *indices):
        for index in indices:
            self.runs[index].status["state"] = "running"

    def forget(self, index, event):
        """Takes an event out of a run, which then never came to it."""
        events = self.runs[index].events
        events[:] = [row for row in events if row["event"] != event]

    def of_kind(self, run, kind):
        names = self.analyses[run.run_id]
        return [n for n in names if kind in (n, n.rpartition("-")[0])]

    def load(self, run, what, checkpoint):
        return self.analyses[run.run_id][checkpoint].get(what)

    def ask(self, claim, *expected):
        return ask(claim, self.runs, *expected)


@pytest.fixture
def world(monkeypatch):
    made = World()
    monkeypatch.setattr(stages.stored, "of_kind", made.of_kind)
    monkeypatch.setattr(stages.stored, "load", made.load)
    return made


@pytest.mark.parametrize("preset", study.SWEEPS)
def test_a_control_is_as_deep_as_a_looped_model(root, preset):
    base = configs.load(f"{root / study.CONFIG}:{preset}")
    trials = [configs.override(base, trial) for trial in study.sweep(preset)]
    depths = {t.recurrence.num_loops * t.model.core_blocks for t in trials}
    controls = {t.model.core_blocks for t in trials if t.recurrence.num_loops == 1}
    assert controls & {4, 8} and controls & depths


def test_where_it_is_as_published_every_claim_holds(world):
    numbers = {BRIDGE_FIRST: "3 1 3", LATER: "3 1 4", READS_H: "3 0.90 0"}
    for claim in range(NUMBER):
        found = world.ask(claim, True, numbers.get(claim, ""))
        assert found.seeds == found.graphs == 3 and found.test
    assert found.test == "rank-sum over runs" and found.p_value == 0.1


def with_lens(bridge, target, loops=2, **controls):
    return {"lens": lens_of(bridge, target, loops, **controls)}


def with_knockout(first_hop=FIRST_NEEDED, second_hop=SECOND_NEEDED, **rows):
    return {"knockout": knockout_of(first_hop, second_hop, **rows)}


# Claim, of which runs, the checkpoint, and what is stored there instead.
BREAKING = [
    (WITHOUT_BRIDGE, SEVERAL, MEMORIZED, with_lens({TRAIN: HIGH}, {TRAIN: LATE})),
    (BRIDGE_FIRST, SEVERAL, PASSED, with_lens({OOD: LATE}, {OOD: LATE})),
    (BRIDGE_FIRST, SEVERAL, PASSED, with_lens({OOD: LOW}, {OOD: LATE})),
    (IN_FIRST_LOOP, SEVERAL, PASSED, with_lens({OOD: LATE}, {OOD: LATE})),
    # What the untrained model shows as well was not learned.
    (IN_FIRST_LOOP, SEVERAL, PASSED, with_lens({OOD: HIGH}, {}, untrained=0.5)),
    (IN_FIRST_LOOP, SEVERAL, PASSED, with_lens({OOD: [0.5, *HIGH[1:]]}, {})),
    (NO_TARGET, ALONE, FINAL, with_lens({OOD: LOW}, {OOD: [0, 0, 0, 0.2, 0]}, 1)),
    (FIRST_LOOP, SEVERAL, PASSED, {"patching": patching_of([0.9, 0.2, 0.3, 0.1])}),
    (READS_H, SEVERAL, PASSED, with_knockout(first_hop=SECOND_NEEDED)),
    (READS_R1, SEVERAL, PASSED, with_knockout(second_hop=FIRST_NEEDED)),
]


@pytest.mark.parametrize(("claim", "indices", "checkpoint", "instead"), BREAKING)
def test_most_runs_decide(world, claim, indices, checkpoint, instead):
    del world.runs[NEVER[0] :]
    one, two, three = indices
    world.store(one, checkpoint, instead)
    world.ask(claim, True, "2 3")
    if indices is SEVERAL:
        world.clear(two)  # Which may be as either of the others.
        world.ask(claim, None, "1 2", "of 1 run")
    world.store(two, checkpoint, instead)
    world.ask(claim, False, "1 3")
    world.clear(three)  # It waits for no other.
    world.ask(claim, False, "0 2")


# As BREAKING, of what cannot tell.
OPEN = [
    (BRIDGE_FIRST, with_lens({OOD: HIGH}, {OOD: LOW}), "a target"),
    (FIRST_LOOP, {"patching": patching_of([0, 0.8, 0.9, 0.1], (50, 50, 19))}, "20"),
    (READS_H, with_knockout(rows=(50, 50, 19)), "20 answered"),
    (READS_H, with_knockout(first_hop=([0.9, 0.9], [0.81, 0.9])), "of 0.1"),
    (READS_R1, with_knockout(second_hop=([0.9, 0.9], [0.99, 0.9])), "of 0.1"),
]


@pytest.mark.parametrize(("claim", "instead", "missing"), OPEN)
def test_a_run_that_cannot_tell_counts_for_neither_side(world, claim, instead, missing):
    world.store(0, PASSED, instead)
    assert "2 runs, 1 open" in world.ask(claim, True).measured
    for index in SEVERAL:
        world.store(index, PASSED, instead)
    found = world.ask(claim, None, "", missing)
    assert found.seeds == 0


def test_what_the_embedding_alone_shows_is_no_target(world):
    for index in ALONE:
        target = [0.4, 0.4, 0.4, 0.45, 0.45]
        world.store(index, FINAL, with_lens({OOD: LOW}, {OOD: target}, 1))
    world.ask(NO_TARGET, True, "0.05")


def test_what_no_run_decides_is_not_tested(world):
    groups = (SEVERAL, ALONE, NEVER)
    looped, alone, never = ([world.runs[i] for i in each] for each in groups)
    for claim in range(NUMBER):
        ask(claim, looped, None if claim in (LATER, ALIGNS, NO_TARGET) else True)
        ask(claim, alone, True if claim in (NO_TARGET, GROWS) else None)
        ask(claim, never, True if claim in (WITHOUT_BRIDGE, GROWS) else None)
    world.clear(*range(9))
    for claim in range(NUMBER):
        world.ask(claim, None)


@pytest.mark.parametrize("claim", [*COMBINING, LATER])
def test_a_looped_run_that_still_trains_is_waited_for(world, claim):
    world.clear(1, 2)
    found = world.ask(claim, None, "", "2 pairs" if claim == LATER else "of 2 runs")
    for index in (0, 1):
        world.forget(index, "ood_generalized")
        world.train(index)
        for name in (PASSED, FINAL):
            world.stored(index).pop(name, None)
    waits = "3 pairs" if claim == LATER else "the end of 2 runs"
    found = world.ask(claim, None, "", waits)
    assert (claim == LATER) or "measured" in found.measured


def test_looped_runs_that_never_combine_are_not_what_is_asked_about(world):
    for index in SEVERAL:
        world.forget(index, "ood_generalized")
        del world.stored(index)[PASSED]
    for claim in (*COMBINING, LATER):
        missing = "past ID" if claim == LATER else "run that completes OOD"
        world.ask(claim, None, "", missing)


# The OOD bridge with loops and without: how deep, of 4, it is decodable.
DEPTHS = {1: HIGH, 2: [0.02, 0.02, 0.9, 0.9, 0.9], 3: LATE, None: LOW}


@pytest.mark.parametrize(
    ("one", "other", "holds"),
    [
        (1, 2, True), (2, None, True), (2, 1, False), (None, 3, False),
        (2, 2, None), (None, None, None),
    ],
)  # fmt: skip
def test_later_is_a_quarter_of_the_depth_in_pairs(world, one, other, holds):
    for index, depth, loops in ((0, one, 2), (1, one, 2), (3, other, 1), (4, other, 1)):
        world.store(index, FINAL, with_lens({OOD: DEPTHS[depth]}, {}, loops))
    world.runs.pop(2)
    world.ask(LATER, holds, "", "by 0.25" if holds is None else "")


def test_a_difference_below_a_quarter_of_the_depth_is_open(world):
    for index in ALONE:
        world.runs[index].config.model.core_blocks = 8
        world.store(index, FINAL, with_lens({OOD: 4 * [0] + HIGH}, {}, 1))
    for index in SEVERAL:
        world.runs[index].config.model.core_blocks = 4
        bridge = 4 * [0] + [0.6] + 4 * [0.9]
        world.store(index, FINAL, with_lens({OOD: bridge}, {}))
        world.store(index, PASSED, {"patching": patching_of(8 * [0.9])})
    found = world.ask(LATER, None, "0", "by 0.25 of the depth")
    assert "3 open" in found.measured


@pytest.mark.parametrize(
    ("key", "value"),
    [("seed", 7), ("task.seed", 7), ("task.kwargs.answer_at", "last")],
)
def test_only_runs_that_match_are_pairs(world, key, value):
    for index in ALONE:
        world.runs[index].config.update_from_flattened_dict({key: value})
    world.ask(LATER, None, "0", "of one graph and seed")


def test_runs_of_a_pair_have_had_equally_many_updates(world):
    for index in ALONE:
        world.runs[index].status["step"] += 10
    world.ask(LATER, None, "0", "equally many updates")


def test_patching_says_what_it_lacks(world):
    for run in world.runs[:3]:
        run.config.model.core_blocks = 1
    world.ask(FIRST_LOOP, None, "", "of two or more blocks")


def test_where_facts_are_answered_at_r1_they_alone_bring_the_bridge_there(world):
    for run in world.runs:
        run.config.task.kwargs.answer_at = "last"
    world.ask(WITHOUT_BRIDGE, None, "", "task.kwargs.answer_at")
    for claim in range(WITHOUT_BRIDGE + 1, NUMBER):
        world.ask(claim, True)


def test_an_unfinished_control_decides_nothing(world):
    world.train(*ALONE)
    world.ask(NO_TARGET, None, "", "the end of 3 runs")
    world.ask(LATER, None, "", "3 pairs")
    for index in ALONE:  # Over, but without having learned ID.
        world.runs[index].status["state"] = "done"
        world.forget(index, "id_generalized")
        del world.stored(index)[GENERALIZED]
    world.ask(NO_TARGET, None, "", "past ID")
    world.ask(LATER, None, "", "past ID")


def test_a_run_that_generalized_before_it_memorized_says_nothing_of_both(world):
    for index, run in enumerate(world.runs):
        for row in run.events:
            if row["event"] == "memorized":
                row["step"] = 80
        kept = world.stored(index)
        kept["memorized-after-80"] = kept.pop(MEMORIZED)
    world.ask(GROWS, None, "", "runs that memorize before")
    world.ask(WITHOUT_BRIDGE, None, "", "memorize before they generalize")


@pytest.mark.parametrize(
    ("rise", "holds"), [(0.3, True), (0.09, None), (-0.09, None), (-0.3, False)]
)
def test_alignment_rises_by_some_more_than_where_nothing_is_combined(
    world, rise, holds
):
    for index in NEVER:
        before, after = (0.3, 0.2)
        world.store(index, GENERALIZED, {"geometry": geometry_of(9 * [before])})
        world.store(index, FINAL, {"geometry": geometry_of(9 * [after])})
    for index in SEVERAL:
        world.store(index, GENERALIZED, {"geometry": geometry_of(5 * [0.3])})
        world.store(index, PASSED, {"geometry": geometry_of(5 * [0.2 + rise])})
    missing = "a difference of 0.1" if holds is None else ""
    found = world.ask(ALIGNS, holds, "", missing)
    assert (found.p_value is None) is (holds is None)
    for index in NEVER:
        world.train(index)
    world.ask(ALIGNS, None, "", "the end of 3 runs")


def ask_growth(world, pairs, *expected):
    """Asks whether the cause grows, of runs that begin and end at given effects."""
    for index, effects in enumerate(pairs):
        for checkpoint, effect in zip((MEMORIZED, GENERALIZED), effects, strict=True):
            world.store(index, checkpoint, {"patching": patching_of([0, effect, 0, 0])})
    return world.ask(GROWS, *expected)


@pytest.mark.parametrize(
    ("pairs", "holds"),
    [
        (9 * [(0.4, 0.8)], True),
        (9 * [(0.4, 0.45)], None),  # Less than counts as growth.
        (9 * [(0.97, 0.98)], None),  # At the ceiling.
        (6 * [(0.97, 0.98)] + 3 * [(0.4, 0.8)], True),
        (6 * [(0.97, 0.98)] + 3 * [(0.8, 0.4)], False),
        (6 * [(0.4, 0.8)] + 3 * [(0.8, 0.4)], True),
    ],
)
def test_a_cause_grows_by_some_and_from_below_the_ceiling(world, pairs, holds):
    missing = ""
    if holds is None:
        missing = "below 0.9" if pairs[0][0] > 0.9 else "a change of 0.1"
    found = ask_growth(world, pairs, holds, "", missing)
    full = sum(before > 0.9 for before, _ in pairs)
    assert ("; 6 with 0.9 or more" in found.measured) is (full == 6)


def test_growth_waits_for_what_may_turn_its_median(world):
    for index in range(4, 9):
        world.train(index)
        world.forget(index, "id_generalized")
    ask_growth(world, 4 * [(0.4, 0.8)], None, "4", "the end of 5 runs")
    ask_growth(world, 4 * [(0.8, 0.4)], None, "4", "the end of 5 runs")
    world.runs = world.runs[:7]
    ask_growth(world, 4 * [(0.4, 0.8)], True, "4")
    ask_growth(world, 4 * [(0.8, 0.4)], False, "4")


def test_growth_is_not_read_off_patching_without_questions(world):
    empty = {"patching": patching_of([0, 0.2, 0.3, 0.1], rows=(0, 0, 0))}
    for index in range(1, 9):
        world.store(index, MEMORIZED, empty)
    found = world.ask(GROWS, True, "8")
    assert "; 8 runs without a question that counts" in found.measured


@pytest.mark.exhaustive
def test_the_figures_draw_what_is_stored(world):
    figures = study.figures(world.runs)
    assert list(figures) == ["lens", "patching", "knockout", "geometry"]
    panels = figures["lens"].axes
    assert len(panels) == 9
    assert [p.get_title() for p in panels[:3]] == list(stages.NAMES.values())
    drawn = [line.get_ydata() for line in panels[2].lines]
    for expected in (HIGH, LATE):
        assert any(np.array_equal(values, expected) for values in drawn)
    rows = [text for panel in panels for text in verdicts.texts(panel)]
    assert {"2 x 2 blocks, pad", "1 x 4 blocks, pad", "n = 3"} <= {*rows}
    maps = [axis for axis in figures["patching"].axes if axis.images]
    np.testing.assert_array_equal(
        maps[-1].images[0].get_array()[FIRST], [0, 0.8, 0.9, 0.1]
    )
    needed = {line.get_ydata()[0] for line in figures["knockout"].axes[2].lines}
    assert needed == {0.9, 0}
    for index in ALONE:
        world.stored(index).clear()
    figures = study.figures(world.runs)
    for name, figure in figures.items():
        texts = sum(map(verdicts.texts, figure.axes), [])
        lacking = 8 if name == "knockout" else 3  # It is of those that combine.
        assert texts.count("no run with this analysis") == lacking
    figures["patching"].draw_without_rendering()
    with pytest.raises(ValueError, match="at least one run, got no run"):
        study.figures([])


def test_the_table_has_a_row_per_model_and_stage(world):
    text = verdicts.printed(study.table(world.runs))
    assert "2 x 2, pad" in text and "1 x 4, pad" in text
    (line,) = [row for row in text.splitlines() if "0.90 (0.02)  0.90 (0.02)" in row]
    controlled = ["0.90", "(0.02)"]
    assert line.split()[-7:] == ["3", *controlled, *controlled, "0.90", "0.60"]
    # Without a question that counts nothing is recovered.
    assert any(row.split()[-2:] == ["-", "0.10"] for row in text.splitlines())
