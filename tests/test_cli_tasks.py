"""`rdt tasks`: the list, one task, check, export; mistakes exit 2 with one message."""

import json
import os
import subprocess
import sys

import pytest

from rdt_jax import cli, tasks
from rdt_jax.tasks import arguments, check
from tests.conftest import ROOT
from tests.tasks import examples

SMALL = ["--set", "modulus=5", "operation=subtract", "train_fraction=0.5"]


def test_the_list_has_every_task_and_its_arguments(command):
    out = command(["tasks"]).out
    for name in tasks.TASKS:
        assert f"\n{name}: " in f"\n{out}"
    assert "  operation: str\n" in out and "seed" not in out


def test_a_task_is_shown_with_arguments_rows_and_certificate(command):
    out = command(["tasks", "modular", *SMALL]).out
    for line in (
        "modular: Grokking",
        "  seed: int = 0",
        "  operation: str = 'subtract'",
        "  train_fraction: float = 0.5",
        "train: 12 rows",
        "  overlap: train/id 0",
        "  held_out: 13 of the 25 pairs.",
    ):
        assert f"\n{line}" in f"\n{out}", line
    shown = [line.split() for line in out.splitlines() if " -> " in line]
    assert len(shown) == 6
    for a, _, b, _, _, answer in shown:
        assert (int(a) - int(b) - int(answer)) % 5 == 0


def test_tags_are_shown(capsys):
    assert cli.main(["tasks", "knowledge_composition", "--preset", "smoke"]) == 0
    assert "   hops=2   pattern=ood-ood\n" in capsys.readouterr().out


def test_the_preset_is_cpu_unless_another_is_named(capsys):
    for options, preset in (([], "cpu"), (["--preset=smoke"], "smoke")):
        assert cli.main(["tasks", "modular", *options]) == 0
        modulus = arguments.of_presets("modular")[preset]["modulus"]
        assert f"  modulus: int = {modulus}\n" in capsys.readouterr().out


def test_check_says_what_it_verified(command):
    printed = command(["tasks", "check", "modular", *SMALL])
    lines = printed.out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "ok    table", "ok    determinism", "warns size", "ok    leakage",
        "ok    baselines", "ok    oracle",
    ]  # fmt: skip
    assert "train has 12 rows, fewer than 50" in printed.out
    assert "25 of 25 answers agree" in printed.out and printed.err == ""


def test_check_exits_1_with_the_reason(command, monkeypatch):
    findings = [
        check.Finding("table", "ok", "good"),
        check.Finding("leakage", "fails", "3 questions in train/id"),
        check.Finding("oracle", "none", "none is registered"),
    ]
    monkeypatch.setattr(check, "check", lambda name, kwargs: iter(findings))
    printed = command(["tasks", "check", "modular"], 1)
    assert "fails leakage: 3 questions in train/id\n" in printed.out
    assert "none  oracle: none is registered\n" in printed.out
    assert printed.err == "rdt: modular fails the check: leakage\n"


def test_export_writes_a_row_per_line(tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    assert cli.main(["tasks", "export", "modular", *SMALL, "--out", str(path)]) == 0
    assert capsys.readouterr().out == f"25 rows in {path}\n"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({row["input"] for row in rows}) == len(rows) == 25
    assert all(
        set(row) == {"split", "repeats", "input", "output", "tags"} for row in rows
    )
    assert [p.name for p in tmp_path.iterdir()] == ["rows.jsonl"]


def test_settings_may_be_given_one_by_one(tmp_path):
    path = tmp_path / "rows.jsonl"
    one_by_one = [
        "--set",
        "modulus=5",
        "--set",
        "train_fraction=0.4",
        "--set",
        "seed=4",
    ]
    assert (
        cli.main(["tasks", "export", "modular", *one_by_one, "--out", str(path)]) == 0
    )
    kwargs = {"operation": "add", "modulus": 5, "train_fraction": 0.4}
    table = tasks.table_of("modular", 4, kwargs)
    splits = [json.loads(line)["split"] for line in path.read_text().splitlines()]
    assert splits == [tasks.SPLITS[split] for split in table.split]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["modulo"], "Unknown task 'modulo'; choose from arithmetic_expression, "),
        (["check", "modulo"], "Unknown task 'modulo'"),
        (["modular", "--set", "size=3"], "Unknown argument 'size'; choose from seed"),
        (["modular", "--set", "modulus"], "--set takes KEY=VALUE, got 'modulus'"),
        (["modular", "--set", "modulus=x"], "task.kwargs.modulus must be int, got 'x'"),
        (["modular", "--set", "modulus=1"], "task.kwargs.modulus must be in [2, 4096]"),
        (["check", "modular", "--set", "modulus=1"], "rows, got 1."),
        (["modular", "--set", "seed=-1"], "seed must be an int of at least 0, got -1"),
        (["modular", "--set", "seed=a"], "arguments of modular:\n  seed must be an"),
        (["modular", "--preset", "big"], "Unknown preset 'big'; choose from cpu,"),
        (["modular", "scan"], "takes one NAME, after check or export if any"),
        (["check"], "takes one NAME, after check or export if any, got ['check']"),
        (["export", "modular"], "export NAME needs --out FILE"),
        (["modular", "--out", "x"], "needs --out FILE, and nothing else does"),
        (["--set", "modulus=3"], "--preset and --set need the NAME of a task"),
        (["export", "modular", "--out", "no/where"], "in a folder that exists"),
    ],
)
def test_a_mistake_exits_2_with_one_message(words, message, command):
    printed = command(["tasks", *words], 2)
    assert message in printed.err and "Traceback" not in printed.err
    assert printed.out == ""


def test_a_task_of_a_package_has_the_arguments_of_its_signature(install, command):
    install()
    assert "  size: int = 7\n" in command(["tasks", "toy", "--set", "size=7"]).out
    assert "Unknown preset 'cpu'" in command(["tasks", "toy", "--preset", "cpu"], 2).err


def test_a_package_that_does_not_load_is_a_mistake(install, command):
    install(entry_points="[rdt_jax.tasks]\nmodular = toys_module:toy\n")
    for words in (["tasks"], ["tasks", "modular"]):
        assert "Packages rdt_jax and toys both offer" in command(words, 2).err


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", tasks.BUILT_IN)
def test_a_check_takes_at_most_30_cpu_seconds(name):
    command = [sys.executable, "-m", "rdt_jax", "tasks", "check", name]
    if name in ("ltg_folder", "rows"):  # The one argument without a default.
        command += ["--set", f"path={examples.EXAMPLES[name][0]['path']}"]
    before = _cpu_seconds_of_children()
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    assert _cpu_seconds_of_children() - before <= 30


def _cpu_seconds_of_children():
    """Returns the CPU seconds of ended children, and of theirs, all together."""
    times = os.times()
    return times.children_user + times.children_system
