"""Where the answer is decided: activation patching over block and position.

References: Kohli et al. (2026), arXiv:2604.07822, Appendix E and Figure 11; Wang et al.
(2024), arXiv:2405.15071, Figure 4 (causal tracing). A question is corrupted: other
words of the same type, another answer. Then a state of the clean pass is *restored* in
the corrupted one, whose rest runs on; or one of the corrupted pass *breaks* the clean.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from rdt_jax import registry, tasks
from rdt_jax.analysis import questions
from rdt_jax.models import presets, recurrent, trace
from rdt_jax.models.architecture import ModelConfig

VERSION = 1  # of the results; a change of their numbers is another one

# Which words of `h r1 r2` are replaced: (h, r1) is what Kohli et al. corrupt.
CORRUPTIONS = {"h": (True, False), "r1": (False, True), "prefix": (True, True)}


FEWEST = 20  # questions that count: a run's shares of fewer are not drawn


class Patching(NamedTuple):
    """Causal effects of the state that block 0 .. E - 1 reads at position 0 .. T - 1.

    G are the groups of `questions.GROUPS`. Only questions count that the clean pass
    answers and the corrupted pass does not answer alike; without any, NaN. The logit
    difference is that of the clean and the corrupted answer; effects are means of its
    change over the mean of its whole change between the two passes.
    """

    # float64 [G, E, T], share of rows in which the clean answer is first in the
    # corrupted pass with this state of the clean one.
    recovered: np.ndarray
    # float64 [G, E, T], of the logit difference, 0 (none) to 1 (as clean); it can lie
    # outside.
    effect: np.ndarray
    # float64 [G, E, T], share of rows in which the clean answer is not first in the
    # clean pass with this state of the corrupted one.
    lost: np.ndarray
    # float64 [G, E, T], of the logit difference, 0 (none) to 1 (as corrupted).
    damage: np.ndarray
    rows: np.ndarray  # int64 [G], questions that count
    asked: np.ndarray  # int64 [G], questions that were asked
    stage: np.ndarray  # int64 [E], index into `trace.STAGES`
    loop: np.ndarray  # int64 [E], of the block from 1; 0 outside the core
    block: np.ndarray  # int64 [E], number of the block in its stage from 1


def measure(
    params: recurrent.Params,
    config: ml_collections.ConfigDict,
    table: tasks.Table,
    *,
    corruption: str = "prefix",
    per_group: int = 200,
    num_loops: int | None = None,
    batch_size: int = 128,
) -> Patching:
    """Patches every block and position of the pass, one at a time.

    The pass has `num_loops` loops, None for those of training.

    Raises:
      ValueError: as `questions.sample` and `corrupt`, or if no question can be
        corrupted.
    """
    model = presets.model_config(config, table)
    loops = config.recurrence.num_loops if num_loops is None else num_loops
    asked = questions.sample(table, per_group)
    tokens, answers = corrupt(asked, questions.facts(table), corruption)
    rows = np.flatnonzero(answers >= 0)
    if not rows.size:
        raise ValueError(
            f"no question has another answer with {corruption} replaced: the table has "
            "too few facts."
        )
    passes = questions.in_chunks(
        functools.partial(_passes, params, config=model, num_loops=loops),
        batch_size,
        asked.tokens[rows],
        tokens[rows],
        asked.answer_positions[rows],
        np.stack([asked.targets, answers], axis=1)[rows],
    )
    group = asked.group[rows]
    counts = passes.clean.first & ~passes.corrupted.first
    mean = lambda x: questions.average(x[counts], group[counts])
    whole = mean(passes.clean.difference - passes.corrupted.difference)[:, None, None]
    base = lambda one: one.difference[:, None, None]
    places = trace.places(model, loops)
    return Patching(
        recovered=mean(passes.restored.first),
        effect=mean(passes.restored.difference - base(passes.corrupted)) / whole,
        lost=mean(~passes.broken.first),
        damage=mean(base(passes.clean) - passes.broken.difference) / whole,
        rows=questions.count(group[counts]),
        asked=questions.count(group),
        stage=np.array([trace.STAGES.index(place.stage) for place in places]),
        loop=np.array([(p.loop + 1) * (p.stage == "core") for p in places]),
        block=np.array([place.block + 1 for place in places]),
    )


def summarize(patching: Patching) -> dict[str, float]:
    """Returns the best recovery over blocks by a state at r1, by group."""
    best = patching.recovered[:, :, questions.FIRST].max(axis=1)
    names = (f"recovered by r1, {group}" for group in questions.GROUPS)
    return dict(zip(names, best.tolist(), strict=True))


def corrupt(
    asked: questions.Questions, tails: np.ndarray, corruption: str
) -> tuple[np.ndarray, np.ndarray]:
    """Replaces the words that a corruption names: another question, another answer.

    Returns:
      The tokens, int32 [N, T], drawn by a fixed seed, and their answers, int32 [N]; a
      question without such a neighbor keeps its tokens and has the answer -1.

    Raises:
      ValueError: if the corruption is unknown.
    """
    change = registry.lookup("corruption", CORRUPTIONS, corruption)
    random = np.random.default_rng(0)
    prefixes = np.argwhere(tails >= 0)  # [facts, 2]
    bridges = tails[prefixes[:, 0], prefixes[:, 1]]
    tokens, answers = asked.tokens.copy(), np.full(len(asked.tokens), -1, np.int32)
    for row, target in enumerate(asked.targets):
        own = tokens[row, : questions.SECOND]
        after = tails[bridges, tokens[row, questions.SECOND]]
        fits = ((prefixes != own) == change).all(axis=1)
        fits &= (after >= 0) & (after != target)
        if fits.any():
            chosen = random.choice(np.flatnonzero(fits))
            tokens[row, : questions.SECOND] = prefixes[chosen]
            answers[row] = after[chosen]
    return tokens, answers


class _Answer(NamedTuple):
    """Of one pass: is the clean answer first [B], its logit above the other's [B]."""

    first: jax.Array
    difference: jax.Array


class _Passes(NamedTuple):
    """Answers [B] of the two passes, and [B, E, T] of every patched one."""

    clean: _Answer
    corrupted: _Answer
    restored: _Answer
    broken: _Answer


@functools.partial(jax.jit, static_argnames=("config", "num_loops"))
def _passes(
    params, tokens, corrupted, positions, words, *, config: ModelConfig, num_loops: int
) -> _Passes:
    run = functools.partial(trace.trace, config=config, num_loops=num_loops)
    clean = run(params, tokens, positions)
    spoiled = run(params, corrupted, positions)
    depth, batch, length, _ = clean.before.shape

    def answer(traced: trace.Trace) -> _Answer:
        logits = traced.logits[:, 0]
        own, instead = jnp.take_along_axis(logits, words, axis=1).T
        return _Answer(logits.argmax(axis=-1) == words[:, 0], own - instead)

    def at(site):
        block, position = site // length, site % length
        places = jnp.full(batch, position)

        def patched(tokens, source):
            states = source.before[block, :, position]
            return run(
                params, tokens, positions, patch=trace.Patch(block, places, states)
            )

        return answer(patched(corrupted, clean)), answer(patched(tokens, spoiled))

    by_place = jax.lax.map(at, jnp.arange(depth * length))
    by_row = lambda x: x.T.reshape(batch, depth, length)
    restored, broken = jax.tree.map(by_row, by_place)
    return _Passes(answer(clean), answer(spoiled), restored, broken)
