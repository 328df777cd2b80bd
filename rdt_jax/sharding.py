"""The mesh: which devices share the work of a program. Models know nothing of it."""

import os
from collections.abc import Callable
from typing import Any

import jax
import ml_collections
from jax.flatten_util import ravel_pytree
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

# Up to this width the cores of a CPU train one model faster with a part of the batch
# each than by multiplying every matrix together (experiments/throughput).
_NARROW = 256


def cores_for(config: ml_collections.ConfigDict) -> int:
    """Returns how many cores of this CPU should share the batches of a run."""
    cores = len(os.sched_getaffinity(0))
    divides = config.batch_size % (cores * config.gradient.micro_batches) == 0
    return cores if divides and config.model.width <= _NARROW else 1


def make_mesh(num_devices: int, on_cpu: bool = True) -> Mesh | None:
    """Returns a mesh whose axis `data` has so many devices; None for a single one.

    Args:
      num_devices: of the axis.
      on_cpu: take as many cores of this CPU as devices of their own, which JAX can do
        only before it has looked for devices.

    Raises:
      ValueError: if there are fewer devices.
    """
    if num_devices == 1:
        return None
    if on_cpu and jax.config.values["jax_num_cpu_devices"] != num_devices:
        jax.config.update("jax_num_cpu_devices", num_devices)
    if num_devices > jax.device_count():
        raise ValueError(
            f"the mesh needs {num_devices} devices, there are {jax.device_count()}."
        )
    devices = jax.devices()[:num_devices]
    return jax.make_mesh(
        (num_devices,), ("data",), axis_types=(AxisType.Auto,), devices=devices
    )


def home(mesh: Mesh | None) -> Any:
    """Returns where the training state stands: on every device of the mesh alike."""
    if mesh is None:
        return jax.devices()[0]
    return NamedSharding(mesh, PartitionSpec())


def spread(tree: Any, mesh: Mesh | None, axis: int) -> Any:
    """Spreads an axis of every leaf over the mesh, if all of them divide by it."""
    if mesh is None or any(x.shape[axis] % mesh.size for x in jax.tree.leaves(tree)):
        return tree
    spec = PartitionSpec(*([None] * axis), "data")
    return jax.device_put(tree, NamedSharding(mesh, spec))


def mean_over_rows(
    function: Callable[[Any, Any, jax.Array], Any], mesh: Mesh | None
) -> Callable[[Any, Any], Any]:
    """Spreads a function of a batch over the mesh, and averages what it returns.

    Args:
      function: maps (shared, rows, part) to float32 means over the rows, a pytree; the
        leaves of `rows` are [B / devices, ...], `part` is the int32 number of the part.
      mesh: its axis `data` divides B; None calls `function` with part 0 of 1.

    Returns:
      A function of (shared, rows with leaves [B, ...]).
    """
    if mesh is None:
        return lambda shared, rows: function(shared, rows, jax.numpy.int32(0))

    def each(shared, rows):
        found = function(shared, rows, jax.lax.axis_index("data"))
        # One vector: every reduction makes the devices wait for each other.
        vector, restore = ravel_pytree(found)
        return restore(jax.lax.pmean(vector, "data"))

    everywhere, by_row = PartitionSpec(), PartitionSpec("data")
    return jax.shard_map(
        each, mesh=mesh, in_specs=(everywhere, by_row), out_specs=everywhere,
        check_vma=False,
    )  # fmt: skip
