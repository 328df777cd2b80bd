"""The update and the evaluation of a pack: S lanes in one compiled program.

A solo run is a pack of one. Nothing here talks to the host: `train_chunk` makes many
updates in one dispatch, `evaluate` returns a few numbers per lane.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import chex
import flax.struct
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from rdt_jax.data import batches
from rdt_jax.models import layers, presets, recurrent
from rdt_jax.tasks import SPLITS, Table
from rdt_jax.training import losses, optimizers
from rdt_jax.training.optimizers import Hyper


@flax.struct.dataclass
class TrainState:
    """Everything that changes during training, and nothing else.

    Attributes:
      step: int32 scalar, updates applied so far, the same for all lanes.
      params: leaves [S, ...].
      opt_state: leaves [S, ...].
      loss_sum: float32 [S], training losses added up since the last evaluation.
      gradient_norm: float32 [S], L2 norm of the last update's gradient.
      finite_steps: int32 [S], updates before the first whose loss was not finite.
    """

    step: jax.Array
    params: chex.ArrayTree
    opt_state: optax.OptState
    loss_sum: jax.Array
    gradient_norm: jax.Array
    finite_steps: jax.Array


class Lanes(NamedTuple):
    """What tells the lanes of a pack apart; constant during training.

    Attributes:
      seed: uint32 [S].
      hyper: float32 [S] each.
    """

    seed: jax.Array
    hyper: Hyper


class Program(NamedTuple):
    """The compiled functions of a pack, jitted but not yet called.

    Attributes:
      init: Lanes -> TrainState.
      train_chunk: (TrainState donated, Lanes, int32 n) -> TrainState, n updates on.
      evaluate: (params with leaves [S, ...]) -> {"accuracy", "loss"}: [S, loops, G].
      start_window: TrainState donated -> TrainState with `loss_sum` at zero.
      groups: the G names ("id", "mixed[pattern=id-ood]") of the evaluated parts.
      loops: the evaluated loop counts, ascending.
      group_sizes: rows in each group.
    """

    init: Any
    train_chunk: Any
    evaluate: Any
    start_window: Any
    groups: tuple[str, ...]
    loops: tuple[int, ...]
    group_sizes: tuple[int, ...]


def make_lanes(configs: Sequence[ml_collections.ConfigDict]) -> Lanes:
    """Returns the lanes that a pack of `configs` trains."""
    values = [optimizers.read_hyper(config) for config in configs]
    hyper = Hyper(
        **{
            name: jnp.array([value[name] for value in values], jnp.float32)
            for name in Hyper._fields
        }
    )
    seeds = [config.seed for config in configs]
    return Lanes(seed=jnp.array(seeds, jnp.uint32), hyper=hyper)


def build(configs: Sequence[ml_collections.ConfigDict], table: Table) -> Program:
    """Builds the program of a pack.

    Args:
      configs: of the S lanes; they differ in `seed` and LANE_KEYS only.
      table: of the task that they share.
    """
    config, num_lanes = configs[0], len(configs)
    model = presets.model_config(config, table)
    drops = any(c.model.dropout > 0 or c.model.embedding_dropout > 0 for c in configs)
    over_lanes = lambda function: _over_lanes(function, num_lanes)
    epoch = jnp.asarray(batches.epoch_rows(table))
    rows = tuple(
        jnp.asarray(x) for x in (table.tokens, table.answer_positions, table.targets)
    )

    def init_lane(seed: jax.Array, hyper: Hyper):
        init_key, _, _ = _lane_keys(seed)
        params = recurrent.init(init_key, model)
        return params, optimizers.make(config, hyper).init(params)

    def init(lanes: Lanes) -> TrainState:
        params, opt_state = over_lanes(init_lane)(lanes.seed, lanes.hyper)
        zeros = jnp.zeros(num_lanes)
        return TrainState(
            step=jnp.int32(0),
            params=params,
            opt_state=opt_state,
            loss_sum=zeros,
            gradient_norm=zeros,
            finite_steps=jnp.zeros(num_lanes, jnp.int32),
        )

    def loss_of(params, batch, hyper: Hyper, noise: layers.Noise | None):
        tokens, positions, targets = batch
        outputs = recurrent.apply(
            params,
            tokens,
            positions,
            model,
            num_loops=config.recurrence.num_loops,
            backprop_depth=config.recurrence.backprop_depth,
            rngs=noise,
        )
        loss = losses.answer_cross_entropy(
            outputs.logits, targets, hyper.label_smoothing
        ).mean()
        return loss + sum(config.loss[k] * x for k, x in outputs.penalties.items())

    def update_lane(params, opt_state, seed, hyper: Hyper, step: jax.Array):
        _, data_key, noise_key = _lane_keys(seed)
        index = batches.batch_indices(
            data_key, step, num_rows=epoch.size, batch_size=config.batch_size
        )
        batch = tuple(x[epoch[index]] for x in rows)
        noise = None
        if drops or config.model.initial_state == "normal":
            key = jax.random.fold_in(noise_key, step)
            rates = (hyper.dropout, hyper.embedding_dropout) if drops else ()
            noise = layers.Noise(key, *rates)
        loss, gradient = jax.value_and_grad(loss_of)(params, batch, hyper, noise)
        updates, opt_state = optimizers.make(config, hyper).update(
            gradient, opt_state, params
        )
        params = optax.apply_updates(params, updates)
        return params, opt_state, loss, optax.tree.norm(gradient)

    def train_chunk(state: TrainState, lanes: Lanes, n: jax.Array) -> TrainState:
        def update(_, state: TrainState) -> TrainState:
            params, opt_state, loss, norm = over_lanes(
                functools.partial(update_lane, step=state.step)
            )(state.params, state.opt_state, lanes.seed, lanes.hyper)
            still = (state.finite_steps == state.step) & jnp.isfinite(loss)
            return TrainState(
                step=state.step + 1,
                params=params,
                opt_state=opt_state,
                loss_sum=state.loss_sum + loss,
                gradient_norm=norm,
                finite_steps=state.finite_steps + still,
            )

        return jax.lax.fori_loop(0, n, update, state)

    parts, names, sizes = _evaluated_groups(config, table)
    loops = evaluated_loops(config)
    evaluate_lane = _make_evaluate(config, model, table, parts, loops)
    return Program(
        init=jax.jit(init),
        train_chunk=jax.jit(train_chunk, donate_argnums=0),
        evaluate=jax.jit(over_lanes(evaluate_lane)),
        start_window=jax.jit(
            lambda state: state.replace(loss_sum=jnp.zeros_like(state.loss_sum)),
            donate_argnums=0,
        ),
        groups=names,
        loops=loops,
        group_sizes=sizes,
    )


def evaluated_loops(config: ml_collections.ConfigDict) -> tuple[int, ...]:
    """Returns the loop counts of every evaluation, ascending."""
    recurrence = config.recurrence
    return tuple(sorted({recurrence.num_loops, *recurrence.eval_loops}))


def _lane_keys(seed: jax.Array) -> jax.Array:
    """Splits a run's seed into the keys of parameters, batches and dropout."""
    return jax.random.split(jax.random.key(seed), 3)


def _over_lanes(function, num_lanes: int):
    """Maps over the leading axis; a single lane skips `vmap`, which slows products."""
    if num_lanes > 1:
        return jax.vmap(function)

    def single(*arguments):
        lane = jax.tree.map(lambda x: x[0], arguments)
        return jax.tree.map(lambda x: x[None], function(*lane))

    return single


def _evaluated_groups(
    config: ml_collections.ConfigDict, table: Table
) -> tuple[dict[str, np.ndarray], tuple[str, ...], tuple[int, ...]]:
    """Returns the rows to evaluate: every split, and its breakdown by every tag."""
    groups: dict[str, np.ndarray] = {}
    for split in SPLITS:
        rows = table.rows_of(split)
        if split == "unused" or rows.size == 0:
            continue
        if split == "train" and rows.size > config.evaluation.train_rows:
            rng = np.random.default_rng(config.task.seed)
            rows = rng.choice(rows, config.evaluation.train_rows, replace=False)
        groups[split] = rows
        for tag, values in table.tags.items():
            present = np.unique(values[rows])
            if present.size < 2:
                continue
            words = table.tag_names.get(tag)
            for value in present:
                word = words[value] if words else value
                groups[f"{split}[{tag}={word}]"] = rows[values[rows] == value]
    sizes = tuple(rows.size for rows in groups.values())
    return groups, tuple(groups), sizes


def _make_evaluate(config, model, table, groups, loops):
    rows = np.unique(np.concatenate(list(groups.values())))
    size = min(config.evaluation.batch_size, rows.size)
    padded = np.pad(rows, (0, -rows.size % size), mode="edge")
    # Sums over groups are products with 0/1, exact for counts; padding is in no group.
    member = np.zeros((padded.size, len(groups)), np.float32)
    for index, members in enumerate(groups.values()):
        member[np.searchsorted(rows, members), index] = 1
    sizes = member.sum(axis=0)[None]
    tokens, positions, targets = (
        jnp.asarray(x[padded]).reshape(-1, size, x.shape[1])
        for x in (table.tokens, table.answer_positions, table.targets)
    )
    kept = jnp.array(loops) - 1

    def score(params, batch):
        tokens, positions, targets = batch
        states = recurrent.apply(
            params, tokens, positions, model, num_loops=loops[-1]
        ).states[kept]
        logits = jax.vmap(
            lambda s: recurrent.readout(params, s, tokens, positions, model)
        )(states)  # [loops, B, A, V]
        targets = jnp.broadcast_to(targets[None], logits.shape[:-1])
        correct = losses.answers_correct(logits, targets)
        return correct, losses.answer_cross_entropy(logits, targets)

    def evaluate_lane(params):
        correct, loss = jax.lax.map(
            lambda batch: score(params, batch), (tokens, positions, targets)
        )  # each [batches, loops, B]
        merge = lambda x: jnp.moveaxis(x, 1, 0).reshape(len(loops), -1)
        return {
            "accuracy": merge(correct).astype(jnp.float32)
            @ member
            / sizes,  # [loops, G]
            "loss": merge(loss) @ member / sizes,
            "weight_norm": optax.tree.norm(params),
        }

    return evaluate_lane
