"""The formulas against counted leaves, counted products and XLA's own count."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from configs import knowledge_composition
from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.models import cost, loop, presets, recurrent
from tests.models import combinations

B, A = 4, 2


def _leaves(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def _assert_parts_are_leaves(model):
    shapes, found = combinations.shapes(model), cost.parameters(model)
    assert found == {name: _leaves(part) for name, part in shapes.items()}
    assert sum(found.values()) == recurrent.num_parameters(shapes)


def _dots(jaxpr, times=1):
    """Operations of every product of a program, loops as often as they run."""
    total = 0
    for equation in jaxpr.eqns:
        inner = times * equation.params.get("length", 1)
        for value in equation.params.values():
            for part in value if isinstance(value, tuple | list) else [value]:
                part = getattr(part, "jaxpr", part)
                if hasattr(part, "eqns"):
                    total += _dots(part, inner)
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            size = np.prod([left[axis] for axis in contracted], dtype=int)
            total += times * 2 * equation.outvars[0].aval.size * int(size)
    return total


def _loss(model, **options):
    def loss(params, tokens, answers):
        outputs = recurrent.apply(params, tokens, answers, model, **options)
        return jnp.square(outputs.logits).sum() + sum(outputs.penalties.values())

    return loss


def _arguments(model, length, batch=B):
    """Shapes of parameters, tokens and answer positions."""
    rows = (jax.ShapeDtypeStruct((batch, size), jnp.int32) for size in (length, A))
    return combinations.shapes(model), *rows


@pytest.mark.parametrize(
    "index", range(len(combinations.CASES)), ids=combinations.NAMES
)
def test_formulas_are_the_leaves_and_the_products(index, tiny_config, tiny_table):
    name, keys = combinations.CASES[index]
    config = combinations.make(tiny_config, keys, name)
    model = presets.model_config(config, tiny_table)
    length, loops = (11, 1) if index % 2 else (4, 3)  # One table of long rows, one not.
    model = dataclasses.replace(
        model, max_length=length, prelude_blocks=index % 3 == 0, coda_blocks=1
    )
    if model.position_every_loop:
        model = dataclasses.replace(model, prelude_blocks=0)
    _assert_parts_are_leaves(model)
    run = functools.partial(recurrent.apply, config=model, num_loops=loops)
    program = jax.make_jaxpr(run)(*_arguments(model, length))
    ours = cost.passes(
        model, num_loops=loops, length=length, num_answers=A, batch_size=B
    )
    assert B * ours.forward == pytest.approx(_dots(program.jaxpr), abs=B)


@pytest.mark.parametrize(
    ("name", "length"),
    # Rows of up to four tokens attend in another way.
    [*((name, 4) for name in combinations.PRESETS), ("rdt", 3), ("rdt", 5)],
)
def test_an_update_is_counted_product_by_product(name, length, tiny_config, tiny_table):
    config = combinations.make(tiny_config, combinations.PRESETS[name], name)
    model = presets.model_config(config, tiny_table)
    model = dataclasses.replace(model, max_length=length)

    loss = _loss(model, num_loops=5)
    update = jax.make_jaxpr(jax.grad(loss))(*_arguments(model, length))
    ours = cost.passes(model, num_loops=5, length=length, num_answers=A, batch_size=B)
    assert B * sum(ours) == pytest.approx(_dots(update.jaxpr), abs=2 * B)


FILES = (
    "knowledge_composition", "feedforward", "universal", "moeut", "huginn", "gated",
)  # fmt: skip


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("preset", ["cpu", "paper"])
def test_the_parameters_of_named_configs_are_their_leaves(name, preset, root):
    config = configs.load(f"{root}/configs/{name}.py:{preset}")
    # The vocabulary of another table; the paper's own takes seconds to make.
    table = _small_table()
    _assert_parts_are_leaves(presets.model_config(config, table))


@functools.cache
def _small_table():
    return tasks.make_table(knowledge_composition.get_config("smoke"))


# XLA, which counts the body of a loop once: hence unrolled in Python.


def _unrolled(core, state, *, num_loops, backprop_depth, **_):
    states = []
    for index in range(num_loops):
        if backprop_depth is not None and index == num_loops - backprop_depth:
            state = jax.lax.stop_gradient(state)
        state = core(state, jnp.int32(index))
        states.append(state)
    return state, jax.tree.map(lambda *x: jnp.stack(x), *states)


# Wide, so that elementwise work is small.
WIDE = {
    "width": 768, "num_heads": 6, "head_width": 128, "mlp_width": 3072,
    "num_experts": 8, "expert_width": 768, "attention_experts": 4, "core_blocks": 1,
}  # fmt: skip


def _model(name, tiny_config, tiny_table, length, **changes):
    keys = combinations.PRESETS[name] | WIDE
    model = presets.model_config(combinations.make(tiny_config, keys, name), tiny_table)
    return dataclasses.replace(model, max_length=length, vocab_size=401, **changes)


def _programs(model, length, batch, loops, depth):
    loss = _loss(model, num_loops=loops, backprop_depth=depth)
    arguments = _arguments(model, length, batch)
    return (
        jax.jit(loss).lower(*arguments),
        jax.jit(jax.value_and_grad(loss)).lower(*arguments),
    )


@pytest.mark.parametrize("loops", [1, 2, 3])
@pytest.mark.parametrize("name", combinations.PRESETS)
def test_xla_counts_the_same(name, loops, tiny_config, tiny_table, monkeypatch):
    monkeypatch.setattr(loop, "run_loops", _unrolled)
    length, batch = 40, 32
    model = _model(name, tiny_config, tiny_table, length)
    forward, both = _programs(model, length, batch, loops, None)
    ours = cost.passes(
        model, num_loops=loops, length=length, num_answers=A, batch_size=batch
    )
    # Within 5 % was the aim; elementwise work is 0.2 to 0.5 %.
    flops = forward.cost_analysis()["flops"] / batch
    assert flops == pytest.approx(ours.forward, rel=0.01)
    assert both.cost_analysis()["flops"] / batch == pytest.approx(sum(ours), rel=0.01)
    if (name, loops) == ("rdt", 2):
        compiled = both.compile().cost_analysis()["flops"]
        assert compiled / batch == pytest.approx(sum(ours), rel=0.01)


@pytest.mark.parametrize(("name", "depth"), [("rdt", 1), ("huginn", 1), ("gated", 2)])
def test_xla_counts_truncated_backpropagation_alike(
    name, depth, tiny_config, tiny_table, monkeypatch
):
    monkeypatch.setattr(loop, "run_loops", _unrolled)
    model = _model(name, tiny_config, tiny_table, 40, prelude_blocks=1)
    _, both = _programs(model, 40, 32, 3, depth)
    count = functools.partial(
        cost.passes, model, num_loops=3, length=40, num_answers=A, batch_size=32
    )
    flops = both.cost_analysis()["flops"] / 32
    assert flops == pytest.approx(sum(count(backprop_depth=depth)), rel=0.01)
    assert sum(count()) > 1.2 * flops
    assert count(backprop_depth=7) == count()  # No more than there are.


# At the least.


def test_what_a_row_needs_worked_by_hand(tiny_config, tiny_table):
    model = _model("rdt", tiny_config, tiny_table, 5)
    block = 2 * (4 * 768 * 768 + 2 * 768 * 3072) * 5  # Matrices, 5 positions.
    block += 15 * 2 * 2 * 768  # Pairs, of 25 possible ones.
    head = 2 * 2 * 768 * 401
    found = cost.passes(model, num_loops=3, length=5, num_answers=2)
    assert found.forward == 3 * block + head
    assert found.backward == 2 * found.forward


def test_of_experts_the_chosen_count_and_not_their_number(tiny_config, tiny_table):
    model = _model("moeut", tiny_config, tiny_table, 5)
    count = functools.partial(cost.passes, num_loops=1, length=5, num_answers=2)
    twice = dataclasses.replace(model, num_experts=16, attention_experts=8)
    routers = 2 * 768 * (8 + 2 * 6 * 4) * 5
    assert count(twice).forward - count(model).forward == routers
    more = dataclasses.replace(model, experts_per_token=3)
    expert = 2 * 2 * 768 * 768 * 5
    assert count(more).forward - count(model).forward == expert


def test_drawn_depths_cost_their_mean(tiny_config, tiny_table):
    model = _model("huginn", tiny_config, tiny_table, 5)
    section = tiny_config.recurrence.to_dict() | {
        "sampling": "uniform", "min_loops": 2, "max_loops": 4, "backprop_depth": 3,
    }  # fmt: skip
    count = functools.partial(cost.passes, model, length=5, num_answers=2)
    # The backward pass goes through 2, 3 and 3 loops.
    forward = np.mean([count(num_loops=r).forward for r in (2, 3, 4)])
    backward = np.mean([count(num_loops=r).backward for r in (2, 3, 3)])
    found = cost.training_flops(
        model, ml_collections.ConfigDict(section), length=5, num_answers=2
    )
    assert found == (round(forward), round(backward))
