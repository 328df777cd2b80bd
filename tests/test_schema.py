"""The declaration of all keys: defaults, values, their page, and the names of runs.

`python -m tests.test_schema` writes configs/base.py and the kept names again; a change
to these is explained in its commit.
"""

import copy
import hashlib
import json
import math
import textwrap

import pytest

from configs import base
from rdt_jax import config as configs
from rdt_jax import events, schema
from rdt_jax.figures import palette, words
from rdt_jax.models import architecture, experts, presets
from rdt_jax.models import loop as loops
from rdt_jax.tasks.base import SPLITS
from rdt_jax.training import evaluate, gradients, losses, optimizers
from tests.conftest import ROOT

PATH = ROOT / "tests" / "run_ids.json"
COMMAND = "\n    .venv/bin/python -m tests.test_schema"

CHOICES = {
    "model.preset": presets.PRESETS,
    **{f"model.{key}": values for key, values in presets.COMPONENTS.items()},
    "model.expert_dispatch": experts.DISPATCHES,
    "model.dtype": architecture.DTYPES,
    "model.remat": loops.REMAT,
    "recurrence.sampling": loops.SAMPLINGS,
    "optimizer.name": optimizers.OPTIMIZERS,
    "optimizer.schedule": optimizers.SCHEDULES,
    "optimizer.decayed": optimizers.DECAYED,
    "gradient.filter": gradients.FILTERS,
    "loss.function": losses.FUNCTIONS,
    "loss.dtype": losses.DTYPES,
    "evaluation.schedule": evaluate.SCHEDULES,
}
INTERVALS = [n for n, key in schema.KEYS.items() if isinstance(key.values, str)]


def with_value(name, value):
    """Returns the defaults with one key set, whatever `override` would say."""
    config = schema.defaults()
    section, _, leaf = name.rpartition(".")
    (config[section] if section else config)[leaf] = value
    return config


def page_of_keys() -> str:
    """Returns all keys as a text, of lines of at most 88 characters."""
    words = {None: "none", True: "true", False: "false"}
    lines, section = [], ""
    for name, key in schema.KEYS.items():
        if name.rpartition(".")[0] != section:
            section = name.rpartition(".")[0]
            lines.append("")
        is_word = key.default is None or isinstance(key.default, bool)
        default = words[key.default] if is_word else repr(key.default)
        values = "" if key.values is None else f"; {key.may_be}"
        lines += textwrap.wrap(
            f"{f'{name} = {default}':<40}  {key.meaning}{values}",
            width=88,
            subsequent_indent=" " * 42,
        )
    return "\n".join(lines) + "\n"


def test_the_defaults_are_what_they_may_be():
    assert schema.problems(schema.defaults()) == {}


def test_the_choices_are_those_that_the_library_has():
    declared = {n for n, key in schema.KEYS.items() if isinstance(key.values, tuple)}
    assert declared == set(CHOICES)
    for name, choices in CHOICES.items():
        assert sorted(schema.KEYS[name].values) == sorted(choices), name


@pytest.mark.parametrize("name", CHOICES)
def test_a_choice_that_is_none_is_named_with_those_there_are(name):
    (message,) = schema.problems(with_value(name, "other")).values()
    choices = ", ".join(schema.KEYS[name].values)
    assert message == f"{name} must be one of {choices}, got 'other'."


@pytest.mark.parametrize("name", INTERVALS)
def test_the_ends_of_an_interval_are_in_it_or_not(name):
    """A value just inside is taken and one just outside is named, at both ends."""
    key = schema.KEYS[name]
    is_whole = key.type in (int, tuple)
    low, high = (eval(end, {"inf": math.inf}) for end in key.values[1:-1].split(", "))
    checked = 0
    for end, is_in, outwards in (
        (low, key.values[0] == "[", -1),
        (high, key.values[-1] == "]", 1),
    ):
        if math.isinf(end):
            continue
        step = 1 if is_whole else 2.0**-20
        at = int(end) if is_whole else float(end)
        inner, outer = (
            (at, at + outwards * step) if is_in else (at - outwards * step, at)
        )
        pack = (lambda x: (x,)) if key.type is tuple else (lambda x: x)
        assert schema.problems(with_value(name, pack(inner))) == {}
        found = schema.problems(with_value(name, pack(outer)))
        assert list(found) == [name]
        assert found[name].startswith(f"{name} must ")
        assert key.may_be in found[name] and str(outer) in found[name]
        checked += 1
    assert checked


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("recurrence.eval_loops", (True,)),
        ("recurrence.eval_loops", (1, "a")),
        ("recurrence.eval_loops", (2.0,)),
        ("snapshot_steps", (4, True)),
    ],
)
def test_what_is_no_int_is_refused_in_a_tuple(name, value):
    (message,) = schema.problems(with_value(name, value)).values()
    assert message.startswith(f"{name} must hold ints ")


def test_what_a_value_may_be_is_said_in_words():
    said = {name: schema.KEYS[name].may_be for name in INTERVALS}
    assert said["model.width"] == "at least 1"
    assert said["model.dropout"] == "in [0, 1)"
    assert said["optimizer.learning_rate"] == "positive"
    assert said["model.rope_base"] == "above 1"
    assert said["gradient.clip_norm"] == "none or positive"
    assert said["snapshot_steps"] == "ints at least 0"


def test_base_is_the_page_of_all_keys():
    """configs/base.py shows what is declared, and is no list of its own."""
    page = base.__doc__.partition("\n\n")[2]
    assert page == page_of_keys(), f"write configs/base.py again with{COMMAND}"
    for name, key in schema.KEYS.items():
        assert key.meaning and f"\n{name} = " in f"\n{page}"
    assert max(map(len, page.splitlines())) <= 88


def test_types_and_optional_keys_survive_a_file():
    """Also of an optional key that was none: it may be given a value afterwards."""
    read = configs.from_json(configs.to_json(schema.defaults()))
    for name, key in schema.KEYS.items():
        section, _, leaf = name.rpartition(".")
        assert (read[section] if section else read).get_type(leaf) is key.type
    given = configs.override(
        read, {"recurrence.backprop_depth": 1, "curriculum.by": "x"}
    )
    assert given.recurrence.backprop_depth == 1


# Names of runs.


def test_a_key_that_is_new_renames_no_run(monkeypatch, tiny_config):
    before, text = configs.run_id(tiny_config), configs.to_json(tiny_config)
    new = {"model.branch_scale": schema.Key("none", "new", ("none", "loops"))}
    monkeypatch.setattr(schema, "KEYS", dict(schema.KEYS) | new)
    read = configs.from_json(text)
    assert read.model.branch_scale == "none"
    assert configs.run_id(read) == before
    other = configs.override(read, {"model.branch_scale": "loops"})
    assert configs.run_id(other) != before


def test_a_key_that_is_gone_is_named_with_the_version_that_had_it(
    monkeypatch, tmp_path, tiny_config
):
    folder = tmp_path / configs.run_id(tiny_config)
    folder.mkdir()
    (folder / "config.json").write_text(configs.to_json(tiny_config))
    (folder / "environment.json").write_text('{"segments": [{"commit": "abc123"}]}')
    keys = {name: key for name, key in schema.KEYS.items() if name != "model.bias"}
    monkeypatch.setattr(schema, "KEYS", keys)
    message = r"model\.bias is not a key of this version.* trained by commit abc123"
    with pytest.raises(ValueError, match="(?s)" + message):
        configs.read_run(folder)


def test_equal_values_are_one_run(tiny_config):
    name = configs.run_id(tiny_config)
    zeros = [
        configs.override(tiny_config, {"optimizer.weight_decay": zero})
        for zero in (0, 0.0, -0.0)
    ]
    assert len({configs.run_id(config) for config in zeros} | {name}) == 2
    unlocked = copy.deepcopy(zeros[0]).unlock()
    unlocked.optimizer.weight_decay = -0.0
    assert configs.run_id(unlocked) == configs.run_id(zeros[0])


@pytest.mark.parametrize("schedule", schema.KEYS["optimizer.schedule"].values)
def test_the_budget_names_a_run_only_where_the_schedule_reads_it(tiny_config, schedule):
    names = {
        configs.run_id(
            configs.override(
                tiny_config, {"optimizer.schedule": schedule, "num_steps": budget}
            )
        )
        for budget in (1_000, 2_000)
    }
    assert len(names) == (1 if schedule == "constant" else 2)


def _ids():
    """Returns the hash of all defaults, and the run of each preset of each config."""
    defaults = {name: key.default for name, key in schema.KEYS.items()}
    text = json.dumps(defaults, sort_keys=True)
    ids = {"defaults": hashlib.sha256(text.encode()).hexdigest()}
    for name, path in configs.named_configs().items():
        for preset in configs.preset_names(path):
            ids[f"{name}:{preset}"] = configs.run_id(configs.load(f"{path}:{preset}"))
    return ids


def test_the_defaults_and_the_names_of_all_presets_are_those_kept():
    kept, now = json.loads(PATH.read_text()), _ids()
    changed = sorted(n for n in {*kept, *now} if kept.get(n) != now.get(n))
    assert not changed, (
        f"{changed}: ids never change without a reason, since a run that is kept is "
        "found by its id. `defaults` may change for a key that is new, whose default "
        "must be neutral: what trained before trains alike, and no preset is renamed. "
        "An id may change where its preset is meant to say something else, and is new "
        f"or gone with its preset. If this is one of these, write them with{COMMAND}"
    )


if __name__ == "__main__":
    base_path = ROOT / "configs" / "base.py"
    old_page = base.__doc__.partition("\n\n")[2]
    base_path.write_text(base_path.read_text().replace(old_page, page_of_keys()))
    PATH.write_text(json.dumps(dict(sorted(_ids().items())), indent=1) + "\n")


def test_an_event_is_the_only_one_of_its_split():
    assert len(set(events.BUILT_IN.values())) == len(events.BUILT_IN)
    assert set(events.BUILT_IN.values()) <= set(words.SPLIT_NAMES)
    assert words.SPLIT_NAMES.keys() == palette.SPLITS.keys()
    assert set(words.SPLIT_NAMES) == set(SPLITS) - {"unused"}


@pytest.mark.parametrize("term", losses.TERMS)
def test_the_weight_of_a_term_is_a_key_of_a_lane(term):
    assert schema.KEYS[f"loss.{term}"].per_lane, "update.loss reads it from the lane."
