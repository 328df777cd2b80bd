"""What a run checks, writes and returns; test_run_interrupted.py disturbs it."""

import json
import re

import jax
import numpy as np
import pytest

from rdt_jax import config as configs
from rdt_jax.store import files, packs, records, run_folder
from rdt_jax.training import hyper, phases, validation
from tests.training import bits

STEPS = list(range(0, 57, 4))
NAN = {  # Weights grow 300-fold an update, until their products overflow.
    "optimizer.learning_rate": 1.0,
    "optimizer.weight_decay": 300.0,
    "optimizer.warmup_steps": 0,
}


@pytest.fixture(scope="module")
def folder(undisturbed, toy):
    return undisturbed / configs.run_id(toy())


def state_at(program, config, updates):
    lanes = hyper.make_lanes([config])
    return program.train(program.init(lanes), lanes, updates)


def snapshot(folder):
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


# Checking.

WRONG = {
    "optimizer.weight_decay": (-0.1, r"weight_decay must be at least 0, got -0\.1"),
    "model.width": (15, r"width \(15\) must be a multiple of model\.num_heads \(2\)"),
    "num_steps": (58, r"num_steps \(58\) must be a multiple of eval_every_steps \(4\)"),
    "checkpoint_every_steps": (6, r"every_steps \(6\) must be a multiple of eval_e"),
    "task.name": ("riddles", r"Unknown task 'riddles'; choose from arithmetic_expr"),
    "model.preset": ("mamba", r"model\.preset must be one of rdt, .*, got 'mamba'"),
    "optimizer.name": (
        "adam",
        r"optimizer\.name must be one of adamw, muon, .* got 'adam'",
    ),
    "recurrence.backprop_depth": (
        3,
        r"must be in \[1, recurrence.num_loops = 2\], got",
    ),
    "phases.memorized": (2.0, r"phases\.memorized must be in \(0, 1\], got 2\.0"),
    "seed": (-1, r"seed must be in \[0, 2\*\*32\), got -1"),
    "evaluation.train_rows": (0, r"evaluation\.train_rows must be at least 1, got 0"),
}
ALONE = {  # Problems that hide others, or are hidden by others.
    "snapshot_steps": (
        (0, 6, 8, 60),
        r"must be steps of evaluations up to num_steps \(56\), got 6, 60\.",
    ),
    "eval_every_steps": (0, r"eval_every_steps must be at least 1, got 0"),
    "task.kwargs.phi": (99.0, r"phi must leave at least one ID question untrained: at"),
    "task.kwargs.out_degree": (
        6,
        r"out_degree must be in \[1, 5\] = \[1, num_relations\]",
    ),
    "batch_size": (97, r"batch_size must be in \[1, 96 train rows\], got 97"),
}


@pytest.mark.parametrize("key", [*WRONG, *ALONE])
def test_a_bad_value_is_named_with_what_must_hold(toy, key):
    value, message = (WRONG | ALONE)[key]
    with pytest.raises(ValueError, match=message):
        validation.check(toy({key: value}))


def test_all_problems_are_reported_at_once(toy):
    with pytest.raises(ValueError, match="^Invalid config:\n") as error:
        validation.check(toy({key: value for key, (value, _) in WRONG.items()}))
    for _, message in WRONG.values():
        assert re.search(message, str(error.value)), message
    assert len(str(error.value).splitlines()) == 1 + len(WRONG)


def test_problems_of_the_table_come_with_the_others(toy):
    wrong = {"batch_size": 97, "model.width": 15, "phases.memorized": 2.0}
    with pytest.raises(ValueError, match="Invalid config") as error:
        validation.check(toy(wrong))
    assert len(str(error.value).splitlines()) == 4


def test_good_configs_pass(toy):
    validation.check(toy())
    validation.check(toy({"batch_size": 96, "optimizer.weight_decay": 0.0}))


# A run from start to end.


def test_the_folder_holds_every_file_of_the_contract(undisturbed, folder, toy):
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "metrics.jsonl", "events.jsonl", "timing.jsonl", "status.json",
        "environment.json", "analysis", "figures", "tensorboard", "transitions",
    }  # fmt: skip
    assert configs.read_run(folder) == toy()
    assert list((folder / "tensorboard").glob("events.out.tfevents.*"))
    pack = undisturbed / "packs" / bits.pack_name([toy()])
    kept = {path.name for path in (pack / "checkpoints").iterdir()}
    assert kept == {"48", "56"}


def test_metrics_have_a_row_per_evaluation_and_a_value_per_part(folder, program):
    rows = records.read_rows(folder / "metrics.jsonl")
    assert [row["step"] for row in rows] == STEPS
    of_updates = {"train/batch_loss@2", "model/gradient_norm", "model/update_ratio"}
    names = {"step", "model/weight_norm"} | of_updates
    for loops in (1, 2, 3):
        quantities = ["accuracy", "loss", "margin", "hit", "first_hit"]
        quantities += ["kl"] if loops > 1 else []  # There is no loop before the first.
        for quantity in quantities:
            for group in program.groups:
                split, bracket, tag = group.partition("[")
                names.add(f"{split}/{quantity}@{loops}{bracket}{tag}")
        names |= {f"train/{q}@{loops}" for q in ("logit_scale", "softmax_collapse")}
    assert "mixed/accuracy@2[pattern=id-ood]" in names
    for row in rows:
        assert set(row) == (names if row["step"] else names - of_updates)
        assert all(0 <= v <= 1 for k, v in row.items() if "/accuracy@" in k)
        assert all(isinstance(v, float) for k, v in row.items() if k != "step")


def test_metrics_and_events_hold_no_clock_value(folder):
    timing = records.read_rows(folder / "timing.jsonl")
    assert [row["step"] for row in timing] == STEPS
    clocks = {value for row in timing for key, value in row.items() if key != "step"}
    for name in ("metrics.jsonl", "events.jsonl"):
        for row in records.read_rows(folder / name):
            assert not re.search(r"time|second|clock|\bdate", " ".join(row))
            floats = {v for v in row.values() if isinstance(v, float)}
            assert not floats & clocks


def test_metrics_are_those_of_the_parameters_at_that_step(folder, program, toy):
    for row in (records.read_rows(folder / "metrics.jsonl")[i] for i in (0, 7, -1)):
        state = state_at(program, toy(), row["step"])
        measured = jax.device_get(program.evaluate(state.params))
        for position, loops in enumerate(program.loops):
            for column, group in enumerate(program.groups):
                split, bracket, tag = group.partition("[")
                for quantity in ("accuracy", "loss", "margin", "hit", "first_hit"):
                    name = f"{split}/{quantity}@{loops}{bracket}{tag}"
                    assert row[name] == measured[quantity][0, position, column]
            for quantity in ("logit_scale", "softmax_collapse"):
                value = measured[quantity][0, position, program.groups.index("train")]
                assert row[f"train/{quantity}@{loops}"] == value
        assert row["model/weight_norm"] == measured["weight_norm"][0]


def test_the_batch_loss_is_the_mean_since_the_last_evaluation(folder, program, toy):
    lanes = hyper.make_lanes([toy()])
    rows = records.read_rows(folder / "metrics.jsonl")
    state, losses = state_at(program, toy(), rows[5]["step"]), []
    for _ in range(4):
        state = program.train(program.start_window(state), lanes, 1)
        losses.append(float(state.loss_sum[0]))
    np.testing.assert_allclose(
        rows[6]["train/batch_loss@2"], np.mean(losses), rtol=1e-6
    )
    assert rows[6]["model/gradient_norm"] == float(state.gradient_norm[0])
    assert rows[6]["model/update_ratio"] == float(state.update_ratio[0])


def test_the_window_is_as_long_as_the_last_evaluation_is_ago(
    train, program, toy, tmp_path
):
    config = toy(
        {
            "num_steps": 8,
            "checkpoint_every_steps": 4,
            "evaluation.schedule": "log",
            "evaluation.per_decade": 3,
        }
    )
    train([config], tmp_path)
    rows = records.read_rows(tmp_path / configs.run_id(config) / "metrics.jsonl")
    lanes, losses = hyper.make_lanes([config]), []
    state = program.init(lanes)
    for _ in range(8):
        state = program.train(program.start_window(state), lanes, 1)
        losses.append(float(state.loss_sum[0]))
    steps = [row["step"] for row in rows]
    assert steps == [0, 1, 2, 4, 8]
    for before, row in zip(steps, rows[1:], strict=False):
        np.testing.assert_allclose(
            row["train/batch_loss@2"], np.mean(losses[before : row["step"]]), rtol=1e-6
        )


def test_events_are_those_of_the_detector_on_the_metrics(folder, toy, table):
    rows = records.read_rows(folder / "events.jsonl")
    assert {(row["event"], row["kind"]) for row in rows} >= {
        ("memorized", "onset"), ("memorized", "completed"), ("id_generalized", "onset"),
    }  # fmt: skip
    contract = {
        "event", "hops", "split", "loops", "onset", "completed", "threshold", "value",
        "before", "after",
    }  # fmt: skip
    assert all(set(row) == contract | {"step", "kind", "occurrence"} for row in rows)
    awaited = phases.phases_of(toy(), table, table.certificate.rows)
    state, expected = phases.new_state(awaited), []
    for row in records.read_rows(folder / "metrics.jsonl"):
        accuracy = {
            split: row[f"{split}/accuracy@2"] for split in ("train", "id", "ood")
        }
        state, new = phases.observe(state, awaited, row["step"], accuracy)
        expected += new
    assert rows == expected


def test_both_sides_of_a_transition_are_pinned(folder, program, toy):
    pinned = {"final-after-56": 56}
    for row in records.read_rows(folder / "events.jsonl"):
        for side in ("before", "after"):
            if row[side] is not None:
                pinned[f"{row['event']}-{side}-{row[side]}"] = row[side]
    assert pinned.keys() == {path.name for path in (folder / "transitions").iterdir()}
    assert {name.split("-")[1] for name in pinned} == {"before", "after"}
    for name, at in pinned.items():
        params, extra = bits.read_checkpoint(folder / "transitions" / name)
        expected = jax.tree.map(lambda x: x[0], state_at(program, toy(), at).params)
        bits.assert_same(params, expected)  # Of the lane, without a lane axis.
        assert extra == {"step": at, "event": name.split("-")[0]}


def test_snapshots_are_kept_beside_the_transitions(
    train, toy, tmp_path, folder, program
):
    config = toy({"snapshot_steps": (0, 12, 56)})
    train([config], tmp_path, max_pins=0)
    kept = tmp_path / configs.run_id(config) / "transitions"
    assert {path.name for path in kept.iterdir()} == {
        "snapshot-at-0", "snapshot-at-12", "snapshot-at-56", "final-after-56",
    }  # fmt: skip
    for at in (0, 12, 56):
        params, extra = bits.read_checkpoint(kept / f"snapshot-at-{at}")
        expected = jax.tree.map(lambda x: x[0], state_at(program, toy(), at).params)
        bits.assert_same(params, expected)
        assert extra == {"step": at, "event": "snapshot"}
    rows = (kept.parent / "metrics.jsonl").read_bytes()
    assert rows == (folder / "metrics.jsonl").read_bytes(), "they change nothing else"


def test_the_last_checkpoint_holds_the_state_at_the_end(undisturbed, program, toy):
    path = undisturbed / "packs" / bits.pack_name([toy()]) / "checkpoints" / "56"
    tree, extra = bits.read_checkpoint(path)
    found, expected = tree["state"], state_at(program, toy(), 56)
    bits.assert_same(found["params"], expected.params)
    # Orbax alone reads named tuples as dicts, whose keys are sorted.
    adam = expected.opt_state[0]._asdict()
    bits.assert_same(found["opt_state"][0], adam)
    assert extra["ring_steps"] == STEPS[-phases.RING :]
    assert len(tree["ring"]["embedding"]) == phases.RING
    for at, place in ((24, 0), (56, -1)):
        params = jax.tree.map(lambda x, place=place: x[place], tree["ring"])
        bits.assert_same(params, state_at(program, toy(), at).params)


def test_the_status_says_how_it_ended(folder):
    status = run_folder.read_status(folder)
    assert status["state"] in run_folder.STATES
    assert status["reason"] in run_folder.REASONS
    assert {k: status[k] for k in ("state", "reason", "step", "lane")} == {
        "state": "done", "reason": "budget", "step": 56, "lane": 0,
    }  # fmt: skip
    assert status["pack"] == files.read_json(folder / "environment.json")["pack"]
    last = records.read_rows(folder / "metrics.jsonl")[-1]
    assert status["accuracy"]["id"] == last["id/accuracy@2"]


def test_running_a_finished_run_again_does_nothing(undisturbed, train, toy, folder):
    before = snapshot(undisturbed)
    statuses = train([toy()], undisturbed, log=pytest.fail)
    assert statuses == [run_folder.read_status(folder)]
    assert snapshot(undisturbed) == before


def test_stops_once_all_phases_have_passed(train, toy, tmp_path, monkeypatch):
    monkeypatch.setattr(phases, "ONSET_ERRORS", 1.0)  # Nine ood rows are few.
    monkeypatch.setattr(phases, "LEAST_BY_CHANCE", 0.0)
    config = toy(
        {
            "num_steps": 1000,
            "phases.memorized": 0.3,
            "phases.id_generalized": 0.3,
            "phases.ood_generalized": 0.2,
        }
    )
    (status,) = train([config], tmp_path)
    assert (status["state"], status["reason"]) == ("done", "phases_passed")
    folder = tmp_path / configs.run_id(config)
    events = records.read_rows(folder / "events.jsonl")
    completed = {r["event"]: r["step"] for r in events if r["kind"] == "completed"}
    assert set(completed) == {"memorized", "id_generalized", "ood_generalized"}
    assert status["step"] == max(completed.values()) < 1000
    assert records.read_rows(folder / "metrics.jsonl")[-1]["step"] == status["step"]
    assert (folder / "transitions" / f"final-after-{status['step']}").is_dir()


# Runs that break.


def test_a_run_that_breaks_says_after_how_many_good_updates(
    train, toy, tmp_path, program
):
    config = toy(NAN)
    good = int(state_at(program, config, 56).finite_steps[0])
    assert 1 < good < 56
    assert good % 4, "the break must fall between evaluations"
    (status,) = train([config], tmp_path)
    folder = tmp_path / configs.run_id(config)
    assert status == run_folder.read_status(folder)
    assert (status["state"], status["reason"], status["step"]) == (
        "failed",
        "nan",
        good,
    )
    rows = records.read_rows(folder / "metrics.jsonl")
    assert [row["step"] for row in rows] == [s for s in STEPS if s <= good]
    before = snapshot(tmp_path)
    assert train([config], tmp_path) == [status]  # It would break again.
    assert snapshot(tmp_path) == before


def test_a_pack_gives_each_lane_its_own_folder(train, toy, tmp_path, folder):
    pack = [toy(NAN), toy({"seed": 1})]
    statuses = train(pack, tmp_path)
    by_id = dict(zip(sorted(map(configs.run_id, pack)), statuses, strict=True))
    broken, done = (by_id[configs.run_id(config)] for config in pack)
    assert (broken["state"], broken["reason"]) == ("failed", "nan")
    assert (done["state"], done["reason"], done["step"]) == ("done", "budget", 56)
    assert broken["pack"] == done["pack"] == bits.pack_name(pack)
    assert [status["lane"] for status in statuses] == [0, 1]
    broken_folder, done_folder = (tmp_path / configs.run_id(c) for c in pack)
    assert configs.read_run(done_folder) == pack[1]
    names = {path.name for path in folder.iterdir()}
    assert names == {path.name for path in done_folder.iterdir()}
    rows, solo = (records.read_rows(f / "metrics.jsonl") for f in (done_folder, folder))
    assert [(row["step"], set(row)) for row in rows] == [
        (row["step"], set(row)) for row in solo
    ]
    assert rows[-1] != solo[-1], "another seed is another run"
    last = records.read_rows(broken_folder / "metrics.jsonl")[-1]["step"]
    assert last == broken["step"] // 4 * 4
    for path in (done_folder / "transitions").iterdir():
        params, _ = bits.read_checkpoint(path)
        assert params["embedding"].shape == (17, 14)  # [V, D], no lane axis.


def test_the_order_of_a_pack_does_not_change_its_name(toy):
    a, b, c = (toy({"seed": seed}) for seed in (1, 2, 3))
    assert bits.pack_name([a, b]) == bits.pack_name([b, a])
    assert len({bits.pack_name(pack) for pack in ([a], [b], [a, b], [a, b, c])}) == 4


@pytest.mark.filterwarnings("ignore:NaN or Inf")
def test_a_run_that_its_last_update_breaks_has_failed_too(train, toy, tmp_path):
    once = {"num_steps": 1, "eval_every_steps": 1, "checkpoint_every_steps": 1}
    rate = {"optimizer.learning_rate": 1e30, "optimizer.warmup_steps": 0}
    config = toy(once | rate)
    (status,) = train([config], tmp_path)
    assert (status["state"], status["reason"]) == ("failed", "nan")
    assert_strict_json(tmp_path / configs.run_id(config))


@pytest.mark.parametrize(
    ("message", "reason"),
    [("RESOURCE_EXHAUSTED: out of memory", "oom"), ("something else", "error")],
)
def test_an_exception_is_raised_and_recorded(train, toy, tmp_path, message, reason):
    def stop_requested():
        raise RuntimeError(message)

    with pytest.raises(RuntimeError, match=message):
        train([toy()], tmp_path, should_stop=stop_requested)
    status = run_folder.read_status(tmp_path / configs.run_id(toy()))
    assert (status["state"], status["reason"]) == ("failed", reason)
    assert not packs.is_final(status)  # It may be tried again.


def test_every_record_is_strict_json(folder):
    assert_strict_json(folder)


def assert_strict_json(folder):
    refuse = lambda word: pytest.fail(f"{word} is not JSON")
    for path in folder.glob("*.jsonl"):
        for line in path.read_text().splitlines():
            json.loads(line, parse_constant=refuse)
    for path in folder.glob("*.json"):
        json.loads(path.read_text(), parse_constant=refuse)
