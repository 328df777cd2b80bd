"""What a published claim is worth on our runs: a verdict and its numbers."""

import dataclasses
from typing import Literal

Verdict = Literal["holds", "fails", "undecided"]


@dataclasses.dataclass(frozen=True)
class Claim:
    """One claim, judged.

    Attributes:
      text: the claim as it is tested here, in one sentence.
      source: authors, year, arXiv id and place.
      verdict: `undecided` where the runs cannot tell.
      evidence: the numbers behind the verdict; for an undecided claim, what is missing.
    """

    text: str
    source: str
    verdict: Verdict
    evidence: str
