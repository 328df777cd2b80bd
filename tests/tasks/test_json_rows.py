"""Rows from a file of JSON lines: read as they are, and what is written comes back."""

import json

import numpy as np
import pytest

from rdt_jax import cli, tasks
from rdt_jax.tasks import page, rows
from tests.tasks.examples import CASES
from tests.tasks.test_rows import SUMS

ROWS = tasks.BUILT_IN["rows"]


def _write(folder, lines, end="\n"):
    file = folder / "rows.jsonl"
    file.write_bytes(end.join([*lines, ""]).encode())
    return str(file)


def _read(folder, *lines, **options):
    return ROWS(seed=0, path=_write(folder, lines), **options)


@pytest.mark.parametrize("name", sorted(set(dict(CASES)) - {"scan"}))  # It is large.
def test_what_is_exported_comes_back(name, tmp_path):
    table = tasks.lookup(name)(seed=3, **dict(CASES)[name])
    again = _read(tmp_path, *map(json.dumps, rows.as_json(table)))
    for row in range(0, len(table.tokens), max(1, len(table.tokens) // 200)):
        assert rows.decode(again, row) == rows.decode(table, row)
        assert rows.tags(again, row) == rows.tags(table, row)
    for field in ("split", "repeats"):
        np.testing.assert_array_equal(getattr(again, field), getattr(table, field))
    one, other = again.certificate, table.certificate
    assert (one.rows, one.overlap) == (other.rows, other.overlap)
    assert not any(one.impure.values())
    assert one.chance == pytest.approx(other.chance)
    # Of answers that are equally frequent, another one may be guessed.
    assert one.majority["train"] == pytest.approx(other.majority["train"])
    assert list(rows.as_json(again)) == list(rows.as_json(table))


def test_what_people_have(tmp_path):
    """A byte-order mark, CRLF, blank lines, no last end, unicode, lists of words."""
    lines = [
        '\ufeff{"input": "größer als 7", "output": "ja"}', "",
        '{"input": ["猫", "🐈\\u2028x"], "output": ["n\\u00e9e", "b"]}', "  ",
        '{"input": "a \\u00a0 b", "output": "ja", "split": null, "size": null}',
    ]  # fmt: skip
    lines[2] = lines[2].replace("\\u2028x", "")
    file = _write(tmp_path, lines, "\r\n")
    table = ROWS(seed=0, path=file, heldout=0.0)
    assert [rows.decode(table, row) for row in range(3)] == [
        (["größer", "als", "7"], ["ja"]),
        (["猫", "🐈"], ["née", "b"]),
        (["a", "b"], ["ja"]),
    ]


def test_lines_without_a_split_follow_a_rule(tmp_path):
    lines = [
        json.dumps({"input": f"a{i}", "output": "x", "size": i}) for i in range(40)
    ]
    table = _read(tmp_path, *lines, heldout=0.5, max_train_size=29)
    assert table.certificate.rows["depth"] == 10
    assert table.certificate.rows["id"] == table.certificate.rows["train"] == 15


GOOD = '{"input": "a", "output": "x"}'


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "path must be a file with rows, got .*rows.jsonl"),
        (["", " "], "path must be a file with rows, got .*rows.jsonl"),
        (
            ['{"input": "a", "output": "x", "input": "b"}'],
            "line 1: An object must have each key once, got input, output, input",
        ),
        ([f"[{GOOD}, {GOOD}, {GOOD}]"], "one per line, got .{60}[.]$"),
        ([GOOD, "{"], "rows.jsonl line 2: Expecting property name"),
        (
            [GOOD, "", "[1]"],
            r"rows.jsonl line 3: A row must be a JSON object, .* got \[1\]",
        ),
        (['{"input": "a"}'], "line 1: A row must have input and output, got no output"),
        (
            ['{"input": "a", "output": 7}'],
            "line 1: output of a row must be words.*got 7",
        ),
        (
            ['{"input": "a", "output": "<end>"}'],
            "line 1: output of a row must be other",
        ),
        (
            ['{"input": "a", "output": "x", "id": 3}'],
            "Unknown key 'id'; choose from inp",
        ),
        (
            ['{"input": "a", "output": "x", "parts": [{}]}'],
            "line 1: parts of a row must be words, or",
        ),
        (
            [GOOD, "", '{"input": "a", "output": "y"}'],
            "rows.jsonl line 3 asks 'a' again, as .*rows.jsonl line 1 does",
        ),
        (["[" * 100_000], "line 1: "),
    ],
)
def test_a_malformed_line_is_named(lines, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        _read(tmp_path, *lines)


def test_bytes_that_are_no_text_are_named(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_bytes(GOOD.encode() + b"\n\xff\xfe\n")
    with pytest.raises(ValueError, match="line 2: 'utf-8' codec can't decode"):
        ROWS(seed=0, path=str(file))


@pytest.mark.parametrize("name", ["none.jsonl", "", "."])
def test_a_file_that_is_not_there_is_a_mistake(name, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["tasks", "rows", "--set", f"path={name}"]) == 2
    assert "task.kwargs.path must be a file" in capsys.readouterr().err


def test_the_path_must_be_given(capsys):
    assert cli.main(["tasks", "rows"]) == 2
    assert "task.kwargs.path is missing" in capsys.readouterr().err


def test_the_page_shows_the_rule(tmp_path):
    kwargs = {"path": _write(tmp_path, [json.dumps(row) for row in SUMS])}
    table = ROWS(seed=0, **kwargs)
    given = {"seed": 0, "heldout": 0.2, "heldout_parts": 0.0, "heldout_pairs": 0.0}
    shown = page.describe(
        "rows", ROWS, given | {"max_train_size": None} | kwargs, table
    )
    assert "  heldout: float = 0.2" in shown
