"""The update and the evaluation of a pack: S lanes in one compiled program.

A solo run is a pack of one. Nothing here talks to the host: `train_chunk` makes many
updates in one dispatch, `evaluate` returns a few numbers per lane.

Lanes run side by side under `vmap`, which turns their products into batched ones, so a
lane equals its solo run to rounding. `exact` programs run them one after another by
`lax.map` instead, bit for bit like solo runs.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import flax.struct
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from rdt_jax import borrowed, sharding
from rdt_jax.data import batches
from rdt_jax.models import layers, loop, presets, recurrent
from rdt_jax.tasks import Table
from rdt_jax.training import curriculum, evaluation, objective, optimizers
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
      update_ratio: float32 [S], L2 norm of the last update over that of the weights it
        was added to.
      finite_steps: int32 [S], updates before the first whose loss was not finite.
      stage: int32 [S], index of the curriculum's stage.
      stage_start: int32 [S], step at which it began.
    """

    step: jax.Array
    params: chex.ArrayTree
    opt_state: optax.OptState
    loss_sum: jax.Array
    gradient_norm: jax.Array
    update_ratio: jax.Array
    finite_steps: jax.Array
    stage: jax.Array
    stage_start: jax.Array


_STATE_FIELDS = [field.name for field in dataclasses.fields(TrainState)]
# What is recorded of a state beside its parameters, float32 or int32 [S] each.
WATCHED = ("loss_sum", "gradient_norm", "update_ratio", "finite_steps")


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
      init: Lanes -> TrainState, on the devices where it trains.
      shapes: Lanes -> TrainState of shapes and dtypes, as `init` makes it.
      train_chunk: (TrainState donated, Lanes, int32 n, length=T) -> TrainState, n
        updates on; rows are cut to T tokens, which is part of the program. The default
        is the length of the table.
      evaluate: (params with leaves [S, ...]) -> quantity -> float32 [S, loops, G], and
        "weight_norm" [S].
      start_window: TrainState donated -> TrainState with `loss_sum` at zero.
      start_stage: (TrainState donated, Lanes, int32 [S] stage) -> TrainState in which
        the lanes whose stage is another one begin it.
      take_lanes: (TrainState, int32 [S']) -> TrainState of these lanes.
      observe: TrainState -> what an evaluation records, on the host: "quantities" and
        "weight_norm" of `evaluate`, and of the state "params" and WATCHED.
      read: TrainState -> TrainState on the host, of the pack's S lanes alone.
      place: what `read` returned -> TrainState, as that of `init`.
      compilations: () -> programs of `train_chunk` that were compiled so far.
      filled: lanes of a pack -> lanes that a state of it has on this mesh.
      axes: of the mesh.
      groups: the G names ("id", "mixed[pattern=id-ood]") of the evaluated parts.
      loops: the evaluated loop counts, ascending.
      group_sizes: rows in each group.
      stages: of the curriculum.
    """

    init: Any
    shapes: Callable[[Lanes], Any]
    train_chunk: Any
    evaluate: Any
    start_window: Any
    start_stage: Any
    take_lanes: Any
    observe: Callable[[TrainState], dict[str, Any]]
    read: Callable[[TrainState], Any]
    place: Callable[[Any], TrainState]
    compilations: Callable[[], int]
    filled: Callable[[int], int]
    axes: sharding.Axes
    groups: tuple[str, ...]
    loops: tuple[int, ...]
    group_sizes: tuple[int, ...]
    stages: curriculum.Stages


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


def build(
    configs: Sequence[ml_collections.ConfigDict],
    table: Table,
    exact: bool = False,
    mesh: jax.sharding.Mesh | None = None,
) -> Program:
    """Builds the program of a pack.

    Args:
      configs: of the S lanes; they differ in `seed` and LANE_KEYS only.
      table: of the task that they share.
      exact: run the lanes one after another, bit for bit like solo runs.
      mesh: devices that share the lanes, each batch and the matrices. Sums over parts
        of a batch or of a matrix round differently than on one device, and in parts of
        a batch dropout draws other numbers. Lanes that do not fill the axis `trial`
        are joined by copies of the last one, which nobody reads.
    """
    config = configs[0]
    num_lanes = sharding.filled(len(configs), mesh)  # of a state
    axes = sharding.axes_of(mesh)
    model = presets.model_config(config, table)
    parts = optimizers.parts_of(configs)
    make_optimizer = functools.partial(optimizers.make, config, parts=parts)
    over_lanes = lambda function: _over_lanes(function, num_lanes // axes.trial, exact)
    stages = curriculum.stages_of(config, table)
    epoch = jnp.asarray(batches.epoch_rows(table, config.curriculum.by))
    # Arguments of the jitted functions, since a constant would be part of the program.
    rows = tuple(
        jnp.asarray(x) for x in (table.tokens, table.answer_positions, table.targets)
    )

    def draw_lane(seed: jax.Array, scale: jax.Array):
        init_key, _, _ = _lane_keys(seed)
        return jax.tree.map(lambda x: scale * x, recurrent.init(init_key, model))

    def draw_part(lanes: Lanes):
        return over_lanes(draw_lane)(lanes.seed, lanes.hyper.init_scale)

    def fresh_optimizer(params, lanes: Lanes):
        start = lambda params, hyper: make_optimizer(hyper).init(params)
        return over_lanes(start)(params, lanes.hyper)

    def begin_part(params, lanes: Lanes) -> TrainState:
        return TrainState(
            step=jnp.int32(0),
            params=params,
            opt_state=fresh_optimizer(params, lanes),
            loss_sum=jnp.zeros(lanes.seed.size),
            gradient_norm=jnp.zeros(lanes.seed.size),
            update_ratio=jnp.zeros(lanes.seed.size),
            finite_steps=jnp.zeros(lanes.seed.size, jnp.int32),
            stage=jnp.zeros(lanes.seed.size, jnp.int32),
            stage_start=jnp.zeros(lanes.seed.size, jnp.int32),
        )

    loss_and_gradient = objective.make(config, model, parts, mesh)

    def rows_of(stage: jax.Array) -> Any:
        return jnp.array(stages.rows)[stage] if stages.values else stages.rows[0]

    def draw_order(seed: jax.Array, stage: jax.Array, number: jax.Array) -> jax.Array:
        _, data_key, _ = _lane_keys(seed)
        if stages.values:
            data_key = jax.random.fold_in(data_key, stage)
        return batches.epoch_order(data_key, number, rows_of(stage), stages.rows[-1])

    def place_of(step: jax.Array, stage: jax.Array, stage_start: jax.Array):
        in_stage = step - stage_start
        return batches.place_of(in_stage, rows_of(stage), config.batch_size)

    def update_lane(
        params, opt_state, seed, hyper: Hyper, index, *, rows, step, length,
        num_loops, is_last,
    ):  # fmt: skip
        tokens, positions, targets = (x[index] for x in rows)
        batch = tokens[:, :length], positions, targets
        _, _, noise_key = _lane_keys(seed)
        noise = None
        drops = "dropout" in parts
        if drops or config.model.initial_state == "normal":
            key = jax.random.fold_in(noise_key, step)
            rates = (hyper.dropout, hyper.embedding_dropout) if drops else ()
            noise = layers.Noise(key, *rates)
        loss, gradient = loss_and_gradient(params, batch, hyper, noise, num_loops)

        def descend(measures: bool, gradient, opt_state, params):
            updates, opt_state = make_optimizer(hyper).update(
                gradient, opt_state, params
            )
            norm, norms = optax.tree.norm, (jnp.float32(0), jnp.float32(0))
            if measures:
                norms = norm(gradient), norm(updates) / norm(params)
            return optax.apply_updates(params, updates), opt_state, *norms

        # Norms are wanted of the last update of a dispatch only. What a conditional
        # reads is written out first, so the loops' gradients are added up just once.
        branches = (functools.partial(descend, measures) for measures in (True, False))
        params, opt_state, norm, ratio = jax.lax.cond(
            is_last, *branches, gradient, opt_state, params
        )
        return params, opt_state, loss, norm, ratio

    def train_part(data, state: TrainState, lanes: Lanes, n: jax.Array, length: int):
        epoch, rows = data
        place = lambda step: jax.vmap(functools.partial(place_of, step))(
            state.stage, state.stage_start
        )
        draw_orders = functools.partial(jax.vmap(draw_order), lanes.seed, state.stage)

        def update(index, carry: tuple[TrainState, jax.Array]):
            state, order = carry  # [S, M], of the epoch in which a lane's batch begins
            number, position = place(state.step)
            size = jnp.broadcast_to(rows_of(state.stage), position.shape)  # [S]
            ends = position + config.batch_size >= size
            # Seldom, so a conditional; lanes that are inside an epoch keep its order.
            next_order = jax.lax.cond(
                ends.any(),
                lambda: jnp.where(ends[:, None], draw_orders(number + 1), order),
                lambda: order,
            )
            drawn = jax.vmap(
                functools.partial(batches.batch_indices, batch_size=config.batch_size)
            )(order, next_order, position, size)
            # Drawn here, not per lane: `vmap` would run every lane to the largest draw.
            num_loops = loop.draw_loops(config.recurrence, state.step)
            params, opt_state, loss, norm, ratio = over_lanes(
                functools.partial(
                    update_lane,
                    rows=rows,
                    step=state.step,
                    length=length,
                    num_loops=num_loops,
                    is_last=index == n - 1,
                )  # fmt: skip
            )(state.params, state.opt_state, lanes.seed, lanes.hyper, epoch[drawn])
            still = (state.finite_steps == state.step) & jnp.isfinite(loss)
            state = dataclasses.replace(
                state,
                step=state.step + 1,
                params=params,
                opt_state=opt_state,
                loss_sum=state.loss_sum + loss,
                gradient_norm=norm,
                update_ratio=ratio,
                finite_steps=state.finite_steps + still,
            )
            return state, next_order

        start = state, draw_orders(place(state.step).epoch)
        return jax.lax.fori_loop(0, n, update, start)[0]

    def start_part(state: TrainState, lanes: Lanes, stage: jax.Array) -> TrainState:
        begins = stage != state.stage
        opt_state = state.opt_state
        if config.curriculum.reset_optimizer:
            opt_state = jax.tree.map(
                lambda new, old: jnp.where(_like(begins, old), new, old),
                fresh_optimizer(state.params, lanes),
                opt_state,
            )
        return dataclasses.replace(
            state,
            opt_state=opt_state,
            stage=stage,
            stage_start=jnp.where(begins, state.step, state.stage_start),
        )

    groups = evaluation.groups_of(config, table)
    loops = evaluation.loops_of(config)
    evaluated = [
        evaluation.Rows._make(
            (*sharding.spread(part[:-1], mesh, axis=1), sharding.spread(part[-1], mesh))
        )
        for part in evaluation.make_rows(config, table, groups)
    ]
    evaluate_lane = evaluation.make(model, loops, config.loss.dtype)

    def evaluate_part(rows, params):
        measured = over_lanes(functools.partial(evaluate_lane, rows))(params)
        return measured | {"weight_norm": jax.vmap(optax.tree.norm)(params)}

    # What is jitted: the same on the part that each device has.
    everywhere, by_lane = sharding.EVERYWHERE, sharding.BY_LANE
    specs: Any = dict.fromkeys(_STATE_FIELDS, by_lane) | {"step": everywhere}
    of_state = TrainState(**specs)
    on_parts = functools.partial(sharding.on_own_part, mesh=mesh)
    fill = functools.partial(sharding.fill, mesh=mesh)

    def draw(lanes: Lanes):
        spread = on_parts(draw_part, in_specs=(by_lane,), out_specs=by_lane)
        return spread(fill(lanes))

    def begin(params, lanes: Lanes) -> TrainState:
        spread = on_parts(begin_part, in_specs=(by_lane, by_lane), out_specs=of_state)
        return spread(params, fill(lanes))

    def shapes(lanes: Lanes) -> TrainState:
        return jax.eval_shape(lambda lanes: begin(draw(lanes), lanes), lanes)

    def train_chunk(
        data, state: TrainState, lanes: Lanes, n: jax.Array, length: int
    ) -> TrainState:
        spread = on_parts(
            functools.partial(train_part, length=length),
            in_specs=(everywhere, of_state, by_lane, everywhere),
            out_specs=of_state,
        )
        return spread(data, state, fill(lanes), n)

    def evaluate(rows, params):
        spread = on_parts(
            evaluate_part,
            in_specs=(everywhere, by_lane),
            out_specs=by_lane,
            axes=("trial",),
        )
        return spread(rows, params)

    def start_stage(state: TrainState, lanes: Lanes, stage: jax.Array) -> TrainState:
        spread = on_parts(
            start_part, in_specs=(of_state, by_lane, by_lane), out_specs=of_state
        )
        return spread(state, fill(lanes), fill(stage))

    def take_lanes(state: TrainState, index: jax.Array) -> TrainState:
        index = fill(index)
        return jax.tree.map(lambda x: x[index] if x.ndim else x, state)

    home: Any = jax.devices()[0]
    jit, params_home = jax.jit, None
    if mesh is not None:
        home = sharding.layout(shapes(make_lanes(configs)), mesh)
        jit, params_home = functools.partial(jax.jit, out_shardings=home), home.params
    chunk: Any = jit(train_chunk, donate_argnums=1, static_argnames="length")
    measure = functools.partial(jax.jit(evaluate), evaluated)
    # A program of its own, which a compile cache has for every other optimizer.
    drawn = jax.jit(draw, out_shardings=params_home)
    begun = jit(begin, donate_argnums=0)

    def init(lanes: Lanes) -> TrainState:
        state = begun(drawn(lanes), lanes)
        # Placed like a restored state, so that both run the same compiled program.
        return state if mesh else jax.device_put(state, home)

    read = lambda tree: sharding.read(tree, mesh, len(configs))

    def observe(state: TrainState) -> dict[str, Any]:
        watched = {name: getattr(state, name) for name in WATCHED}
        found = read({"quantities": measure(state.params), "params": state.params}
                     | watched)  # fmt: skip
        # Copies: the state is donated.
        found |= {"params": jax.tree.map(np.array, found["params"])}
        return jax.device_get(found)

    return Program(
        init=init,
        shapes=shapes,
        train_chunk=functools.partial(
            chunk, sharding.spread((epoch, rows), mesh), length=table.tokens.shape[1]
        ),
        evaluate=measure,
        start_window=jit(
            lambda state: state.replace(loss_sum=jnp.zeros_like(state.loss_sum)),
            donate_argnums=0,
        ),
        start_stage=jit(start_stage, donate_argnums=0),
        take_lanes=jit(take_lanes),
        observe=observe,
        read=read,
        place=lambda state: sharding.place(fill(state), home),
        compilations=functools.partial(borrowed.num_compiled, chunk),
        filled=functools.partial(sharding.filled, mesh=mesh),
        axes=axes,
        groups=tuple(groups),
        loops=loops,
        group_sizes=tuple(rows.size for rows in groups.values()),
        stages=stages,
    )


def _lane_keys(seed: jax.Array) -> jax.Array:
    """Splits a run's seed into the keys of parameters, batches and dropout."""
    return jax.random.split(jax.random.key(seed), 3)


def _like(flag: jax.Array, x: jax.Array) -> jax.Array:
    return flag.reshape(flag.shape + (1,) * (x.ndim - 1))


def _over_lanes(function, num_lanes: int, exact: bool):
    """Maps over the leading axis; a single lane skips `vmap`, which slows products."""
    if num_lanes > 1 and exact:
        return lambda *arguments: jax.lax.map(lambda lane: function(*lane), arguments)
    if num_lanes > 1:
        return jax.vmap(function)

    def single(*arguments):
        lane = jax.tree.map(lambda x: x[0], arguments)
        return jax.tree.map(lambda x: x[None], function(*lane))

    return single
