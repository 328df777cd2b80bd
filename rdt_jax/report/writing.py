"""Writes a report: one file of HTML, which shows sweeps without a network.

writing.write([(workdir, plan)], workdir / "report.html")
"""

import pathlib
from collections.abc import Sequence
from typing import Any

from rdt_jax.report import data, rendering
from rdt_jax.store import files
from rdt_jax.sweep import spec


def write(
    sweeps: Sequence[tuple[pathlib.Path, spec.Plan]],
    out: pathlib.Path,
    *,
    refresh: float | None = None,
    problems: Sequence[str] = (),
) -> dict[str, Any]:
    """Writes the page of some sweeps, whole or not at all, and returns its data.

    Args:
      sweeps: workdir and plan of each, in the order of the page.
      out: file that is written; its folder is made.
      refresh: seconds after which it is written again; None: never.
      problems: what cannot be shown, as in `data.of_sweeps`.
    """
    found = data.of_sweeps(sweeps, refresh=refresh, problems=problems)
    out.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(out, rendering.render(found))
    return found
