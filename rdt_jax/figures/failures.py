"""The table of trials that failed, which ends a sweep."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from rdt_jax import wording
from rdt_jax.sweep import spec


def table(failed: Sequence[tuple[spec.Trial, Mapping[str, Any]]]) -> Table:
    """Builds the table of failed trials and their statuses."""
    built = Table(
        title=f"{wording.count(len(failed), 'trial')} failed", box=None, pad_edge=False,
        title_justify="left", caption_justify="left",
        caption=Text(
            "--retry-failed gives them another try, but those of class nan, which "
            "would repeat."
        ),
    )  # fmt: skip
    for heading in ("trial", "run", "class", "step", "what it said"):
        built.add_column(heading, justify="right" if heading == "step" else "left")
    for trial, status in failed:
        last = status.get("message", "").strip().splitlines() or [""]
        built.add_row(
            Text(spec.describe(trial.overrides)),
            trial.run_id,
            status["reason"],
            f"{status['step']:,}",
            Text(last[0][:200]),
        )
    return built
