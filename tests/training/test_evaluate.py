"""Every evaluated number recounted row by row; which rows and steps are evaluated."""

import dataclasses
import functools
import re

import jax
import numpy as np
import pytest

from rdt_jax import tasks
from rdt_jax.data import batches
from rdt_jax.models import presets, recurrent
from rdt_jax.training import evaluate, hyper


@pytest.fixture(scope="module")
def params(program, toy):
    lanes = hyper.make_lanes([toy()])
    return program.train(program.init(lanes), lanes, 40).params


@pytest.fixture(scope="module")
def logits(params, toy, table):
    """Logits of every row alone after 1, 2, 3 loops, float64 [R, N, V]."""
    lane = jax.tree.map(lambda x: x[0], params)
    model = presets.model_config(toy(), table)

    def forward(tokens, at, loops):
        return recurrent.apply(lane, tokens, at, model, num_loops=loops).logits

    forward = jax.jit(forward, static_argnames="loops")
    rows = range(len(table.tokens))
    return np.array(
        [
            [
                forward(table.tokens[[row]], table.answer_positions[[row]], loops=r)[
                    0, 0
                ]
                for row in rows
            ]
            for r in (1, 2, 3)
        ],
        np.float64,
    )


def recount(logits, answers):
    """Every quantity of every row after each loop, with loops over rows and words."""
    found = {}
    for row, answer in enumerate(answers):
        first, q = None, None
        for r, scores in enumerate(logits[:, row], start=1):
            p = np.exp(scores) / np.exp(scores).sum()
            if first is None and scores.argmax() == answer:
                first = r
            others = [z for word, z in enumerate(scores) if word != answer]
            values = {
                "accuracy": scores.argmax() == answer,
                "loss": -np.log(p[answer]),
                "margin": scores[answer] - max(others),
                "hit": first is not None,
                "first_hit": first or r + 1,
                "logit_scale": np.sqrt(((scores - scores.mean()) ** 2).mean()),
                "softmax_collapse": 0.0,
            }
            if r > 1:
                values["kl"] = sum(a * np.log(a / b) for a, b in zip(p, q, strict=True))
            q = p
            for name, value in values.items():
                found.setdefault((name, r), []).append(float(value))
    return {key: np.array(values) for key, values in found.items()}


def measure(model):
    """Returns the evaluation of one lane after one loop and after two."""
    options = {"model": model, "loops": (1, 2), "loss_dtype": "float32"}
    return jax.jit(functools.partial(evaluate.measure, **options))


def members_of(table, group):
    split, _, tag = group.partition("[")
    members = table.split == tasks.SPLITS.index(split)
    if tag:
        name, _, word = tag.removesuffix("]").partition("=")
        words = table.tag_names.get(name)
        value = words.index(word) if words else int(word)
        members = members & (table.tags[name] == value)
    return members


def test_every_quantity_equals_a_recount_row_by_row(program, params, table, logits):
    measured = jax.device_get(program.evaluate(params))
    expected = recount(logits, table.targets[:, 0])
    assert {name for name, _ in expected} == set(measured) - {"weight_norm"}
    for (name, loops), values in expected.items():
        position = program.loops.index(loops)
        told = []
        for column, group in enumerate(program.groups):
            members = members_of(table, group)
            assert members.sum() == program.group_sizes[column]
            told.append(values[members].mean())
            np.testing.assert_allclose(
                measured[name][0, position, column], told[-1],
                rtol=2e-5, atol=1e-6, err_msg=f"{name}@{loops} {group}",
            )  # fmt: skip
        if name != "softmax_collapse" and (name, loops) != ("first_hit", 1):
            assert len(set(told)) > 3, "equal values could hide swapped groups"
    hits = expected["first_hit", 3]
    assert {1.0, 2.0, 4.0} <= set(hits), "rows must differ in their first hit"


def test_a_row_counts_with_the_mean_of_the_answers_it_has(params, table, toy):
    """Of one, two or three answers a row has, those that exist count alike."""
    lane = jax.tree.map(lambda x: x[0], params)
    model = presets.model_config(toy(), table)
    rows = np.arange(len(table.tokens))
    at = table.answer_positions * [1, 0, 0] + np.array([0, 0, 1])

    @jax.jit
    def forward(tokens, at):
        states = recurrent.apply(lane, tokens, at, model, num_loops=2).states
        return [recurrent.readout(lane, s, tokens, at, model) for s in states]

    logits = np.array(forward(table.tokens, at), np.float64)  # [R, N, A, V]
    exists = np.stack([rows >= 0, rows % 3 > 0, rows % 3 > 1], axis=1)
    # What the model says after two loops, but for the last answer of every fourth row.
    answers = logits[1].argmax(-1) + (rows[:, None] % 4 == 0) * [0, 0, 1]
    several = dataclasses.replace(
        table,
        answer_positions=np.where(exists, at, 0).astype(np.int32),
        targets=np.where(exists, answers % len(table.vocab), -1).astype(np.int32),
    )
    groups = {"odd": rows[1::2], "all": rows}
    measured = measure(model)(evaluate.make_rows(toy(), several, groups), lane)
    counted = [recount(logits[:, :, a], several.targets[:, a]) for a in range(3)]
    each = {key: np.stack([c[key] for c in counted], 1) for key in counted[0]}
    expected = {
        (name, r): (values * exists).sum(1) / exists.sum(1)
        for (name, r), values in each.items()
    }
    right = np.stack([np.where(exists, each["accuracy", r], 1) for r in (1, 2)])
    right = np.logical_and.reduce(right == 1, axis=2)  # [R, N]
    ever = np.logical_or.accumulate(right)
    for r in (1, 2):
        expected["accuracy", r], expected["hit", r] = right[r - 1], ever[r - 1]
        first = np.where(ever[r - 1], right.argmax(axis=0), r) + 1
        expected["first_hit", r] = first
        assert 0.02 < right[r - 1].mean() < 0.98
    for (name, r), values in expected.items():
        for column, members in enumerate(groups.values()):
            np.testing.assert_allclose(
                measured[name][r - 1, column], values[members].mean(),
                rtol=2e-5, atol=1e-6, err_msg=f"{name}@{r}",
            )  # fmt: skip


@pytest.mark.exhaustive
def test_a_factor_of_the_pass_gives_every_loop_count_its_own_pass(params, table, toy):
    lane = jax.tree.map(lambda x: x[0], params)
    model = presets.model_config(toy({"model.branch_scale": "pass_loops"}), table)
    parts = evaluate.make_rows(toy(), table, {"all": np.arange(len(table.tokens))})
    at = lambda *loops: jax.jit(
        functools.partial(
            evaluate.measure, model=model, loops=loops, loss_dtype="float32"
        )
    )(parts, lane)
    both, shorter, longer = at(1, 3), at(1), at(3)
    assert both["loss"].shape == (2, 1)
    assert abs(shorter["loss"] - longer["loss"]).max() > 1e-3
    for name, values in both.items():
        apart = np.concatenate([shorter[name], longer[name]])
        np.testing.assert_allclose(values, apart, rtol=1e-5, atol=1e-6)


def test_softmax_collapses_where_float32_adds_nothing(params, table, toy, logits):
    lane = jax.tree.map(lambda x: x[0], params)
    loud = lane | {"final_norm": jax.tree.map(lambda x: 1e4 * x, lane["final_norm"])}
    measured = measure(presets.model_config(toy(), table))
    groups = evaluate.groups_of(toy(), table)
    parts = evaluate.make_rows(toy(), table, groups)
    assert measured(parts, lane)["softmax_collapse"][1, 0] == 0
    scores = np.sort(logits[1, groups["train"]], axis=1)
    # So loud that half of the largest exponentials are 2**24 times the next ones.
    factor = 24 * np.log(2) / np.median(scores[:, -1] - scores[:, -2])
    loud = lane | {"final_norm": jax.tree.map(lambda x: factor * x, lane["final_norm"])}
    found = float(measured(parts, loud)["softmax_collapse"][1, 0])
    others = np.exp(factor * (scores[:, :-1] - scores[:, -1:]))
    # Added up one by one, what is below 2**-24 of the largest is lost; a sum is not.
    surely = others.sum(axis=1) < 2.0**-25
    perhaps = others[:, -1] < 2.0**-23
    rounding = 1e-6
    assert 0.3 < surely.mean() <= found + rounding
    assert found - rounding <= perhaps.mean() < 0.7


def test_rows_of_all_lengths_are_evaluated_once_each(toy):
    config = toy({"evaluation.batch_size": 5})
    lengths = np.array([5, 5, 9, 6, 9, 9, 6, 5, 5, 5, 9])
    tokens = np.array([[1] * n + [0] * (11 - n) for n in lengths], np.int32)
    tokens[:, 0] = 1 + np.arange(len(lengths))
    certificate = tasks.make_table(config).certificate
    table = tasks.Table(
        tokens=tokens, answer_positions=(lengths - 1)[:, None].astype(np.int32),
        targets=tokens[:, :1], split=np.zeros(11, np.int8),
        repeats=np.ones(11, np.int32), tags={}, tag_names={},
        vocab=tuple(map(str, range(12))), certificate=certificate,
    )  # fmt: skip
    some = {"train": np.arange(11), "few": np.array([2, 3])}
    parts = evaluate.make_rows(config, table, some)
    assert [part.tokens.shape for part in parts] == [(2, 5, 6), (1, 4, 9)]
    for name, column in (("train", 0), ("few", 1)):
        seen = np.concatenate(
            [
                part.tokens.reshape(-1, part.tokens.shape[-1])[:, 0][
                    np.asarray(part.member)[:, column] == 1
                ]
                for part in parts
            ]
        )
        assert sorted(seen) == sorted(table.tokens[some[name], 0])
        assert sum(float(part.member[:, column].sum()) for part in parts) == len(seen)


def test_evaluates_every_split_and_its_breakdown(program, table):
    assert program.loops == (1, 2, 3)  # num_loops and eval_loops, ascending.
    sizes = dict(zip(program.groups, program.group_sizes, strict=True))
    assert sizes.keys() == {
        "train", "id", "ood", "mixed",
        "train[hops=1]", "train[hops=2]",
        "train[pattern=atomic]", "train[pattern=id-id]",
        "mixed[pattern=id-ood]", "mixed[pattern=ood-id]",
    }  # fmt: skip
    for split in ("train", "id", "ood", "mixed"):
        assert sizes[split] == table.certificate.rows[split]
    assert sizes["train"] == sizes["train[hops=1]"] + sizes["train[hops=2]"]
    assert len(set(sizes.values())) > 4, "equal sizes could hide swapped groups"


def test_large_training_splits_are_sampled_once_and_for_all(toy, table):
    parts = evaluate.groups_of(toy({"evaluation.train_rows": 29}), table)
    again = evaluate.groups_of(toy({"evaluation.train_rows": 29, "seed": 9}), table)
    assert np.unique(parts["train"]).size == 29
    assert np.isin(parts["train"], table.rows_of("train")).all()
    np.testing.assert_array_equal(parts["train"], again["train"])
    hops = [parts[f"train[hops={hop}]"] for hop in (1, 2)]
    assert sorted(np.concatenate(hops)) == sorted(parts["train"])
    np.testing.assert_array_equal(parts["id"], table.rows_of("id"))


def steps_of(config):
    found, at = [], -1
    while at < config.num_steps:
        at = evaluate.next_step(config, at)
        found.append(at)
    return found


def test_uniform_evaluations(toy):
    assert steps_of(toy()) == list(range(0, 57, 4))


@pytest.mark.parametrize(("per_decade", "every"), [(3, 50), (10, 40), (1, 1000)])
def test_log_spaced_evaluations_thin_out_to_uniform_ones(toy, per_decade, every):
    config = toy(
        {
            "num_steps": 3000, "eval_every_steps": every,
            "checkpoint_every_steps": every, "evaluation.schedule": "log",
            "evaluation.per_decade": per_decade,
        }
    )  # fmt: skip
    found = steps_of(config)
    factor = 10 ** (1 / per_decade)
    spaced = [factor**power for power in range(8 * per_decade)]
    early = {round(x) for x in spaced if x * factor - x < every and x < 3000}
    assert found == sorted(early | set(range(0, 3001, every)))
    assert len(found) > 3000 // every + 3
    for at in range(0, 3000, 7):  # From any step, not only from evaluations.
        assert evaluate.next_step(config, at) == min(x for x in found if x > at)


def test_length_buckets_are_few_and_waste_little():
    lengths = range(3, 43)
    bucket = batches.bucket_lengths(lengths)
    assert sorted(bucket) == list(lengths)
    assert all(n <= bucket[n] <= 1.2 * n for n in lengths)
    assert bucket[3] == 3
    assert len(set(bucket.values())) == 12
    assert batches.bucket_lengths([12, 10, 12]) == {10: 12, 12: 12}


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ((8, 4), r"snapshot_steps must ascend, got \(8, 4\)"),
        ((4, 4), r"snapshot_steps must ascend, got \(4, 4\)"),
        ((2, 4, 60), r"steps of evaluations up to num_steps \(56\), got 2, 60\."),
    ],
)
def test_snapshots_are_of_evaluations(toy, steps, message):
    (problem,) = evaluate.problems(toy({"snapshot_steps": steps}))
    assert re.search(message, problem)


def test_snapshots_may_be_of_a_logarithmic_schedule(toy):
    log = {"evaluation.schedule": "log", "evaluation.per_decade": 3}
    assert evaluate.problems(toy(log | {"snapshot_steps": (0, 2, 8)})) == []
    assert len(evaluate.problems(toy(log | {"snapshot_steps": (3,)}))) == 1
    assert len(evaluate.problems(toy({"snapshot_steps": (2,)}))) == 1
