"""Writes figures that say which runs and which code they come from."""

import importlib.metadata
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import transforms
from matplotlib.figure import Figure

from rdt_jax.analysis.runs import Run
from rdt_jax.figures import numbers
from rdt_jax.store import environment, files

_DOTS_PER_INCH = 200
_WARNING, _ROOM = 8.0, 0.24  # points, inches
_DRAWN_WITH = ("matplotlib", "numpy", "rdt_jax")


def provenance(
    runs: Sequence[Run], study: pathlib.Path | None = None
) -> dict[str, Any]:
    """Says where the numbers of a figure come from; a JSON value.

    Returns:
      `runs`: the run ids, sorted. `lost`: those of them that are missing or unreadable,
      and which of both. `commits`: those that trained them, sorted; none of a run that
      has not started. `trained_with`: package -> the versions that trained them,
      sorted. `drawn_with`: package -> the version that draws. `study`: commit and hash
      of its file.
    """
    segments = [
        segment
        for run in runs
        if not run.is_lost
        for segment in environment.read(run.folder)["segments"]
    ]
    trained_with: dict[str, set[str]] = {}
    for segment in segments:
        for name, version in segment.get("versions", {}).items():
            trained_with.setdefault(name, set()).add(version)
    commits = {segment.get("commit") for segment in segments}
    return {
        "runs": sorted(run.run_id for run in runs),
        "lost": {run.run_id: run.status["state"] for run in runs if run.is_lost},
        "commits": sorted(commit for commit in commits if commit),
        "trained_with": {
            name: sorted(versions) for name, versions in sorted(trained_with.items())
        },
        "drawn_with": {name: importlib.metadata.version(name) for name in _DRAWN_WITH},
        "study": environment.of_files([study]) if study else None,
    }


def mark(figure: Figure, text: str) -> None:
    """Writes a warning over a figure, on room that is added; nothing if it is empty."""
    if text:
        height = figure.get_figheight()
        place = 0.1 / figure.get_figwidth(), 1 + 0.06 / height
        figure.text(*place, text, va="bottom", fontsize=_WARNING, color="#b00000")


def save(
    figure: Figure,
    path_without_suffix: pathlib.Path,
    provenance: Mapping[str, Any],
) -> list[pathlib.Path]:
    """Writes a figure as PNG, as PDF and as numbers, and returns the three paths.

    Their folder is made. The files hold no date: the same figure with the same
    provenance is the same bytes.

    Args:
      path_without_suffix: `.png`, `.pdf` and `.json` are appended.
      provenance: a JSON value, kept in the PNG's text chunk `provenance`, in the PDF's
        Keywords and in the JSON beside `numbers`.
    """
    text = json.dumps(provenance, sort_keys=True)
    metadata = {
        "png": {"provenance": text},
        "pdf": {
            "Keywords": text,
            "Subject": "Figure of rdt_jax; the keywords name its runs and code.",
            "CreationDate": None,
        },
    }
    path_without_suffix.parent.mkdir(parents=True, exist_ok=True)
    paths = []
    for suffix, entries in metadata.items():
        # Not `with_suffix`, which would cut a name such as `wd-0.1`.
        path = path_without_suffix.with_name(f"{path_without_suffix.name}.{suffix}")
        figure.savefig(
            path,
            format=suffix,
            dpi=_DOTS_PER_INCH,
            metadata=entries,
            bbox_inches=_page(figure),
        )
        paths.append(path)
    path = path_of_numbers(path_without_suffix)
    content = {"provenance": provenance, "numbers": numbers.of(figure)}
    files.write_text(path, json.dumps(content) + "\n")
    return [*paths, path]


def path_of_numbers(path_without_suffix: pathlib.Path) -> pathlib.Path:
    """Returns where `save` writes the numbers of a figure."""
    return path_without_suffix.with_name(f"{path_without_suffix.name}.json")


def read_numbers(path: pathlib.Path) -> dict[str, Any]:
    """Reads the numbers that `save` wrote."""
    return files.read_json(path)["numbers"]


def read_notes(path_without_suffix: pathlib.Path) -> list[str]:
    """Reads how a figure was measured; nothing where it has no numbers beside it."""
    path = path_of_numbers(path_without_suffix)
    return read_numbers(path).get("notes", []) if path.exists() else []


def _page(figure: Figure) -> transforms.Bbox:
    """Returns the figure in inches, with the room over it that `mark` wrote on."""
    is_marked = any(text.get_position()[1] > 1 for text in figure.texts)
    width, height = figure.get_size_inches()
    return transforms.Bbox.from_bounds(0, 0, width, height + _ROOM * is_marked)
