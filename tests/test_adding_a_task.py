"""docs/adding_a_task.md to the letter: its files are written, its commands run."""

import json
import os
import re
import sys

import pytest

from tests import pages
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "adding_a_task.md").read_text()
FILES, REST = PAGE.split("## In a package, with arrays")
PACKAGE, REPOSITORY = REST.split("## In this repository")
# What training in the test is shorter by than on the page.
SHORT = (
    " --preset=smoke --config.num_steps=20 --config.eval_every_steps=10 "
    "--config.checkpoint_every_steps=20 --config.model.core_blocks=1 "
    "--config.optimizer.warmup_steps=5"
)


def _blocks(text):
    """Returns the blocks of the page: (its language, its lines)."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(language, block.splitlines()) for language, block in blocks]


def _commands(text):
    return [line for language, lines in _blocks(text) if not language for line in lines]


def _apply(text, folder):
    """Writes each block to the file, or the place in one, that it begins with."""
    for language, (first, *lines) in _blocks(text):
        if language in ("", "text"):
            continue
        name, _, place = first.removeprefix("# ").partition(", ")
        path = folder / name
        if not place:
            assert not path.exists(), name
            path.write_text("\n".join(lines) + "\n")
            continue
        target = path.read_text().splitlines()
        if place == "at the end":
            at = len(target)
        elif place == "among the imports":
            at = max(i for i, x in enumerate(target) if x.startswith("from rdt_jax"))
        else:
            table = re.escape(place.removeprefix("in "))
            at = next(
                i for i, x in enumerate(target) if re.match(rf"{table}\b.* = ", x)
            )
        target[at + 1 : at + 1] = lines
        path.write_text("\n".join(target) + "\n")


def _venv(folder, python_path):
    """Makes `.venv/bin/rdt` and `.venv/bin/python` of a folder: ours, seeing it."""
    (folder / ".venv" / "bin").mkdir(parents=True)
    seen = os.pathsep.join(map(str, python_path))
    for name, module in (("python", ""), ("rdt", "-m rdt_jax ")):
        path = folder / ".venv" / "bin" / name
        path.write_text(
            f'#!/bin/sh\nexport PYTHONPATH="{seen}:$PYTHONPATH"\n'
            f'exec "{sys.executable}" {module}"$@"\n'
        )
        path.chmod(0o755)


def _run(commands, folder, **environment):
    return [pages.run(["sh", "-c", line], folder, **environment) for line in commands]


def test_the_page_has_what_is_followed():
    assert len(_blocks(FILES)) == 5 and len(_commands(FILES)) == 5
    assert len(_blocks(PACKAGE)) == 4 and len(_commands(PACKAGE)) == 6
    assert len(_blocks(REPOSITORY)) == 5 and len(_commands(REPOSITORY)) == 4


@pytest.mark.slow
def test_in_twenty_lines(tmp_path):
    _apply(FILES, tmp_path)
    assert len((tmp_path / "reverse.py").read_text().splitlines()) <= 20
    _venv(tmp_path, [ROOT])
    active = {"PATH": f"{tmp_path / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    shown, checked, swept, _, sums = _run(
        [
            command.replace("1,2,4", "1") + SHORT * command.startswith("rdt sweep")
            for command in _commands(FILES)
        ],
        tmp_path,
        **active,
    )
    assert "depth: 4,096 rows" in shown and "a c -> c a   size=2" in shown
    verdicts = [line.split()[0] for line in checked.splitlines()]
    assert verdicts == 5 * ["ok"]
    assert "Updates to each phase: reverse " in swept
    folders = [path.parent for path in tmp_path.glob("runs/sweeps/*/plan.json")]
    assert [len(list(f.glob("figures/accuracy.png"))) for f in folders] == [1]
    assert [(folder / "report.html").is_file() for folder in folders] == [True]
    assert "train: 200 rows" in sums and "id: 200 rows" in sums


@pytest.mark.exhaustive
def test_in_a_package(tmp_path):
    site = tmp_path / "site-packages"
    _apply(PACKAGE, tmp_path)
    _venv(tmp_path, [site, ROOT])
    active = f"{tmp_path / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    # The page's pip, without the network, into a folder that the test throws away.
    pip = {
        "PATH": active,
        "PIP_TARGET": str(site),
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it so: no isolation.
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    _, listed, shown, checked, _, trained = _run(_commands(PACKAGE), tmp_path, **pip)
    assert "parity: Parity: say whether the number of ones" in listed
    assert "depth: 384 rows" in shown
    verdicts = [line.split()[:2] for line in checked.splitlines()]
    names = ("table", "determinism", "leakage", "baselines", "oracle")
    assert [v for v in verdicts if v[0] != "warns"] == [
        ["ok", f"{name}:"] for name in names
    ]
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == 2 + 4 + 8 + 16 + 32 + 64
    for row in rows:
        is_odd = sum(map(int, row["input"].split())) % 2
        assert row["output"] == ("odd" if is_odd else "even")
        assert row["tags"] == {"length": len(row["input"].split())}
        assert (row["split"] == "depth") == (row["tags"]["length"] > 4)
    status = json.loads((tmp_path / trained.strip() / "status.json").read_text())
    assert (status["state"], status["step"]) == ("done", 40)
    assert (tmp_path / "runs" / "tables" / "rdt_parity").is_dir()


@pytest.mark.slow
def test_in_this_repository(tmp_path):
    folders = ("rdt_jax", "configs", "tests", "experiments", "docs")
    pages.copy(tmp_path, *folders, "pyproject.toml")
    own = tmp_path / "own"
    own.mkdir()
    _apply(PACKAGE, own)
    (own / "parity.py").rename(tmp_path / "rdt_jax" / "tasks" / "parity.py")
    _apply(REPOSITORY, tmp_path)
    _venv(tmp_path, [tmp_path])
    hashes = tmp_path / "tests" / "tasks" / "hashes.json"
    before = json.loads(hashes.read_text())
    # Training is what the other page does; here it would be the same again.
    *commands, train = _commands(REPOSITORY)
    assert train == "rdt train --task=parity --preset=smoke"
    active = f"{tmp_path / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    _, tested, checked = _run(commands, tmp_path, PATH=active)
    assert re.search(r"\d\d passed", tested) and "failed" not in tested
    verdicts = [line.split()[0] for line in checked.splitlines()]
    assert [v for v in verdicts if v != "warns"] == 5 * ["ok"]
    after = json.loads(hashes.read_text())
    assert set(after.pop("parity")) == {"default"}
    assert after == before


def test_a_page_that_is_wrong_would_be_seen(tmp_path):
    (tmp_path / "there.py").write_text("from rdt_jax import a\n\nTABLE: dict = {\n}\n")
    _apply("```python\n# there.py, in TABLE\n    1: 2,\n```\n", tmp_path)
    _apply("```python\n# there.py, among the imports\nimport b\n```\n", tmp_path)
    expected = "from rdt_jax import a\nimport b\n\nTABLE: dict = {\n    1: 2,\n}\n"
    assert (tmp_path / "there.py").read_text() == expected
    with pytest.raises(AssertionError, match="exit 3"):
        _run(["exit 3"], tmp_path)
    with pytest.raises(AssertionError, match="there.py"):
        _apply("```python\n# there.py\nother = 1\n```\n", tmp_path)


def test_the_functions_of_the_page_are_written_like_our_own(tmp_path):
    _apply(FILES + PACKAGE, tmp_path)
    pages.check_style(tmp_path, "reverse.py", "parity.py", "parity_config.py")
