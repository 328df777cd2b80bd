"""The compiled programs of a pack: S lanes that train and are evaluated side by side.

    pack = build(configs, tasks.make_table(configs[0]))
    lanes = hyper.make_lanes(configs)
    state = pack.train(pack.init(lanes), lanes, 100)  # 100 updates in one dispatch
    accuracies = pack.evaluate(state.params)["accuracy"]  # [S, loops, groups]

Lanes run side by side under `vmap`, which turns their products into batched ones, so a
lane equals its solo run, a pack of one, to rounding. In an `exact` pack they run one
after another by `lax.map`, bit for bit like solo runs. `Program` says what is computed;
`Pack` compiles it, and has the arrays of the task on its devices.
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
from rdt_jax.models import layers, loop, recurrent
from rdt_jax.models.architecture import ModelConfig
from rdt_jax.tasks import Table
from rdt_jax.training import curriculum, evaluate, optimizers, update
from rdt_jax.training.evaluate import Rows
from rdt_jax.training.hyper import LaneParams, Lanes, Spec, make_lanes, make_spec


@flax.struct.dataclass
class TrainState:
    """Everything that changes during training, and nothing else."""

    step: jax.Array  # int32 scalar, updates applied so far, the same for all lanes
    params: chex.ArrayTree  # leaves [S, ...]
    opt_state: optax.OptState  # leaves [S, ...]
    # float32 [S], training losses added up since the last evaluation
    loss_sum: jax.Array
    gradient_norm: jax.Array  # float32 [S], L2 norm of the last update's gradient
    # float32 [S], L2 norm of the last update over that of the weights it was added to
    update_ratio: jax.Array
    # int32 [S], updates before the first whose loss was not finite
    finite_steps: jax.Array
    stage: jax.Array  # int32 [S], index of the curriculum's stage
    stage_start: jax.Array  # int32 [S], step at which it began


# What is recorded of a state beside its parameters, float32 or int32 [S] each.
WATCHED = ("loss_sum", "gradient_norm", "update_ratio", "finite_steps")

# How the leaves of a state are shared over the axis `trial` of a mesh.
_BY_LANE, _EVERYWHERE = sharding.BY_LANE, sharding.EVERYWHERE
_STATE_SPECS: Any = dict.fromkeys(
    (field.name for field in dataclasses.fields(TrainState)), _BY_LANE
)
_OF_STATE = TrainState(**_STATE_SPECS | {"step": _EVERYWHERE})


class TaskData(NamedTuple):
    """The task on the devices; an argument, since a constant would be compiled in."""

    epoch: jax.Array  # int32 [M], the train rows of an epoch
    rows: update.Batch  # rows of the whole table, leaves [N, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """What is computed of a pack: pure functions of arrays.

    Private ones see the lanes of one device alone.
    """

    spec: Spec
    stages: curriculum.Stages
    loops: tuple[int, ...]  # evaluated loop counts, ascending
    mesh: jax.sharding.Mesh | None  # None for one device
    lanes_here: int  # lanes on each device
    exact: bool  # run the lanes one after another

    def draw(self, lanes: Lanes) -> chex.ArrayTree:
        """Returns the first parameters."""
        return self._share(self._draw, (_BY_LANE,), _BY_LANE, lanes)

    def begin(self, params: chex.ArrayTree, lanes: Lanes) -> TrainState:
        """Returns the state before the first update."""
        return self._share(self._begin, (_BY_LANE, _BY_LANE), _OF_STATE, params, lanes)

    def train(
        self, data: TaskData, state: TrainState, lanes: Lanes, n: jax.Array, length: int
    ) -> TrainState:
        """Applies `n` updates on rows that are cut to `length` tokens."""
        specs = (_EVERYWHERE, _OF_STATE, _BY_LANE, _EVERYWHERE)
        train = functools.partial(self._train, length=length)
        return self._share(train, specs, _OF_STATE, data, state, lanes, n)

    def evaluate(
        self, parts: Sequence[Rows], params: chex.ArrayTree
    ) -> dict[str, jax.Array]:
        """Measures all lanes on the rows of `evaluate.make_rows`."""
        specs, axes = (_EVERYWHERE, _BY_LANE), ("trial",)
        return self._share(self._evaluate, specs, _BY_LANE, parts, params, axes=axes)

    def begin_stage(
        self, state: TrainState, lanes: Lanes, stage: jax.Array
    ) -> TrainState:
        """Begins a stage of the curriculum in the lanes that are in another one."""
        specs = (_OF_STATE, _BY_LANE, _BY_LANE)
        return self._share(self._begin_stage, specs, _OF_STATE, state, lanes, stage)

    def take(self, state: TrainState, index: jax.Array) -> TrainState:
        """Returns the state of some lanes."""
        index = self._pad(index)
        return jax.tree.map(lambda x: x[index] if x.ndim else x, state)

    def _pad(self, tree: Any) -> Any:
        return sharding.pad_lanes(tree, self.mesh)

    def _share(
        self,
        function: Callable[..., Any],
        specs: tuple[Any, ...],
        out: Any,
        *arguments: Any,
        axes: tuple[str, ...] = ("trial", "data"),
    ) -> Any:
        """Calls a function on each device with its own part of arguments, padded."""
        run = sharding.on_own_part(function, self.mesh, specs, out, axes)
        pairs = zip(arguments, specs, strict=True)
        return run(*(x if s == _EVERYWHERE else self._pad(x) for x, s in pairs))

    def _over_lanes(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Maps over the leading axis; one lane skips `vmap`, which slows products."""
        if self.lanes_here > 1 and self.exact:
            return lambda *args: jax.lax.map(lambda lane: function(*lane), args)
        if self.lanes_here > 1:
            return jax.vmap(function)

        def single(*args: Any) -> Any:
            lane = jax.tree.map(lambda x: x[0], args)
            return jax.tree.map(lambda x: x[None], function(*lane))

        return single

    def _draw(self, lanes: Lanes) -> chex.ArrayTree:
        draw_lane = functools.partial(draw, model=self.spec.model)
        return self._over_lanes(draw_lane)(lanes.seed, lanes.hyper["model.init_scale"])

    def _begin(self, params: chex.ArrayTree, lanes: Lanes) -> TrainState:
        num_lanes = lanes.seed.size
        return TrainState(
            step=jnp.int32(0),
            params=params,
            opt_state=self._begin_optimizers(params, lanes.hyper),
            loss_sum=jnp.zeros(num_lanes),
            gradient_norm=jnp.zeros(num_lanes),
            update_ratio=jnp.zeros(num_lanes),
            finite_steps=jnp.zeros(num_lanes, jnp.int32),
            stage=jnp.zeros(num_lanes, jnp.int32),
            stage_start=jnp.zeros(num_lanes, jnp.int32),
        )

    def _begin_optimizers(
        self, params: chex.ArrayTree, hyper: LaneParams
    ) -> optax.OptState:
        begin = lambda params, hyper: optimizers.make(self.spec, hyper).init(params)
        return self._over_lanes(begin)(params, hyper)

    def _train(
        self, data: TaskData, state: TrainState, lanes: Lanes, n: jax.Array, length: int
    ) -> TrainState:
        batch_size = self.spec.config.batch_size
        in_stage = state.stage, state.stage_start  # The same for the whole dispatch.
        # The epoch of a step, and where in it the step's batch begins.
        place = lambda step: jax.vmap(
            lambda stage, start: batches.place_of(
                step - start, self._num_rows(stage), batch_size
            )
        )(*in_stage)
        draw_orders = functools.partial(
            jax.vmap(self._draw_order), lanes.seed, state.stage
        )

        def advance(
            index: jax.Array, carry: tuple[TrainState, jax.Array]
        ) -> tuple[TrainState, jax.Array]:
            state, order = carry  # [S, M], of the epoch in which a lane's batch begins
            number, position = place(state.step)
            size = jnp.broadcast_to(self._num_rows(state.stage), position.shape)  # [S]
            ends = position + batch_size >= size
            # Seldom, so a conditional; lanes that are inside an epoch keep its order.
            next_order = jax.lax.cond(
                ends.any(),
                lambda: jnp.where(ends[:, None], draw_orders(number + 1), order),
                lambda: order,
            )
            drawn = jax.vmap(
                functools.partial(batches.batch_indices, batch_size=batch_size)
            )(order, next_order, position, size)
            state = self._update_lanes(
                data, state, lanes, drawn, length=length, is_last=index == n - 1
            )
            return state, next_order

        start = state, draw_orders(place(state.step).epoch)
        return jax.lax.fori_loop(0, n, advance, start)[0]

    def _update_lanes(
        self,
        data: TaskData,
        state: TrainState,
        lanes: Lanes,
        drawn: jax.Array,
        *,
        length: int,
        is_last: jax.Array,
    ) -> TrainState:
        """Applies one update to the epoch's rows at `drawn`, int32 [S, B]."""
        update_lane = functools.partial(
            self._update_lane,
            rows=data.rows,
            step=state.step,
            length=length,
            # Drawn here: `vmap` would run every lane to the largest draw.
            num_loops=loop.draw_loops(self.spec.config.recurrence, state.step),
            is_last=is_last,
        )
        updated = self._over_lanes(update_lane)(
            state.params, state.opt_state, lanes.seed, lanes.hyper, data.epoch[drawn]
        )
        still = (state.finite_steps == state.step) & jnp.isfinite(updated.loss)
        return dataclasses.replace(
            state,
            step=state.step + 1,
            params=updated.params,
            opt_state=updated.opt_state,
            loss_sum=state.loss_sum + updated.loss,
            gradient_norm=updated.gradient_norm,
            update_ratio=updated.update_ratio,
            finite_steps=state.finite_steps + still,
        )

    def _update_lane(
        self,
        params: chex.ArrayTree,
        opt_state: optax.OptState,
        seed: jax.Array,
        hyper: LaneParams,
        index: jax.Array,
        *,
        rows: update.Batch,
        step: jax.Array,
        length: int,
        num_loops: int | jax.Array,
        is_last: jax.Array,
    ) -> update.LaneState:
        batch = jax.tree.map(lambda x: x[index], rows)
        _, _, noise_key = _lane_keys(seed)
        noise = update.draw_noise(noise_key, step, hyper, self.spec)
        return update.update(
            params,
            opt_state,
            batch._replace(tokens=batch.tokens[:, :length]),
            update.How(hyper, self.spec, noise, num_loops),
            measure=is_last,
            gradient_of=self._loss_and_gradient,
        )

    def _loss_and_gradient(
        self, params: chex.ArrayTree, batch: update.Batch, how: update.How
    ) -> tuple[jax.Array, chex.ArrayTree]:
        """Is `update.loss_and_gradient` of a batch whose rows the devices share."""
        shares_rows = sharding.axes_of(self.mesh).data > 1

        def of_part(
            noise: layers.Noise | None, rows: update.Batch, part: jax.Array
        ) -> tuple[jax.Array, chex.ArrayTree]:
            its = how._replace(noise=noise)
            its = update.with_own_noise(its, part) if shares_rows else its
            return update.loss_and_gradient(params, rows, its)

        return sharding.mean_over_rows(of_part, self.mesh)(how.noise, batch)

    def _evaluate(
        self, parts: Sequence[Rows], params: chex.ArrayTree
    ) -> dict[str, jax.Array]:
        measure = functools.partial(
            evaluate.measure,
            parts,
            model=self.spec.model,
            loops=self.loops,
            loss_dtype=self.spec.config.loss.dtype,
        )
        quantities = self._over_lanes(measure)(params)
        return quantities | {"weight_norm": jax.vmap(optax.tree.norm)(params)}

    def _begin_stage(
        self, state: TrainState, lanes: Lanes, stage: jax.Array
    ) -> TrainState:
        begins = stage != state.stage
        opt_state = state.opt_state
        if self.spec.config.curriculum.reset_optimizer:
            opt_state = jax.tree.map(
                lambda new, old: jnp.where(_like(begins, old), new, old),
                self._begin_optimizers(state.params, lanes.hyper),
                opt_state,
            )
        return dataclasses.replace(
            state,
            opt_state=opt_state,
            stage=stage,
            stage_start=jnp.where(begins, state.step, state.stage_start),
        )

    def _num_rows(self, stage: jax.Array) -> int | jax.Array:
        rows = self.stages.rows
        return jnp.array(rows)[stage] if self.stages.values else rows[0]

    def _draw_order(
        self, seed: jax.Array, stage: jax.Array, number: jax.Array
    ) -> jax.Array:
        """Returns the order of an epoch of a lane, int32 [M]."""
        _, data_key, _ = _lane_keys(seed)
        if self.stages.values:
            data_key = jax.random.fold_in(data_key, stage)
        num_rows, most = self._num_rows(stage), self.stages.rows[-1]
        return batches.epoch_order(data_key, number, num_rows, most)


@dataclasses.dataclass(frozen=True, eq=False)
class Pack:
    """A pack, compiled for its devices: each function when it is first called."""

    program: Program
    num_lanes: int  # S; a state on a mesh may have more (`padded_lanes`)
    data: TaskData
    evaluated: Sequence[Rows]
    # G names ("id", "mixed[pattern=id-ood]") of the evaluated parts
    groups: tuple[str, ...]
    group_sizes: tuple[int, ...]
    home: Any  # place of a state: a device, or a NamedSharding for each of its leaves

    @property
    def local(self) -> "Pack":
        """This pack; that of this process, where a `multiprocess.lead` has it."""
        return self

    @property
    def axes(self) -> sharding.Axes:
        """Sizes of the axes of the mesh."""
        return sharding.axes_of(self.program.mesh)

    @property
    def loops(self) -> tuple[int, ...]:
        """The evaluated loop counts, ascending."""
        return self.program.loops

    @property
    def stages(self) -> curriculum.Stages:
        """The stages of the curriculum."""
        return self.program.stages

    def init(self, lanes: Lanes) -> TrainState:
        """Returns the state before the first update, on the devices."""
        state = self._compiled["begin"](self._compiled["draw"](lanes), lanes)
        # Placed like a restored state, so that both run the same compiled program.
        return state if self.program.mesh else jax.device_put(state, self.home)

    def shapes(self, lanes: Lanes) -> TrainState:
        """Returns the shapes and dtypes of `init`."""
        begin, draw = self.program.begin, self.program.draw
        return jax.eval_shape(lambda lanes: begin(draw(lanes), lanes), lanes)

    def train(
        self,
        state: TrainState,
        lanes: Lanes,
        n: int | np.ndarray,
        *,
        length: int | None = None,
    ) -> TrainState:
        """Applies `n` updates in one dispatch, without waiting for them.

        The state is donated: it is not there afterwards. Any `n` runs the same compiled
        program, each `length` its own: rows are cut to T = `length` tokens, by default
        those of the table.
        """
        return self._compiled["train"](
            self.data, state, lanes, n, length=self._length(length)
        )

    def lower(
        self, state: TrainState, lanes: Lanes, n: Any = 0, *, length: int | None = None
    ) -> jax.stages.Lowered:
        """Lowers `train` for the compiler; its arguments may be shapes alone."""
        length = self._length(length)
        return self._compiled["train"].lower(self.data, state, lanes, n, length=length)

    def compilations(self) -> int:
        """Counts the programs of `train` that were compiled so far."""
        return borrowed.num_compiled(self._compiled["train"])

    def evaluate(self, params: chex.ArrayTree) -> dict[str, jax.Array]:
        """Measures parameters, leaves [S, ...].

        Returns quantity -> float32 [S, loops, G], and `weight_norm` [S].
        """
        return self._compiled["evaluate"](self.evaluated, params)

    def observe(self, state: TrainState) -> dict[str, Any]:
        """Returns what an evaluation records, on the host.

        These are `quantities` and their `weight_norm` (`evaluate`), and of the state
        `params` and WATCHED.
        """
        watched = {name: getattr(state, name) for name in WATCHED}
        quantities = self.evaluate(state.params)
        observed = self.to_host(
            {"quantities": quantities, "params": state.params} | watched
        )
        # Copies: the state is donated.
        observed |= {"params": jax.tree.map(np.array, observed["params"])}
        return jax.device_get(observed)

    def start_window(self, state: TrainState) -> TrainState:
        """Returns a state, which is donated, with `loss_sum` at zero."""
        return self._compiled["start_window"](state)

    def begin_stage(
        self, state: TrainState, lanes: Lanes, stage: chex.Array
    ) -> TrainState:
        """Begins a stage of the curriculum in the lanes that are in another one.

        `stage`, int32 [S], is the index of each lane's stage; `state` is donated.
        """
        return self._compiled["begin_stage"](state, lanes, stage)

    def take(self, state: TrainState, index: chex.Array) -> TrainState:
        """Returns the state of the lanes of an index, int32 [S']."""
        return self._compiled["take"](state, index)

    def to_host(self, tree: Any) -> Any:
        """Returns what leaves [S, ...] are, without the lanes that pad a mesh.

        On a mesh they come to the host of every process; else they stay where they are.
        """
        return sharding.read(tree, self.program.mesh, self.num_lanes)

    def from_host(self, state: TrainState) -> TrainState:
        """Returns a state that `to_host` gave, on the devices, as of `init`."""
        return sharding.place(sharding.pad_lanes(state, self.program.mesh), self.home)

    def padded_lanes(self, num_lanes: int) -> int:
        """Returns how many lanes a state of `num_lanes` has on this mesh."""
        return sharding.padded_lanes(num_lanes, self.program.mesh)

    def _length(self, length: int | None) -> int:
        return self.data.rows.tokens.shape[1] if length is None else length

    @functools.cached_property
    def _compiled(self) -> dict[str, Any]:
        """The functions of the program, compiled when they are first called."""
        program = self.program
        jit: Any = jax.jit  # Of a function whose result is a state.
        params_home = None
        if program.mesh is not None:
            jit = functools.partial(jax.jit, out_shardings=self.home)
            params_home = self.home.params
        zero = lambda state: state.replace(loss_sum=jnp.zeros_like(state.loss_sum))
        return {
            # A program of its own, which a compile cache has for every other optimizer.
            "draw": jax.jit(program.draw, out_shardings=params_home),
            "begin": jit(program.begin, donate_argnums=0),
            "train": jit(program.train, donate_argnums=1, static_argnames="length"),
            "evaluate": jax.jit(program.evaluate),
            "start_window": jit(zero, donate_argnums=0),
            "begin_stage": jit(program.begin_stage, donate_argnums=0),
            "take": jit(program.take),
        }


def build(
    configs: Sequence[ml_collections.ConfigDict],
    table: Table,
    exact: bool = False,
    mesh: jax.sharding.Mesh | None = None,
) -> Pack:
    """Makes the pack of runs; nothing is compiled yet.

    They differ in `seed` and LANE_KEYS only. With `exact` the lanes run one after
    another, bit for bit like solo runs. The devices of a mesh share the lanes, each
    batch and the matrices. Sums over parts of a batch or of a matrix round differently
    than on one device, and in parts of a batch dropout draws other numbers. Lanes that
    do not fill the axis `trial` are joined by copies of the last one, which nobody
    reads.
    """
    config = configs[0]
    groups = evaluate.groups_of(config, table)
    padded = sharding.padded_lanes(len(configs), mesh)
    program = Program(
        spec=make_spec(configs, table),
        stages=curriculum.stages_of(config, table),
        loops=evaluate.loops_of(config),
        mesh=mesh,
        lanes_here=padded // sharding.axes_of(mesh).trial,
        exact=exact,
    )
    arrays = (table.tokens, table.answer_positions, table.targets)
    data = TaskData(
        epoch=jnp.asarray(batches.epoch_rows(table, config.curriculum.by)),
        rows=update.Batch(*map(jnp.asarray, arrays)),
    )
    evaluated = [
        Rows._make(
            (*sharding.spread(part[:-1], mesh, axis=1), sharding.spread(part[-1], mesh))
        )
        for part in evaluate.make_rows(config, table, groups)
    ]
    pack = Pack(
        program=program,
        num_lanes=len(configs),
        data=sharding.spread(data, mesh),
        evaluated=evaluated,
        groups=tuple(groups),
        group_sizes=tuple(rows.size for rows in groups.values()),
        home=jax.devices()[0],
    )
    if mesh is None:
        return pack
    shapes = pack.shapes(make_lanes(configs))
    return dataclasses.replace(pack, home=sharding.layout(shapes, mesh))


def draw(
    seed: int | jax.Array, scale: float | jax.Array, model: ModelConfig
) -> recurrent.Params:
    """Returns the parameters that a run with this seed and `model.init_scale` has."""
    init_key, _, _ = _lane_keys(seed)
    return jax.tree.map(lambda x: scale * x, recurrent.init(init_key, model))


def _lane_keys(seed: int | jax.Array) -> jax.Array:
    """Splits a run's seed into the keys of parameters, batches and noise."""
    return jax.random.split(jax.random.key(seed), 3)


def _like(flag: jax.Array, x: jax.Array) -> jax.Array:
    return flag.reshape(flag.shape + (1,) * (x.ndim - 1))
