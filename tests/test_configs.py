"""Every named config: it builds, it passes every check, and only keys of base exist."""

import ast
import dataclasses
import re
import time

import ml_collections
import numpy as np
import pytest

from configs import base
from rdt_jax import config as configs
from rdt_jax import named, tasks
from rdt_jax.models import presets, recurrent
from rdt_jax.training import validation
from tests.conftest import ROOT
from tests.tasks import ltg_folders, test_hashes

FILES = sorted(
    path.name
    for path in (ROOT / "configs").glob("*.py")
    if path.stem not in ("__init__", "base")
)
PRESETS = ("smoke", "cpu", "cpu_long", "paper", "paper_code")  # No others.
NAMED = {name: configs.preset_names(ROOT / "configs" / name) for name in FILES}
SPECS = [f"{name}:{preset}" for name in FILES for preset in NAMED[name]]


def _load(spec):
    config = configs.load(f"{ROOT}/configs/{spec}")
    if config.task.name == "ltg_folder":  # The path of a folder is up to the user.
        path = ltg_folders.example("systematicity of 700 train rows")
        config = configs.override(config, {"task.kwargs.path": path})
    return config


def _keys(config, prefix=""):
    """Dotted keys with the types of their values; a task's arguments left out."""
    for name, value in config.items():
        if isinstance(value, ml_collections.ConfigDict):
            if prefix + name != "task.kwargs":
                yield from _keys(value, f"{prefix}{name}.")
        else:
            yield prefix + name, config.get_type(name)


@pytest.mark.parametrize("name", FILES)
def test_the_presets_are_the_same_words_everywhere(name):
    assert {"smoke", "cpu"} <= set(NAMED[name]) <= set(PRESETS)
    with pytest.raises(ValueError, match=r"Unknown preset 'x'; choose from ") as caught:
        _load(f"{name}:x")
    listed = str(caught.value).partition("choose from ")[2].partition(".")[0]
    assert listed.split(", ") == sorted(NAMED[name])


@pytest.mark.parametrize("name", FILES)
def test_no_preset_repeats_another(name):
    ids = {preset: configs.run_id(_load(f"{name}:{preset}")) for preset in NAMED[name]}
    if ids.get("cpu_long") == ids["cpu"]:  # One run, which studies sweep more widely.
        del ids["cpu_long"]
    assert len(set(ids.values())) == len(ids)


def test_two_configs_share_nothing(root):
    """What may be none is a reference; setting it in one must not reach another."""
    path = f"{root}/configs/knowledge_composition.py"
    first = configs.load(f"{path}:cpu").unlock()
    before = configs.to_json(configs.load(f"{path}:cpu_long"))
    first.task.kwargs.max_heldout = 7
    assert configs.to_json(configs.load(f"{path}:cpu_long")) == before


@pytest.fixture(scope="module", params=SPECS)
def spec(request):
    """One spec after the other, so that each table is made once."""
    return request.param


@pytest.fixture(scope="module")
def config(spec):
    return _load(spec)


def test_a_table_is_made_in_ten_seconds_of_one_core_and_200_megabytes(config):
    begin = time.process_time()
    table = tasks.make_table(config)
    assert time.process_time() - begin < 10
    fields = (getattr(table, field.name) for field in dataclasses.fields(table))
    arrays = [*fields, *table.tags.values()]
    arrays = [array for array in arrays if isinstance(array, np.ndarray)]
    assert len(arrays) >= 5
    assert sum(array.nbytes for array in arrays) < 200e6


def test_the_arrays_of_its_table_are_those_kept(spec, config):
    name, _, preset = spec.replace(".py", "").partition(":")
    test_hashes.check(name, preset, tasks.make_table(config))


def test_a_config_has_the_keys_of_base_and_is_valid(config):
    assert dict(_keys(config)) == dict(_keys(base.get_config()))
    validation.check(config)
    again = configs.from_json(configs.to_json(config))
    assert again == config
    validation.check(again)


def test_the_loops_of_a_config_can_be_changed(config):
    argument = [
        "--config.recurrence.num_loops=7",
        "--config.recurrence.eval_loops=1,9",
        "--config.recurrence.backprop_depth=7",
    ]
    changed = configs.override(config, configs.parse_overrides(config, argument))
    if config.model.preset == "feedforward":
        with pytest.raises(ValueError, match="num_loops must be 1 in preset feedforw"):
            validation.check(changed)
        return
    assert changed.recurrence.num_loops == 7
    assert changed.recurrence.eval_loops == (1, 9)
    validation.check(changed)
    assert configs.run_id(changed) != configs.run_id(config)
    # The loop counts belong to the run, not to the model or to its parameters: a branch
    # scale alone reads them.
    table = tasks.make_table(config)
    same = configs.override(config, {"model.branch_scale": "none"})
    changed = configs.override(changed, {"model.branch_scale": "none"})
    assert presets.model_config(changed, table) == presets.model_config(same, table)


def test_a_config_makes_a_model_and_has_something_to_evaluate(config):
    table = tasks.make_table(config)
    model = presets.model_config(config, table)
    assert isinstance(hash(model), int)
    assert isinstance(model, recurrent.ModelConfig)
    assert model.vocab_size == len(table.vocab)
    assert model.max_length == table.tokens.shape[1]
    assert table.rows_of("train").size
    assert any(table.rows_of(split).size for split in ("id", "ood", "depth"))


@pytest.mark.parametrize("name", FILES)
def test_a_named_config_says_how_to_start_it_and_what_its_presets_are(name):
    text = ast.get_docstring(ast.parse((ROOT / "configs" / name).read_text()))
    assert f"rdt train --config=configs/{name}:" in text
    _, presets_and_more = re.split(r"^Presets.*:$", text, flags=re.MULTILINE)
    said = re.findall(r"^  (\w+) +\S", presets_and_more, re.MULTILINE)
    assert set(NAMED[name]) == {"smoke", *said} & set(PRESETS)


def test_a_value_by_preset_is_stronger_than_a_table_and_names_presets_that_exist():
    given = {"width": named.by_preset(8, smoke=4), "depth": 2}
    cpu = {"batch_size": named.by_preset(64, smoke=32)}
    tables = named.presets(
        task=("t", given), cpu=cpu, smoke={"batch_size": 1}, paper={}
    )
    values = lambda preset: [
        tables[preset][key]
        for key in ("task.kwargs.width", "task.kwargs.depth", "batch_size")
    ]
    assert values("cpu") == values("paper") == [8, 2, 64]
    assert values("smoke") == [4, 2, 32]
    with pytest.raises(
        ValueError, match=r"width has a value .* at smoke; .* are cpu, paper"
    ):
        named.presets(task=("t", given), cpu={}, paper={})


# The library reads no key with a default.


def _reads_with_defaults(source: str) -> list[str]:
    """Calls of `config.get` and `getattr(config, ...)`, by what they are called on."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Attribute) and node.func.attr == "get":
            owner = node.func.value
        elif isinstance(node.func, ast.Name) and node.func.id == "getattr":
            owner = node.args[0]
        else:
            continue
        name = ast.unparse(owner)
        sections = "config|section|recurrence|optimizer|evaluation|kwargs|model$"
        if re.search(sections, name):
            found.append(name)
    return found


@pytest.mark.parametrize("folder", ["rdt_jax", "configs", "experiments"])
def test_no_key_is_read_with_a_default(folder):
    found = {
        str(path): reads
        for path in (ROOT / folder).rglob("*.py")
        if (reads := _reads_with_defaults(path.read_text()))
    }
    assert found == {}


def test_a_planted_default_is_seen():
    planted = (
        "a = config.get('x', 1)\nb = self.config.model.get('x')\n"
        "c = getattr(section, 'x', 2)\nd = counts.get(3)\n"
    )
    assert _reads_with_defaults(planted) == ["config", "self.config.model", "section"]
