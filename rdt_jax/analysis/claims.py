"""What a published claim is worth on our runs: a verdict, its numbers and its test.

claim = claims.judge(
    "Two loops need fewer updates than one.",
    source="A and B (2020), arXiv:2001.00001", expected="half", measured="a third",
    holds=True, runs=runs, test="rank-sum over runs", p_value=0.004,
)
claims.after_holm([claim, *others])  # as a study's claims are shown
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence

from rdt_jax import config as configs
from rdt_jax import wording
from rdt_jax.analysis import statistics
from rdt_jax.analysis.runs import SEEDS, Run

LEVEL = 0.05  # that a p-value, adjusted for all of its study, must not exceed


@dataclasses.dataclass(frozen=True)
class Claim:
    """One claim, judged.

    Runs that differ in `seed` and `task.seed` alone replicate each other. `seeds` and
    `graphs` are counted for each config, lost runs left out; the least counts say how
    little a verdict may rest on.
    """

    text: str  # the claim as it is tested here, in one sentence
    source: str  # authors, year, arXiv id and place
    expected: str  # finding of the source, in its numbers where it has any
    measured: str  # our numbers; where the runs cannot decide, also what is missing
    holds: bool | None  # None where no run of this preset decides it
    seeds: int  # fewest replicates, pairs (task.seed, seed), of any config; 0: no run
    graphs: int  # fewest values of task.seed, each a graph or split, of any config
    test: str = ""  # statistical test or counting rule that made the verdict, in short
    p_value: float | None = None  # of that test; None of a count without an error rate
    adjusted_p: float | None = None  # for all tests of the study; see `after_holm`
    preset: str = ""  # preset of the study that was run; the command fills it in

    @property
    def verdict(self) -> str:
        """`holds`, `fails` or `not tested at this preset`."""
        if self.holds is None:
            return "not tested at this preset"
        return "holds" if self.holds else "fails"

    @property
    def judged_by(self) -> str:
        """Test, p-values, sample: `sign test, p = 0.01 (0.02 after Holm); 4 seeds`."""
        said = self.test or "no test named"
        if self.p_value is not None:
            said += f", p = {self.p_value:.2g}"
        if self.adjusted_p is not None:
            said += f" ({self.adjusted_p:.2g} after Holm)"
        graphs = wording.count(self.graphs, "graph")
        return f"{said}; {wording.count(self.seeds, 'seed')}, {graphs}"


def judge(
    text: str,
    *,
    source: str,
    expected: str,
    measured: str,
    holds: bool | None,
    missing: Sequence[str] = (),
    runs: Sequence[Run],
    test: str,
    p_value: float | None = None,
) -> Claim:
    """Makes a claim that is not tested as long as anything is missing.

    Args:
      measured: our numbers, without a period.
      missing: runs or numbers that a verdict waits for.
      runs: those behind the numbers, by which seeds and graphs are counted.
      test: short name of the statistical test or counting rule that made the verdict,
        such as `rank-sum over runs` or `count of runs`.
      p_value: two-sided p of that test if nothing were there (no difference, a fair
        coin), before any correction. Either verdict rests on it: `after_holm` opens a
        claim whose p is too large, whether it would hold or fail. None where the
        verdict is a count without an error rate.

    Raises:
      ValueError: if `test` is empty, or `p_value` is not in [0, 1].
    """
    if not test or not 0 <= (p_value or 0) <= 1:
        raise ValueError(
            f"p_value must be in [0, 1] and have the name of its test, got {p_value} "
            f"and {test!r}."
        )
    claim = Claim(
        text=text,
        source=source,
        expected=expected,
        measured=f"{measured}.",
        holds=holds,
        seeds=fewest_seeds(runs),
        graphs=fewest_seeds(runs, ("task.seed",)),
        test=test,
        p_value=p_value,
    )
    return _opened(claim, missing) if missing else claim


def _opened(claim: Claim, missing: Sequence[str]) -> Claim:
    measured = f"{claim.measured.removesuffix('.')}; missing: {', '.join(missing)}."
    return dataclasses.replace(claim, holds=None, measured=measured)


def after_holm(claims: Sequence[Claim]) -> list[Claim]:
    """Returns the claims of a study with p-values that account for each other.

    All tests of the claims are adjusted together (Holm), and a claim whose p is above
    LEVEL then is not tested: more runs may decide it. So the chance that any verdict
    with a p is wrong is at most LEVEL. A claim without p stays as it is.
    """
    p_values = [each.p_value for each in claims if each.p_value is not None]
    adjusted = iter(statistics.holm(p_values))
    found = []
    for claim in claims:
        if claim.p_value is not None:
            p_value = next(adjusted)
            claim = dataclasses.replace(claim, adjusted_p=p_value)
            if p_value > LEVEL and claim.holds is not None:
                tests = f"{p_value:.2g} after Holm over {len(p_values)}"
                claim = _opened(claim, [f"more runs (p = {tests}, above {LEVEL})"])
        found.append(claim)
    return found


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


def fewest_seeds(
    runs: Sequence[Run], keys: Sequence[str] = ("task.seed", "seed")
) -> int:
    """Returns the least number of replicates that any config has; 0 without a run.

    Replicates have a config in common but for SEEDS, and each its own values of `keys`.
    A run that is missing or unreadable is behind no number.
    """
    values: dict[str, set[tuple[int, ...]]] = {}
    for run in runs:
        config = configs.leaves(run.config)
        own = tuple(config[key] for key in keys)
        shared = {key: value for key, value in config.items() if key not in SEEDS}
        found = values.setdefault(json.dumps(shared, sort_keys=True), set())
        if not run.is_lost:
            found.add(own)
    return min(map(len, values.values()), default=0)
