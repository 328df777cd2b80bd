"""Parameters for other programs: a folder with model.safetensors and config.json.

    exported.write(folder, params, config, table, {"run": run_id, "step": "4000"})
    model = exported.read(folder)  # params and config, equal to what was written
    recurrent.apply(model.params, tokens, positions, model.model, num_loops=4)

Models that Kohli et al. (2026) release have their names (`import_ltg.export`), all
others ours: the path in the tree, such as `core/0/attention/qkv/kernel`.
"""

import json
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np
import safetensors
import safetensors.numpy

from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.models import import_ltg, presets, recurrent
from rdt_jax.models.architecture import ModelConfig
from rdt_jax.store import files

WEIGHTS = "model.safetensors"
LAYOUTS = ("ltg", "rdt_jax")  # whose names the parameters have


class Exported(NamedTuple):
    """What an exported folder holds."""

    params: recurrent.Params  # as of `recurrent.init`, numpy arrays
    config: ml_collections.ConfigDict  # of the run
    model: ModelConfig  # of the config, with the sizes of the run's table
    # `layout` (of LAYOUTS), `vocab` (a JSON list of the words of the tokens),
    # `max_length` (T of the table), and what `write` was given
    metadata: dict[str, str]


def write(
    folder: pathlib.Path,
    params: recurrent.Params,
    config: ml_collections.ConfigDict,
    table: tasks.Table,
    origin: Mapping[str, str],
) -> dict[str, tuple[int, ...]]:
    """Writes a folder, whole or not at all, where there is nothing or an empty folder.

    `origin` says in the metadata of the file where the parameters come from. Returns
    the shape of each array that was written, by its name.

    Raises:
      ValueError: if something is in the folder's place.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ValueError(f"OUT must not exist or be an empty folder, got {folder}.")
    length = table.tokens.shape[1]
    if import_ltg.covers(config):
        rows = length if config.model.position == "sinusoidal" else None
        layout, arrays = "ltg", import_ltg.export(params, rows)
    else:
        layout, arrays = "rdt_jax", _named(params)
    # What is not in order of its axes would be written as it lies in memory.
    arrays = {name: np.array(array, order="C") for name, array in arrays.items()}
    metadata = {
        **origin,
        "layout": layout,
        "vocab": json.dumps(table.vocab),
        "max_length": str(length),
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as temporary:
        whole = pathlib.Path(temporary) / folder.name
        whole.mkdir()
        files.replace(whole / WEIGHTS, safetensors.numpy.save(arrays, metadata))
        files.write_text(whole / "config.json", configs.to_json(config))
        whole.rename(folder)
    return {name: array.shape for name, array in arrays.items()}


def read(folder: pathlib.Path) -> Exported:
    """Reads what `write` wrote.

    Raises:
      ValueError: if a file is missing or damaged, or they do not fit each other.
    """
    try:
        config = configs.from_json((folder / "config.json").read_text())
        with safetensors.safe_open(folder / WEIGHTS, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, safetensors.SafetensorError) as error:
        raise ValueError(f"{folder} is no export that can be read: {error}.") from error
    if metadata.get("layout") not in LAYOUTS:
        raise ValueError(f"{folder / WEIGHTS} has not the metadata of `rdt export`.")
    vocab = json.loads(metadata["vocab"])
    model = presets.sized(config, len(vocab), int(metadata["max_length"]))
    if metadata["layout"] == "ltg":
        params = import_ltg.convert(arrays, model.num_heads, model.injection).params
    else:
        shapes = jax.eval_shape(
            lambda key: recurrent.init(key, model), jax.random.key(0)
        )
        names = _named(shapes)
        if {k: v.shape for k, v in names.items()} != {
            k: v.shape for k, v in arrays.items()
        }:
            raise ValueError(f"{folder}: the parameters do not fit config.json.")
        params = jax.tree.unflatten(
            jax.tree.structure(shapes), [arrays[k] for k in names]
        )
    return Exported(params, config, model, metadata)


def _named(params: recurrent.Params) -> dict[str, Any]:
    """Returns the leaves by their paths, in the order of the tree."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }
