"""The mesh: which devices share the work of a program. Models know nothing of it.

Its axes are `trial` (lanes of a pack), `data` (rows of a batch) and `model` (heads, the
width of the feed-forward layers, experts). Over `trial` and `data` every device runs
the program on its own part (`jax.shard_map`), so lanes need no communication and a
batch needs one reduction. Matrices are cut over `model` by their path, and the compiler
adds what that takes.
"""

import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from rdt_jax import machine, wording
from rdt_jax.models.architecture import ModelConfig

# Up to this width the cores of a CPU train one model faster with a part of the batch
# each than by multiplying every matrix together (experiments/throughput).
_NARROW = 256

EVERYWHERE = PartitionSpec()
BY_LANE = PartitionSpec("trial")

Sizes = Callable[[ModelConfig], int]


class Axes(NamedTuple):
    """Sizes of the axes of a mesh."""

    trial: int = 1
    data: int = 1
    model: int = 1


class Rule(NamedTuple):
    """How a parameter is cut over `model`."""

    path: re.Pattern  # of the end of its path, also in an optimizer's state
    axis: int  # that is cut, without the axis of lanes
    key: str  # of the config that says how many parts there can be


_PARTS: Mapping[str, Sizes] = {
    "model.num_heads": lambda model: model.num_heads,
    "model.mlp_ratio times model.width": lambda model: model.size_of_mlp,
    "model.num_experts": lambda model: model.num_experts,
}


def _rule(path: str, axis: int, key: str) -> Rule:
    (whole,) = (name for name in _PARTS if name.startswith(f"model.{key}"))
    return Rule(re.compile(rf"(^|/){path}$"), axis, whole)


# Matrices before a branch's nonlinearity are cut by column, those after it by row.
RULES = (
    _rule("attention/(qkv|query_key|value)/kernel", 1, "num_heads"),
    _rule("attention/(qkv|query_key|value)/bias", 0, "num_heads"),
    _rule("attention/output/kernel", 0, "num_heads"),
    _rule("attention/(value|output)", 0, "num_heads"),  # of SwitchHead [H, E, ., .]
    _rule("attention/(value|output)_router", 1, "num_heads"),  # [D, H, E]
    _rule("mlp/(input|gate)/kernel", 1, "mlp"),
    _rule("mlp/(input|gate)/bias", 0, "mlp"),
    _rule("mlp/output/kernel", 0, "mlp"),
    _rule("mlp/(keys|values)", 0, "num_experts"),  # [E, ., .]
)


def parse(text: str) -> Axes:
    """Reads axes such as `trial=1,data=2,model=2`; those left out are 1.

    ValueError if the text is something else.
    """
    sizes: dict[str, int] = {}
    for part in text.split(","):
        name, _, size = part.partition("=")
        known = name in Axes._fields and name not in sizes
        if not known or not size.isdecimal() or int(size) < 1:
            raise ValueError(
                f"--mesh must give {', '.join(Axes._fields)} sizes of at least 1, such "
                f"as trial=1,data=2,model=2, got {text!r}."
            )
        sizes[name] = int(size)
    return Axes(**sizes)


def problems(
    axes: Axes, config: ml_collections.ConfigDict, model: ModelConfig
) -> list[str]:
    """Lists what of a run does not divide by the axes of a mesh."""
    found = []
    parts = axes.data * config.gradient.micro_batches
    if config.batch_size % parts:
        found.append(
            f"batch_size ({config.batch_size}) must be a multiple of gradient."
            f"micro_batches ({config.gradient.micro_batches}) times the data axis of "
            f"--mesh ({axes.data})."
        )
    experts = model.feedforward == "sigma_moe"
    keys = {"model.num_heads"}
    keys |= {name for name in _PARTS if name.endswith("experts") == experts}
    for key in sorted(keys):
        if (size := _PARTS[key](model)) % axes.model:
            found.append(
                f"{key} ({size}) must be a multiple of the model axis of --mesh "
                f"({axes.model})."
            )
    return found


def cores_for(config: ml_collections.ConfigDict) -> int:
    """Returns how many cores of this CPU should share the batches of a run."""
    cores = machine.cores()
    divides = config.batch_size % (cores * config.gradient.micro_batches) == 0
    return cores if divides and config.model.width <= _NARROW else 1


def make_mesh(axes: Axes, on_cpu: bool = True, processes: int = 1) -> Mesh | None:
    """Returns the mesh with these axes; None for a single device.

    Args:
      axes: their product is the number of devices.
      on_cpu: take cores of this CPU as devices of their own, the share of this process.
        JAX can do so only before it has looked for devices.
      processes: that make up the mesh.

    Raises:
      ValueError: if there are fewer devices, or more than the mesh has and they belong
        to several processes, each of which must have a part in it.
    """
    number = math.prod(axes)
    if number == 1 and processes == 1:
        return None
    here = -(-number // processes)
    if on_cpu and jax.config.values["jax_num_cpu_devices"] != here:
        jax.config.update("jax_num_cpu_devices", here)
    there_are = jax.device_count()
    if number > there_are or (processes > 1 and number != there_are):
        raise ValueError(
            f"--mesh must have {'' if processes > 1 else 'at most '}"
            f"{wording.count(there_are, 'device')}, "
            f"those of {wording.count(processes, 'process', 'processes')}, got "
            f"{', '.join(f'{k}={v}' for k, v in axes._asdict().items())}."
        )
    return mesh_of(axes, jax.devices()[:number])


def mesh_of(axes: Axes, devices: Sequence[Any]) -> Mesh:
    """Returns the mesh of these devices, which need not be there (`jax.topologies`)."""
    return jax.make_mesh(
        tuple(axes), Axes._fields, axis_types=(AxisType.Auto,) * len(axes),
        devices=devices,
    )  # fmt: skip


def axes_of(mesh: Mesh | None) -> Axes:
    """Returns the sizes of a mesh's axes."""
    return Axes() if mesh is None else Axes(**mesh.shape)


def padded_lanes(num_lanes: int, mesh: Mesh | None) -> int:
    """Returns the lanes with which a pack of `num_lanes` fills the axis `trial`."""
    trial = axes_of(mesh).trial
    return -(-num_lanes // trial) * trial


def pad_lanes(tree: Any, mesh: Mesh | None) -> Any:
    """Repeats the last lane of every leaf [S, ...] until they fill the axis `trial`."""

    def pad_leaf(x: Any) -> Any:
        num_lanes = padded_lanes(x.shape[0], mesh)
        if num_lanes == x.shape[0]:
            return x
        return x[np.minimum(np.arange(num_lanes), x.shape[0] - 1)]

    return jax.tree.map(lambda x: pad_leaf(x) if x.ndim else x, tree)


def layout(state: Any, mesh: Mesh) -> Any:
    """Returns where each leaf of a state [S, ...] stands, as NamedShardings.

    ValueError if an axis does not divide by that of the mesh it is cut over; it names
    the leaf.
    """

    def of_leaf(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        if not leaf.ndim:
            return NamedSharding(mesh, EVERYWHERE)
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        cuts: list[str | None] = ["trial"] + [None] * (leaf.ndim - 1)
        for rule in RULES:
            if rule.path.search(name):
                cuts[1 + rule.axis] = "model"
                break
        for size, cut in zip(leaf.shape, cuts, strict=True):
            if cut is not None and size % mesh.shape[cut]:
                raise ValueError(
                    f"{name} {leaf.shape} cannot be cut by "
                    f"{PartitionSpec(*cuts)}: {size} must be a multiple of "
                    f"{mesh.shape[cut]}, the axis {cut} of --mesh."
                )
        return NamedSharding(mesh, PartitionSpec(*cuts))

    return jax.tree_util.tree_map_with_path(of_leaf, state)


def place(tree: Any, shardings: Any) -> Any:
    """Puts host arrays, the same in every process, where `shardings` says.

    On devices that are not there they become their shapes.
    """
    one = jax.tree.leaves(shardings)[0]
    places = jax.tree.map(lambda _: shardings, tree) if one is shardings else shardings
    if isinstance(one, NamedSharding) and one.mesh.devices.flat[0] not in jax.devices():
        shape = lambda to, x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=to)
        return jax.tree.map(shape, places, tree)
    if jax.process_count() == 1:
        return jax.device_put(tree, shardings)

    def put(place: NamedSharding, x: Any) -> jax.Array:
        whole = np.asarray(x)
        return jax.make_array_from_callback(whole.shape, place, lambda i: whole[i])

    return jax.tree.map(put, places, tree)


def spread(tree: Any, mesh: Mesh | None, axis: int | None = None) -> Any:
    """Puts arrays on every device of the mesh; without one it leaves them.

    The `axis` of every leaf is spread over `data`, if all of them divide by it.
    """
    if mesh is None:
        return tree
    leaves = jax.tree.leaves(tree)
    spec = EVERYWHERE
    if axis is not None and not any(x.shape[axis] % mesh.shape["data"] for x in leaves):
        spec = PartitionSpec(*([None] * axis), "data")
    return place(tree, NamedSharding(mesh, spec))


def read(tree: Any, mesh: Mesh | None, num_lanes: int) -> Any:
    """Returns the first lanes of every leaf [S, ...], on the host of every process.

    Without a mesh the tree itself. Devices of other processes are read lane by lane,
    through a slice that ends up on every device: no device holds more than one lane
    beside its own.
    """
    if mesh is None:
        return tree
    if jax.process_count() == 1:
        cut = lambda x: x[:num_lanes] if x.ndim else x
        return jax.tree.map(lambda x: cut(np.asarray(x)), tree)
    pick = _picker(mesh)
    lanes = [jax.device_get(pick(tree, np.int32(i))) for i in range(num_lanes)]
    return jax.tree.map(
        lambda whole, *each: np.stack(each) if whole.ndim else each[0], tree, *lanes
    )


@functools.cache
def _picker(mesh: Mesh) -> Callable[..., Any]:
    return jax.jit(
        lambda tree, index: jax.tree.map(lambda x: x[index] if x.ndim else x, tree),
        out_shardings=NamedSharding(mesh, EVERYWHERE),
    )


def on_own_part(
    function: Callable[..., Any],
    mesh: Mesh | None,
    in_specs: Any,
    out_specs: Any,
    axes: tuple[str, ...] = ("trial", "data"),
) -> Callable[..., Any]:
    """Runs a function on every device, on its own part of the arguments.

    Args:
      function: sees its part; what it needs of others it must ask for.
      mesh: None returns the function as it is.
      in_specs: EVERYWHERE or BY_LANE for every argument, or for parts of its tree.
      out_specs: of the result.
      axes: the function is run so; over other axes the compiler cuts it up.
    """
    if mesh is None:
        return function
    alone = {name for name, size in mesh.shape.items() if size == 1}
    return jax.shard_map(
        function, mesh=mesh, in_specs=in_specs, out_specs=out_specs,
        axis_names={*axes, *alone}, check_vma=False,
    )  # fmt: skip


def mean_over_rows(
    function: Callable[[Any, Any, jax.Array], Any], mesh: Mesh | None
) -> Callable[[Any, Any], Any]:
    """Gives each device along `data` its rows of a batch, and averages what comes back.

    Args:
      function: maps (shared, rows, part) to float32 means over the rows, a pytree; the
        leaves of `rows` are [B / data, ...], `part` is the int32 number of the part.
      mesh: its axis `data` divides B.

    Returns:
      A function of (shared, rows with leaves [B, ...]) for use in `on_own_part`.
    """
    parts = axes_of(mesh).data
    if mesh is None or parts == 1:
        return lambda shared, rows: function(shared, rows, jnp.int32(0))

    def each(shared: Any, rows: Any) -> Any:
        part = jax.lax.axis_index("data")
        take = lambda x: jax.lax.dynamic_slice_in_dim(
            x, part * (x.shape[0] // parts), x.shape[0] // parts
        )
        found = function(shared, jax.tree.map(take, rows), part)
        if mesh.shape["model"] > 1:  # A vector of all would bring every part together.
            return jax.tree.map(lambda x: jax.lax.pmean(x, "data"), found)
        # One vector: every reduction makes the devices wait for each other.
        vector, restore = ravel_pytree(found)
        return restore(jax.lax.pmean(vector, "data"))

    return each
