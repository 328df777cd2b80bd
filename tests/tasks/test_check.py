"""A task that breaks a rule fails the check that is about it, and says why."""

import re

import pytest

from rdt_jax import cli, tasks
from rdt_jax.tasks import arguments, check
from tests import packages
from tests.tasks import examples

CHECKS = ["table", "determinism", "leakage", "baselines", "oracle"]


def _check(name="toy", **kwargs):
    kwargs = {"seed": 0} | ({"size": 12} if name == "toy" else {}) | kwargs
    return {f.name: f for f in check.check(name, kwargs)}


@pytest.mark.parametrize("name", tasks.BUILT_IN)
def test_every_task_passes_with_its_smallest_preset(name):
    kwargs = arguments.of_section(examples.smoke(name).task)
    findings = list(check.check(name, kwargs))
    assert [f.name for f in findings if f.verdict != "warns"] == CHECKS
    assert {f.name: f.text for f in findings if f.verdict == "fails"} == {}
    assert findings[-1].verdict == ("ok" if name in tasks.ORACLES else "none")


def test_a_good_task_of_a_package_passes(install):
    install()
    findings = _check()
    assert [finding.verdict for finding in findings.values()] == 5 * ["ok"]
    assert "144 of 144 answers agree" in findings["oracle"].text


def test_a_small_part_is_warned_of(install):
    install()
    finding = _check(size=8)["size"]
    assert finding.verdict == "warns"
    assert "rows, fewer than 50" in finding.text
    assert "size" not in _check()


def test_without_an_oracle_nothing_is_claimed(install):
    install(entry_points="[rdt_jax.tasks]\ntoy = toys_module:toy\n")
    finding = _check()["oracle"]
    assert finding.verdict == "none"
    assert "no answer was verified" in finding.text


def test_a_table_that_holds_nothing_out_has_no_score_of_a_guess(tmp_path):
    lines = '{"input": "a", "output": "x"}\n{"input": "b", "output": "y"}\n'
    (tmp_path / "rows.jsonl").write_text(lines)
    findings = _check("rows", path=str(tmp_path / "rows.jsonl"), heldout=0.0)
    assert findings["baselines"].text == "no row is held out"


# What a table does wrong -> the check that fails, and its reason.
BREAKS = {
    "order = {str(n) for n in range(99)}; split[:] = [hash(x) % 2 for x in "
    "list(order)[:9] * 16]": ("determinism", "another process makes another table"),
    "split[:] = np.random.default_rng().integers(0, 2, a.size)": (
        "determinism",
        "another process makes another table",
    ),
    "import sys; 'pytest' in sys.modules or exit('no')": ("determinism", "cannot make"),
    "tokens[1] = tokens[0]; split[:2] = [0, 1]": (
        "leakage",
        "1 question in train/id",
    ),
    "tokens[1] = tokens[0]; split[:2] = 0": (
        "leakage",
        "1 question in a split more than once",
    ),
    "split[a == 3] = 1": ("leakage", "the certificate counts impure {'id': 12}"),
    "split[0] = 0; c = certificate(); certificate = lambda: c; split[0] = 1": (
        "leakage",
        "the certificate has",
    ),
    "targets[:] = 15": ("baselines", "alone scores 1.00 in id: nothing is to be"),
    "import dataclasses; c = certificate(); c.majority['id'] += 0.1; "
    "certificate = lambda: c": ("baselines", "the certificate says majority"),
    "targets[7] = 14 + (targets[7] - 13) % 3": (
        "oracle",
        r"1 of 144 answers differ, the first in row 7: '0 7' has",
    ),
}


@pytest.mark.parametrize("line", BREAKS)
def test_a_broken_task_fails(install, line):
    assert packages.TOY.count("# BREAK") == 1
    install(packages.TOY.replace("# BREAK", line))
    name, reason = BREAKS[line]
    findings = _check()
    assert findings[name].verdict == "fails"
    with pytest.raises(ValueError, match=reason):
        raise ValueError(findings[name].text)


# What a task does wrong -> what is said of it, after its file.
MISTAKES = {
    "1 / 0": " line {at}: ZeroDivisionError: division by zero. The function",
    "raise SystemExit": " line {at}: it ends the program, with sys.exit",
    "raise ValueError('odd')": " line {at}: ValueError: odd. The function of task toy",
    "return None": ": The function of task toy must return an rdt_jax.tasks.T",
    "return 'abc'": ": The function of task toy must return an rdt_jax.tasks.",
}
# How a table is not as documented -> what is said of it.
TABLES = {
    "tokens = tokens.astype(float)": "tokens must be int32 [N=144, T=3], got float64",
    "split = None": "split must be int8 [N=144], got NoneType []",
    "fields['answer_positions'] += 9": "answer_positions must lie in the row",
    "fields['targets'] = targets[:, 0]": "targets must be int32 [N=144, A=1], got int",
    "repeats = repeats[:, None]": "repeats must be int32 [N=144], got int32 [144, 1]",
    "tokens[0] = -1": "tokens must lie in the vocabulary",
    "fields['vocab'] = ('<pad>', 'a')": "tokens must lie in the vocabulary",
    "tokens[0, 0] = 0": "padding (token 0) must stand at the ends",
    "repeats[:] = 0": "repeats must be at least 1 in train rows",
    "split[:] = 1": "there must be train rows",
    "split[0] = 9": "split must be indices of train, id",
    "targets[0] = -1": "a row needs an answer",
    "targets[0] = 0": "targets must be words, and not padding",
    "fields['targets'] = targets + 3": "targets must lie in the vocabulary",
    "fields['vocab'] = (*fields['vocab'][:-1], 'zero')": "must be distinct",
    "fields['tags']['third'] = b": "tag third has values without a word",
    "fields['tag_names']['odd'] = ('no', 'yes')": "tag odd has values without a word",
    "fields['tags']['first'] = a[1:]": "tag first must be int32 [N=144], got int32 [14",
    "certificate = lambda: None": "certificate must be what `certify` returns",
}


def _line_of(text):
    return packages.TOY.partition(text)[0].count("\n") + 1


@pytest.mark.parametrize("words", [["toy"], ["check", "toy"], ["export", "toy"]])
@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_of_a_task_has_its_line(install, tmp_path, capsys, line, words):
    at = _line_of("# BREAK")
    path = install(packages.TOY.replace("# BREAK", line))
    out = tmp_path / "rows.jsonl"
    arguments = ["tasks", *words, *([f"--out={out}"] * (words[0] == "export"))]
    assert cli.main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"rdt: {path}{MISTAKES[line].format(at=at)}")
    assert printed.out == "" and not out.exists()
    if "{at}" in MISTAKES[line]:
        assert cli.main([*arguments, "--traceback"]) == 2
        error = capsys.readouterr().err
        assert error.startswith("Traceback") and f'"{path}", line {at}, in' in error


@pytest.mark.parametrize("line", TABLES)
def test_a_table_that_is_not_as_documented_has_the_line_that_made_it(install, line):
    path = install(packages.TOY.replace("# BREAK", line))
    with pytest.raises(ValueError) as found:
        tasks.lookup("toy")(seed=0)
    message = str(found.value)
    assert message.startswith(f"Invalid table:\n  {TABLES[line]}".partition(" must")[0])
    assert TABLES[line] in message
    assert re.search(rf"\({path} line \d+\)$", message)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("return None", ": The function of oracle toy must return the words of "),
        ("return []", ": The function of oracle toy must return the words of "),
        ("return [[0] for _ in chosen]", ": The function of oracle toy must return "),
        (
            "raise SystemExit",
            " line {at}: it ends the program, with sys.exit(None). The fun",
        ),
        ("int('x')", " line {at}: ValueError: invalid literal for int() with base"),
    ],
)
def test_a_mistake_of_an_oracle_has_its_line(install, capsys, line, said):
    first = "pairs = [rows.decode"
    at = _line_of(first)
    path = install(packages.TOY.replace(first, f"{line}; {first}"))
    assert cli.main(["tasks", "check", "toy"]) == 2
    assert capsys.readouterr().err.startswith(f"rdt: {path}{said.format(at=at)}")


def test_a_large_table_is_answered_at_equal_distances(install, monkeypatch):
    install()
    monkeypatch.setattr(check, "ORACLE_ROWS", 10)
    assert "10 of 144 answers agree" in _check()["oracle"].text


def test_a_refused_argument_is_no_finding():
    kwargs = {"seed": 0, "operation": "add", "modulus": 1, "train_fraction": 0.5}
    with pytest.raises(ValueError, match=r"modulus must be in \[2, "):
        list(check.check("modular", kwargs))


def test_teacher_forced_answers_are_no_part_of_the_question(install):
    # Two rows ask `0 1`; they differ in the answers that are fed back alone.
    source = """
import numpy as np
from rdt_jax.tasks import base

def toy(*, seed: int, size: int):
    tokens = np.array([[1, 3, 4, 4], [1, 3, 5, 0], [2, 3, 4, 0]], np.int32)
    targets = np.array([[4, 4, 6], [5, 6, -1], [4, 6, -1]], np.int32)
    positions = np.array([[1, 2, 3], [1, 2, 0], [1, 2, 0]], np.int32)
    split, repeats = np.array([0, 1, 0], np.int8), np.ones(3, np.int32)
    atoms = np.array([[0], [0], [1]])
    certificate = base.certify(
        tokens, positions, targets, split, repeats, atoms, "one."
    )
    words = ("<pad>", "a", "b", "<sep>", "x", "y", "<end>")
    return base.Table(
        tokens, positions, targets, split, repeats, {}, {}, words, certificate
    )
"""
    install(source, "[rdt_jax.tasks]\ntoy = toys_module:toy\n")
    finding = _check()["leakage"]
    assert finding.verdict == "fails"
    assert "1 question in train/id" in finding.text
