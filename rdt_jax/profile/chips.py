"""What a TPU chip can do at its best, as its maker states it."""

import re
from typing import NamedTuple

from rdt_jax import registry


class Chip(NamedTuple):
    """The peak numbers of one chip."""

    # Of bfloat16 products with float32 sums, per second; a TPU also makes float32
    # products so unless `jax_default_matmul_precision` says otherwise.
    flops: float
    memory: int  # bytes of its main memory
    bandwidth: float  # bytes per second to and from its main memory
    # Bytes per second over all its links to other chips, both directions together.
    links: float
    source: str  # where the numbers stand
    # What libtpu calls the chip whose cores are one device, where it has to be told.
    config: str | None = None


_DOCS = "docs.cloud.google.com/tpu/docs"
CHIPS = {
    "v4": Chip(
        275e12, 32 * 2**30, 1200e9, 600e9,
        f"{_DOCS}/v4; links: Jouppi et al. (2023), arXiv:2304.01433, six of 50 GB/s "
        "in each direction",
        config="megacore",
    ),
    "v5e": Chip(197e12, 16 * 10**9, 819e9, 400e9, f"{_DOCS}/v5e"),
    "v5p": Chip(459e12, 95 * 2**30, 2765e9, 1200e9, f"{_DOCS}/v5p-training"),
    "v6e": Chip(918e12, 32 * 10**9, 1638e9, 800e9, f"{_DOCS}/v6e"),
}  # fmt: skip


def of_topology(name: str) -> Chip:
    """Returns the chip of a topology such as `v5e:4x4`; ValueError if none is known."""
    if not re.fullmatch(r"\w+:\d+(x\d+){0,2}", name):
        raise ValueError(
            "--topology must be a chip and the sides of a slice, such as v5e:4x4, got "
            f"{name!r}."
        )
    return registry.lookup("chip of --topology", CHIPS, name.partition(":")[0])


def is_single(topology: str) -> bool:
    """Says whether a topology that `of_topology` accepts is a chip alone."""
    return set(topology.partition(":")[2].split("x")) == {"1"}
