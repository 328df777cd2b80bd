import math

import pytest

from rdt_jax import config as configs
from rdt_jax.sweep import axes

RATE, LOOPS = "optimizer.learning_rate", "recurrence.num_loops"
CONFIG = configs.load("modular:smoke")


@pytest.mark.parametrize(
    ("key", "text", "values"),
    [
        (LOOPS, "1,2,4", [1, 2, 4]),
        ("optimizer.weight_decay", "0.1, 1", [0.1, 1]),
        ("optimizer.name", "adamw,muon", ["adamw", "muon"]),
        ("stop_after_phases", "true,False", [True, False]),
        ("gradient.clip_norm", "none,1.0", [None, 1.0]),
        ("snapshot_steps", "0,20;40", [(0, 20), 40]),
        ("task.kwargs.modulus", "7,11", [7, 11]),
        (
            "phases.further",
            "a: id >= 1, b: id >= .3;()",
            ["a: id >= 1, b: id >= .3", ()],
        ),
    ],
)
def test_values_are_read_as_overrides_are(key, text, values):
    assert axes.read(CONFIG, key, text) == values


def test_what_is_no_list_is_refused():
    for text in ("", "1,,2", ",1"):
        with pytest.raises(ValueError, match="--over recurrence.num_loops must list"):
            axes.read(CONFIG, LOOPS, text)
    with pytest.raises(ValueError, match="did you mean recurrence.num_loops?"):
        axes.read(CONFIG, "num_loops", "1")


def test_the_first_draws_are_the_same_however_many_there_are():
    both = {RATE: "log(1e-4,1e-2)", LOOPS: "int(1,8)"}
    twenty = axes.draw(CONFIG, both, 20)
    assert axes.draw(CONFIG, both, 10) == twenty[:10]
    assert axes.draw(CONFIG, dict(reversed(both.items())), 20) == twenty
    alone = axes.draw(CONFIG, {RATE: both[RATE]}, 20)
    assert alone == [{RATE: trial[RATE]} for trial in twenty]


def test_draws_are_distributed_as_their_names_say():
    count = 4000
    drawn = axes.draw(CONFIG, {RATE: "log(1e-4, 1e-2)", LOOPS: "int(2,5)"}, count)
    logs = [math.log10(trial[RATE]) for trial in drawn]
    assert -4 <= min(logs) < -3.99 and -2.01 < max(logs) <= -2
    assert abs(sum(log < -3 for log in logs) / count - 1 / 2) < 0.03
    loops = [trial[LOOPS] for trial in drawn]
    for value in (2, 3, 4, 5):
        assert abs(loops.count(value) / count - 1 / 4) < 0.03
    drawn = axes.draw(CONFIG, {RATE: "lin(0,1)"}, count)
    assert abs(sum(trial[RATE] < 0.1 for trial in drawn) / count - 1 / 10) < 0.03


@pytest.mark.parametrize(
    ("key", "text", "count", "message"),
    [
        (RATE, "log(0,1)", 2, r"log\(a,b\) with 0 < a < b or lin\(a,b\)"),
        (RATE, "lin(2,1)", 2, r"got 'lin\(2,1\)'"),
        (RATE, "lin(a,1)", 2, "--random optimizer.learning_rate must be"),
        (RATE, "int(1,2)", 2, "--random optimizer.learning_rate must be log"),
        (RATE, "lin(0,inf)", 2, "must be log"),
        (LOOPS, "log(1,8)", 2, r"must be int\(a,b\) with ints a < b, got"),
        (LOOPS, "int(1.5,8)", 2, r"must be int\(a,b\) with ints"),
        ("optimizer.name", "lin(1,2)", 2, "--random optimizer.name must be"),
        ("model.widht", "int(1,2)", 2, "did you mean model.width"),
        (RATE, "lin(0,1)", 0, "--trials must be at least 1, got 0"),
        (RATE, "lin(0,1)", 10**9, "at most 100,000 trials"),
    ],
)
def test_what_cannot_be_drawn_is_refused(key, text, count, message):
    with pytest.raises(ValueError, match=message):
        axes.draw(CONFIG, {key: text}, count)
