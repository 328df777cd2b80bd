"""Named configs as data: each preset of a file is a table of overrides.

    # configs/parity.py
    from rdt_jax.named import budget, by_preset, getter, presets

    PRESETS = presets(
        task=("parity", {"max_length": by_preset(12, smoke=7), "num_kinds": 2}),
        cpu={"batch_size": 64, **budget(2_000, every=500, checkpoint=500)},
        smoke={"model.width": 32},
    )
    get_config = getter(PRESETS)

`rdt train --config=configs/parity.py:smoke` then trains it.
"""

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import ml_collections

from rdt_jax import config as configs
from rdt_jax import registry, schema

Overrides = dict[str, Any]  # dotted key -> value, of the declared keys

_ARGUMENTS = "task.kwargs."


def presets(
    *, task: tuple[str, Mapping[str, Any]], cpu: Overrides, **others: Overrides
) -> dict[str, Overrides]:
    """Returns the presets of a task: `cpu`, and others as what they change of it.

    Args:
      task: its name, and the arguments of its function; these values, and those of
        `cpu`, may be `by_preset`.
      cpu: what minutes on a laptop change of the defaults.
      **others: preset -> what it changes of `cpu`; what is `by_preset` there is
        stronger.

    Raises:
      ValueError: if a value is `by_preset` of one that is not among them.
    """
    name, arguments = task
    values = {"task.name": name} | {_ARGUMENTS + k: v for k, v in arguments.items()}
    values |= cpu
    at = at_presets(values, ("cpu", *others))
    given = lambda preset: {
        key: at[preset][key]
        for key, value in values.items()
        if isinstance(value, _Varied) and preset in value.others
    }
    return {"cpu": at["cpu"]} | {
        preset: at["cpu"] | table | given(preset) for preset, table in others.items()
    }


def at_presets(values: Overrides, names: Sequence[str]) -> dict[str, Overrides]:
    """Returns values, of which some are `by_preset`, as they are at each preset.

    Raises:
      ValueError: if a value is `by_preset` of one that is not among the names.
    """
    for key, value in values.items():
        if isinstance(value, _Varied) and (unknown := value.others.keys() - set(names)):
            raise ValueError(
                f"{key} has a value of its own at {', '.join(sorted(unknown))}; the "
                f"presets are {', '.join(names)}."
            )
    return {
        name: {
            key: value.others.get(name, value.cpu)
            if isinstance(value, _Varied)
            else value
            for key, value in values.items()
        }
        for name in names
    }


def by_preset(cpu: Any, **others: Any) -> Any:
    """Returns a value that is `cpu`, and another at presets that are named."""
    return _Varied(cpu, others)


class _Varied(NamedTuple):
    cpu: Any
    others: Mapping[str, Any]


def budget(steps: int, *, every: int, checkpoint: int) -> Overrides:
    """Returns a budget of updates, evaluated `every` so many and checkpointed."""
    return {
        "num_steps": steps,
        "eval_every_steps": every,
        "checkpoint_every_steps": checkpoint,
    }


def getter(
    tables: Mapping[str, Overrides],
) -> Callable[[str], ml_collections.ConfigDict]:
    """Returns the `get_config(preset)` of a file with these presets."""
    return functools.partial(_get_config, tables)


def _get_config(
    tables: Mapping[str, Overrides], preset: str
) -> ml_collections.ConfigDict:
    """Returns the config of a preset, unlocked; ValueError lists the choices."""
    table = registry.lookup("preset", tables, preset)
    arguments = {k: v for k, v in table.items() if k.startswith(_ARGUMENTS)}
    given = {k: v for k, v in table.items() if k not in arguments}
    config = configs.override(schema.defaults(), given).unlock()
    # Copies, since what may be none is a reference, which two configs would share.
    config.task.kwargs = {
        key.removeprefix(_ARGUMENTS): copy.deepcopy(value)
        for key, value in arguments.items()
    }
    return config
