"""The authors' released checkpoints, as parameters of the model here.

Reference: Kohli et al. (2026), arXiv:2604.07822; the format is that of the training
scripts of OSU-NLP-Group/Loop-Think-Generalize at 4e47341, whose blocks are GPT2Block of
Hugging Face's transformers (matrices are [inputs, outputs]).
"""

import pathlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

# Our parameters of a block -> theirs, and their shapes in D and F.
_BLOCK = {
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
# Causal triangles, which older versions of transformers saved with the weights.
_BUFFER = re.compile(r"blocks\.\d+\.attn\.(bias|masked_bias)")


class Imported(NamedTuple):
    """A checkpoint in the terms of this package.

    Attributes:
      params: as of `recurrent.init`, float32 numpy arrays.
      keys: dotted config key -> value, what the checkpoint decides.
      vocab_size: V.
      max_length: T of the position table; None without one.
    """

    params: dict[str, Any]
    keys: dict[str, Any]
    vocab_size: int
    max_length: int | None


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads the weights of a released `.pt` file; it runs no code of the file.

    Raises:
      ValueError: if PyTorch is missing, or if the file is no checkpoint or holds other
        objects than tensors and plain values.
    """
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
    wrong = [k for k, v in weights.items() if not isinstance(v, torch.Tensor)]
    if wrong:
        raise ValueError(f"{path}: {wrong[0]} must be a tensor.")
    return {
        str(name): tensor.detach().to(torch.float32).numpy()
        for name, tensor in weights.items()
    }


def convert(weights: Mapping[str, np.ndarray], num_heads: int) -> Imported:
    """Turns a checkpoint's `model_state_dict` into parameters.

    Args:
      weights: theirs by name, with or without the `_orig_mod.` of compiled modules.
      num_heads: H, which the weights do not tell.

    Raises:
      ValueError: if names are missing or unknown, shapes do not fit, a weight is not
        finite, the head is not tied, or H does not divide the width; it lists them all.
    """
    theirs = {name.replace("_orig_mod.", ""): w for name, w in weights.items()}
    theirs = {k: np.asarray(w) for k, w in theirs.items() if not _BUFFER.fullmatch(k)}
    for name in ("token_embedding", "position_embedding"):  # A bare parameter's name.
        if name in theirs:
            theirs[f"{name}.weight"] = theirs.pop(name)
    matches = [re.match(r"blocks\.(\d+)\.", name) for name in theirs]
    blocks = 1 + max((int(match[1]) for match in matches if match), default=-1)
    embedding = theirs.get("token_embedding.weight")
    if embedding is None or embedding.ndim != 2 or not blocks:
        raise ValueError(
            "The checkpoint must have token_embedding.weight, a matrix, and blocks.0; "
            f"it has {_shown(sorted(theirs))}."
        )
    vocab_size, width = embedding.shape
    hidden = theirs.get("blocks.0.mlp.c_fc.weight", np.zeros(0)).shape[-1]
    sizes = {"D": width, "3D": 3 * width, "F": hidden, "V": vocab_size}
    expected: dict[str, tuple[str, ...]] = {
        f"blocks.{block}.{name}": shape
        for block in range(blocks)
        for name, shape in _BLOCK.values()
    } | {"ln_f.weight": ("D",), "ln_f.bias": ("D",)}
    optional: dict[str, tuple[str, ...]] = {
        "token_embedding.weight": ("V", "D"),
        "position_embedding.weight": ("any", "D"),
        "lm_head.weight": ("V", "D"),
    }
    _raise(
        _problems(theirs, expected, optional, sizes)
        + _head_problems(theirs, width, num_heads)
    )
    array = lambda name: np.array(theirs[name], np.float32)
    params: dict[str, Any] = {
        "prelude": [],
        "core": [_block(theirs, block) for block in range(blocks)],
        "coda": [],
        "embedding": array("token_embedding.weight"),
        "final_norm": {"scale": array("ln_f.weight"), "bias": array("ln_f.bias")},
    }
    max_length = None
    if "position_embedding.weight" in theirs:
        params["position"] = array("position_embedding.weight")
        max_length = len(params["position"])
    keys = {
        "model.preset": "rdt",
        "model.width": width,
        "model.num_heads": num_heads,
        "model.mlp_width": hidden,
        "model.core_blocks": blocks,
        "model.position": "none" if max_length is None else "learned",
    }
    return Imported(params, keys, vocab_size, max_length)


def export(params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Turns parameters that `convert` could have made into weights by their names."""
    theirs = {
        "token_embedding.weight": params["embedding"],
        "ln_f.weight": params["final_norm"]["scale"],
        "ln_f.bias": params["final_norm"]["bias"],
    }
    if "position" in params:
        theirs["position_embedding.weight"] = params["position"]
    for block, section in enumerate(params["core"]):
        for path, (name, _) in _BLOCK.items():
            leaf = section
            for part in path:
                leaf = leaf[part]
            theirs[f"blocks.{block}.{name}"] = leaf
    return {name: np.array(weight, np.float32) for name, weight in theirs.items()}


def _problems(theirs, expected, optional, sizes) -> list[str]:
    found = []
    if missing := sorted(expected.keys() - theirs.keys()):
        found.append(f"The checkpoint lacks {_shown(missing)}.")
    if unknown := sorted(theirs.keys() - expected.keys() - optional.keys()):
        found.append(f"The checkpoint has {_shown(unknown)}, which is not known here.")
    for name, letters in (expected | optional).items():
        if name not in theirs:
            continue
        shape = theirs[name].shape
        fits = len(shape) == len(letters) and all(
            size == sizes.get(letter, size)
            for size, letter in zip(shape, letters, strict=True)
        )
        if not fits:
            wanted = ", ".join(str(sizes.get(letter, letter)) for letter in letters)
            found.append(f"{name} must be [{wanted}], got {list(shape)}.")
        elif not np.isfinite(theirs[name]).all():
            found.append(f"{name} must be finite, but has a number that is not.")
    return found


def _head_problems(theirs, width: int, num_heads: int) -> list[str]:
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


def _raise(problems: list[str]) -> None:
    if problems:
        raise ValueError("\n  ".join(["The checkpoint does not fit:", *problems]))


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return ", ".join(names[:6]) + more or "nothing"


def _block(theirs, block: int) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for path, (name, _) in _BLOCK.items():
        section = params
        for part in path[:-1]:
            section = section.setdefault(part, {})
        section[path[-1]] = np.array(theirs[f"blocks.{block}.{name}"], np.float32)
    return params
