"""Claims in words."""

from rdt_jax.analysis.claims import Claim


def text(claim: Claim) -> str:
    """Returns a claim in three lines: verdict and claim, expected, measured."""
    return (
        f"{claim.verdict.upper()}: {claim.text} ({claim.source})\n"
        f"  expected: {claim.expected}.\n"
        f"  measured: {claim.measured}"
    )
