"""`--task`: a function in a file of the user's, at the command line."""

import json

import pytest

from rdt_jax import cli
from rdt_jax import config as configs
from rdt_jax.store import run_folder
from rdt_jax.sweep import plan as plans
from rdt_jax.tasks import presets

REVERSE = '''
import itertools
from rdt_jax.tasks import Row

def reverse(letters: str = "abc", longest: int = 5, max_train_size: int = 4):
    """Reverse: turn a word round."""
    for length in range(1, longest + 1):
        for word in itertools.product(letters, repeat=length):
            yield Row(word, word[::-1], parts=word, size=length)

def broken():
    yield Row("a", "x", split="train")
    yield Row("a", "x", split="id")

def raises(at: int = 3):
    for n in range(5):
        yield Row(f"a{n}", str(1 // (at - n)))
'''


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my task.py").write_text(REVERSE)
    return tmp_path


def test_a_sweep_of_a_task_needs_no_config(folder):
    command = ["sweep", "--task=./my task.py:reverse", "--preset=smoke"]
    command += ["--config.task.kwargs.letters=xyz"]
    assert cli.main([*command, "--loops=1,2", "--plan", "--workdir=runs"]) == 0
    (path,) = (folder / "runs" / "sweeps").glob("reverse-smoke-num_loops*")
    made = list(plans.read(path).configs().values())
    assert [config.recurrence.num_loops for config in made] == [1, 2]
    for config in made:
        assert config.task.name == "my task.py:reverse"
        assert config.task.kwargs.letters == "xyz"
        assert config.task.kwargs.max_train_size == 4
    share = "--over=task.kwargs.heldout=0.2,0.4"
    assert cli.main([*command, share, "--plan"]) == 0
    (other,) = (folder / "runs" / "sweeps").glob("reverse-smoke-heldout*")
    found = list(plans.read(other).configs().values())
    assert [config.task.kwargs.heldout for config in found] == [0.2, 0.4]
    # Another command finds the sweep by its task, and by its folder.
    assert cli.main([*command, "--status", "--loops=1,2"]) == 0
    assert cli.main(["sweep", str(path), "--status"]) == 0


def test_a_named_task_has_the_presets_of_its_config(folder):
    command = ["sweep", "--task=modular", "--preset=smoke", "--seeds=1", "--plan"]
    assert cli.main(command) == 0
    (path,) = (folder / "runs" / "sweeps").iterdir()
    (config,) = plans.read(path).configs().values()
    assert configs.run_id(config) == configs.run_id(configs.load("modular:smoke"))


def test_export_writes_the_rows_that_the_task_rows_reads(folder, command):
    assert cli.main(["tasks", "export", "my task.py:reverse", "--out=a.jsonl"]) == 0
    rows = [json.loads(line) for line in (folder / "a.jsonl").read_text().splitlines()]
    assert len(rows) == 363
    out = command(["tasks", "rows", "--set", "path=a.jsonl"]).out
    assert "a b -> b a   size=2" in out and "depth: 243 rows" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--task=my task.py"], "has no function ''; choose from reverse, broken, rai"),
        (["--task=my task.py:x"], "has no function 'x'; choose from reverse, broken"),
        (["--task=none.py:x"], "No task file "),
        (["--task=modulo"], "Unknown task 'modulo'; choose from "),
        (["--task=my task.py:broken"], "row 2 asks 'a' again, as row 1 does, with ano"),
        (["--task=my task.py:raises"], "my task.py line 17: ZeroDivisionError"),
        (["--task=my task.py:reverse", "--preset=paper"], "Unknown preset 'paper'; ch"),
        (
            ["--task=my task.py:reverse", "--config.task.kwargs.letter=a"],
            "Unknown config key 'task.kwargs.letter'; did you mean task.kwargs.letters",
        ),
        (
            ["--task=my task.py:reverse", "--config.task.kwargs.longest=4"],
            "task.kwargs.max_train_size must leave depth rows",
        ),
        (["--task=rows"], "task.kwargs.path is missing: path: str"),
    ],
)
@pytest.mark.parametrize("verb", ["train", "sweep"])
def test_a_mistake_is_one_message_and_writes_nothing(verb, words, message, command):
    printed = command([verb, *words, "--workdir=new"], 2)
    assert message in printed.err and printed.out == ""
    assert "Traceback" not in printed.err


def test_a_run_of_other_rows_is_not_gone_on_with(folder, capsys):
    config = presets.config_of("my task.py:reverse", "smoke")
    run = folder / "runs" / configs.run_id(config)
    run_folder.create(run, config)
    (run / "environment.json").write_text('{"table": "0123", "segments": []}')
    assert cli.main(["train", "--task=my task.py:reverse", "--preset=smoke"]) == 2
    assert "was trained on another table of my task.py:reve" in capsys.readouterr().err


def test_a_preset_goes_with_a_task_and_not_with_a_config(capsys):
    assert cli.main(["train", "--config=modular:smoke", "--preset=cpu"]) == 2
    assert "--preset goes with --task" in capsys.readouterr().err
    assert cli.main(["sweep", "modular:smoke", "--task=modular"]) == 2
    assert "or --task, one of them, got modular:smoke" in capsys.readouterr().err


@pytest.fixture(autouse=True)
def nothing_written(folder):
    """Every command that fails leaves the folder as it was."""
    yield
    assert not (folder / "new").exists()
