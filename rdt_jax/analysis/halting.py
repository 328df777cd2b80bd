"""How many loops rows take when they stop by themselves, and what that costs.

All rules of models/halting.py are read off one pass of the most loops: a row stops for
good at the first loop at which its rule holds, as in `recurrent.apply_until_halted`.

References: Kohli et al. (2026), arXiv:2604.07822, Figures 9 and 10 (`kl_now` against
`kl_entropy`, which differ in the entropy alone); Geiping et al. (2025),
arXiv:2502.05171 (`kl`, in the other direction). Differs from both: every rule also runs
at other thresholds, and the entropy that still counts as decided is given as a share of
that of a uniform guess, since vocabularies differ in size.

Shapes: K settings, N rows, H numbers of hops, M loop counts, A answers of a row.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from rdt_jax.analysis import depth
from rdt_jax.data import batches
from rdt_jax.models import halting, presets, recurrent
from rdt_jax.models.recurrent import Params
from rdt_jax.tasks import Table
from rdt_jax.training import losses

VERSION = 2  # of the results; a change of their numbers is another one

FIXED = "fixed"  # All rows take the same number of loops.
MIN_LOOPS = 2  # The published rules compare two outputs.
KL = 0.01  # nats, of Kohli et al.
# 3 nats over their 217 words, as a share of the entropy of a uniform guess.
ENTROPY_SHARE = 3 / math.log(217)

_KLS = (1e-4, 5e-4, 1e-3, KL, 1e-1)
_SHARES = (0.1, 0.25, ENTROPY_SHARE)
_CHANGES = (0.01, 0.03, 0.1, 0.3)
_PROBABILITIES = (0.5, 0.9, 0.99, 0.999)


class Halting(NamedTuple):
    """Loops and accuracy of every setting."""

    rule: np.ndarray  # str [K], of `models.halting.RULES`, or FIXED
    # float64 [K], of the rule's first threshold (kl in nats, change, probability); of
    # FIXED the number of loops.
    threshold: np.ndarray
    entropy: np.ndarray  # float64 [K], nats, of kl_entropy; nan elsewhere
    row: np.ndarray  # int64 [N], of the table; by ascending hops
    hops: np.ndarray  # int64 [N], of each row
    loops: np.ndarray  # int32 [K, N], taken by each row
    correct: np.ndarray  # bool [K, N], all answers right
    levels: np.ndarray  # int64 [H], the numbers of hops, ascending
    num_rows: np.ndarray  # int64 [H]
    mean_loops: np.ndarray  # float64 [K, H]
    accuracy: np.ndarray  # float64 [K, H]
    # float64 [K, H], mean operations of the forward pass of a row at the least, without
    # the readouts that a rule looks at.
    flops: np.ndarray


def measure(
    params: Params,
    config: ml_collections.ConfigDict,
    table: Table,
    *,
    num_loops: int | None = None,
    rows: int = depth.ROWS,
) -> Halting:
    """Lets held-out rows of every number of hops stop by every rule.

    Args:
      num_loops: M, the most loops; None as for `depth.measure`.
      rows: most rows of each number of hops, those of `depth.measure`.

    Raises:
      ValueError: as `depth.measure`.
    """
    if num_loops is None:
        num_loops = max(depth.LOOPS, 2 * depth.most_loops(config))
    row, hops = depth.sample(config, table, rows)
    model = presets.model_config(config, table)
    settings = settings_of(model.vocab_size)
    stops, right = _pass(params, model, table, row, settings, num_loops)
    every = np.arange(1, num_loops + 1)
    loops = np.concatenate(
        [np.repeat(every[:, None], row.size, axis=1).astype(np.int32), stops]
    )
    return assemble(
        rule=[FIXED] * num_loops + [rule for rule, _ in settings],
        thresholds=[(float(count),) for count in every]
        + [tuple(thresholds.values()) for _, thresholds in settings],
        row=row,
        hops=hops,
        loops=loops,
        right=right,
        flops=depth.forward_flops(config, table, row, hops, num_loops),
    )


def settings_of(vocab_size: int) -> list[tuple[str, dict[str, float]]]:
    """Returns the rules and thresholds that are tried, the published ones among them.

    Thresholds of the entropy are shares of that of a uniform guess, log `vocab_size`.
    """
    nats = math.log(vocab_size)
    return [
        *((rule, {"kl": kl}) for rule in ("kl", "kl_now") for kl in _KLS),
        *(
            ("kl_entropy", {"kl": kl, "entropy": share * nats})
            for kl in _KLS
            for share in _SHARES
        ),
        *(("state", {"change": change}) for change in _CHANGES),
        *(("confidence", {"probability": p}) for p in _PROBABILITIES),
    ]


def assemble(
    *,
    rule: list[str],
    thresholds: list[tuple[float, ...]],
    row: np.ndarray,
    hops: np.ndarray,
    loops: np.ndarray,
    right: np.ndarray,
    flops: np.ndarray,
) -> Halting:
    """Completes loops per row with accuracy and cost by number of hops.

    Args:
      loops: int32 [K, N], 1 to M.
      right: bool [N, M], of each row after each loop.
      flops: int64 [H, M], of a row by hops and loops.
    """
    levels, level_of, num_rows = np.unique(
        hops, return_inverse=True, return_counts=True
    )
    correct = np.take_along_axis(right.T, loops - 1, axis=0)
    spent = flops[level_of[None], loops - 1]  # [K, N]
    mean = lambda values: depth.by_hops(values.T, hops).T  # [K, N] to [K, H]
    return Halting(
        rule=np.array(rule),
        threshold=np.array([values[0] for values in thresholds]),
        entropy=np.array(
            [values[1] if len(values) > 1 else np.nan for values in thresholds]
        ),
        row=row,
        hops=hops,
        loops=loops,
        correct=correct,
        levels=levels,
        num_rows=num_rows,
        mean_loops=mean(loops),
        accuracy=mean(correct),
        flops=mean(spent),
    )


def summary(halting: Halting) -> dict[str, float]:
    """Returns loops and accuracy of the published rules, means over numbers of hops."""
    numbers: dict[str, float] = {}
    for rule in ("kl_now", "kl_entropy"):
        index = published(halting, rule)
        numbers[f"loops, {rule}"] = float(halting.mean_loops[index].mean())
        numbers[f"accuracy, {rule}"] = float(halting.accuracy[index].mean())
    return numbers


def published(halting: Halting, rule: str) -> int:
    """Returns the index of a KL rule at the thresholds of Kohli et al.

    Raises:
      ValueError: if there is no such setting.
    """
    here = np.flatnonzero((halting.rule == rule) & (halting.threshold == KL))
    if not here.size:
        raise ValueError(f"No setting of rule {rule!r} with the threshold {KL}.")
    return int(here[np.nanargmax(np.nan_to_num(halting.entropy[here], nan=-1.0))])


def pareto(flops: np.ndarray, accuracy: np.ndarray) -> np.ndarray:
    """Returns which settings [K] no other one beats, by ascending cost.

    A setting is beaten by one that costs no more and is more accurate, or costs less
    and is as accurate; of settings that agree in both the first is kept.
    """
    front, best = [], -np.inf
    for index in np.lexsort((-accuracy, flops)):
        if accuracy[index] > best:
            front.append(index)
            best = accuracy[index]
    return np.array(front, np.int64)


def _pass(params, model, table: Table, row: np.ndarray, settings, num_loops: int):
    length = int(batches.lengths_of(table)[row].max())
    width = model.vocab_size * table.targets.shape[1] + length * model.width
    batch = depth.batched(table, row, length, 4 * num_loops * width)
    frozen = tuple((rule, tuple(thresholds.items())) for rule, thresholds in settings)
    loops, right = _stop_batches(params, batch, model, frozen, num_loops)
    join = lambda x: np.moveaxis(np.asarray(x), 1, 0).reshape(x.shape[1], -1)
    return join(loops)[:, : row.size], join(right)[:, : row.size].T


@functools.partial(jax.jit, static_argnames=("model", "settings", "num_loops"))
def _stop_batches(params, batches, model, settings, num_loops: int):
    # Compiled once for all checkpoints of a run.
    return jax.lax.map(
        lambda batch: _stop(params, batch, model, settings, num_loops), batches
    )


def _stop(params, batch, model, settings, num_loops: int):
    """Finds where each row of a batch stops: int32 [K, B]; and bool [M, B] if right."""
    tokens, positions, targets = batch
    states = recurrent.apply(
        params, tokens, positions, model, num_loops=num_loops
    ).states
    index = jnp.arange(tokens.shape[0])[:, None]

    def view(state):
        logits = recurrent.readout(params, state, tokens, positions, model)
        seen = halting.View(
            jax.nn.log_softmax(logits.astype(jnp.float32)), state[index, positions]
        )
        return seen, losses.answers_correct(logits, targets)

    views, right = jax.lax.map(view, states)
    now = jax.tree.map(lambda x: x[1:], views)
    before = jax.tree.map(lambda x: x[:-1], views)
    later = jnp.arange(MIN_LOOPS, num_loops + 1, dtype=jnp.int32)[:, None]  # [M - 1, 1]
    loops = []
    for rule, thresholds in settings:
        holds = halting.RULES[rule].holds(
            now, before, **dict(thresholds)
        )  # [M - 1, B, A]
        stops = (holds | (targets < 0)[None]).all(axis=-1)
        loops.append(jnp.where(stops, later, num_loops).min(axis=0))
    return jnp.stack(loops).astype(jnp.int32), right
