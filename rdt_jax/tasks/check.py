"""What `rdt tasks check` verifies of a table, counted again without the task's code."""

import collections
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from rdt_jax import tasks, wording
from rdt_jax.tasks import identity, oracles, rows
from rdt_jax.tasks.base import SPLITS, Table

ORACLE_ROWS = 10_000  # of a larger table, so many rows at equal distances are answered
SOLVED = 0.95  # accuracy at which a trivial baseline makes a held-out split worthless
_ONCE_MORE = """
import ast, sys
from rdt_jax import tasks
from rdt_jax.tasks import identity
name, kwargs = ast.literal_eval(sys.stdin.read())
print(identity.hash_arrays(tasks.lookup(name)(**kwargs)))
"""


class Finding(NamedTuple):
    """One thing that was verified."""

    name: str  # table, size, determinism, leakage, baselines or oracle
    # `ok`; `fails`; `warns`; or `none`, where there is no oracle to verify with.
    verdict: str
    text: str  # result, or what is wrong


def check(name: str, kwargs: Mapping[str, Any]) -> Iterator[Finding]:
    """Yields what is found of a task, one finding after the other.

    `kwargs` are arguments of the task's function, seed included, already checked.
    ValueError if the task is unknown or refuses its arguments; if it or its oracle is
    of another package, and raises or returns what it must not.
    """
    oracle = tasks.oracle_of(name)
    table = tasks.lookup(name)(**kwargs)
    yield Finding("table", "ok", f"{len(table.tokens)} rows are as documented")
    yield _determinism(name, kwargs, identity.hash_arrays(table))
    counts = {s: len(table.rows_of(s)) for s in SPLITS if len(table.rows_of(s))}
    if table.certificate.warnings:
        yield Finding("size", "warns", "; ".join(table.certificate.warnings))
    yield _finding(
        "leakage",
        _leaks(table, counts),
        "no question stands in two splits: "
        + ", ".join(f"{split} {count}" for split, count in counts.items()),
    )
    yield _baselines(table)
    yield _oracle(oracle, table)


def _finding(name: str, problems: list[str], good: str) -> Finding:
    if problems:
        return Finding(name, "fails", "; ".join(problems))
    return Finding(name, "ok", good)


def _determinism(name: str, kwargs: Mapping[str, Any], seen: str) -> Finding:
    # A process of its own: another order of sets, another state of global generators.
    environment = os.environ | {
        "PYTHONHASHSEED": "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1",
        "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path),
    }
    once_more = subprocess.run(
        [sys.executable, "-c", _ONCE_MORE],
        input=repr((name, dict(kwargs))),
        capture_output=True,
        text=True,
        env=environment,
    )
    again = once_more.stdout.strip()
    problems = []
    if once_more.returncode:
        last = once_more.stderr.strip().rpartition("\n")[2]
        problems = [f"another process cannot make the table: {last}"]
    elif again != seen:
        problems = [f"another process makes another table: {again[:12]}, {seen[:12]}"]
    good = f"another process makes the same arrays, sha256 {seen[:12]}"
    return _finding("determinism", problems, good)


def _leaks(table: Table, counts: Mapping[str, int]) -> list[str]:
    found = []
    certificate = table.certificate
    asked_in: dict[bytes, set[int]] = collections.defaultdict(set)
    repeated = 0
    for question, split in zip(_questions(table), table.split.tolist(), strict=True):
        key = question.tobytes()
        repeated += key in asked_in
        asked_in[key].add(split)
    leaking = collections.Counter(
        "/".join(SPLITS[s] for s in sorted(splits))
        for splits in asked_in.values()
        if len(splits) > 1
    )
    for pair, count in leaking.items():
        found.append(f"{wording.count(count, 'question')} in {pair}")
    if repeated and not leaking:
        found.append(f"{wording.count(repeated, 'question')} in a split more than once")
    for what in ("overlap", "impure"):
        bad = {name: n for name, n in getattr(certificate, what).items() if n}
        if bad:
            found.append(f"the certificate counts {what} {bad}")
    epoch = int(table.repeats[table.rows_of("train")].sum())
    if dict(certificate.rows) != {**counts, "train_epoch": epoch}:
        found.append(f"the certificate has {dict(certificate.rows)}, not {counts}")
    return found


def _questions(table: Table) -> np.ndarray:
    """Returns the tokens without a separator and the answers fed back, int32 [N, T]."""
    end = table.answer_positions[:, :1]
    at = np.arange(table.tokens.shape[1])[None, :]
    dropped = (at > end) & _is_fed_back(table)[:, None]
    dropped |= at > table.answer_positions.max(axis=1, keepdims=True)
    if len({int(row[i]) for row, (i,) in zip(table.tokens, end, strict=True)}) == 1:
        dropped |= at == end  # All rows end in it.
    return np.where(dropped, 0, table.tokens)


def _is_fed_back(table: Table) -> np.ndarray:
    """Says of which rows all tokens after the question are its answers, bool [N]."""
    fed = np.ones(len(table.tokens), bool)
    length = table.tokens.shape[1]
    padded = np.pad(table.tokens, ((0, 0), (0, 1)))
    for index in range(length - 1):
        at = np.minimum(table.answer_positions[:, 0] + 1 + index, length)
        token = padded[np.arange(len(fed)), at]
        inside = index < table.targets.shape[1]
        fed &= (token == 0) | (token == table.targets[:, index] if inside else False)
    return fed


def _baselines(table: Table) -> Finding:
    answers = [row.tobytes() for row in table.targets]  # An answer counts as a whole.
    train = table.rows_of("train").tolist()
    guesses = {  # baseline -> what of a row it knows
        "majority": len(answers) * [0],
        "last_token": _last_tokens(table),
    }
    best = {
        name: _most_frequent(known, answers, table.repeats, train)
        for name, known in guesses.items()
    }
    given = {answers[row] for row in train}
    problems, seen = [], []
    for split in SPLITS:
        part = table.rows_of(split).tolist()
        if not part:
            continue
        trained = sum(answers[row] in given for row in part)
        ranges = {"chance": 2 * (trained / len(given) / len(part),)}
        for name, known in guesses.items():
            ranges[name] = _score(known, answers, part, best[name], best["majority"][0])
        for name, (low, high) in ranges.items():
            claimed = getattr(table.certificate, name).get(split, float("nan"))
            if not low - 1e-9 <= claimed <= high + 1e-9:
                problems.append(
                    f"the certificate says {name} {claimed:.4g} of {split}, "
                    f"it is {high:.4g}"
                )
        if split in ("id", "ood", "depth", "mixed"):
            high, name = max((high, name) for name, (_, high) in ranges.items())
            seen.append(f"{split} {high:.2f}")
            if high >= SOLVED:
                problems.append(
                    f"{name} alone scores {high:.2f} in {split}: nothing is to be "
                    "learned"
                )
    scores = f"the best trivial guess scores {', '.join(seen)}"
    good = scores if seen else "no row is held out"
    return _finding("baselines", problems, good)


def _last_tokens(table: Table) -> list[int]:
    questions = _questions(table)
    length = questions.shape[1] - (questions[:, ::-1] != 0).argmax(axis=1)
    return questions[np.arange(len(questions)), length - 1].tolist()


def _most_frequent(known, answers, repeats, train) -> dict[int, set[bytes]]:
    """Returns the most frequent answers of training by what is known; ties are kept."""
    counts: dict[int, collections.Counter] = collections.defaultdict(
        collections.Counter
    )
    for row in train:
        counts[known[row]][answers[row]] += int(repeats[row])
    return {
        value: {answer for answer, n in counter.items() if n == most}
        for value, counter in counts.items()
        for most in [max(counter.values())]
    }


def _score(known, answers, part, best, majority) -> tuple[float, float]:
    """Returns the least and the largest accuracy, over which of the ties is guessed."""
    asked: dict[int, collections.Counter] = collections.defaultdict(collections.Counter)
    for row in part:
        asked[known[row]][answers[row]] += 1
    low = high = 0
    for value, counter in asked.items():
        right = [counter[answer] for answer in best.get(value, majority)]
        low, high = low + min(right), high + max(right)
    return low / len(part), high / len(part)


def _oracle(oracle: oracles.Oracle | None, table: Table) -> Finding:
    if oracle is None:
        text = "none is registered for this task: no answer was verified"
        return Finding("oracle", "none", text)
    number = min(len(table.tokens), ORACLE_ROWS)
    chosen = np.linspace(0, len(table.tokens) - 1, number).astype(int).tolist()
    worked_out = oracle(table, chosen)
    wrong = [
        (row, answer)
        for row, answer in zip(chosen, worked_out, strict=True)
        if answer != rows.decode(table, row)[1]
    ]
    problems = []
    if wrong:
        row, answer = wrong[0]
        asked, told = (" ".join(words) for words in rows.decode(table, row))
        problems = [
            f"{len(wrong)} of {number} answers differ, the first in row {row}: "
            f"{asked!r} has {told!r}, the oracle says {' '.join(answer)!r}"
        ]
    good = f"{number} of {len(table.tokens)} answers agree"
    return _finding("oracle", problems, good)
