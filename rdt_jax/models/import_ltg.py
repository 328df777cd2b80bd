"""The authors' released checkpoints, as parameters of the model here.

Reference: Kohli et al. (2026), arXiv:2604.07822; the format is that of the training
scripts of OSU-NLP-Group/Loop-Think-Generalize at 4e47341, whose blocks are GPT2Block of
Hugging Face's transformers (matrices are [inputs, outputs]).
"""

import itertools
import pathlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import ml_collections
import numpy as np
import safetensors
import safetensors.numpy
from flax import traverse_util

from rdt_jax.models import layers

# What all of their models are; the weights' names and shapes tell the rest.
_ARCHITECTURE = {
    "preset": "rdt",
    "head_width": None,
    "prelude_blocks": 0,
    "coda_blocks": 0,
    "attention": "dense",
    "feedforward": "gelu",
    "bias": "all",
    "norm_placement": "pre",
    "norm": "layer",
    "norm_before_coda": False,
    "position_every_loop": False,
    "initial_state": "embedding",
    "step_embedding": "none",
    "residual": "plain",
    "branch_scale": "none",
    "halting": "none",
    "readout": "tied",
    "scale_embedding": False,
}
# Where positions are -> what they are.
_POSITIONS = {"position_embedding.weight": "learned", "pe": "sinusoidal"}
# Learned positions of train_systematicity.py, which injects nothing and pads to the
# longest row. Any other table, or none, is of train_extrapolation.py.
_SYSTEMATICITY_POSITIONS = 5
_MAX_LEN = 50  # Its default; without positions all pads give the same logits.
_PE_TOLERANCE = 1e-4  # They compute the sinusoids in float32.

# Our parameters of a block -> theirs, and their shapes in D and F.
_BLOCK: Mapping[tuple[str, ...], tuple[str, tuple[str, ...]]] = {
    ("attention_norm", "scale"): ("ln_1.weight", ("D",)),
    ("attention_norm", "bias"): ("ln_1.bias", ("D",)),
    ("attention", "qkv", "kernel"): ("attn.c_attn.weight", ("D", "3D")),
    ("attention", "qkv", "bias"): ("attn.c_attn.bias", ("3D",)),
    ("attention", "output", "kernel"): ("attn.c_proj.weight", ("D", "D")),
    ("attention", "output", "bias"): ("attn.c_proj.bias", ("D",)),
    ("mlp_norm", "scale"): ("ln_2.weight", ("D",)),
    ("mlp_norm", "bias"): ("ln_2.bias", ("D",)),
    ("mlp", "input", "kernel"): ("mlp.c_fc.weight", ("D", "F")),
    ("mlp", "input", "bias"): ("mlp.c_fc.bias", ("F",)),
    ("mlp", "output", "kernel"): ("mlp.c_proj.weight", ("F", "D")),
    ("mlp", "output", "bias"): ("mlp.c_proj.bias", ("D",)),
}
# What a checkpoint may have besides, and its shapes; `any` is not checked.
_AROUND: dict[str, tuple[str, ...]] = {
    "token_embedding.weight": ("V", "D"),
    "position_embedding.weight": ("any", "D"),
    "pe": ("any", "D"),
    "lm_head.weight": ("V", "D"),
}
# Causal triangles, which older versions of transformers saved with the weights.
_BUFFER = re.compile(r"blocks\.\d+\.attn\.(bias|masked_bias)")


class Imported(NamedTuple):
    """A checkpoint in the terms of this package."""

    params: dict[str, Any]  # as of `recurrent.init`, float32 numpy arrays
    keys: dict[str, Any]  # dotted config key -> value, what the checkpoint decides
    vocab_size: int  # V
    max_length: int | None  # T of the position table; None without one
    # Tokens to which their script pads all rows; None: to the longest.
    row_length: int | None


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads the weights of a released `.pt` file, or of `rdt export`; runs no code.

    ValueError if PyTorch is missing, or if the file is no checkpoint or holds other
    objects than tensors and plain values.
    """
    if path.suffix == ".safetensors":
        try:
            arrays = safetensors.numpy.load_file(path)
        except (OSError, safetensors.SafetensorError) as error:
            raise ValueError(f"{path} cannot be read: {error}.") from error
        return {name: weight.astype(np.float32) for name, weight in arrays.items()}
    try:
        import torch
    except ModuleNotFoundError as error:
        raise ValueError(
            "import-ltg reads PyTorch files and needs torch: pip install -e '.[torch]'."
        ) from error
    if not path.is_file():
        raise ValueError(f"CHECKPOINT must be a .pt file, got {str(path)!r}.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # A damaged file raises anything.
        other = re.search(r"GLOBAL (\S+)", str(error))
        raise ValueError(
            f"{path} must be a PyTorch file of tensors and plain values, but "
            f"{f'holds {other[1]}' if other else 'cannot be read as one'}."
        ) from error
    weights = content.get("model_state_dict") if isinstance(content, dict) else None
    if not isinstance(weights, Mapping):
        found = ", ".join(map(str, content)) if isinstance(content, dict) else "no dict"
        raise ValueError(
            f"{path} must be a dict with the key model_state_dict, got {found}."
        )
    size = path.stat().st_size
    for name, tensor in weights.items():
        plain = isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided
        if not plain or tensor.is_complex() or tensor.is_quantized or tensor.is_meta:
            raise ValueError(f"{path}: {name} must be a dense tensor of real numbers.")
        if tensor.numel() > size:  # A view that repeats its few numbers.
            raise ValueError(
                f"{path}: {name} must have no more numbers than the file has bytes "
                f"({size}), got {list(tensor.shape)}."
            )
    return {
        str(name): tensor.detach().to(torch.float32).numpy()
        for name, tensor in weights.items()
    }


def convert(
    weights: Mapping[str, np.ndarray], num_heads: int, injection: str | None = None
) -> Imported:
    """Turns a checkpoint's `model_state_dict` into parameters.

    ValueError lists all: if names are missing or unknown, shapes do not fit, a weight
    is not finite, the head is not tied, H does not divide the width, or `injection` is
    needed.

    Args:
      weights: theirs by name, with or without the `_orig_mod.` of compiled modules.
      num_heads: H, which the weights do not tell.
      injection: `none` or `add`, which the weights do not tell either; None only for
        the layout of train_systematicity.py, whose models have none.
    """
    theirs = _plain(weights)
    numbers = {name.split(".")[1] for name in theirs if name.startswith("blocks.")}
    blocks = next(i for i in itertools.count() if str(i) not in numbers)
    embedding = theirs.get("token_embedding.weight")
    if embedding is None or embedding.ndim != 2 or not blocks:
        raise ValueError(
            "The checkpoint must have token_embedding.weight, a matrix, and blocks.0; "
            f"it has {_shown(sorted(theirs))}."
        )
    vocab_size, width = embedding.shape
    hidden = theirs.get("blocks.0.mlp.c_fc.weight", np.zeros(0)).shape[-1]
    tables = [name for name in _POSITIONS if name in theirs]
    learned = theirs.get("position_embedding.weight", np.zeros(0))
    row_length: int | None = _MAX_LEN
    if learned.shape[:1] == (_SYSTEMATICITY_POSITIONS,) and injection != "add":
        injection, row_length = "none", None
    sizes = {"D": width, "3D": 3 * width, "F": hidden, "V": vocab_size}
    problems = (
        _problems(theirs, blocks, sizes)
        + _position_problems(theirs, tables)
        + _head_problems(theirs, width, num_heads)
    )
    if injection is None:
        problems.append(
            "--injection must be none or add: this is the layout of "
            "train_extrapolation.py, which trains with --input_injection (add) or "
            "without (none), and the weights do not tell."
        )
    if problems:
        raise ValueError("\n  ".join(["The checkpoint does not fit:", *problems]))
    max_length = len(theirs[tables[0]]) if tables else None
    if row_length is not None and max_length is not None:
        row_length = max_length
    keys = _ARCHITECTURE | {
        "width": width,
        "num_heads": num_heads,
        "mlp_width": hidden,
        "core_blocks": blocks,
        "position": _POSITIONS[tables[0]] if tables else "none",
        "injection": injection,
    }
    keys = {f"model.{name}": value for name, value in keys.items()}
    return Imported(_params(theirs, blocks), keys, vocab_size, max_length, row_length)


def covers(config: ml_collections.ConfigDict) -> bool:
    """Says whether the model of a config is one that their scripts train."""
    told = {key: values for key, values in _ARCHITECTURE.items() if key != "preset"}
    return (
        all(config.model[key] == value for key, value in told.items())
        and config.model.position in (*_POSITIONS.values(), "none")
        and config.model.injection in ("none", "add")
    )


def export(
    params: Mapping[str, Any], max_length: int | None = None
) -> dict[str, np.ndarray]:
    """Turns parameters of a model that is covered into weights by their names.

    `max_length` is T of the buffer `pe` of sinusoidal positions; None for no buffer.
    """
    theirs = {
        "token_embedding.weight": params["embedding"],
        "lm_head.weight": params["embedding"],
        "ln_f.weight": params["final_norm"]["scale"],
        "ln_f.bias": params["final_norm"]["bias"],
    }
    if "position" in params:
        theirs["position_embedding.weight"] = params["position"]
    if max_length is not None:
        width = params["embedding"].shape[1]
        theirs["pe"] = layers.sinusoidal_positions(max_length, width)
    for block, section in enumerate(params["core"]):
        leaves = traverse_util.flatten_dict(section)
        for path, (name, _) in _BLOCK.items():
            theirs[f"blocks.{block}.{name}"] = leaves[path]
    return {name: np.array(weight, np.float32) for name, weight in theirs.items()}


def _plain(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns weights under the names that a plain module saves, without buffers."""
    theirs = {name.replace("_orig_mod.", ""): w for name, w in weights.items()}
    theirs = {k: np.asarray(w) for k, w in theirs.items() if not _BUFFER.fullmatch(k)}
    for name in ("token_embedding", "position_embedding"):  # A bare parameter's name.
        if name in theirs:
            theirs[f"{name}.weight"] = theirs.pop(name)
    return theirs


def _params(theirs: Mapping[str, np.ndarray], blocks: int) -> dict[str, Any]:
    array = lambda name: np.array(theirs[name], np.float32)
    block = lambda i: {
        path: array(f"blocks.{i}.{n}") for path, (n, _) in _BLOCK.items()
    }
    params: dict[str, Any] = {
        "prelude": [],
        "core": [traverse_util.unflatten_dict(block(i)) for i in range(blocks)],
        "coda": [],
        "embedding": array("token_embedding.weight"),
        "final_norm": {"scale": array("ln_f.weight"), "bias": array("ln_f.bias")},
    }
    if "position_embedding.weight" in theirs:
        params["position"] = array("position_embedding.weight")
    return params


def _problems(
    theirs: Mapping[str, np.ndarray], blocks: int, sizes: Mapping[str, int]
) -> list[str]:
    """Lists names that are missing or unknown, and arrays that do not fit `sizes`."""
    expected = {
        f"blocks.{block}.{name}": shape
        for block in range(blocks)
        for name, shape in _BLOCK.values()
    } | {"ln_f.weight": ("D",), "ln_f.bias": ("D",)}
    problems = []
    if missing := sorted(expected.keys() - theirs.keys()):
        problems.append(f"The checkpoint lacks {_shown(missing)}.")
    if unknown := sorted(theirs.keys() - expected.keys() - _AROUND.keys()):
        problems.append(
            f"The checkpoint has {_shown(unknown)}, which is not known here."
        )
    for name, letters in (expected | _AROUND).items():
        if name not in theirs:
            continue
        shape = theirs[name].shape
        fits = len(shape) == len(letters) and all(
            size == sizes.get(letter, size)
            for size, letter in zip(shape, letters, strict=True)
        )
        if not fits:
            wanted = ", ".join(str(sizes.get(letter, letter)) for letter in letters)
            problems.append(f"{name} must be [{wanted}], got {list(shape)}.")
        elif not np.isfinite(theirs[name]).all():
            problems.append(f"{name} must be finite, but has a number that is not.")
    return problems


def _position_problems(
    theirs: Mapping[str, np.ndarray], tables: list[str]
) -> list[str]:
    if len(tables) > 1:
        return [f"The checkpoint must have one of {' and '.join(tables)}, got both."]
    if tables != ["pe"] or theirs["pe"].ndim != 2:
        return []
    sinusoids = layers.sinusoidal_positions(*theirs["pe"].shape)
    if np.allclose(theirs["pe"], sinusoids, rtol=0, atol=_PE_TOLERANCE):
        return []
    return ["pe must be the sinusoids of Vaswani et al. (2017), but differs."]


def _head_problems(
    theirs: Mapping[str, np.ndarray], width: int, num_heads: int
) -> list[str]:
    found = []
    head, embedding = theirs.get("lm_head.weight"), theirs["token_embedding.weight"]
    if head is not None and head.shape == embedding.shape:
        if not np.array_equal(head, embedding):
            found.append(
                "lm_head.weight must equal token_embedding.weight, with which it is "
                "tied, but differs."
            )
    if num_heads < 1 or width % num_heads:
        found.append(
            f"--num-heads must divide the checkpoint's width ({width}), "
            f"got {num_heads}."
        )
    return found


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return ", ".join(names[:6]) + more or "nothing"
