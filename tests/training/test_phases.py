"""The fold over evaluations against its definition, read off whole curves."""

import copy
import dataclasses
import functools
import itertools
import json
import statistics

import numpy as np
import pytest

from rdt_jax.training import phases, validation

EVERY = 20  # updates between evaluations
ID = phases.Phase("id_generalized", "id", 2, threshold=0.95, chance=0.1, rows=100)
# Onset above 0.1 + 4 * sqrt(0.1 * 0.9 / 100) = 0.22.
CHANCE = 0.1


def observed(curve, phase=ID):
    """Returns the rows of events.jsonl for a list of accuracies."""
    state, rows = phases.new_state([phase]), []
    for index, accuracy in enumerate(curve):
        state, new = phases.observe(
            state, [phase], EVERY * index, {phase.split: accuracy}
        )
        rows += new
    return rows


def expected(
    curve, phase=ID, *, smoothing=5, errors=4.0, least=2.0, onset_run=3, lost_run=5
):
    """Finds the events of a whole curve by searching it, not by folding over it."""
    guessed = max(phase.chance, least / phase.rows)
    above = min(1, guessed + errors * np.sqrt(guessed * (1 - guessed) / phase.rows))
    smooth = [
        float(np.median(curve[max(0, i - smoothing + 1) : i + 1]))
        for i in range(len(curve))
    ]
    rows, begin = [], 0
    for occurrence in itertools.count(1):
        found = None
        for at in range(begin, len(curve)):
            run = at
            while run >= begin and smooth[run] > above:
                run -= 1
            length = at - run
            if length and (length >= onset_run or smooth[at] >= phase.threshold):
                found = at
                break
        if found is None:
            return rows
        onset = run + 1
        first = occurrence == 1
        row = functools.partial(event_row, phase, smooth, occurrence, onset)
        untouched = EVERY * max(0, onset - smoothing)
        rows.append(row("onset", found, before=untouched if first else None))
        reached = [i for i in range(found, len(curve)) if smooth[i] >= phase.threshold]
        if not reached:
            return rows
        completed = reached[0]
        after = EVERY * completed if first else None
        rows.append(
            row("completed", completed, completed=EVERY * completed, after=after)
        )
        lost = [
            i
            for i in range(completed + lost_run, len(curve))
            if max(smooth[i - lost_run + 1 : i + 1]) < phase.threshold / 2
        ]
        if not lost:
            return rows
        rows.append(row("lost", lost[0], completed=EVERY * completed))
        begin = lost[0] + 1


def event_row(phase, smooth, occurrence, onset, kind, at, **fields):
    return {
        "step": EVERY * at, "event": phase.event, "kind": kind, "hops": None,
        "split": phase.split, "loops": phase.loops, "onset": EVERY * onset,
        "completed": None, "threshold": phase.threshold, "value": smooth[at],
        "before": None, "after": None, "occurrence": occurrence,
    } | fields  # fmt: skip


def random_phase(rng):
    return phases.Phase(
        "ood_generalized",
        "ood",
        loops=4,
        threshold=float(rng.choice([0.15, 0.5, 0.95, 1.0])),
        chance=float(rng.choice([0.02, 0.1, 0.5])),
        rows=int(rng.choice([9, 97, 3001])),
    )


def random_curve(rng):
    """Plateaus of random level and length, with noise and outliers."""
    lengths = rng.integers(1, 16, rng.integers(1, 9))
    levels = rng.choice([0.0, 0.05, 0.1, 0.2, 0.3, 0.48, 0.6, 0.97, 1.0], len(lengths))
    curve = np.repeat(levels, lengths) + rng.choice([0.0, 0.05, 0.3]) * rng.normal(
        size=lengths.sum()
    )
    outlier = rng.random(curve.size) < rng.choice([0.0, 0.2])
    curve = np.where(outlier, rng.random(curve.size), curve)
    return [round(float(x), 4) for x in curve.clip(0, 1)]


@pytest.fixture(scope="module")
def corpus():
    rng = np.random.default_rng(11)
    return [(random_curve(rng), random_phase(rng)) for _ in range(700)]


def test_the_corpus_holds_every_story(corpus):
    stories = {tuple(r["kind"] for r in observed(*case)) for case in corpus}
    once = ("onset", "completed", "lost")
    assert stories >= {(), once[:1], once[:2], once, (*once, "onset"), once + once[:2]}


def test_the_fold_equals_the_search_on_random_curves(corpus):
    for curve, phase in corpus:
        assert observed(curve, phase) == expected(curve, phase), (curve, phase)


@pytest.mark.parametrize(
    ("constant", "argument", "value"),
    [
        ("SMOOTHING", "smoothing", 3),
        ("ONSET_RUN", "onset_run", 2),
        ("LOST_RUN", "lost_run", 4),
        ("ONSET_ERRORS", "errors", 3.0),
        ("LEAST_BY_CHANCE", "least", 1.0),
    ],
)
def test_every_constant_means_what_it_says(
    corpus, monkeypatch, constant, argument, value
):
    before = [observed(*case) for case in corpus]
    monkeypatch.setattr(phases, constant, value)
    after = [observed(*case) for case in corpus]
    assert after == [expected(*case, **{argument: value}) for case in corpus]
    assert sum(a != b for a, b in zip(after, before, strict=True)) > 20


def test_the_state_survives_json_at_every_evaluation(corpus):
    for curve, phase in corpus[:200]:
        state = phases.new_state([phase])
        rows = []
        for index, accuracy in enumerate(curve):
            state = json.loads(json.dumps(state))
            state, new = phases.observe(
                state, [phase], EVERY * index, {phase.split: accuracy}
            )
            rows += json.loads(json.dumps(new))
        assert rows == observed(curve, phase)


def test_observing_changes_nothing_that_was_given(corpus):
    for curve, phase in corpus[:50]:
        state = phases.new_state([phase])
        for index, accuracy in enumerate(curve):
            given, kept = state, copy.deepcopy(state)
            state, _ = phases.observe(state, [phase], index, {phase.split: accuracy})
            assert given == kept


def test_pinned_evaluations_are_always_among_the_kept_ones(corpus):
    pinned = 0
    for curve, phase in corpus:
        for row in observed(curve, phase):
            at = row["step"] // EVERY
            ring = [EVERY * i for i in range(at + 1)][-phases.RING :]
            for side in ("before", "after"):
                if row[side] is not None:
                    assert row[side] in ring
                    pinned += 1
    assert pinned > 500


def test_no_accuracy_above_chance_has_seen_the_pinned_before(corpus):
    seen = 0
    for curve, phase in corpus:
        for row in observed(curve, phase):
            if row["before"] is None:
                continue
            before, onset = row["before"] // EVERY, row["onset"] // EVERY
            window = range(max(0, onset - 4), onset + 1)
            assert statistics.median(curve[window.start : onset + 1]) > (
                phases.above_chance(phase.chance, phase.rows)
            )
            assert before not in window or before == 0
            assert before == max(0, window.start - 1)
            seen += 1
    assert seen > 300


def test_a_clean_step():
    curve = [CHANCE] * 10 + [1.0] * 10
    # Of five, the median is the step once three are: at 12. Onset and completion fall
    # together, since an accuracy at the threshold needs no run.
    onset, completed = observed(curve)
    assert (onset["kind"], completed["kind"]) == ("onset", "completed")
    assert onset["step"] == onset["onset"] == completed["completed"] == 12 * EVERY
    assert onset["before"] == 7 * EVERY  # The window 8 .. 12 has not seen it.
    assert completed["after"] == 12 * EVERY
    assert (onset["after"], completed["before"]) == (None, None)
    assert onset["value"] == completed["value"] == 1.0


def test_what_is_lost_may_return_but_is_pinned_once():
    curve = [CHANCE] * 8 + [1.0] * 8 + [0.4] * 12 + [1.0] * 8
    rows = observed(curve)
    assert [row["kind"] for row in rows] == [
        "onset", "completed", "lost", "onset", "completed",
    ]  # fmt: skip
    assert [row["occurrence"] for row in rows] == [1, 1, 1, 2, 2]
    onset, completed, lost, *again = rows
    assert lost["step"] == (18 + 4) * EVERY  # The fifth running below 0.475.
    assert lost["onset"] == onset["onset"] == 10 * EVERY
    assert lost["completed"] == completed["completed"] == 10 * EVERY
    assert all(row["before"] is row["after"] is None for row in [lost, *again])
    # 0.4 is below half the threshold, but above chance: it begins again at once.
    assert again[0]["onset"] == 23 * EVERY
    assert again[1]["completed"] == 30 * EVERY


def test_phases_do_not_mix():
    train = phases.Phase("memorized", "train", 2, threshold=0.99, chance=0.1, rows=63)
    rng = np.random.default_rng(8)
    curves = {"train": random_curve(rng), "id": random_curve(rng)}
    curves["train"] += [1.0] * 20
    curves["id"] = (curves["id"] * 20)[: len(curves["train"])]
    state, rows = phases.new_state([train, ID]), []
    for index, (left, right) in enumerate(
        zip(curves["train"], curves["id"], strict=True)
    ):
        state, new = phases.observe(
            state, [train, ID], EVERY * index, {"train": left, "id": right}
        )
        rows += new
    for phase in (train, ID):
        own = [row for row in rows if row["event"] == phase.event]
        assert own == observed(curves[phase.split], phase) != []


def test_reached_and_all_completed_follow_gains_and_losses():
    memorized = phases.Phase("memorized", "train", 2, 0.99, chance=0.1, rows=63)
    both = [memorized, ID]
    state = phases.new_state(both)
    assert not phases.all_completed(state, both) and phases.reached(state) == "start"
    step, told = itertools.count(), []
    for train, id_accuracy, repeats in [(1.0, 0.1, 5), (1.0, 1.0, 5), (1.0, 0.0, 9)]:
        for _ in range(repeats):
            accuracy = {"train": train, "id": id_accuracy}
            state, _ = phases.observe(state, both, next(step), accuracy)
        told.append((phases.reached(state), phases.all_completed(state, both)))
    assert told == [
        ("memorized", False),
        ("id_generalized", True),
        ("memorized", False),
    ]


def test_phases_come_from_config_and_table(toy, tiny_table):
    config = toy({"phases.id_generalized": 0.7})
    rows = {"train": 41, "id": 19, "ood": 9}
    train, id_phase, ood = phases.phases_of(config, tiny_table, rows)
    chance = tiny_table.certificate.chance["id"]
    assert id_phase == phases.Phase("id_generalized", "id", 2, 0.7, chance, 19)
    assert (train.event, train.threshold, train.rows) == ("memorized", 0.45, 41)
    assert (ood.event, ood.threshold, ood.rows) == ("ood_generalized", 1.0, 9)
    without = phases.phases_of(config, tiny_table, {"train": 41, "id": 19})
    assert without == [train, id_phase]


def test_depth_is_awaited_where_it_has_a_threshold_at_its_loops(toy, tiny_table):
    rows = {"train": 41, "id": 19, "depth": 60}
    table = dataclasses.replace(
        tiny_table,
        certificate=dataclasses.replace(
            tiny_table.certificate,
            chance={**tiny_table.certificate.chance, "depth": 0.2},
        ),
    )
    watched = lambda keys: phases.phases_of(toy(keys), table, rows)
    keys = {"recurrence.eval_loops": (7,), "phases.depth_loops": 7}
    assert [p.split for p in watched(keys)] == ["train", "id"]
    depth = phases.Phase("depth_generalized", "depth", 2, 0.8, 0.2, 60)
    assert watched({"phases.depth_generalized": 0.8})[-1] == depth
    awaited = watched(keys | {"phases.depth_generalized": 0.8})
    assert awaited[-1] == dataclasses.replace(depth, loops=7)
    assert [p.loops for p in awaited[:-1]] == [2, 2]


def test_loops_of_depth_that_are_not_evaluated_are_a_problem(toy):
    keys = {"recurrence.eval_loops": (4, 8), "phases.depth_loops": 7}
    assert phases.problems(toy(keys)) == [
        "phases.depth_loops must be a loop count that is evaluated, "
        "recurrence.num_loops or one of recurrence.eval_loops: 2, 4, 8; got 7."
    ]
    for evaluated in (None, 2, 8):
        assert phases.problems(toy(keys | {"phases.depth_loops": evaluated})) == []


@pytest.mark.parametrize(
    ("key", "value"), [("depth_generalized", 0.5), ("depth_loops", 2)]
)
def test_a_phase_of_depth_needs_depth_rows(toy, key, value):
    message = rf"phases\.{key} must be none, since the table of .* no depth rows; got "
    with pytest.raises(ValueError, match=message):
        validation.check(toy({f"phases.{key}": value}))


def test_onset_is_four_binomial_errors_above_chance():
    assert phases.above_chance(ID.chance, ID.rows) == pytest.approx(0.1 + 4 * 0.03)
    # So it is of every part in which a guess is right in two rows or more.
    chance, rows = np.meshgrid([0.01, 0.02, 0.1, 0.3], [200, 1000, 9409, 100_000])
    np.testing.assert_allclose(
        phases.above_chance(chance, rows),
        chance + 4 * np.sqrt(chance * (1 - chance) / rows),
    )


def test_a_few_right_rows_are_no_onset_at_a_chance_of_zero():
    ood = dataclasses.replace(ID, chance=0.0, rows=300, threshold=0.5)
    needed = [k for k in range(301) if observed(30 * [k / 300], ood)]
    assert needed == list(range(8, 301))


@pytest.mark.parametrize("chance", [0.0, 0.1])
def test_nine_rows_begin_and_complete_no_phase_by_luck(chance):
    ood = dataclasses.replace(ID, chance=chance, rows=9, threshold=0.5)
    by_rows = {k: observed(30 * [k / 9], ood) for k in range(10)}
    assert [k for k, rows in by_rows.items() if rows] == [7, 8, 9]


def test_what_exceeds_chance_ascends_with_chance_and_falls_with_rows():
    chance = np.linspace(0, 1, 41)
    rows = np.arange(1, 400)[:, None]
    above = phases.above_chance(chance, rows)
    assert (np.diff(above, axis=1) >= 0).all()
    assert (np.diff(above, axis=0) <= 0).all()
    assert above.max() == 1 and (above > chance).all(where=chance < 1)
    # Of so few rows not even all right ones exceed it.
    assert [n for n in range(1, 40) if phases.above_chance(0.0, n) >= 1] == [
        1, 2, 3, 4, 5, 6,
    ]  # fmt: skip
