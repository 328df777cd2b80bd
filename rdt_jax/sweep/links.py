"""Names for the runs of a sweep that people can read, and links of these names.

links.labels(plan.trials)  # run id -> "num_loops=2,weight_decay=0.1,seed=0"
"""

import collections
import os
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any

from rdt_jax import config as configs
from rdt_jax.sweep import spec

_MOST_BYTES = 160  # of a label; a file system takes 255


def labels(trials: Sequence[spec.Trial]) -> dict[str, str]:
    """Returns what sets each trial apart, as a name for a file, by run id.

    Other characters than letters, digits and `_.+=-,` become `_`. A long label is cut,
    and one that is not its trial's alone, or would be empty, has the run id.
    """
    keys = dict.fromkeys(key for trial in trials for key in trial.overrides)
    names = {key: name for name, key in configs.short_names(list(keys)).items()}
    found = {}
    for trial in trials:
        parts = (
            f"{names[key]}={text(value)}" for key, value in trial.overrides.items()
        )
        label = re.sub(r"[^\w.+=,-]+", "_", ",".join(parts))
        if len(label.encode()) > _MOST_BYTES:
            cut = label.encode()[:_MOST_BYTES].decode(errors="ignore")
            label = f"{cut},{trial.run_id}"
        found[trial.run_id] = label or trial.run_id
    counts = collections.Counter(found.values())
    return {
        run_id: label if counts[label] == 1 else f"{label},{run_id}"
        for run_id, label in found.items()
    }


def write(
    folder: pathlib.Path, trials: Sequence[spec.Trial], log: Callable[[str], None]
) -> None:
    """Links the runs of a sweep by their labels, in `runs` of its folder.

    A run has one link, which follows its label; links of runs that are no longer
    planned stay, unless another run has their label now. Nothing depends on them: where
    they cannot be made, that is logged.
    """
    place = folder / "runs"
    targets = {label: f"../../../{name}" for name, label in labels(trials).items()}
    planned = set(targets.values())
    try:
        place.mkdir(exist_ok=True)
        for link in [path for path in place.iterdir() if path.is_symlink()]:
            target = os.readlink(link)
            if targets.get(link.name) == target:
                del targets[link.name]
            elif link.name in targets or target in planned:
                link.unlink(missing_ok=True)
        for label, target in targets.items():
            (place / label).symlink_to(target)
    except OSError as error:
        log(f"{place} gets no more links to the runs: {error}")


def text(value: Any) -> str:
    """Writes a value as on the command line: `none`, `true`, `0.1`, `1,2`."""
    if isinstance(value, list | tuple):
        return ",".join(map(text, value))
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return str(value)
