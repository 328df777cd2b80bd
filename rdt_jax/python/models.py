"""Configs, tables and models without a run: parameters in, logits and states out.

config = rdt.load_config("modular:cpu", {"model.width": 128})
table = rdt.make_table(config)
model = rdt.Model(config, table)
rows = table.rows_of("id")[:8]
output = model.apply(model.init(seed=0), rows, num_loops=4)
output.logits.shape  # (4, 8, 1, 33): loops, rows, answers of a row, words
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax.typing import ArrayLike

from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.analysis import finding
from rdt_jax.models import presets, recurrent
from rdt_jax.models.architecture import ModelConfig
from rdt_jax.tasks import presets as task_presets
from rdt_jax.training import pack, validation


def load_config(
    source: str, overrides: Mapping[str, Any] | None = None, /, **more: Any
) -> ml_collections.ConfigDict:
    """Returns the config of `FILE.py:PRESET`, or of a named one: `modular:cpu`.

    Args:
      source: file or name, and preset.
      overrides: values by dotted key; configs/base.py has all keys.
      **more: values by the last part of a key that is no other key's: `num_loops=4`.

    Raises:
      ValueError: with all that is wrong: the file, the preset, a key, a value.
    """
    return _override(configs.load(source), overrides, more)


def make_config(
    task: str,
    overrides: Mapping[str, Any] | None = None,
    *,
    preset: str = "cpu",
    **more: Any,
) -> ml_collections.ConfigDict:
    """Returns a config of a task: one of `rdt tasks`, or FILE.py:FUNCTION of your own.

    Args:
      task: name or function.
      overrides: this and `more` as of `load_config`; a task's arguments are keys too.
      preset: of the task's config file; `cpu` or `smoke` where it has none.
      **more: values by the last part of a key.

    Raises:
      ValueError: with all that is wrong: the task, the preset, a key, a value.
    """
    return _override(task_presets.config_of(task, preset), overrides, more)


def _override(
    config: ml_collections.ConfigDict,
    overrides: Mapping[str, Any] | None,
    more: Mapping[str, Any],
) -> ml_collections.ConfigDict:
    keys = configs.leaves(config)
    by_name = {finding.key_of(name, keys): value for name, value in more.items()}
    changed = configs.override(config, {**(overrides or {}), **by_name})
    validation.check(changed)
    return changed


def make_table(config: ml_collections.ConfigDict) -> tasks.Table:
    """Returns the table of a config: tokens int32 [N, T], targets [N, A], vocab, ..

    `table.rows_of("ood")` are the numbers of the rows of a split, int64 [n].
    """
    return tasks.make_table(config)


class Output(NamedTuple):
    """What a model gives for B rows of T words with A answers each, after R loops.

    Attributes:
      logits: float32 [R, B, A, V], over all words, at the answers, after each loop.
      states: [R, B, T, D], the latent state after each loop.
    """

    logits: jax.Array
    states: jax.Array

    @property
    def answers(self) -> jax.Array:
        """The most probable words, int [R, B, A], as numbers of `table.vocab`."""
        return self.logits.argmax(axis=-1)


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """The model of a config on its table; it holds no parameters."""

    config: ml_collections.ConfigDict
    table: tasks.Table

    @functools.cached_property
    def architecture(self) -> ModelConfig:
        """The sizes and components, by name."""
        return presets.model_config(self.config, self.table)

    def init(self, seed: int = 0) -> recurrent.Params:
        """Draws the float32 parameters, a tree, that a run with this seed begins with.

        Raises:
          ValueError: if the seed is not an integer in [0, 2**32).
        """
        if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
            raise ValueError(f"seed must be an integer in [0, 2**32), got {seed!r}.")
        return _init(jnp.uint32(seed), self.config.model.init_scale, self.architecture)

    def apply(
        self, params: recurrent.Params, rows: ArrayLike, *, num_loops: int | None = None
    ) -> Output:
        """Runs the model; jax.grad can differentiate it by the parameters.

        Args:
          params: as of `init`, or of a run's `params`.
          rows: int [B], row numbers of the table; or int [B, T], words as numbers of
            `table.vocab`, 0 behind the last, at which the one answer is read.
          num_loops: R, at least 1; None for that of training.

        Raises:
          ValueError: if a number is out of range, `rows` has another shape, or `params`
            are of a table with another number of words.
        """
        words = len(params["embedding"])
        if words != self.architecture.vocab_size:
            raise ValueError(
                f"params must be of the {self.architecture.vocab_size} words of the "
                f"model's table, got those of {words}."
            )
        rows = np.asarray(rows)
        limit = len(self.table.tokens if rows.ndim == 1 else self.table.vocab)
        are_ints = np.issubdtype(rows.dtype, np.integer) and rows.size > 0
        if not are_ints or rows.ndim > 2 or not 0 <= rows.min() <= rows.max() < limit:
            raise ValueError(
                f"rows must be row numbers [B] below {len(self.table.tokens)}, or "
                f"words [B, T] below {len(self.table.vocab)}, got {rows.dtype} "
                f"{[*rows.shape]} from {rows.min(initial=0)} to {rows.max(initial=0)}."
            )
        loops = self.config.recurrence.num_loops if num_loops is None else num_loops
        if not isinstance(loops, int | np.integer) or loops < 1:
            raise ValueError(f"num_loops must be an integer >= 1, got {loops!r}.")
        if rows.ndim == 1:
            tokens = self.table.tokens[rows]
            positions = self.table.answer_positions[rows]
        else:
            tokens = rows.astype(np.int32)
            positions = (tokens != 0).sum(axis=1, keepdims=True, dtype=np.int32) - 1
        return _apply(params, tokens, positions, self.architecture, loops)


@functools.partial(jax.jit, static_argnames="model")
def _init(seed: jax.Array, scale: float, model: ModelConfig) -> recurrent.Params:
    return pack.draw(seed, scale, model)


@functools.partial(jax.jit, static_argnames=("model", "num_loops"))
def _apply(
    params: recurrent.Params,
    tokens: jax.Array,
    positions: jax.Array,
    model: ModelConfig,
    num_loops: int,
) -> Output:
    passed = recurrent.apply(params, tokens, positions, model, num_loops=num_loops)
    read = lambda state: recurrent.readout(params, state, tokens, positions, model)
    return Output(jax.vmap(read)(passed.states), passed.states)
