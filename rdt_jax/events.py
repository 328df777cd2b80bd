"""Which phases a run has: the built-in ones, and those that its config declares.

    key = {"phases.further": "deep: depth@8 >= 0.5, two_hops: id[hops=2] >= 0.95"}
    for phase in events.declared(configs.override(config, key)):
        print(phase.name, phase.watched, phase.loops, phase.threshold, phase.awaited)

A phase is a name, a watched accuracy and a threshold. The accuracy is that on a split,
or on its rows with one value of a tag, after as many loops as `@` says; without it as
many as in training, of depth `phases.depth_loops`. When one has completed is said by
training/phases.py.
"""

import dataclasses
import re

import ml_collections

# The phase of a split -> the split; the key `phases.<phase>` is its threshold, and none
# leaves it out. Tables show them in this order, before those of `phases.further`.
BUILT_IN = {
    "memorized": "train",
    "id_generalized": "id",
    "ood_generalized": "ood",
    "depth_generalized": "depth",
}
HOP_LEARNED = "hop_learned"  # Of a stage of the curriculum.
# What a further phase cannot be called: transitions/ names other parameters so.
TAKEN = (*BUILT_IN, HOP_LEARNED, "final", "snapshot")

_PHASE = re.compile(r"\s*(\w+)\s*:\s*(\S.*?)\s*>=\s*([-+.\w]+)\s*")
_WATCHED = re.compile(r"(.*?)(?:@(\d+))?")


@dataclasses.dataclass(frozen=True)
class Phase:
    """A phase that a config declares; of a run, with its chance and rows."""

    event: str  # its name in events.jsonl
    watched: str  # rows and perhaps a loop count, such as `ood` or `id[hops=2]@8`
    loops: int  # loop count of the accuracy
    threshold: float  # smoothed accuracy at which the phase has completed
    chance: float = 0.0  # accuracy of a uniform guess on the split
    rows: int = 0  # number of evaluated rows that are watched
    hops: int | None = None  # those of the curriculum's stage, of HOP_LEARNED
    awaited: bool = True  # whether the run goes on until it has completed

    @property
    def name(self) -> str:
        """Names the phase among those of a run: `hop_learned_3`."""
        return self.event if self.hops is None else f"{self.event}_{self.hops}"

    @property
    def group(self) -> str:
        """Names the watched rows as evaluations do: `id[hops=3]`."""
        return rows_and_loops(self.watched)[0]

    @property
    def split(self) -> str:
        """The split of the watched rows."""
        return self.group.partition("[")[0]


def declared(config: ml_collections.ConfigDict) -> list[Phase]:
    """Returns the phases of a config, whether or not its table has their rows."""
    levels = {name: config.phases[name] for name in BUILT_IN}
    asked = [(n, BUILT_IN[n], at) for n, at in levels.items() if at is not None]
    found = []
    for name, watched, level in [*asked, *map(parsed, config.phases.further)]:
        group, loops = rows_and_loops(watched)
        loops = loops or loops_of(config, group.partition("[")[0])
        awaited = name not in config.phases.shown
        found.append(Phase(name, watched, loops, level, awaited=awaited))
    return found


def loops_of(config: ml_collections.ConfigDict, split: str) -> int:
    """Returns the loop count at which the accuracy of a split is judged."""
    loops = config.phases.depth_loops if split == "depth" else None
    return config.recurrence.num_loops if loops is None else loops


def rows_and_loops(watched: str) -> tuple[str, int | None]:
    """Splits `id[hops=2]@8` into the rows, and the loop count if there is one."""
    found = _WATCHED.fullmatch(watched)
    assert found is not None
    return found[1], None if found[2] is None else int(found[2])


def parsed(text: str) -> tuple[str, str, float]:
    """Reads an entry of `phases.further` into name, watched accuracy and threshold.

    ValueError if it is none.
    """
    found = _PHASE.fullmatch(text)
    if found is None:
        raise ValueError(
            "phases.further must hold NAME: SPLIT >= ACCURACY, such as 'half: id >= "
            "0.5', or of rows with one value of a tag, after some loops, 'two_hops: "
            f"id[hops=2]@8 >= 0.95'; got {text!r}."
        )
    name, watched, threshold = found.groups()
    is_taken = name in TAKEN or name.startswith(HOP_LEARNED)
    if is_taken or not re.fullmatch("[a-z][a-z0-9_]*", name):
        raise ValueError(
            "phases.further must hold names of lower-case letters, digits and _, other "
            f"than {', '.join(TAKEN)}; got {text!r}."
        )
    try:
        value = float(threshold)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise ValueError(
            f"phases.further must hold phases with an accuracy in (0, 1]; got {text!r}."
        )
    group, loops = rows_and_loops(watched)
    return name, group if loops is None else f"{group}@{loops}", value


def spelled(text: str) -> str:
    """Returns the one spelling of an entry of `phases.further`: a run's name has it."""
    name, watched, threshold = parsed(text)
    return f"{name}: {watched} >= {threshold}"
