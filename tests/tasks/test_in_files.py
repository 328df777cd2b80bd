"""Tasks that are a function in a file of the user's: found, called, read again."""

import os

import numpy as np
import pytest

from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.tasks import arguments, check, identity, in_files, presets

DOUBLE = '''
from __future__ import annotations

import dataclasses
from rdt_jax.tasks import Row

@dataclasses.dataclass
class Word:
    letters: tuple[str, ...]

def double(letters="äbc", longest: int = 3, share: float = 1, *, heldout: float = 0.4):
    """Double: say a word twice."""
    for n in range(40):
        word = Word(tuple(letters[n // 3**i % 3] for i in range(longest)))
        yield Row(word.letters, 2 * word.letters, parts=word.letters)

def double_oracle(question):
    return question + question

def _hidden():
    pass
'''


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "my tasks: new.v2.py"
    path.write_text(DOUBLE)
    return path


def test_a_function_that_yields_rows_is_a_task(file):
    name = f"{file.name}:double"
    table = tasks.table_of(name, 0, {})
    assert table.certificate.rows["id"] == round(0.4 * 27)
    assert "ä" in table.vocab
    parameters = arguments.parameters(tasks.lookup(name))
    assert list(map(str, parameters.values())) == [
        "seed: int", "letters: str = 'äbc'", "longest: int = 3", "share: float = 1",
        "heldout: float = 0.4", "heldout_parts: float = 0.0",
        "heldout_pairs: float = 0.0", "max_train_size: int | None = None",
    ]  # fmt: skip
    rows = [0, 5]
    answers = tasks.oracle_of(name)(table, rows)
    assert answers == [list("ääääää"), list("cbäcbä")]


def test_it_passes_the_check(file):
    found = {f.name: f for f in check.check(f"{file.name}:double", {"seed": 0})}
    assert found.pop("size").verdict == "warns"
    assert {f.verdict for f in found.values()} == {"ok"}
    assert found["oracle"].text == "27 of 27 answers agree"


def test_a_config_has_every_argument_and_takes_others(file):
    config = presets.config_of(f"./{file.name}:double", "smoke")
    assert config.task.name == f"{file.name}:double"
    assert config.task.kwargs.to_dict() == {
        "letters": "äbc", "longest": 3, "share": 1.0, "heldout": 0.4,
        "heldout_parts": 0.0, "heldout_pairs": 0.0, "max_train_size": None,
    }  # fmt: skip
    asked = {"task.kwargs.max_train_size": 3, "task.kwargs.share": 0.5}
    changed = configs.override(config, asked)
    assert changed.task.kwargs.max_train_size == 3
    assert configs.run_id(changed) != configs.run_id(config)
    read = configs.from_json(configs.to_json(changed))
    assert configs.run_id(read) == configs.run_id(changed)
    with pytest.raises(ValueError, match="max_train_size must be an int or none, got"):
        configs.override(config, {"task.kwargs.max_train_size": "x"})


def test_two_configs_share_nothing(file):
    one, other = (presets.config_of(f"{file.name}:double") for _ in range(2))
    one.unlock().task.kwargs.max_train_size = 2
    assert other.task.kwargs.max_train_size is None


def test_a_task_with_a_config_has_its_presets():
    named = presets.config_of("modular", "smoke")
    assert configs.run_id(named) == configs.run_id(configs.load("modular:smoke"))
    with pytest.raises(ValueError, match="Unknown preset 'x'; choose from cpu"):
        presets.config_of("modular", "x")


def test_the_name_does_not_depend_on_how_it_is_typed(file, tmp_path, monkeypatch):
    (tmp_path / "below").mkdir()
    name = f"{file.name}:double"
    for typed in (name, f"./below/../{name}", f"{tmp_path}/{name}"):
        assert in_files.normalized(typed) == name
    monkeypatch.chdir("below")
    assert in_files.normalized(f"../{name}") == f"{tmp_path}/{name}"
    assert tasks.lookup(f"../{name}").__doc__.startswith("Double")


def test_a_file_that_has_changed_is_read_again(file):
    name = f"{file.name}:double"
    before, code = (
        tasks.table_of(name, 0, {}),
        identity.hash_code(tasks.lookup(name), {}),
    )
    file.write_text(DOUBLE.replace("2 * word", "3 * word"))
    after = tasks.table_of(name, 0, {})
    assert before.targets.shape[1] == 7 and after.targets.shape[1] == 10
    assert identity.hash_code(tasks.lookup(name), {}) != code


ARRAYS = """
import numpy as np
from rdt_jax.tasks import Table, base

def pairs(*, seed: int, size: int = 10) -> Table:
    a, b = np.divmod(np.arange(size**2), size)
    tokens = 1 + np.stack([a, b], axis=1).astype(np.int32)
    split = np.random.default_rng(seed).integers(0, 2, a.size).astype(np.int8)
    return base.certified(
        tokens, np.ones(a.size, int), 1 + (a + b) % size, split, held_out="Half.",
        atoms=np.stack([a, b], axis=1), vocab=["<pad>", *map(str, range(size))],
    )
"""


def test_a_function_may_return_a_table(tmp_path):
    (tmp_path / "a.py").write_text(ARRAYS)
    name = f"{tmp_path}/a.py:pairs"
    assert list(arguments.parameters(tasks.lookup(name))) == ["seed", "size"]
    table = tasks.table_of(name, 0, {"size": 5})
    assert len(np.unique(table.tokens, axis=0)) == 25
    assert tasks.oracle_of(name) is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("x = 1", "a.py has no function 'f'; choose from none"),
        ("def g(): ...\ndef _h(): ...", "a.py has no function 'f'; choose from g."),
        ("def f(*words): ...", r"given by name, got `\*words` in f"),
        ("def f(a, /): ...", "given by name, got `a` in f"),
        ("def f(a): ...", "annotated with int, .*got `a`"),
        ("def f(a: list = 1): ...", "annotated with int, .*got `a: list = 1`"),
        ("def f(a: Nope): ...", "a.py.* name 'Nope' is not defined"),
        ("def f(a: int): ...", "task.kwargs.a is missing"),
        ("def f(): return 3", "f must yield rows, .* `-> Table`, got 3"),
        ("def f(): yield 'a', 'b'", r"must yield .* got \('a', 'b'\) as row 1"),
        ("def f(): yield from ()", "must have rows, got none"),
        (
            "def f():\n  yield Row('a', 'x')\n  1 / 0",
            "a.py line 4: Zero.* f must yield rows",
        ),
        ("def f(): yield Row('a', 7)", r"output of a row .*7\. \(.*a.py line 2\)"),
        ("def f(): yield Row('a', '<end>')", r"other words than .*\(.*a.py line 2\)"),
        (
            "def f():\n  for s in ('train', 'id'): yield Row('a', 'x', split=s)",
            "row 2 asks 'a' again, as row 1 does, with another split",
        ),
        ("def f(): yield Row('a', 'x', split='id')", "there must be train rows"),
        ("import nope", "a.py line 2: .*No module named 'nope'"),
        ("def f(:", "a.py line 2: SyntaxError"),
        ("def f() -> base.Table: ...", "must take a keyword argument `seed`"),
        (
            "def f(*, seed: int) -> base.Table: return 3",
            "f must yield rows, or return a Table and be annotated so, got 3",
        ),
    ],
)
def test_a_mistake_is_one_message(body, message, tmp_path):
    path = tmp_path / "a.py"
    path.write_text(f"from rdt_jax.tasks import Row, base\n{body}\n")
    with pytest.raises(ValueError, match=message):
        config = presets.config_of(f"{path}:f")
        configs.raise_problems(tasks.problems(config))


@pytest.mark.parametrize("name", ["a.py", "a.py:", "sub:x/a.py"])
def test_a_file_without_a_function_lists_the_choices(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.makedirs("sub:x")
    for path in ("a.py", "sub:x/a.py"):
        (tmp_path / path).write_text(DOUBLE)
    with pytest.raises(
        ValueError, match=r"a.py has no function ''; choose from double\."
    ):
        tasks.lookup(name)
    with pytest.raises(
        ValueError, match="No task file .*b.py: .* directory, which is "
    ):
        tasks.lookup("b.py:f")
