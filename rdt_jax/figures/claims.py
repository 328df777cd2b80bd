"""Claims in words: one, and the scorecard of all."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

from rich.table import Table

from rdt_jax import wording
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.claims import Claim
from rdt_jax.analysis.runs import Run
from rdt_jax.figures import terminal

# In the order of a count.
VERDICTS = ("holds", "fails", "not tested at this preset")
_STYLES: Mapping[str, str] = {"holds": "green", "fails": "red"}


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
    """Returns the scorecard as Markdown: a table per study, all that claims say."""
    lines = ["# Claims", "", count(scores), ""]
    for study, claims in scores.items():
        lines += [
            f"## {study}",
            "",
            "| verdict | claim | source | expected | measured | judged by | preset |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        for claim in claims:
            cells = (claim.verdict, claim.text, claim.source, claim.expected,
                     claim.measured, claim.judged_by, claim.preset)  # fmt: skip
            escaped = (cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
            lines.append(f"| {' | '.join(escaped)} |")
        lines.append("")
    return "\n".join(lines)


def count(scores: Mapping[str, Sequence[Claim]]) -> str:
    """Says how many claims there are, and how many of each verdict."""
    verdicts = Counter(claim.verdict for claims in scores.values() for claim in claims)
    parts = ", ".join(f"{verdicts[verdict]} {verdict}" for verdict in VERDICTS)
    return f"{wording.count(verdicts.total(), 'claim')}: {parts}."
