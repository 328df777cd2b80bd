"""What a training chunk costs on TPU chips, told by their compiler on any machine.

The compiler is the real one (libtpu); nothing is run. Bytes, memory and collectives are
read off the compiled program, FLOPs come from the formulas of `models/cost.py`.
"""

import importlib.util
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from rdt_jax import sharding, tasks, wording
from rdt_jax.models import presets
from rdt_jax.profile import chips, hlo
from rdt_jax.tasks import Table
from rdt_jax.training import hyper
from rdt_jax.training.pack import build


class PerChip(NamedTuple):
    """What one chip of a slice does, per update where nothing else is said."""

    chips: int  # of the mesh
    lanes: int  # S, of the pack on all chips
    argument_bytes: int  # of state, rows and lanes, for the whole dispatch
    temporary_bytes: int  # beside them, at the most
    code_bytes: int  # of the program
    flops: float  # of the lanes' updates at the least, shared evenly; no recomputation
    moved_bytes: int  # to and from main memory
    collectives: Mapping[str, int]  # kind -> how many
    collective_bytes: int  # of their results
    # Of the slowest of products, memory and links, each at its peak; so many pass at
    # the least.
    seconds: float
    bound: str  # which of them that is: `products`, `memory` or `links`
    hours: float  # the whole budget of updates at that speed, without evaluations
    compile_seconds: float  # of the compiler, on this machine

    @property
    def memory_bytes(self) -> int:
        """Of main memory, that a chip needs."""
        return self.argument_bytes + self.temporary_bytes + self.code_bytes


def devices_of(topology: str) -> Sequence[Any]:
    """Returns the chips of a topology that is not there.

    ValueError if libtpu is not installed, or knows no such topology.
    """
    chip = chips.of_topology(topology)
    if importlib.util.find_spec("libtpu") is None:
        raise ValueError(
            "The TPU compiler is not installed; `pip install -e '.[tpu]' -c "
            "constraints.txt` brings it, or `make aot` in an environment of its own."
        )
    from jax.experimental import topologies

    # There is no TPU to ask what it is, and libtpu complains at length.
    for name, value in (
        ("TPU_SKIP_MDS_QUERY", "1"),
        ("TPU_WORKER_HOSTNAMES", "localhost"),
        ("TPU_ACCELERATOR_TYPE", topology.replace(":", "-")),
        ("TF_CPP_MIN_LOG_LEVEL", "3"),
    ):
        os.environ.setdefault(name, value)
    asked: dict[str, Any] = {"topology_name": topology}
    if chip.config is not None:
        asked["chip_config_name"] = chip.config
    if chips.is_single(topology):  # By default a host has four chips.
        asked["chips_per_host_bounds"] = (1, 1, 1)
    try:
        described = topologies.get_topology_desc(platform="tpu", **asked)
    except Exception as error:
        raise ValueError(
            f"--topology {topology} is none that the TPU compiler knows: {error}"
        ) from error
    return described.devices


def compile_chunk(
    pack: Sequence[ml_collections.ConfigDict], axes: sharding.Axes, topology: str
) -> PerChip:
    """Compiles the training chunk of a pack for a topology such as `v5e:4x4`.

    `pack` are valid configs; `axes` are of the mesh, and use as many chips as their
    product. ValueError as `devices_of`, if the topology has fewer chips, or if the
    program does not fit into a chip.
    """
    chip, devices = chips.of_topology(topology), devices_of(topology)
    number = int(np.prod(axes))
    if number > len(devices):
        raise ValueError(
            f"--mesh needs {number} chips, --topology {topology} has {len(devices)}."
        )
    config, table = pack[0], tasks.make_table(pack[0])
    mesh = sharding.mesh_of(axes, devices[:number])
    begin = time.perf_counter()
    try:
        compiled = _lower(pack, table, mesh).compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise ValueError(
            f"{topology} has not the memory for {wording.count(len(pack), 'lane')} of "
            "this run on this mesh; model.remat = full, fewer lanes or more chips need "
            f"less. The compiler says: {str(error)[:300]}"
        ) from error
    compile_seconds = time.perf_counter() - begin
    memory, text = compiled.memory_analysis(), compiled.as_text()
    assert memory is not None and text is not None
    traffic = hlo.traffic(text)
    flops = len(pack) * presets.update_flops(config, table) / number
    bounds = {
        "products": flops / chip.flops,
        "memory": traffic.bytes / chip.bandwidth,
        "links": traffic.collective_bytes / chip.links,
    }
    bound = max(bounds, key=bounds.__getitem__)
    return PerChip(
        chips=number,
        lanes=len(pack),
        argument_bytes=memory.argument_size_in_bytes,
        temporary_bytes=memory.temp_size_in_bytes,
        code_bytes=memory.generated_code_size_in_bytes,
        flops=flops,
        moved_bytes=traffic.bytes,
        collectives=traffic.collectives,
        collective_bytes=traffic.collective_bytes,
        seconds=bounds[bound],
        bound=bound,
        hours=bounds[bound] * config.num_steps / 3600,
        compile_seconds=compile_seconds,
    )


def _lower(
    configs: Sequence[ml_collections.ConfigDict], table: Table, mesh: jax.sharding.Mesh
) -> jax.stages.Lowered:
    """Lowers the training chunk, with shapes for arrays."""
    pack, lanes = build(configs, table, mesh=mesh), hyper.make_lanes(configs)
    everywhere = jax.sharding.NamedSharding(mesh, sharding.EVERYWHERE)
    return pack.lower(
        sharding.place(pack.shapes(lanes), pack.home),
        sharding.place(lanes, everywhere),
        sharding.place(np.int32(0), everywhere),
    )
