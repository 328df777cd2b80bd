"""Claims in words: one, and the scorecard of all."""

import dataclasses
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from rich.table import Table

from rdt_jax import wording
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.claims import LEVEL, Claim
from rdt_jax.analysis.runs import Run
from rdt_jax.analysis.scorecard import JudgedSweep, Scorecard
from rdt_jax.figures import terminal

# In the order of a count.
VERDICTS = ("holds", "fails", "not tested at this preset")
_STYLES: Mapping[str, str] = {"holds": "green", "fails": "red"}


def by_verdict(claims: Sequence[Claim]) -> list[Claim]:
    """Returns claims in the order in which they are read: those that hold first."""
    return sorted(claims, key=lambda claim: VERDICTS.index(claim.verdict))


def text(claim: Claim) -> str:
    """Returns a claim in four lines: verdict and claim, expected, measured, tested."""
    return (
        f"{claim.verdict.upper()}: {claim.text} ({claim.source})\n"
        f"  expected: {claim.expected}.\n"
        f"  measured: {claim.measured}\n"
        f"  judged by: {claim.judged_by}."
    )


def with_lost(claims: Sequence[Claim], runs: Sequence[Run]) -> list[Claim]:
    """Returns claims whose measured text names the runs that are lost, if any is."""
    lost = run_folders.describe_lost(runs)
    more = f" {lost}." if lost else ""
    return [
        dataclasses.replace(claim, measured=claim.measured + more) for claim in claims
    ]


def table(scores: Mapping[str, Sequence[Claim]]) -> Table:
    """Builds the scorecard for the terminal: one line per claim, by study."""
    words = ("study", "preset", "claim", "verdict")
    headings = ("study", "preset", "seeds", "graphs", "claim", "verdict")
    found = terminal.table("Claims", headings, caption=count(scores), words=words)
    for study, claims in scores.items():
        for claim in claims:
            verdict = "not tested" if claim.holds is None else claim.verdict
            found.add_row(
                study,
                claim.preset,
                str(claim.seeds),
                str(claim.graphs),
                f"{claim.text} ({claim.source})",
                verdict,
                style=_STYLES.get(claim.verdict, "dim"),
            )
        found.add_section()
    return found


def markdown(scores: Mapping[str, Sequence[Claim]]) -> str:
    """Returns claims as Markdown: a table per study, all that they say."""
    lines = ["# Claims", "", count(scores), ""]
    for study, claims in scores.items():
        lines += [f"## {study}", "", *_rows(claims), ""]
    return "\n".join(lines)


def _rows(claims: Sequence[Claim]) -> list[str]:
    """Returns a table of claims as lines of Markdown."""
    headings = ("verdict", "claim", "source", "expected", "measured", "seeds",
                "graphs", "test", "p after Holm", "preset")  # fmt: skip
    rows = [headings, ["---"] * len(headings)]
    for claim in claims:
        p_value = "" if claim.adjusted_p is None else f"{claim.adjusted_p:.2g}"
        rows.append(
            (claim.verdict, claim.text, claim.source, claim.expected, claim.measured,
             str(claim.seeds), str(claim.graphs), claim.test, p_value, claim.preset)
        )  # fmt: skip
    escaped = lambda cell: cell.replace("|", "\\|").replace("\n", " ")
    return [f"| {' | '.join(map(escaped, row))} |" for row in rows]


def page(card: Scorecard, source: str) -> str:
    """Returns the page of a scorecard as Markdown; `source` is its file, beside it."""
    counted: dict[str, JudgedSweep] = {}  # By study, the first of each.
    for each in card.sweeps:
        counted.setdefault(each.study, each)
    scores = {study: sweep.claims for study, sweep in counted.items()}
    others = [each for each in card.sweeps if each is not counted[each.study]]
    lines = ["# Scorecard", ""]
    for paragraph in (
        f"Made by `rdt claims --write` of run folders, with [{source}]({source}). A "
        "claim is a published statement, judged on our runs by a rule that its study "
        "states.",
        f"**{count(scores)}** Not run yet: {', '.join(card.not_run) or 'none'}.",
        *_READING,
        *_error_rates(scores),
    ):
        lines += [*textwrap.wrap(paragraph, 100, break_on_hyphens=False), ""]
    for sweep in (*counted.values(), *others):
        where = f" [README]({sweep.page})" if sweep.page else ""
        known = (
            f"{wording.count(sweep.runs, 'run')}, {sweep.unfinished} of them not "
            f"finished; {sweep.updates:,} updates.{where}"
        )
        lines += [
            f"## {sweep.sweep}"
            + (" (smaller, not counted)" if sweep in others else ""),
            "",
            *textwrap.wrap(known, 100, break_on_hyphens=False),
            "",
            *_rows(sweep.claims),
            "",
        ]
    return "\n".join(lines)


_READING = (
    "**fails**: the statement did not come out in our models, tasks and budgets. That "
    "is a finding, and the README of the study says what came out instead.",
    "**not tested**: these runs cannot decide it. They are too few, their budget is "
    "too short, some are not finished, or p is too large.",
    "Seeds and graphs are the fewest behind any number of a claim: runs that repeat "
    "each other, and values of `task.seed` among them, which draw the graph of facts, "
    "or the split. Of each study the sweep with the most updates is counted.",
)


def _error_rates(scores: Mapping[str, Sequence[Claim]]) -> Iterator[str]:
    """Says which verdicts have an error rate, and what is to be expected of it."""
    decided = [
        (study, claim.p_value)
        for study, claims in scores.items()
        for claim in claims
        if claim.holds is not None
    ]
    tested = Counter(study for study, p_value in decided if p_value is not None)
    counted = wording.count(len(decided) - tested.total(), "verdict")
    yield (
        f"**Error rates.** {counted} by counting runs: these have no error rate, and "
        "nobody can say how many of them are false by chance. "
        f"{wording.count(tested.total(), 'verdict')} by a statistical test."
    )
    if tested:
        places = ", ".join(f"{study} ({number})" for study, number in tested.items())
        yield (
            f"Tested are: {places}. A verdict stands where p is at most {LEVEL} once "
            "it is adjusted for all tests of its sweep (Holm); so the chance that a "
            f"study has a false one among them is at most {LEVEL}, and of "
            f"{wording.count(len(tested), 'study', 'studies')} at most "
            f"{LEVEL * len(tested):.2g} are to be expected to have one."
        )


def count(scores: Mapping[str, Sequence[Claim]]) -> str:
    """Says how many claims there are, and how many of each verdict."""
    verdicts = Counter(claim.verdict for claims in scores.values() for claim in claims)
    parts = ", ".join(f"{verdicts[verdict]} {verdict}" for verdict in VERDICTS)
    return f"{wording.count(verdicts.total(), 'claim')}: {parts}."
