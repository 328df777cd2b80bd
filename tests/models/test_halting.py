"""Adaptive exit against all loops run to the end and the rule applied afterwards."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdt_jax.models import halting

B, A, D, V, MOST = 11, 2, 3, 7, 13
RANDOM = np.random.default_rng(0)
# Rows settle at speeds of their own; the state is a pytree whose count drives it.
SPEED = np.float32(RANDOM.uniform(0.15, 0.9, (B, A, 1)))
GOAL = np.float32(2 * RANDOM.standard_normal((B, A, D)))
READ = np.float32(RANDOM.standard_normal((D, V)))
THRESHOLDS = {
    "kl": {"kl": 0.001},
    "kl_now": {"kl": 0.001},
    "kl_entropy": {"kl": 0.005, "entropy": 1.6},
    "state": {"change": 0.1},
    "confidence": {"probability": 0.36},
}
NEVER = {
    "kl": {"kl": 0.0},
    "kl_now": {"kl": 0.0},
    "kl_entropy": {"kl": 0.0, "entropy": 100.0},
    "state": {"change": 0.0},
    "confidence": {"probability": 1.0},
}
ALWAYS = {
    "kl": {"kl": 1e9},
    "kl_now": {"kl": 1e9},
    "kl_entropy": {"kl": 1e9, "entropy": 1e9},
    "state": {"change": 1e9},
    "confidence": {"probability": 0.0},
}
FIRST = {"kl": 2, "kl_now": 2, "kl_entropy": 2, "state": 1, "confidence": 1}


def _start(rows):
    return {"x": np.full((len(rows), A, D), 0.1, np.float32), "row": np.array(rows)}


def _core(state, index):
    row = state["row"]
    pull = jnp.asarray(SPEED)[row] * (jnp.asarray(GOAL)[row] - state["x"])
    return {"x": state["x"] + pull + 0.01 * jnp.cos(index), "row": row}


def _halt(core, state, rule, thresholds, max_loops, read=READ, **options):
    """Runs a state, or the `x` of one, which is read out by a matrix or a function."""
    latents = lambda state: state["x"] if isinstance(state, dict) else state
    readout = read if callable(read) else lambda state: latents(state) @ read
    return halting.run_until_halted(
        core, state, readout=readout, latents=latents, rule=rule,
        thresholds=thresholds, max_loops=max_loops, **{"min_loops": 1} | options,
    )  # fmt: skip


@functools.cache
def _jitted(rule, min_loops, max_loops):
    return jax.jit(
        lambda state, thresholds, asked: _halt(
            _core, state, rule, thresholds, max_loops, min_loops=min_loops, asked=asked
        )
    )


def _run(rule, thresholds, rows=range(B), min_loops=1, max_loops=MOST, asked=None):
    run = _jitted(rule, min_loops, max_loops)
    return jax.device_get(run(_start(list(rows)), thresholds, asked))


@functools.cache
def _trajectory():
    """The states after 0, 1, .., MOST loops, [MOST + 1, B, A, D]."""
    states = [np.full((B, A, D), 0.1)]
    for index in range(MOST):
        pull = SPEED * (GOAL - states[-1])
        states.append(states[-1] + pull + 0.01 * np.cos(index))
    return np.stack(states)


def _holds(rule, row, answer, loop, limits):
    """One answer of one row at one loop, in float64."""
    now, before = (_trajectory()[t, row, answer] for t in (loop, loop - 1))
    p, q = (np.exp(x @ READ) / np.exp(x @ READ).sum() for x in (now, before))
    forward, backward = ((a * np.log(a / b)).sum() for a, b in ((p, q), (q, p)))
    entropy = -(p * np.log(p)).sum()
    if rule == "kl":
        return loop >= 2 and backward < limits["kl"]
    if rule == "kl_now":
        return loop >= 2 and forward < limits["kl"]
    if rule == "kl_entropy":
        return loop >= 2 and forward < limits["kl"] and entropy < limits["entropy"]
    if rule == "state":
        length = lambda x: np.sqrt((x**2).sum())
        return length(now - before) / length(now) < limits["change"]
    return p.max() > limits["probability"]


def _oracle(rule, limits, row, min_loops=1, max_loops=MOST, asked=(True, True)):
    answers = [a for a in range(A) if asked[a]]
    for loop in range(min_loops, max_loops):
        if all(_holds(rule, row, a, loop, limits) for a in answers):
            return max(loop, FIRST[rule])
    return max_loops


@pytest.mark.parametrize(("min_loops", "max_loops"), [(1, MOST), (4, 6)])
@pytest.mark.parametrize("rule", halting.RULES)
def test_rows_halt_where_the_rule_first_holds(rule, min_loops, max_loops):
    limits = THRESHOLDS[rule]
    halted = _run(rule, limits, min_loops=min_loops, max_loops=max_loops)
    expected = [_oracle(rule, limits, row, min_loops, max_loops) for row in range(B)]
    assert halted.loops.tolist() == expected
    assert len(set(expected)) >= (4 if max_loops == MOST else 2)
    assert halted.executed == max(expected)
    logits = np.stack([_trajectory()[n, row] @ READ for row, n in enumerate(expected)])
    np.testing.assert_allclose(halted.logits, logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rule", halting.RULES)
def test_extreme_thresholds_use_all_loops_or_as_few_as_may_be(rule):
    for min_loops in (1, 5):
        never = _run(rule, NEVER[rule], min_loops=min_loops)
        always = _run(rule, ALWAYS[rule], min_loops=min_loops)
        assert never.loops.tolist() == [MOST] * B and never.executed == MOST
        earliest = max(min_loops, FIRST[rule])
        assert always.loops.tolist() == [earliest] * B
        assert always.executed == earliest


def test_the_directions_of_the_divergences():
    """From (.5, .5) to (.9, .1): KL(before || now) is .511, KL(now || before) .368."""
    before, now = (
        halting.View(jnp.log(jnp.float32([[p]])), jnp.zeros((1, 1, 1)))
        for p in ([0.5, 0.5], [0.9, 0.1])
    )
    kl, now_kl, both = (
        halting.RULES[rule].holds for rule in ("kl", "kl_now", "kl_entropy")
    )
    assert [bool(kl(now, before, kl=x)) for x in (0.36, 0.38, 0.50, 0.52)] == [
        False, False, False, True,
    ]  # fmt: skip
    for x, holds in ((0.36, False), (0.38, True)):
        assert both(now, before, kl=x, entropy=0.33) == holds
        assert now_kl(now, before, kl=x) == holds
    assert not both(now, before, kl=1.0, entropy=0.32)  # Its entropy is .325.


def test_a_threshold_of_zero_does_not_pass_a_state_that_stands_still():
    rows = 300  # Moved in the last bit only: the rounding of many has either sign.
    state = np.float32(3 * RANDOM.standard_normal((rows, 1, V)))
    for rule in ("kl", "kl_now", "kl_entropy"):
        still = lambda state, index: state * (1 + 2e-7 * (index % 2))
        halted = _halt(still, state, rule, NEVER[rule], 5, read=lambda state: state)
        assert halted.loops.tolist() == [5] * rows


@pytest.mark.parametrize("rule", halting.RULES)
def test_the_rest_of_the_batch_changes_nothing_in_a_row(rule):
    together = _run(rule, THRESHOLDS[rule])
    for rows in ([3], [7, 3, 0], list(range(B))[::-1]):
        part = _run(rule, THRESHOLDS[rule], rows)
        assert part.loops.tolist() == together.loops[rows].tolist()
        np.testing.assert_allclose(part.logits, together.logits[rows], rtol=1e-5)
        assert part.executed == part.loops.max()


def test_compute_ends_with_the_slowest_row():
    rows = [row for row in range(B) if _oracle("kl", THRESHOLDS["kl"], row) < 8]
    calls = []

    def core(state, index):
        jax.debug.callback(lambda i: calls.append(int(i)), index)
        return _core(state, index)

    halted = _halt(core, _start(rows), "kl", THRESHOLDS["kl"], MOST)
    jax.effects_barrier()
    assert sorted(calls) == list(range(int(halted.executed)))
    assert 2 <= halted.loops.min() < halted.executed < MOST


def test_a_row_that_has_stopped_stays_stopped():
    """Row 0 is certain at loop 2 alone; row 1 only from loop 5 on."""
    peaks = np.float32([[0, 9, 0, 0, 0, 0], [0, 0, 0, 0, 9, 9]])
    halted = halting.run_until_halted(
        lambda state, index: jnp.int32([1, 1]) * (index + 1),
        np.zeros(2, np.int32),
        readout=lambda s: jnp.stack(
            [jnp.asarray(peaks)[jnp.arange(2), s - 1], jnp.zeros(2), s * 0.1], axis=-1
        )[:, None],
        latents=lambda s: jnp.zeros((2, 1, 1)),
        rule="confidence",
        thresholds={"probability": 0.9},
        min_loops=1,
        max_loops=6,
    )
    assert halted.loops.tolist() == [2, 5]
    np.testing.assert_allclose(halted.logits[:, 0], [[9, 0, 0.2], [9, 0, 0.5]])


def test_answers_that_are_not_asked_do_not_count():
    asked = np.ones((B, A), bool)
    asked[: B // 2, 1] = False
    asked[B - 1] = False
    halted = _run("kl", THRESHOLDS["kl"], asked=asked)
    expected = [
        _oracle("kl", THRESHOLDS["kl"], row, asked=asked[row]) for row in range(B)
    ]
    assert halted.loops.tolist() == expected
    assert expected[-1] == 2
    assert expected != _run("kl", THRESHOLDS["kl"]).loops.tolist()


def test_what_is_not_a_number_never_stops_early():
    for rule in halting.RULES:
        state = np.full((2, 1, D), np.nan, np.float32)
        halted = _halt(lambda state, index: state, state, rule, ALWAYS[rule], 3)
        assert halted.loops.tolist() == [3, 3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rule": "x"}, "Unknown halting rule 'x'; choose from confidence, kl, kl_ent"),
        ({"thresholds": {}}, "'kl_entropy' takes the thresholds kl, entropy; got none"),
        ({"thresholds": {"kl": 1.0, "h": 2.0}}, "thresholds kl, entropy; got kl, h."),
        ({"min_loops": 0}, r"min_loops must be in \[1, max_loops = 4\], got 0\."),
        ({"min_loops": 5}, r"min_loops must be in \[1, max_loops = 4\], got 5\."),
    ],
)
def test_what_is_refused(changes, message):
    options = {"rule": "kl_entropy", "thresholds": THRESHOLDS["kl_entropy"]}
    with pytest.raises(ValueError, match=message):
        _halt(_core, _start([0]), max_loops=4, **options | changes)
