"""Planted frequencies against slow oracles that know nothing of means by answer."""

import dataclasses
import functools
import math

import jax
import numpy as np
import pytest

from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.analysis import fourier
from rdt_jax.models import presets, recurrent
from tests.analysis import modular

MODULUS = 17  # F = 8
TRAIN, ID = (fourier.GROUPS.index(name) for name in ("train", "id"))


@pytest.fixture(scope="module")
def config():
    # A batch is 20 of 49 pairs.
    return modular.config(7, 8, recurrence__num_loops=2, evaluation__batch_size=20)


@pytest.fixture(scope="module")
def params(config):
    return modular.params(config, seed=3)


@pytest.fixture(scope="module")
def measured(params, config):
    return fourier.measure(params, config, tasks.make_table(config))


@pytest.fixture(scope="module")
def pairs():
    """All pairs mod 17 with the answer a + b; every third one is trained."""
    a, b = np.divmod(np.arange(MODULUS**2), MODULUS)
    rows = np.arange(MODULUS**2)
    held_out = rows[rows % 3 != 0]
    groups = (rows, rows[rows % 3 == 0], held_out, held_out[::2], held_out[1::2])
    return fourier.Pairs((a + b) % MODULUS, groups)


def wave(answers, frequency):
    """cos(2 pi k (c - j) / p) for every answer c and residue j, [N, p]."""
    apart = answers[:, None] - np.arange(MODULUS)[None]
    return np.cos(2 * np.pi * frequency * apart / MODULUS)


def of_logits(logits, pairs):
    """Returns the keys of logits, and what they say with these."""
    none = np.zeros(MODULUS // 2, bool)
    keys = fourier.key_frequencies(fourier.of_logits(logits, pairs, none).share)
    return keys, fourier.of_logits(logits, pairs, keys)


def cross_entropy(logits, answers):
    """One row after the other, with math."""
    total = 0.0
    for row, answer in zip(logits.tolist(), answers.tolist(), strict=True):
        top = max(row)
        total += math.log(sum(math.exp(x - top) for x in row)) + top - row[answer]
    return total / len(answers)


def project(logits, frequencies):
    """The part along cos and sin of k (a + b), as vectors over all p^2 pairs."""
    a, b = np.divmod(np.arange(MODULUS**2), MODULUS)
    part = np.zeros(logits.shape)
    for k in frequencies:
        for wave_of in (np.cos, np.sin):
            vector = wave_of(2 * np.pi * k * (a + b) / MODULUS)
            vector /= np.linalg.norm(vector)
            part += np.outer(vector, vector @ logits)
    return part


def test_planted_frequencies_are_the_keys(pairs):
    logits = 3 * wave(pairs.answers, 5) + 2 * wave(pairs.answers, 7)
    keys, found = of_logits(logits, pairs)
    np.testing.assert_array_equal(np.flatnonzero(keys) + 1, [5, 7])
    shares = np.zeros(8)
    shares[[4, 6]] = 9 / 13, 4 / 13
    np.testing.assert_allclose(found.share, shares, atol=1e-12)
    # Nothing else is in them, and nothing is left without them.
    np.testing.assert_allclose(found.restricted_loss, found.loss, rtol=1e-12)
    np.testing.assert_allclose(found.excluded_loss, np.log(MODULUS), rtol=1e-12)
    train = pairs.groups[TRAIN]
    without = [
        cross_entropy(left[train], pairs.answers[train])
        for left in (2 * wave(pairs.answers, 7), 3 * wave(pairs.answers, 5))
    ]
    np.testing.assert_allclose(found.excluded_by_frequency[[4, 6]], without, rtol=1e-9)
    others = np.delete(found.excluded_by_frequency, [4, 6])
    np.testing.assert_allclose(others, found.loss[TRAIN], rtol=1e-12)
    # Two of eight norms, 3 to 2: by Gini's double sum over pairs.
    norms = np.array([0, 0, 0, 0, 3, 0, 2, 0])
    by_pairs = np.abs(norms[:, None] - norms).sum() / (2 * 8 * norms.sum())
    assert found.gini == pytest.approx(by_pairs)


def test_other_waves_and_a_bias_are_no_keys(pairs):
    """What depends on one operand, or on the residue alone, is told from the answer."""
    a, _ = np.divmod(np.arange(MODULUS**2), MODULUS)
    rng = np.random.default_rng(0)
    clean = 3 * wave(pairs.answers, 5) + 2 * wave(pairs.answers, 7)
    dirt = 0.8 * wave(a, 3) + rng.normal(size=(MODULUS**2, 1))  # One for all residues.
    bias = rng.normal(size=(1, MODULUS))
    logits = clean + dirt + bias
    keys, found = of_logits(logits, pairs)
    np.testing.assert_array_equal(np.flatnonzero(keys) + 1, [5, 7])
    along = project(logits, [5, 7])
    mean = logits.mean(axis=0, keepdims=True)
    for index, rows in enumerate(pairs.groups):
        expected = [
            cross_entropy(x[rows], pairs.answers[rows])
            for x in (logits, mean + along, logits - along)
        ]
        got = (found.loss, found.restricted_loss, found.excluded_loss)
        np.testing.assert_allclose([x[index] for x in got], expected, rtol=1e-9)
    for k in range(1, 9):
        rows = pairs.groups[TRAIN]
        left = logits - project(logits, [k])
        expected = cross_entropy(left[rows], pairs.answers[rows])
        assert found.excluded_by_frequency[k - 1] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_random_logits_have_no_keys(pairs, seed):
    logits = np.random.default_rng(seed).normal(size=(MODULUS**2, MODULUS))
    keys, found = of_logits(logits, pairs)
    assert not keys.any()
    assert found.gini < 0.15
    # Without a key there is nothing to keep but the bias, and nothing to leave out.
    np.testing.assert_allclose(found.excluded_loss, found.loss)
    np.testing.assert_allclose(found.restricted_loss, np.log(MODULUS), atol=0.05)


def test_memorized_answers_have_no_keys(pairs):
    logits = np.zeros((MODULUS**2, MODULUS))
    train = pairs.groups[TRAIN]
    logits[train, pairs.answers[train]] = 10
    keys, found = of_logits(logits, pairs)
    assert not keys.any()
    assert found.share.min() > fourier.KEY_SHARE  # All of them explain something.
    assert found.loss[TRAIN] < 1e-2 < 1 < found.loss[ID]


def test_gini_is_that_of_its_ends():
    assert fourier.gini(np.ones(9)) == 0
    assert fourier.gini(np.eye(9)[4]) == pytest.approx(8 / 9)
    assert fourier.gini(np.zeros(9)) == 0


@pytest.mark.parametrize("operation", fourier.OPERATIONS)
def test_the_answers_are_those_of_the_operation(config, operation):
    config = configs.override(config, {"task.kwargs.operation": operation})
    table = tasks.make_table(config)
    found = fourier.pairs_of(config, table)
    a, b = table.tokens[:, 0] - 1, table.tokens[:, 2] - 1
    sign = 1 if operation == "add" else -1
    np.testing.assert_array_equal(found.answers, (a + sign * b) % 7)
    assert np.bincount(found.answers).tolist() == [7] * 7
    groups = dict(zip(fourier.GROUPS, found.groups, strict=True))
    assert groups["all"].size == 49
    for name in ("train", "id"):
        np.testing.assert_array_equal(groups[name], table.rows_of(name))
    pairs = lambda name: list(zip(a[groups[name]], b[groups[name]], strict=True))
    trained = set(pairs("train"))
    mirrored = [(a, b) for a, b in pairs("id") if (b, a) in trained]
    unmirrored = [(a, b) for a, b in pairs("id") if (b, a) not in trained]
    assert pairs("mirrored") == mirrored and mirrored
    assert pairs("unmirrored") == unmirrored and unmirrored


def test_the_mean_over_a_group_without_pairs_is_no_number(pairs):
    none = np.zeros(MODULUS // 2, bool)
    empty = pairs._replace(groups=(*pairs.groups[:-1], pairs.groups[0][:0]))
    found = fourier.of_logits(wave(pairs.answers, 5), empty, none)
    for losses in (found.loss, found.restricted_loss, found.excluded_loss):
        assert np.isnan(losses).tolist() == [False] * 4 + [True]


def test_where_no_pair_is_mirrored_its_accuracy_is_no_number(params, config):
    table = tasks.make_table(config)
    is_trained = table.tokens[:, [0, 2]].sum(1) % 3 == 0  # With (a, b) also (b, a).
    train, held_out = map(tasks.SPLITS.index, ("train", "id"))
    split = np.where(is_trained, train, held_out).astype(np.int8)
    found = fourier.measure(params, config, dataclasses.replace(table, split=split))
    mirrored = fourier.GROUPS.index("mirrored")
    assert np.isnan(found.accuracy[:, mirrored]).all()
    assert np.isfinite(np.delete(found.accuracy, mirrored, axis=1)).all()


def test_every_loop_is_read_out(params, config, measured):
    table = tasks.make_table(config)
    model = presets.model_config(config, table)
    found = fourier.pairs_of(config, table)
    for loops in (1, 2):
        apply = jax.jit(
            functools.partial(recurrent.apply, config=model, num_loops=loops)
        )
        logits = apply(params, table.tokens, table.answer_positions).logits[:, 0, 1:8]
        expected = fourier.of_logits(np.asarray(logits), found, measured.is_key)
        for name in expected._fields:
            np.testing.assert_allclose(
                getattr(measured, name)[loops - 1], getattr(expected, name),
                rtol=1e-4, atol=1e-5,
            )  # fmt: skip
        right = np.asarray(logits).argmax(-1) == found.answers
        for group, rows in enumerate(found.groups):
            assert measured.accuracy[loops - 1, group] == right[rows].mean()
    total = sum(float((x**2).sum()) for x in jax.tree.leaves(params))
    assert measured.sum_squared_weights == pytest.approx(total, rel=1e-5)
    np.testing.assert_array_equal(measured.frequency, [1, 2, 3])


def test_a_planted_embedding_has_its_frequency(params, config):
    circle = 2 * np.pi * 2 * np.arange(7) / 7
    embedding = np.array(params["embedding"])
    embedding[1:8] = 0.3  # The same for all residues: no variance.
    embedding[1:8, 4] += np.cos(circle)
    embedding[1:8, 6] += np.sin(circle)
    planted = params | {"embedding": embedding}
    found = fourier.measure(planted, config, tasks.make_table(config))
    np.testing.assert_allclose(found.embedding_share, [0, 1, 0], atol=1e-6)
    assert found.embedding_gini == pytest.approx(2 / 3, abs=1e-4)


def test_progress_has_the_keys_of_the_end(params, config, monkeypatch):
    table = tasks.make_table(config)
    keys = np.array([False, True, False])
    monkeypatch.setattr(fourier, "key_frequencies", lambda share: keys)
    other = jax.tree.map(lambda x: 1.5 * x, params)
    found = fourier.progress({40: params, 8: other}, config, table)
    np.testing.assert_array_equal(found.step, [8, 40])
    np.testing.assert_array_equal(found.is_key, keys)
    for place, each in enumerate((other, params)):
        expected = fourier.measure(each, config, table, is_key=keys)
        for name in {*found._fields} & {*expected._fields} - {"is_key"}:
            np.testing.assert_array_equal(
                getattr(found, name)[place], getattr(expected, name)
            )
    with pytest.raises(ValueError, match="at least one checkpoint"):
        fourier.progress({}, config, table)


def test_the_logits_have_no_part_in_choosing_the_keys_of_progress(
    params, config, monkeypatch
):
    asked = []
    choose = lambda share: asked.append(share) or np.array([True, False, False])
    monkeypatch.setattr(fourier, "key_frequencies", choose)
    table = tasks.make_table(config)
    found = fourier.progress({0: params}, config, table)
    np.testing.assert_array_equal(asked[-1], found.embedding_share[0])
    assert found.is_key.tolist() == [True, False, False]


def test_heads_are_compared_by_what_they_attend_to(params, config, monkeypatch):
    """Two of three look at the first key, one at all three alike."""
    one, even = np.eye(3)[[0, 0, 0]], np.full((3, 3), 1 / 3)
    weights = np.stack([one, one, even])[None, None]  # [E, B, H, T, T]
    monkeypatch.setattr(fourier, "attention_weights", lambda *_: weights)
    found = fourier.progress({0: params}, config, tasks.make_table(config))
    cosine = 3**-0.5  # between the two kinds; 1 within the first
    assert found.head_similarity[0] == pytest.approx((1 + 2 * cosine) / 3)
    assert found.entropy_spread[0] == pytest.approx(np.std([0, 0, np.log(3)]))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"operation": "divide"}, r"add or subtract, got modular \(divide\)"),
        ({"modulus": 8}, "an odd task.kwargs.modulus of at least 3, got 8"),
    ],
)
def test_what_it_does_not_understand(config, overrides, message):
    keys = {f"task.kwargs.{key}": value for key, value in overrides.items()}
    config = configs.override(config, keys)
    with pytest.raises(ValueError, match=message):
        fourier.pairs_of(config, tasks.make_table(config))


def test_another_task_is_named(tiny_config, tiny_table):
    with pytest.raises(ValueError, match="= modular .* got knowledge_composition"):
        fourier.pairs_of(tiny_config, tiny_table)
