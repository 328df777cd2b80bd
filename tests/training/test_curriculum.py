"""Stages, what they train on, and runs that go through them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.data import batches
from rdt_jax.models import presets, recurrent
from rdt_jax.store import records, run_folder
from rdt_jax.training import curriculum, hyper, losses, phases
from rdt_jax.training.pack import build as build_pack
from tests.conftest import ROOT
from tests.training import bits
from tests.training.test_run_interrupted import stop_at_call


@pytest.fixture(scope="module", autouse=True)
def few_rows_may_begin_a_phase():
    """Of twenty rows, four standard errors above chance are nearly half."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phases, "ONSET_ERRORS", -1.0)
        yield


@pytest.fixture(scope="module")
def hops():
    """Returns a function from overrides to a config of the stages 2, 3 and 4."""
    base = configs.override(
        configs.load(f"{ROOT}/configs/knowledge_depth.py:smoke"),
        {
            "num_steps": 60,
            "eval_every_steps": 4,
            "checkpoint_every_steps": 20,
            "batch_size": 13,
            "task.kwargs.num_entities": 7,
            "task.kwargs.num_relations": 3,
            "task.kwargs.max_hops": 6,
            "task.kwargs.max_train_hops": 4,
            "task.kwargs.train_per_hop": 40,
            "task.kwargs.heldout_per_hop": 20,
            "model.width": 14,
            "model.num_heads": 2,
            "model.core_blocks": 1,
            "model.remat": "none",
            "recurrence.num_loops": 2,
            "optimizer.learning_rate": 1e-2,
            "optimizer.warmup_steps": 2,
            "optimizer.epsilon": 1e-6,
            "phases.hop_learned": 0.11,  # Chance is 1/7: stages pass soon.
            "seed": 23,  # It passes two stages, as few of so short runs do.
        },
    )
    return lambda overrides=None: configs.override(base, overrides or {})


@pytest.fixture(scope="module")
def table(hops):
    return tasks.make_table(hops())


@pytest.fixture(scope="module")
def program(hops, table, build):
    return build([hops()], table)


@pytest.fixture(scope="module")
def alone(train, hops, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("alone")
    train([hops()], workdir)
    return workdir


def test_stages_hold_the_rows_up_to_a_value(hops, table):
    stages = curriculum.stages_of(hops(), table)
    assert stages.values == (2, 3, 4)
    epoch = batches.epoch_rows(table, "hops")
    train = table.rows_of("train")
    for value, rows, length in zip(*stages, strict=True):
        expected = train[table.tags["hops"][train] <= value]
        assert sorted(epoch[:rows]) == sorted(expected)
        # An entity, its relations and the answer token.
        assert value + 2 <= length <= 1.2 * (value + 2)
    assert stages.rows[0] < stages.rows[1] < stages.rows[2] == epoch.size


def test_without_a_curriculum_there_is_one_stage(toy):
    table = tasks.make_table(toy())
    stages = curriculum.stages_of(toy(), table)
    assert stages == ((), (batches.epoch_rows(table).size,), (table.tokens.shape[1],))


def test_a_stage_begins_once_the_one_before_is_learned():
    stages = curriculum.Stages((2, 3, 5), (10, 20, 30), (4, 5, 7))
    learned = lambda *hops: {
        "events": {
            f"hop_learned_{k}": {"completed": 8 if k in hops else None}
            for k in stages.values
        }
    }
    assert curriculum.next_stage(stages, 0, learned()) == 0
    assert curriculum.next_stage(stages, 0, learned(3, 5)) == 0
    assert curriculum.next_stage(stages, 0, learned(2)) == 1
    assert curriculum.next_stage(stages, 0, learned(2, 3)) == 2
    assert curriculum.next_stage(stages, 1, learned()) == 1  # Never back.
    assert curriculum.next_stage(stages, 2, learned(2, 3, 5)) == 2
    assert curriculum.next_stage(curriculum.Stages((), (9,), (4,)), 0, {}) == 0


def test_a_stage_begins_with_an_order_of_its_own(program, hops, table):
    """Its batches are counted from its first step, under a key of the stage alone."""
    config, lanes = hops(), hyper.make_lanes([hops()])
    model = presets.model_config(config, table)
    _, data_key, _ = jax.random.split(jax.random.key(config.seed), 3)
    rows = batches.epoch_rows(table, "hops")

    @jax.jit
    def loss_of(params, tokens, at, targets):
        lane = jax.tree.map(lambda x: x[0], params)
        logits = recurrent.apply(lane, tokens, at, model, num_loops=2).logits
        return losses.answer_cross_entropy(logits, targets).mean()

    state = program.init(lanes)
    length = program.stages.lengths[-1]  # Of all stages, for one compilation.
    for stage, begun in ((0, 0), (2, 3)):
        state = program.begin_stage(state, lanes, jnp.array([stage]))
        size, key = program.stages.rows[stage], jax.random.fold_in(data_key, stage)
        order = [batches.epoch_order(key, n, size, rows.size)[:size] for n in range(9)]
        for at in range(3):
            drawn = rows[np.concatenate(order)[13 * at : 13 * (at + 1)]]
            assert int(state.step) == begun + at
            expected = loss_of(
                state.params, table.tokens[drawn, :length],
                table.answer_positions[drawn], table.targets[drawn],
            )  # fmt: skip
            state = program.start_window(state)
            state = program.train(state, lanes, 1, length=length)
            np.testing.assert_allclose(state.loss_sum[0], expected, rtol=1e-5)


def test_a_fresh_optimizer_for_the_lanes_that_begin_a_stage(hops, table, build):
    pack = [hops({"seed": seed}) for seed in (1, 2)]
    program, lanes = build(pack, table), hyper.make_lanes(pack)
    state = program.train(program.init(lanes), lanes, 3)  # As other tests compile it.
    before = bits.copy(state)
    resets = {"curriculum.reset_optimizer": True}
    program = build([configs.override(config, resets) for config in pack], table)
    state = program.begin_stage(state, lanes, np.array([0, 1], np.int32))
    assert state.stage.tolist() == [0, 1]
    assert state.stage_start.tolist() == [0, 3]
    old, new = (jax.tree.leaves(s.opt_state) for s in (before, bits.copy(state)))
    for left, right in zip(old, new, strict=True):
        bits.assert_same(right[0], left[0])
        assert not right[1].any()
    assert any(left[1].any() for left in old)
    bits.assert_same(state.params, before.params)


def test_the_optimizer_goes_on_unless_it_is_reset(program, hops):
    lanes = hyper.make_lanes([hops()])
    state = program.train(program.init(lanes), lanes, 3)
    before = bits.copy(state)
    state = program.begin_stage(state, lanes, np.array([2], np.int32))
    bits.assert_same(state.opt_state, before.opt_state)
    assert state.stage_start.tolist() == [3]
    again = bits.copy(program.begin_stage(state, lanes, np.array([2], np.int32)))
    assert again.stage_start.tolist() == [3]


def test_a_run_goes_from_stage_to_stage(alone, hops):
    folder = alone / configs.run_id(hops())
    rows = records.read_rows(folder / "metrics.jsonl")
    events = records.read_rows(folder / "events.jsonl")
    learned = {
        row["hops"]: row["step"] for row in events
        if (row["event"], row["kind"]) == ("hop_learned", "completed")
    }  # fmt: skip
    assert {2, 3} <= set(learned), "the run must pass two stages to mean anything"
    stage = 2
    for row in rows:
        assert row["curriculum/stage"] == stage
        while stage < 4 and learned.get(stage, np.inf) <= row["step"]:
            stage += 1
    assert stage == 4
    pinned = {path.name for path in (folder / "transitions").iterdir()}
    for value, at in learned.items():
        assert f"hop_learned_{value}-after-{at}" in pinned
        (event,) = [
            r for r in events
            if (r["event"], r["kind"], r["hops"]) == ("hop_learned", "completed", value)
            and r["occurrence"] == 1
        ]  # fmt: skip
        assert event["split"] == "id"
        assert event["value"] >= 0.11
    recent = [
        row[f"id/accuracy@2[hops={2}]"] for row in rows if row["step"] <= learned[2]
    ]
    assert np.median(recent[-phases.SMOOTHING :]) >= 0.11
    assert run_folder.read_status(folder)["accuracy"].keys() == {"train", "id"}


def test_a_curriculum_goes_on_where_it_was_stopped(train, hops, tmp_path, alone):
    for number in (2, 3, 4, 5):
        train([hops()], tmp_path, should_stop=stop_at_call(number))
    train([hops()], tmp_path, log=pytest.fail)
    bits.assert_same_runs(tmp_path, alone)


@pytest.mark.exhaustive
def test_lanes_of_a_curriculum_agree_with_solo_runs(train, hops, tmp_path, alone):
    """At other lengths of rows, up to rounding, as long as their stages agree."""
    train([hops(), hops({"seed": 24})], tmp_path)
    name = configs.run_id(hops())
    left, right = (
        records.read_rows(w / name / "metrics.jsonl") for w in (tmp_path, alone)
    )
    for one, other in zip(left[:8], right[:8], strict=True):
        assert one["curriculum/stage"] == other["curriculum/stage"]
        for key in one:
            if "/loss" in key:
                assert one[key] == pytest.approx(other[key], rel=2e-3), key
    assert left[7]["curriculum/stage"] > 2, "a stage must have changed"


@pytest.mark.exhaustive
def test_one_program_for_each_length(train, hops, tmp_path):
    programs = []

    def keep(pack, table, exact=False):
        programs.append(build_pack(pack, table, exact))
        return programs[-1]

    train([hops()], tmp_path, build=keep)
    (program,) = programs
    assert program.compilations() == len(set(program.stages.lengths)) == 2


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"curriculum.by": "depth"},
            r"by must be a tag of the task: hops; got 'depth'",
        ),
        (
            {"curriculum.start": 9},
            r"start must be a value of 'hops' .*1, 2, 3, 4; got 9",
        ),
        ({"batch_size": 62}, r"batch_size must be at most 61, .* first stage, got 62"),
    ],
)
def test_what_is_wrong_with_a_curriculum(hops, table, overrides, message):
    problems = curriculum.problems(hops(overrides), table)
    assert len(problems) == 1
    with pytest.raises(ValueError, match=message):
        configs.raise_problems(problems)


def test_tags_of_words_and_stages_without_held_out_rows_are_problems(toy, hops):
    table = tasks.make_table(toy())
    (words,) = curriculum.problems(toy({"curriculum.by": "pattern"}), table)
    assert words.startswith("curriculum.by must be a tag of numbers, and 'pattern'")
    config = toy({"curriculum.by": "hops", "curriculum.start": 1})
    (missing,) = curriculum.problems(config, table)
    assert "none with hops = 1" in missing
    assert curriculum.problems(toy(), table) == []
    assert curriculum.problems(hops(), tasks.make_table(hops())) == []
