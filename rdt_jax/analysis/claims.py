"""What a published claim is worth on our runs: a verdict and its numbers."""

import dataclasses
import json
from collections.abc import Mapping, Sequence

from rdt_jax.analysis.runs import Run


@dataclasses.dataclass(frozen=True)
class Claim:
    """One claim, judged."""

    text: str  # the claim as it is tested here, in one sentence
    source: str  # authors, year, arXiv id and place
    expected: str  # finding of the source, in its numbers where it has any
    measured: str  # our numbers; where the runs cannot decide, also what is missing
    holds: bool | None  # None where no run of this preset decides it
    seeds: int  # fewest seeds behind any number of `measured`; 0 without a run
    preset: str = ""  # preset of the study that was run; the command fills it in

    @property
    def verdict(self) -> str:
        """`holds`, `fails` or `not tested at this preset`."""
        if self.holds is None:
            return "not tested at this preset"
        return "holds" if self.holds else "fails"


def judge(
    text: str,
    *,
    source: str,
    expected: str,
    measured: str,
    holds: bool | None,
    missing: Sequence[str] = (),
    runs: Sequence[Run],
) -> Claim:
    """Makes a claim that is not tested as long as anything is missing.

    Args:
      measured: our numbers, without a period.
      missing: runs or numbers that a verdict waits for.
    """
    if missing:
        measured = f"{measured}; missing: {', '.join(missing)}"
    return Claim(
        text=text,
        source=source,
        expected=expected,
        measured=f"{measured}.",
        holds=None if missing else holds,
        seeds=fewest_seeds(runs),
    )


def majority(right: int, wrong: int, undecided: int) -> bool | None:
    """Says whether most runs are right; None if those undecided could turn it.

    `undecided` may turn out either way, or not to count at all. It is None, too, if
    there is no run.
    """
    lead = right - wrong
    if lead > undecided:
        return True
    return False if right + wrong and lead + undecided <= 0 else None


def by_outcome(notes: Mapping[str, Sequence[str]]) -> str:
    """Lists runs by what became of them: `gained: R = 5 .8; did not: R = 2 .1`.

    What is said of each run stands by outcome; an empty one is left out.
    """
    parts = [f"{outcome}: {', '.join(said)}" for outcome, said in notes.items() if said]
    return "; ".join(parts) or "not measured"


def fewest_seeds(runs: Sequence[Run]) -> int:
    """Returns the least number of seeds that any config has; 0 without a run.

    A run that is missing or unreadable is behind no number.
    """
    seeds: dict[str, set[int]] = {}
    for run in runs:
        config = run.config.to_dict()
        seed = config.pop("seed")
        own = seeds.setdefault(json.dumps(config, sort_keys=True), set())
        if not run.is_lost:
            own.add(seed)
    return min(map(len, seeds.values()), default=0)
