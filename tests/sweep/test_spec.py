import pathlib
import re
import time

import pytest

from rdt_jax import config as configs
from rdt_jax.sweep import spec
from rdt_jax.training.validation import check

ROOT = pathlib.Path(__file__).parents[2]
STUDY = ROOT / "experiments" / "depth_by_decay"


def test_product_refuses_a_key_twice():
    with pytest.raises(ValueError, match="Two sweeps set seed"):
        spec.product(spec.grid("seed", 1), spec.grid("seed", 2))


def test_zipped_refuses_unequal_numbers_of_values():
    with pytest.raises(ValueError, match="equally many values per key, got a 2, b 1"):
        spec.zipped(a=(1, 2), b=(3,))


def test_chain_is_one_sweep_after_another_without_repeats():
    sweep = spec.chain(spec.grid("a", 1, 2), spec.grid("b", 1), spec.grid("a", 2, 3))
    assert sweep == [{"a": 1}, {"a": 2}, {"b": 1}, {"a": 3}]


def test_seeds_count_from_the_first():
    assert spec.seeds(3) == spec.grid("seed", 0, 1, 2)
    assert spec.seeds(2, first=5) == spec.grid("seed", 5, 6)
    with pytest.raises(ValueError, match="count of at least 1, got 0"):
        spec.seeds(0)


@pytest.mark.parametrize(
    "build",
    [
        lambda: spec.seeds(10**9),
        lambda: spec.product(*[spec.seeds(1000)] * 3),
    ],
)
def test_more_trials_than_a_sweep_may_have_are_refused_before_they_are_made(build):
    begin = time.monotonic()
    with pytest.raises(ValueError, match="at most 100,000 trials, got 1,000,000,000"):
        build()
    assert time.monotonic() - begin < 5


def test_the_parts_of_a_sweep_combine():
    """Against the same trials written as nested loops."""
    sizes = spec.zipped(**{"model.width": (8, 16), "batch_size": (4, 2)})
    extra = spec.product(spec.grid("model.width", 32), spec.seeds(1))
    sweep = spec.chain(spec.product(sizes, spec.seeds(3)), extra)
    expected = [
        {"model.width": width, "batch_size": size, "seed": seed}
        for width, size in ((8, 4), (16, 2))
        for seed in range(3)
    ]
    assert sweep == [*expected, {"model.width": 32, "seed": 0}]


def test_plan_resolves_each_trial_and_names_it_by_content():
    plan = spec.make_plan(STUDY, "smoke", ["--config.batch_size=32"], check)
    assert plan.name == "depth_by_decay-smoke-batch_size=32"
    assert len(set(plan.run_ids)) == len(plan.configs) >= 2
    for trial in plan.trials:
        assert trial.config.batch_size == 32
        loops = trial.overrides["recurrence.num_loops"]
        assert trial.config.recurrence.num_loops == loops
    longer = spec.make_plan(STUDY, "smoke", ["--config.num_steps=600"], check)
    assert not set(longer.run_ids) & set(plan.run_ids)


STUDY_OF = """
CONFIG = "configs/modular.py"
sweep = lambda preset: {trials}
table = figures = claims = print
"""


@pytest.fixture
def plan_of(tmp_path):
    """Plans a study of some trials, with arguments."""
    folder = tmp_path / "experiments" / "twice"
    folder.mkdir(parents=True)
    (tmp_path / "configs").symlink_to(ROOT / "configs")

    def plan(trials, arguments=(), **named):
        (folder / "study.py").write_text(STUDY_OF.format(trials=trials))
        return spec.make_plan(folder, "smoke", list(arguments), check, **named)

    return plan


def test_a_list_that_is_too_long_is_refused_and_checks_are_reported(
    plan_of, monkeypatch
):
    with pytest.raises(ValueError, match="at most 100,000 trials, got 100,001"):
        plan_of([{"seed": 0}] * 100_001)
    said = []
    clock = iter(range(0, 10**6, 4))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    plan_of(spec.seeds(4), log=said.append)
    assert said == ["1 of 4 trials are checked", "3 of 4 trials are checked"]


@pytest.mark.parametrize(
    ("key", "values", "runs"),
    [
        ("optimizer.weight_decay", (0.1, 0.1), [0.1]),
        ("optimizer.weight_decay", (0.0, -0.0), [0.0]),
        ("optimizer.weight_decay", (1, 0.3, 1.0), [1.0, 0.3]),
        ("gradient.clip_norm", (1, None, 1.0), [1.0, None]),
        ("snapshot_steps", (0, (0,), [0]), [(0,)]),
        ("seed", (0, 1), [0, 1]),
    ],
)
def test_a_value_that_stands_twice_is_one_run(plan_of, key, values, runs):
    plan = plan_of([{key: value} for value in values])
    assert [trial.overrides for trial in plan.trials] == [{key: v} for v in runs]
    assert [config[key] for config in plan.configs] == runs
    assert len(set(plan.run_ids)) == len(runs) == len(values) - plan.repeated
    assert not any(str(config[key]) == "-0.0" for config in plan.configs)


def test_an_override_of_what_is_swept_is_refused_with_the_values(plan_of):
    trials = spec.product(spec.grid("optimizer.weight_decay", 0.1, 0.3), spec.seeds(2))
    for value in ("0.5", "0.1"):
        with pytest.raises(ValueError, match=r"optimizer.weight_decay .to 0.1, 0.3.;"):
            plan_of(trials, [f"--config.optimizer.weight_decay={value}"])
    # Also where some of the trials alone set it.
    with pytest.raises(ValueError, match="config.seed does nothing where the sweep"):
        plan_of([{"batch_size": 32}, {"seed": 1}], ["--config.seed=2"])


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ([], "twice-smoke"),
        (["task.kwargs.modulus=23"], "twice-smoke-task.kwargs.modulus=23"),
        (
            ["batch_size=16", "model.width=64"],
            "twice-smoke-batch_size=16,model.width=64",
        ),
        (
            ["model.width=64", "batch_size=16"],
            "twice-smoke-batch_size=16,model.width=64",
        ),
        (["model.dropout=0", "batch_size=32"], "twice-smoke"),  # The preset's own.
    ],
)
def test_overrides_are_part_of_the_name(plan_of, arguments, name):
    plan = plan_of(spec.seeds(2), [f"--config.{argument}" for argument in arguments])
    assert plan.name == name


def test_a_value_that_is_no_name_of_a_file_is_hashed(plan_of):
    names = {
        plan_of(spec.seeds(1), [f"--config.snapshot_steps={value}"]).name
        for value in ("(0,20)", "(0, 20)", "(0,40)")
    }
    assert len(names) == 2
    assert all(re.fullmatch("twice-smoke-[0-9a-f]{12}", name) for name in names)


def test_plan_reports_what_is_wrong():
    with pytest.raises(ValueError, match="choose from accelerators, depth_by_decay"):
        spec.make_plan(STUDY.parent / "depth_by_decoy", "smoke", [], check)
    with pytest.raises(ValueError, match="Unknown preset 'smoky'; choose from"):
        spec.make_plan(STUDY, "smoky", [], check)
    with pytest.raises(ValueError, match="model.width .33. must be a multiple"):
        spec.make_plan(STUDY, "smoke", ["--config.model.width=33"], check)


def test_every_preset_of_the_study_is_a_preset_of_its_config():
    for preset in ("smoke", "cpu", "cpu_long", "paper", "paper_code"):
        checked = lambda config: configs.run_id(config)  # No table: paper's is large.
        plan = spec.make_plan(STUDY, preset, [], checked)
        assert len(set(plan.run_ids)) == len(plan.run_ids) >= 2


def test_describe_is_short():
    assert spec.describe({"recurrence.num_loops": 2, "seed": 0}) == "num_loops=2 seed=0"
    assert spec.describe({"task.seed": 1, "seed": 0}) == "task.seed=1 seed=0"


LOOPS, DECAY = "recurrence.num_loops", "optimizer.weight_decay"


def _of_config(over, seeds=None, config="modular:smoke", **named):
    return spec.plan_of_config(config, over, seeds, check=check, **named)


def test_a_config_over_axes_is_a_plan_of_their_product():
    plan = _of_config({DECAY: [0.1, 1], LOOPS: (1, 2)}, 2)
    assert plan.name == "modular-smoke-num_loops-weight_decay"
    assert plan.axes == (DECAY, LOOPS)
    assert [tuple(trial.overrides.values()) for trial in plan.trials] == [
        (decay, loops, seed)
        for decay in (0.1, 1.0)
        for loops in (1, 2)
        for seed in (0, 1)
    ]
    assert plan.preset == "smoke" and plan.config_file.name == "modular.py"


@pytest.mark.parametrize(
    ("over", "seeds", "changes", "name"),
    [
        ({}, 3, {}, "modular-smoke"),
        ({"task.seed": [0, 1]}, 3, {}, "modular-smoke-task.seed"),
        ({LOOPS: [1]}, None, {"num_steps": 60}, "modular-smoke-num_loops"),
        ({LOOPS: [1]}, None, {"seed": 7}, "modular-smoke-num_loops"),
        ({LOOPS: [1]}, 2, {"batch_size": 32}, "modular-smoke-num_loops"),
        ({LOOPS: [1]}, 2, {"batch_size": 8}, "modular-smoke-num_loops-batch_size=8"),
        (
            {LOOPS: [1]}, 2, {"num_steps": 60, "optimizer.schedule": "cosine"},
            "modular-smoke-num_loops-num_steps=60,optimizer.schedule=cosine",
        ),
    ],
)  # fmt: skip
def test_a_sweep_of_a_config_is_named_by_its_axes_and_changes(
    over, seeds, changes, name
):
    assert _of_config(over, seeds, changes=changes).name == name


def test_a_config_that_has_no_name_is_named_by_its_values():
    config = configs.load("modular:smoke")
    name = _of_config({LOOPS: [1]}, 2, config=config).name
    assert re.fullmatch("modular-[0-9a-f]{6}-num_loops", name)
    same = configs.override(config, {LOOPS: 4, "num_steps": 20, "seed": 3})
    assert _of_config({LOOPS: [2]}, 1, config=same).name == name
    other = configs.override(config, {"batch_size": 16})
    assert _of_config({LOOPS: [1]}, 2, config=other).name != name


@pytest.mark.parametrize(
    ("over", "seeds", "named", "message"),
    [
        ({LOOPS: []}, 2, {}, "num_loops must have a list of values, got .."),
        ({LOOPS: 4}, 2, {}, "num_loops must have a list of values, got 4"),
        ({LOOPS: "12"}, 2, {}, "num_loops must have a list of values, got '12'"),
        ({LOOPS: [1, 1]}, 2, {}, "must have each value once, got 1, 1"),
        ({DECAY: [1, 1.0]}, 2, {}, "must have each value once, got 1, 1.0"),
        ({"seed": [1]}, 2, {}, "Two sweeps set seed"),
        ({}, [0, 0], {}, "seed must have each value once"),
        ({}, 0, {}, "at least 1, got 0"),
        ({LOOPS: [1]}, 10**6, {}, "at most 100,000 trials"),
        ({LOOPS: [1]}, 2, {"changes": {LOOPS: 2}}, "num_loops .to 1.; leave it out"),
        ({LOOPS: [1]}, 2, {"changes": {"seed": 2}}, "seed does nothing where the"),
        ({"model.width": [33]}, 2, {}, "model.width .33. must be a multiple"),
        (
            {"task.kwargs.modulus": [11, 7]},
            1,
            {},
            "(?s)batch_size .* trial modulus=7 s",
        ),
        ({"model.widht": [32]}, 2, {}, "did you mean model.width"),
        ({LOOPS: [1]}, 2, {"name": "../x"}, "--name must be letters"),
        ({LOOPS: [1]}, 2, {"name": ""}, "--name must be letters"),
        ({"num_steps": [20, 40]}, 1, {}, "Two trials differ in num_steps alone"),
    ],
)
def test_a_wrong_axis_is_refused(over, seeds, named, message):
    with pytest.raises(ValueError, match=message):
        _of_config(over, seeds, **named)


def test_an_extended_plan_has_the_product_of_old_and_new_values():
    plan = _of_config({LOOPS: [1, 2], DECAY: [0.1]}, 1)
    more = spec.extend(plan, {LOOPS: [2, 4]}, 2, check=check)
    values = [tuple(trial.overrides.values()) for trial in more.trials]
    assert values == [
        (1, 0.1, 0), (2, 0.1, 0), (2, 0.1, 1), (4, 0.1, 0), (4, 0.1, 1),
    ]  # fmt: skip
    assert more.run_ids[:2] == plan.run_ids and more.axes == plan.axes
    with pytest.raises(ValueError, match="varies .*num_loops.* and not model.width"):
        spec.extend(plan, {"model.width": [16]}, 2, check=check)


def test_draws_extend_a_plan_as_values_do():
    rate = "optimizer.learning_rate"
    plan = _of_config({LOOPS: [1, 2]}, draws=[{rate: 0.1}, {rate: 0.2}])
    assert len(plan.trials) == 4
    assert plan.name == "modular-smoke-learning_rate-num_loops"
    more = spec.extend(plan, {}, None, check=check, draws=[{rate: 0.2}, {rate: 0.3}])
    assert [trial.overrides[rate] for trial in more.trials] == [
        0.1, 0.2, 0.1, 0.2, 0.3, 0.3,
    ]  # fmt: skip


def test_merged_trials_have_the_largest_budget_and_each_run_once():
    first = _of_config({LOOPS: [1, 2]}, changes={"num_steps": 60}).trials
    second = _of_config({LOOPS: [2, 4]}, changes={"num_steps": 40}).trials
    for pair in ((first, second), (second, first)):
        merged = spec.merge(*pair)
        assert {trial.overrides[LOOPS]: trial.budget for trial in merged} == {
            1: 60, 2: 60, 4: 60,
        }  # fmt: skip
        assert len(merged) == 3
        for trial in merged:
            assert configs.run_id(trial.config) == trial.run_id
    cosine = {"optimizer.schedule": "cosine", "num_steps": 40}
    kept = spec.merge(first, _of_config({LOOPS: [2]}, changes=cosine).trials)
    assert [trial.budget for trial in kept] == [60, 60, 40]
