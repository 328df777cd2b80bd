"""The axes of a sweep without a study: values from text, and values drawn.

axes.read(config, "recurrence.num_loops", "1,2,4")        # [1, 2, 4]
axes.draw(config, {"optimizer.learning_rate": "log(1e-4,1e-2)"}, 2)
# [{"optimizer.learning_rate": 0.0009}, {"optimizer.learning_rate": 0.0026}]
"""

import math
import re
import zlib
from collections.abc import Mapping
from typing import Any

import ml_collections
import numpy as np

from rdt_jax import config as configs
from rdt_jax.sweep import spec

_DIGITS = 4  # Significant digits of a number that is drawn.
_DISTRIBUTION = re.compile(r"(log|lin|int)\(([^,()]+),([^,()]+)\)")


def read(config: ml_collections.ConfigDict, key: str, text: str) -> list[Any]:
    """Returns the values that a text lists for a config key.

    Each is read as `--config.KEY=VALUE` is. Commas separate them; semicolons do where
    the key is a tuple. ValueError if the key is unknown, the list or a part of it is
    empty, or a value has another type.
    """
    kind, _ = configs.leaf_type(config, key)
    separator = ";" if kind is tuple else ","
    parts = [part.strip() for part in text.split(separator)]
    if "" in parts:
        raise ValueError(
            f"--over {key} must list values, with {separator!r} between them, got "
            f"{text!r}."
        )
    arguments = [f"--config.{key}={part}" for part in parts]
    return [configs.parse_overrides(config, [word])[key] for word in arguments]


def draw(
    config: ml_collections.ConfigDict, distributions: Mapping[str, str], count: int
) -> list[spec.Overrides]:
    """Draws values of config keys, one of each key for each of `count` trials.

    The values of a key depend on its name and its distribution alone, and the first
    ones are the same however many are drawn. Distributions are, by dotted key,
    `log(a,b)` (uniform in the logarithm), `lin(a,b)` or, for a key that is an int,
    `int(a,b)`, which may be a and b themselves.

    Raises:
      ValueError: if the count is below 1 or above the number that a sweep may have, a
        key is unknown, or a distribution is wrong or does not suit its key.
    """
    spec.check_number(count)
    if count < 1:
        raise ValueError(f"--trials must be at least 1, got {count}.")
    columns = {}
    for key, text in distributions.items():
        kind, _ = configs.leaf_type(config, key)
        found = _DISTRIBUTION.fullmatch(text.replace(" ", ""))
        name, low, high = found.groups() if found else ("", "", "")
        is_int = kind is int and name == "int"
        try:
            first, last = (int(low), int(high)) if is_int else (float(low), float(high))
        except ValueError:
            first, last = math.inf, math.inf
        is_suited = is_int or (kind is float and name in ("log", "lin"))
        if (
            not is_suited
            or not first < last < math.inf
            or (name == "log" and first <= 0)
        ):
            wanted = (
                "int(a,b) with ints a < b"
                if kind is int
                else "log(a,b) with 0 < a < b or lin(a,b) with a < b"
            )
            raise ValueError(f"--random {key} must be {wanted}, got {text!r}.")
        random = np.random.default_rng(zlib.crc32(key.encode())).random(count)
        columns[key] = [_quantile(name, first, last, float(u)) for u in random]
    return spec.zipped(**columns)


def _quantile(name: str, low: float, high: float, share: float) -> float:
    if name == "int":
        return low + int(share * (high - low + 1))
    value = low * (high / low) ** share if name == "log" else low + share * (high - low)
    return min(max(float(f"{value:.{_DIGITS}g}"), low), high)
