"""The scorecard that a repository keeps: the claims of all studies, as last judged.

card = scorecard.read(path)  # empty if there is no file
card = card.updated(judged, studies)
files.write_text(path, card.text())
"""

import dataclasses
import json
import pathlib
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from rdt_jax.analysis.claims import Claim
from rdt_jax.store import files


@dataclasses.dataclass(frozen=True)
class JudgedSweep:
    """The claims of a study on one sweep, and what they were judged on."""

    sweep: str  # name of its folder; a scorecard has one entry of it
    study: str
    page: str  # README of the study, relative to the scorecard; empty if elsewhere
    runs: int
    unfinished: int  # runs that may still train, are missing or cannot be read
    updates: int  # trained so far, over all runs
    claims: Sequence[Claim]


@dataclasses.dataclass(frozen=True)
class Scorecard:
    """Sweeps as last judged: by study, the one with the most updates first."""

    sweeps: Sequence[JudgedSweep] = ()
    not_run: Sequence[str] = ()  # studies with claims and no sweep here, by name

    def updated(self, judged: Sequence[JudgedSweep], studies: Iterable[str]) -> Self:
        """Returns it with judged sweeps in place of those of the same names.

        Args:
          judged: sweeps, each with a name of its own.
          studies: names of studies that have claims, also those that are there.
        """
        found = {each.sweep: each for each in (*self.sweeps, *judged)}.values()
        order = lambda each: (each.study, -each.updates, each.sweep)
        not_run = {*self.not_run, *studies} - {each.study for each in found}
        return dataclasses.replace(
            self, sweeps=sorted(found, key=order), not_run=sorted(not_run)
        )

    def text(self) -> str:
        """Returns what its file holds."""
        content = dataclasses.asdict(self)
        for sweep, stored in zip(self.sweeps, content["sweeps"], strict=True):
            for claim, values in zip(sweep.claims, stored["claims"], strict=True):
                values["verdict"] = claim.verdict
        return json.dumps(content, indent=2) + "\n"


def read(path: pathlib.Path) -> Scorecard:
    """Reads a scorecard; empty if there is no file.

    Raises:
      ValueError: if the file is damaged, or is no scorecard.
    """
    if not path.exists():
        return Scorecard()
    content = files.read_json(path)
    try:
        card = Scorecard([*map(_sweep, content["sweeps"])], content["not_run"])
        if json.loads(card.text()) == content:
            return card
        problem = "it has other content"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"{type(error).__name__}: {error}"
    raise ValueError(
        f"{path} is not a scorecard that `rdt claims --write` made ({problem}). It is "
        "left as it is, and nothing is written; restore it, or give another file."
    )


def _sweep(values: Mapping[str, Any]) -> JudgedSweep:
    claims = [
        Claim(**_checked(Claim, {k: v for k, v in claim.items() if k != "verdict"}))
        for claim in values["claims"]
    ]
    others = {key: value for key, value in values.items() if key != "claims"}
    return JudgedSweep(**_checked(JudgedSweep, others), claims=claims)


def _checked(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    """Returns values of a dataclass; ValueError if one is of another type."""
    hints = typing.get_type_hints(kind)
    for name, value in values.items():
        if not isinstance(value, hints[name]):
            raise ValueError(f"{name} is {value!r}")
    return values
