"""docs/changing.md to the letter: its blocks applied to a copy, its commands run."""

import json
import re
import shlex
import sys

import pytest

from tests import pages
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "changing.md").read_text()
BLOCK = re.compile(
    r'^```python\n# (\S+), (behind|instead of) "(\S+)"\n(.*?)^```$', re.M | re.S
)
TRAIN = re.compile(r"^rdt train (.*?[^\\])$", re.M | re.S)
BUDGET = {"num_steps": 60, "eval_every_steps": 20, "checkpoint_every_steps": 60}
SHORT = [f"--config.{key}={value}" for key, value in BUDGET.items()]
# One process compiles for all: starting one takes as long as training.
SCRIPT = """
import json, sys
from rdt_jax import cli
from rdt_jax import config as configs
from rdt_jax.sweep import packing

for words in json.loads(sys.argv[1]):
    if code := cli.main(words):
        sys.exit(code)
config = configs.load("configs/modular.py:smoke")
weights = [configs.override(config, {"loss.z_loss": weight}) for weight in (0.1, 0.2)]
assert len(set(map(packing.signature, weights))) == 1, "they share no program"
"""


def apply(page, folder):
    """Applies the blocks of a page; returns the files that they change, per section."""
    changed = []
    for section in page.split("\n## "):
        changed.append(set())
        for name, where, key, text in BLOCK.findall(section):
            path = folder / name
            lines = path.read_text().splitlines(keepends=True)
            (start,) = [
                i for i, line in enumerate(lines) if line.startswith(f'    "{key}": ')
            ]
            end = start + 1
            while lines[end].startswith(("     ", "    )")):
                end += 1
            lines[start if where == "instead of" else end : end] = text
            path.write_text("".join(lines))
            changed[-1].add(name)
    return changed


def run(words, folder):
    pages.run([sys.executable, *words], folder, PYTHONPATH=str(folder))


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of what the page changes, unchanged."""
    folder = tmp_path_factory.mktemp("copy")
    pages.copy(folder, "rdt_jax", "configs", "tests", "pyproject.toml")
    return folder


@pytest.fixture(scope="module")
def changed(copy):
    """The copy with the page applied."""
    files = apply(PAGE, copy)
    assert sorted(map(len, files)) == [0, 0, 0, 2, 2]
    return copy


def runs_of(workdir):
    """Returns config, metrics and events of each run, by what sets them apart."""
    found = {}
    for folder in workdir.glob("*/config.json"):
        folder = folder.parent
        config = json.loads((folder / "config.json").read_text())
        read = lambda name, folder=folder: [
            json.loads(line) for line in (folder / name).read_text().splitlines()
        ]
        kind = (
            config["task"]["name"],
            config["optimizer"]["name"],
            config["loss"]["z_loss"],
        )
        assert json.loads((folder / "status.json").read_text())["state"] == "done"
        found[kind] = read("metrics.jsonl"), read("events.jsonl")
    return found


@pytest.mark.exhaustive
def test_what_the_page_adds_trains_and_is_recorded(changed):
    commands = [shlex.split(words.replace("\\\n", "")) for words in TRAIN.findall(PAGE)]
    assert len(commands) == 3
    plain = ["--config=configs/modular.py:smoke", "--workdir=runs"]
    calls = [["train", *words, *SHORT] for words in (plain, *commands)]
    run(["-c", SCRIPT, json.dumps(calls)], changed)
    runs = runs_of(changed / "runs")
    losses = {
        kind: [row["train/batch_loss@2"] for row in metrics[1:]]
        for kind, (metrics, _) in runs.items()
    }
    plain = losses["modular", "adamw", 0.0]
    # The term at the start is .01 times the squared log of 14 words, and more: .07.
    assert 0.05 < losses["modular", "adamw", 0.01][0] - plain[0] < 0.2
    assert losses["modular", "nadam", 0.0][0] != pytest.approx(plain[0], rel=1e-4)
    _, events = runs["knowledge_composition", "adamw", 0.0]
    kinds = [e["kind"] for e in events if e["event"] == "mixed_generalized"]
    assert kinds[:2] == ["onset", "completed"]
    assert {e["split"] for e in events if e["event"] == "mixed_generalized"} == {
        "mixed"
    }
    assert list((changed / "runs").glob("*/transitions/mixed_generalized-after-*"))


@pytest.mark.slow
def test_no_run_is_renamed(changed):
    kept = changed / "tests" / "run_ids.json"
    before = json.loads(kept.read_text())
    write, _, check = re.findall(r"^(?:python|git) (.*?) *(?:#.*)?$", PAGE, re.M)
    for command in (write, check):
        run(shlex.split(command), changed)
    after = json.loads(kept.read_text())
    assert after.pop("defaults") != before.pop("defaults")
    assert after == before
    page = (changed / "configs" / "base.py").read_text()
    for key in ("loss.z_loss = 0.0", "nadam"):
        assert key in page


def test_a_page_that_is_wrong_would_be_seen(tmp_path):
    path = tmp_path / "there.py"
    path.write_text('TABLE = {\n    "a": f(\n        1\n    ),\n    "b": 2,\n}\n')
    block = '```python\n# there.py, {} "{}"\n{}```\n'
    apply(block.format("behind", "a", '    "c": 3,\n'), tmp_path)
    apply(block.format("instead of", "b", '    "b": 4,\n'), tmp_path)
    expected = '{\n    "a": f(\n        1\n    ),\n    "c": 3,\n    "b": 4,\n}\n'
    assert path.read_text() == f"TABLE = {expected}"
    with pytest.raises(ValueError):
        apply(block.format("behind", "d", '    "e": 5,\n'), tmp_path)


def test_the_blocks_of_the_page_are_written_like_our_own(changed):
    pages.check_style(changed, "rdt_jax")
