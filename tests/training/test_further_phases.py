"""Phases that a config declares: read, watched, awaited or only shown."""

import itertools

import pytest

from rdt_jax import config as configs
from rdt_jax import events, tasks
from rdt_jax.profile import estimate
from rdt_jax.store import records, run_folder
from rdt_jax.training import evaluate, phases, validation
from tests.training import bits, test_phases
from tests.training.test_run_interrupted import stop_at_call

KEYS = {
    # After 3 loops at step 32, behind all that `toy` completes; half at 28.
    "phases.further": "two: train[hops=2]@3 >= .5, late: mixed >= .9, half: id >= 0.3",
    "phases.shown": "ood_generalized,late",  # They never complete.
}


@pytest.fixture(scope="module")
def ended(train, toy, tmp_path_factory):
    """The workdir of a run with further phases."""
    workdir = tmp_path_factory.mktemp("ended")
    train([toy(KEYS)], workdir)
    return workdir


@pytest.fixture
def folder(ended, toy):
    return ended / configs.run_id(toy(KEYS))


def test_a_run_ends_by_further_phases_and_waits_for_none_that_is_shown(folder):
    status = run_folder.read_status(folder)
    assert (status["reason"], status["step"]) == ("phases_passed", 32)
    assert status["phase"] == "half"
    told = records.read(folder).events
    completed = {e["event"]: e["step"] for e in told if e["kind"] == "completed"}
    assert completed == {"memorized": 28, "id_generalized": 28, "half": 28, "two": 32}
    pins = {path.name for path in (folder / "transitions").iterdir()}
    assert {"two-after-32", "half-after-28"} <= pins
    assert len([pin for pin in pins if pin.startswith("two-before-")]) == 1


def test_further_phases_are_folded_like_those_of_the_oracle(folder, toy, monkeypatch):
    monkeypatch.setattr(test_phases, "EVERY", 4)
    chance = tasks.make_table(toy()).certificate.chance
    found = records.read(folder)
    cases = {
        "train/accuracy@3[hops=2]": ("two", "train[hops=2]@3", 3, 0.5, "train", 30),
        "mixed/accuracy@2": ("late", "mixed", 2, 0.9, "mixed", 29),
        "id/accuracy@2": ("half", "id", 2, 0.3, "id", 19),
    }
    for name, (event, watched, loops, threshold, split, rows) in cases.items():
        phase = phases.Phase(event, watched, loops, threshold, chance[split], rows)
        own = [row for row in found.events if row["event"] == event]
        curve = [row[name] for row in found.metrics]
        assert own == test_phases.expected(curve, phase), event
        assert bool(own) == (event != "late")


def test_a_resumed_run_ends_alike(train, toy, ended, tmp_path):
    for number in (3, 4):
        (status,) = train([toy(KEYS)], tmp_path, should_stop=stop_at_call(number))
        assert 0 < status["step"] < 32
    train([toy(KEYS)], tmp_path)
    bits.assert_same_runs(tmp_path, ended)


def test_one_phase_that_is_not_shown_holds_a_run_up(train, toy, tmp_path):
    (status,) = train([toy(KEYS | {"phases.shown": "late"})], tmp_path)
    assert (status["reason"], status["step"]) == ("budget", 56)


def test_a_run_that_awaits_nothing_has_not_passed_it(toy, tiny_table):
    config = toy({"phases.shown": "memorized, id_generalized, ood_generalized"})
    rows = {"train": 41, "id": 19, "ood": 9}
    shown = phases.phases_of(config, tiny_table, rows)
    assert not any(phase.awaited for phase in shown)
    state = phases.new_state(shown)
    for step in range(9):
        state, _ = phases.observe(state, shown, step, dict.fromkeys(rows, 1.0))
    assert not phases.all_completed(state, shown)
    assert phases.all_completed(state, phases.phases_of(toy(), tiny_table, rows))


def test_declared_phases_are_in_order_and_know_their_loops(toy):
    config = toy(KEYS | {"recurrence.eval_loops": (3, 5), "phases.depth_loops": 5})
    config = configs.override(config, {"phases.further": "a: depth >= 1, b: id@3>=.2"})
    found = {p.name: (p.group, p.split, p.loops) for p in events.declared(config)}
    assert list(found) == ["memorized", "id_generalized", "ood_generalized", "a", "b"]
    assert (found["a"], found["b"]) == (("depth", "depth", 5), ("id", "id", 3))
    awaited = [p.awaited for p in events.declared(config)]
    assert awaited == [True, True, False, True, True]


# The keys.


def test_a_phase_has_one_spelling_and_none_renames_nothing(toy):
    spelt = ("two: train[hops=2]@3 >= 0.5", "deep: ood@3 >= 1.0")
    one = toy({"phases.further": spelt})
    for same in (" two:train[hops=2]@03>=.50 ,deep : ood@3 >= 1,", [*spelt]):
        assert configs.run_id(toy({"phases.further": same})) == configs.run_id(one)
    assert one.phases.further == spelt
    assert configs.from_json(configs.to_json(one)).phases.further == spelt
    typed = ["--config.phases.further=" + ", ".join(spelt), "--config.phases.shown=two"]
    read = configs.parse_overrides(toy(), typed)
    assert configs.override(toy(), read).phases.further == spelt
    none = configs.parse_overrides(toy(), ["--config.phases.further="])
    assert configs.run_id(configs.override(one, none)) == configs.run_id(toy())


WRONG = {
    "half": r"NAME: SPLIT >= ACCURACY, such as 'half: id >= 0.5', .*; got 'half'",
    "half: id > 0.5": "NAME: SPLIT >= ACCURACY",
    ": id >= 0.5": "NAME: SPLIT >= ACCURACY",
    "Half: id >= 0.5": "names of lower-case letters, digits and _, other than",
    "memorized: id >= 0.5": "other than memorized, id_generalized, .*; got 'memorized",
    "hop_learned_3: id >= 0.5": "other than .* hop_learned",
    "final: id >= 0.5": "other than .* final",
    "half: id >= 0": r"with an accuracy in \(0, 1\]; got 'half: id >= 0'",
    "half: id >= nan": r"accuracy in \(0, 1\]",
    "half: id >= much": r"accuracy in \(0, 1\]",
    ("half: id >= 0.5", 3): r"be texts, commas between them, got \('half",
    None: "be texts, commas between them, got None",
}


@pytest.mark.parametrize("value", WRONG)
def test_what_is_no_phase_is_refused_where_it_is_written(toy, value):
    with pytest.raises(ValueError, match=rf"phases\.further must .*{WRONG[value]}"):
        toy({"phases.further": value})


UNFIT = {
    "a: id >= 0.5, a: ood >= 0.5": "must have a name for each phase, got a, a",
    "a: id@7 >= 0.5": r"the loops of 'a: id@7 >= 0.5' .*: 2, 1, 3; got 7",
    "a: depth >= 0.5": r"a must be about rows that are evaluated: train, train\[hops=1",
    "a: id[hops=9] >= 0.5": r"evaluated: .*mixed\[pattern=ood-id\]; got id\[hops=9\]",
}


@pytest.mark.parametrize("text", UNFIT)
def test_a_phase_of_what_is_not_evaluated_is_refused(toy, text):
    with pytest.raises(ValueError, match=rf"phases\.further.*{UNFIT[text]}"):
        validation.check(toy({"phases.further": text}))


@pytest.mark.parametrize("name", ["half", "depth_generalized", "hop_learned"])
def test_only_a_phase_of_the_run_can_be_shown(toy, name):
    message = (
        "must hold phases of the run: memorized, id_generalized, ood_generalized, two, "
        f"late; got {name}"
    )
    further = KEYS["phases.further"].rpartition(",")[0]
    with pytest.raises(ValueError, match=message):
        validation.check(toy({"phases.further": further, "phases.shown": name}))


def test_all_evaluated_rows_can_be_declared(toy):
    groups = evaluate.groups_of(toy(), tasks.make_table(toy()))
    texts = [
        f"a{index}: {group}@{loops} >= 0.5"
        for index, (group, loops) in enumerate(itertools.product(groups, (1, 2, 3)))
    ]
    config = toy({"phases.further": tuple(texts)})
    validation.check(config)
    assert [p.group for p in events.declared(config)[3::3]] == [*groups]


def test_costs_at_other_loops_are_those_without_phases(toy):
    cheap = estimate.fixed_loops(toy(KEYS), 1)
    validation.check(cheap)
    assert configs.run_id(cheap) == configs.run_id(estimate.fixed_loops(toy(), 1))
