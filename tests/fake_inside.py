"""What analyses of the inside of a model would say of one that was never trained."""

import numpy as np

from rdt_jax.analysis import geometry, knockout, lens, patching

TRAIN, ID, OOD = range(3)
BRIDGE, TARGET = range(2)
HEAD, FIRST, ANSWER = range(3)


def places(depth, loops=2):
    """Stage, loop and block of `depth` blocks, and of the embedding before them."""
    blocks = depth // loops
    stage = np.array([0, *depth * [2]])
    loop_of = np.array([0, *(1 + np.arange(depth) // blocks)])
    return stage, loop_of, np.array([0, *(1 + np.arange(depth) % blocks)])


def lens_of(bridge, target, loops=2, untrained=0.02):
    """A Lens; bridge at r1 and target at the answer are {group: by depth}."""
    depth = len(next(iter(bridge.values()))) - 1
    accuracy = np.full((3, 2, depth + 1, 3), 0.02)
    for what, values, position in ((BRIDGE, bridge, FIRST), (TARGET, target, ANSWER)):
        for group, shares in values.items():
            accuracy[group, what, :, position] = shares
    return lens.Lens(
        accuracy, accuracy, 2 - accuracy, np.full_like(accuracy, untrained),
        np.array(2), np.full(3, 50), *places(depth, loops),
    )  # fmt: skip


def patching_of(at_r1, rows=(50, 50, 50), loops=2):
    """A Patching whose shares and effects are all `at_r1`, by depth."""
    depth = len(at_r1)
    shares = np.zeros((3, depth, 3))
    shares[:, :, FIRST] = at_r1
    rows = np.array(rows)
    shares[rows == 0] = np.nan
    return patching.Patching(
        *4 * (shares,), rows, rows, *(x[1:] for x in places(depth, loops))
    )


def knockout_of(first_hop, second_hop, rows=(50, 50, 50), loops=2):
    """A Knockout of two blocks in a loop and two heads, of what each hop loses.

    Hops are (what is lost with its edge cut in each loop alone, in all but each).
    """
    shares = np.zeros((2, 3, loops, 3))  # in_loop and in_others, by group and edge
    for edge, hop in ((0, first_hop), (2, second_hop)):
        shares[..., edge] = np.array(hop, float)[:, None]
    rows = np.array(rows)
    shares[:, rows == 0] = np.nan
    head = np.repeat(shares[0], 2, axis=1)[:, :, None] * np.ones((1, 1, 2, 1))
    return knockout.Knockout(
        head, *shares, np.array([1, 2, 2]), np.array([0, 0, 1]), 1.0 * (rows > 0),
        rows, np.array(2), *(x[1:] for x in places(2 * loops, loops)),
    )  # fmt: skip


def geometry_of(ood, loops=2):
    own = np.zeros((3, len(ood)))
    own[OOD] = ood
    depth = len(ood) - 1
    ranks = np.ones((2, depth + 1))
    return geometry.Geometry(
        own, 0 * own, own, 0 * own, own[0], own[0], ranks, ranks, np.full(3, 50),
        *places(depth, loops),
    )  # fmt: skip
