"""Loading, overriding, naming, writing and reading back a config."""

import hashlib
import json
import os
import subprocess
import sys

import ml_collections
import pytest
from ml_collections import config_dict

from rdt_jax import config as configs
from rdt_jax import schema
from tests.conftest import ROOT


def _small() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            "count": 3,
            "rate": 0.5,
            "flag": False,
            "model": {
                "name": "rdt",
                "loops": (1, 2),
                "depth": config_dict.placeholder(int),
            },
        }
    ).lock()


# Loading.


def _write(tmp_path, text, name="some.py"):
    path = tmp_path / name
    path.write_text(text)
    return path


PRESETS_FILE = """
from configs import base
def get_config(preset):
    config = base.get_config()
    config.task.name = preset
    return config
"""


def test_load_passes_the_preset_and_locks_the_config(tmp_path):
    config = configs.load(f"{_write(tmp_path, PRESETS_FILE)}:tiny")
    assert config.task.name == "tiny"
    with pytest.raises(AttributeError, match="locked"):
        config.other = 1


def test_load_lets_a_config_import_its_siblings_and_leaves_the_path_alone(tmp_path):
    (tmp_path / "configs").mkdir()
    _write(tmp_path, PRESETS_FILE, "sibling_of_test.py")
    text = "from sibling_of_test import get_config\n"
    before = list(sys.path)
    path = _write(tmp_path / "configs", text)
    assert configs.load(f"{path}:tiny").task.name == "tiny"
    assert sys.path == before


def test_load_wants_a_preset(tmp_path):
    with pytest.raises(ValueError, match=r"FILE.py:PRESET or NAME:PRESET, .* got 'a"):
        configs.load("a.py")


def test_load_knows_the_named_configs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert configs.load("modular:smoke") == configs.load(
        f"{ROOT}/configs/modular.py:smoke"
    )
    with pytest.raises(ValueError, match=r"Unknown config 'modula'; .*, modular, "):
        configs.load("modula:smoke")


def test_load_of_a_missing_file_lists_its_siblings(tmp_path):
    with pytest.raises(ValueError, match=r"No config file .*x\.py; .* holds none\."):
        configs.load(f"{tmp_path}/x.py:cpu")
    _write(tmp_path, "", "b.py")
    _write(tmp_path, "", "a.py")
    with pytest.raises(ValueError, match=r"the folder holds a\.py, b\.py\."):
        configs.load(f"{tmp_path}/x.py:cpu")


@pytest.mark.parametrize("text", ["", "def get_config(): pass"])
def test_load_wants_get_config(text, tmp_path):
    with pytest.raises(ValueError, match=r"must define get_config\(preset\)"):
        configs.load(f"{_write(tmp_path, text)}:cpu")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("def get_config(preset):\n    return {}[preset]", "line 2: KeyError: 'cpu'"),
        (
            "def get_config(preset):\n    pass",
            "must return an ml_collections.ConfigDict",
        ),
        ("x = 1\nx.y", "line 2: AttributeError"),
    ],
)
def test_a_config_file_that_is_wrong_itself_is_named(content, message, tmp_path):
    with pytest.raises(ValueError, match=message) as found:
        configs.load(f"{_write(tmp_path, content)}:cpu")
    assert str(tmp_path) in str(found.value)


@pytest.mark.parametrize("folder", ["2026-11-29T10:00", "my runs", "a:b c"])
def test_a_path_may_hold_colons_and_spaces(folder, tmp_path):
    (tmp_path / folder).mkdir()
    path = _write(tmp_path / folder, PRESETS_FILE)
    assert configs.load(f"{path}:tiny").task.name == "tiny"
    with pytest.raises(ValueError, match="FILE.py:PRESET or NAME:PRESET, .* got"):
        configs.load(str(path))


DATACLASS_FILE = """
from __future__ import annotations
import dataclasses
from configs import base
@dataclasses.dataclass
class Settings:
    preset: str
    sizes: dataclasses.InitVar[tuple[int, ...]] = ()
def get_config(preset):
    config = base.get_config()
    config.task.name = Settings(preset).preset
    return config
"""


def test_a_file_may_postpone_the_annotations_of_its_dataclasses(tmp_path):
    for folder in ("a", "b"):  # Of the same name.
        (tmp_path / folder).mkdir()
        path = _write(tmp_path / folder, DATACLASS_FILE)
        assert configs.load(f"{path}:{folder}").task.name == folder
    other = _write(tmp_path / "a", f"{DATACLASS_FILE}1 / 0\n")
    with pytest.raises(ValueError, match="ZeroDivisionError"):
        configs.load(f"{other}:a")
    assert not [m for n, m in sys.modules.items() if n.startswith("_") and
                getattr(m, "__file__", None) == str(other)]  # fmt: skip


@pytest.mark.parametrize("init", [None, "WIDTH = 7"])
def test_a_users_own_package_called_configs_wins_for_their_file_alone(
    init, root, tmp_path
):
    (tmp_path / "configs").mkdir()
    if init is not None:
        _write(tmp_path / "configs", init, "__init__.py")
    _write(tmp_path / "configs", "VALUE = 'theirs'", "modular.py")
    text = """
import configs
from configs import base, modular
def get_config(preset):
    config = base.get_config().unlock()
    config.task.name = modular.VALUE
    config.seed = getattr(configs, "WIDTH", 0)
    return config
"""
    theirs = configs.load(f"{_write(tmp_path / 'configs', text, 'mine.py')}:smoke")
    assert theirs.task.name == "theirs" and theirs.seed == (7 if init else 0)
    ours = configs.load(f"{root}/configs/modular.py:smoke")
    assert ours.task.name == "modular"
    import configs.modular as again

    assert again.__file__ == f"{root}/configs/modular.py"


FROM_SCRATCH = """
import ml_collections
from configs import base
def get_config(preset):
    keys = base.get_config().to_dict()
    {change}
    return ml_collections.ConfigDict(keys)
"""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "keys['optimizer']['weight_decy'] = .1",
            r"'optimizer\.weight_decy'; did you mean optimizer\.weight_decay",
        ),
        ("keys['optimiser'] = {'b1': .1}", r"Unknown config key 'optimiser'; "),
        ("keys['optimiser'] = {}", r"Unknown config key 'optimiser'; "),
        (
            "keys['optimizer'] = 3",
            r"optimizer\.b1 is missing\.\n(?s:.*)key 'optimizer'; ",
        ),
        ("keys['sed'] = 1", r"Unknown config key 'sed'; did you mean seed"),
        (
            "keys['optimizer']['b2'] = float('nan')",
            r"optimizer\.b2 must be finite, got",
        ),
        ("keys['optimizer']['b2'] = '1e-3'", r"optimizer\.b2 must be a float, got '1e"),
        ("keys['optimizer']['b2'] = None", r"optimizer\.b2 must be a float, got None"),
        (
            "keys['optimizer']['epsilon'] = 1e-320",
            r"optimizer\.epsilon must be 0 or from 1\.18e-38 to 3\.4e\+38 in size, as",
        ),
        ("keys['seed'] = True", r"seed must be an int, got True"),
        (
            "keys['task']['kwargs'] = 3",
            r"Unknown config key 'task\.kwargs'; ",
        ),
        (
            "del keys['seed'], keys['task']['kwargs']",
            r"seed is missing\.\n.*kwargs is m",
        ),
    ],
)
def test_a_config_file_is_checked_as_overrides_are(change, message, tmp_path):
    """Whatever it is built from; a key that nothing reads would train the default."""
    text = FROM_SCRATCH.replace("{change}", "keys['seed'] = 7")
    assert configs.load(f"{_write(tmp_path, text)}:cpu").seed == 7
    text = FROM_SCRATCH.replace("{change}", change)
    with pytest.raises(ValueError, match=message) as found:
        configs.load(f"{_write(tmp_path, text)}:cpu")
    assert str(found.value).startswith(f"Invalid config {tmp_path}/some.py:cpu:\n")


def test_a_config_from_scratch_has_the_types_of_the_declared_keys(tmp_path):
    change = """config = ml_collections.ConfigDict(keys | {'seed': 7})
    config.optimizer.weight_decay = 1
    config.batch_size = config.get_ref('eval_every_steps')
    return config"""
    text = FROM_SCRATCH.replace("{change}", change)
    config = configs.load(f"{_write(tmp_path, text)}:cpu")
    assert (config.seed, config.optimizer.weight_decay) == (7, 1.0)
    changes = {"eval_every_steps": 50, "recurrence.backprop_depth": 2}
    changed = configs.override(config, changes)  # None in the file.
    assert changed.recurrence.backprop_depth == 2
    assert changed.batch_size == config.batch_size == config.eval_every_steps == 100
    with pytest.raises(ValueError, match=r"batch_size must be an int, got None"):
        configs.override(config, {"batch_size": None})


# Overriding.


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("count=7", 7),
        ("count=1_000", 1000),
        ("rate=1e-3", 1e-3),
        ("rate=2", 2),
        ("flag=true", True),
        ("flag=False", False),
        ("model.name=none", "none"),  # A string key takes its text as it is.
        ("model.name=12", "12"),
        ("model.name=a=b", "a=b"),
        ("model.name=", ""),
        ("model.loops=(4,8)", (4, 8)),
        ("model.loops=4,8", (4, 8)),
        ("model.loops=[4]", [4]),
        ("model.depth=none", None),
        ("model.depth=NULL", None),
        ("model.depth=2", 2),
        ("count=many", "many"),  # Reported by `override`, with the type.
        ("unknown=1", 1),
    ],
)
def test_parse_overrides(text, value):
    (parsed,) = configs.parse_overrides(_small(), [f"--config.{text}"]).items()
    assert parsed == (text.partition("=")[0], value)
    assert type(parsed[1]) is type(value)


def test_the_last_of_two_equal_arguments_counts():
    arguments = ["--config.count=1", "--config.rate=0.1", "--config.count=2"]
    parsed = configs.parse_overrides(_small(), arguments)
    assert parsed == {"count": 2, "rate": 0.1}


@pytest.mark.parametrize("argument", ["--config.count", "--count=1", "count=1"])
def test_another_argument_is_refused(argument):
    message = rf"Unknown argument '{argument}'; an override is --config.KEY=VALUE"
    with pytest.raises(ValueError, match=message):
        configs.parse_overrides(_small(), [argument])


@pytest.mark.parametrize(
    ("key", "value", "stored"),
    [
        ("count", 4, 4),
        ("rate", 1, 1.0),
        ("rate", 0.25, 0.25),
        ("rate", -0.0, 0.0),
        ("rate", 2.0**-126, 2.0**-126),
        ("flag", True, True),
        ("model.name", "x", "x"),
        ("model.loops", 5, (5,)),
        ("model.loops", [5, 6], (5, 6)),
        ("model.loops", (), ()),
        ("model.depth", 3, 3),
        ("model.depth", None, None),
    ],
)
def test_override_replaces_one_leaf_of_a_copy(key, value, stored):
    config = _small()
    changed = configs.override(config, {key: value})
    leaves = configs.leaves(changed)
    assert leaves.pop(key) == stored
    assert type(configs.override(changed, {})[key]) is type(stored)
    untouched = configs.leaves(_small())
    assert configs.leaves(config) == untouched
    del untouched[key]
    assert leaves == untouched
    assert changed.is_locked


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("count", 1.5, r"count must be an int, got 1\.5\."),
        ("count", True, r"count must be an int, got True\."),
        ("count", None, r"count must be an int, got None\."),
        ("rate", "fast", r"rate must be a float, got 'fast'\."),
        ("rate", False, r"rate must be a float, got False\."),
        ("rate", float("nan"), r"rate must be finite, got nan\."),
        ("rate", -1e300, r"rate must be 0 or from .* in size, as .*, got -1e\+300\."),
        (
            "rate",
            1e-320,
            r"rate must be 0 or from .* as float32 holds it, got 1e-320\.",
        ),
        ("rate", 10**400, r"rate must be finite, got inf\."),
        ("model.loops", (1, float("nan")), r"model\.loops must be finite, got nan\."),
        ("model.loops", None, r"model\.loops must be a tuple such as \(1,2\), got No"),
        ("flag", 1, r"flag must be true or false, got 1\."),
        ("model.name", 3, r"model\.name must be a string, got 3\."),
        ("model.depth", 1.0, r"model\.depth must be an int or none, got 1\.0\."),
        ("coumt", 3, r"Unknown config key 'coumt'; did you mean count\?"),
        ("model.nam", 3, r"'model\.nam'; did you mean model\.name\?"),
        ("loops", 3, r"'loops'; did you mean model\.loops\?"),  # In another section.
        ("zzzz", 3, r"Unknown config key 'zzzz'; choose from count, flag, rate\."),
        ("model", 3, r"Unknown config key 'model'; "),
        (
            "model.zzzzzzzzzzzzzzz",
            3,
            r"choose from model\.depth, model\.loops, model\.name\.",
        ),
        ("x.y.z", 3, r"'x\.y\.z'; choose from count, flag, model\.depth, .*, rate\."),
    ],
)
def test_override_refuses(key, value, message):
    with pytest.raises(ValueError, match=message):
        configs.override(_small(), {key: value})


def test_override_reports_everything_at_once():
    wrong = {"zzzz": 1, "count": "a", "rate": 0.1, "model.name": 2}
    with pytest.raises(ValueError, match="^Invalid config:\n") as caught:
        configs.override(_small(), wrong)
    lines = str(caught.value).split("\n")[1:]
    assert [line.split()[0] for line in lines] == ["Unknown", "count", "model.name"]
    assert all(line.startswith("  ") for line in lines)


def test_problems_are_listed_once_each():
    configs.raise_problems([])
    with pytest.raises(ValueError, match=r"^Invalid config:\n  b\n  a$"):
        configs.raise_problems(["b", "a", "b"])


def test_an_optional_key_stays_optional_and_an_int():
    config = _small()
    for value in (2, None, None, 3, 4, None, 5):
        config = configs.override(config, {"model.depth": value})
        assert config.model.depth == value
        with pytest.raises(ValueError, match="must be an int or none"):
            configs.override(config, {"model.depth": "deep"})
    assert _small().model.depth is None


# Naming.


@pytest.mark.parametrize(
    ("schedule", "text", "name"),
    [
        (
            "constant",
            '{"gradient.clip_norm":1.0,"model.norm_before_coda":true,'
            '"recurrence.eval_loops":[1,8],"task.kwargs.phi":[1.5],"task.name":"x"}',
            "8967d0a1175b",
        ),
        (
            "cosine",
            '{"gradient.clip_norm":1.0,"model.norm_before_coda":true,'
            '"num_steps":7,"optimizer.schedule":"cosine",'
            '"recurrence.eval_loops":[1,8],"task.kwargs.phi":[1.5],"task.name":"x"}',
            "e7008775ba70",
        ),
    ],
)
def test_a_name_is_the_hash_of_the_canonical_json_of_what_differs(schedule, text, name):
    config = configs.from_values(
        {
            "task": {"name": "x", "seed": 0, "kwargs": {"phi": [1.5]}},
            "recurrence": {"eval_loops": [1, 8], "num_loops": 2},
            "optimizer": {"schedule": schedule, "weight_decay": 0.1},
            "num_steps": 7,
            "model": {"norm_before_coda": True},
            "gradient": {"clip_norm": 1},
        }
    )
    # Another rule would orphan every run folder there is.
    expected = hashlib.sha256(text.encode()).hexdigest()[:12]
    assert configs.run_id(config) == expected == name


def test_equal_configs_have_equal_names(tiny_config):
    name = configs.run_id(tiny_config)
    there = configs.override(tiny_config, {"seed": 5, "recurrence.backprop_depth": 1})
    back = configs.override(there, {"recurrence.backprop_depth": None, "seed": 0})
    same = configs.override(tiny_config, configs.leaves(tiny_config))
    assert configs.run_id(there) != name
    assert configs.run_id(back) == configs.run_id(same) == name


def test_every_key_but_the_budget_changes_the_name(tiny_config):
    """Whatever values its type has; the budget does not, at a constant rate."""
    other = {
        int: lambda x: x + 1,
        float: lambda x: x + 2**-20,
        bool: lambda x: not x,
        str: lambda x: x + "_",
        tuple: lambda x: (*x, 3),
    }
    leaves = configs.leaves(tiny_config)
    changed = {
        key: schema.KEYS[key].type(1) if value is None else other[type(value)](value)
        for key, value in leaves.items()
    }
    changed |= {"phases.further": "half: id >= 0.5", "phases.shown": "memorized"}
    assert changed.keys() >= schema.KEYS.keys()
    names = {
        key: configs.run_id(configs.override(tiny_config, {key: value}))
        for key, value in changed.items()
    }
    assert tiny_config.optimizer.schedule == "constant"
    assert names.pop("num_steps") == configs.run_id(tiny_config)
    assert len({*names.values(), configs.run_id(tiny_config)}) == len(names) + 1


def test_names_do_not_depend_on_the_process(tiny_config):
    code = (
        "import sys; from rdt_jax import config as c; "
        "print(c.run_id(c.from_json(sys.stdin.read())))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code],
        input=configs.to_json(tiny_config),
        env={**os.environ, "PYTHONHASHSEED": "17"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert printed.stdout.strip() == configs.run_id(tiny_config)


# Writing and reading back.


def test_json_reloads_to_an_equal_config(tiny_config):
    config = configs.override(
        tiny_config,
        {"optimizer.learning_rate": 0.1 + 0.2, "recurrence.eval_loops": (1, 8)},
    )
    again = configs.from_json(configs.to_json(config))
    assert again == config
    assert configs.leaves(again) == configs.leaves(config)
    for key, value in configs.leaves(config).items():
        assert type(again[key]) is type(value), key
    assert configs.run_id(again) == configs.run_id(config)
    assert configs.to_json(again) == configs.to_json(config)
    assert again.is_locked


def _run_folder(tmp_path, config):
    folder = tmp_path / configs.run_id(config)
    folder.mkdir()
    (folder / "config.json").write_text(configs.to_json(config))
    return folder


def test_read_run_reads_what_was_written(tmp_path, tiny_config):
    assert configs.read_run(_run_folder(tmp_path, tiny_config)) == tiny_config


def test_read_run_detects_an_edited_config(tmp_path, tiny_config):
    folder = _run_folder(tmp_path, tiny_config)
    content = json.loads((folder / "config.json").read_text())
    content["optimizer"]["weight_decay"] *= 2
    (folder / "config.json").write_text(json.dumps(content))
    message = rf"hashes to [0-9a-f]{{12}}, but its run is named {folder.name}: it"
    with pytest.raises(ValueError, match=message):
        configs.read_run(folder)


def test_read_run_wants_a_run_folder(tmp_path):
    with pytest.raises(ValueError, match="is not a run folder: it has no config.json"):
        configs.read_run(tmp_path)
    (tmp_path / "config.json").write_text('{"seed": ')
    with pytest.raises(ValueError, match=r"config\.json is damaged: Expecting value"):
        configs.read_run(tmp_path)
