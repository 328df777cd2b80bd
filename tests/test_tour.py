"""docs/tour.ipynb: its cells are run, as a script here and as a notebook with nbclient.

`python -m tests.test_tour` runs the notebook and writes its outputs again.
"""

import os
import pathlib
import re
import sys
import tempfile

import matplotlib
import nbclient
import nbformat
import pytest

from tests.conftest import ROOT

NOTEBOOK = ROOT / "docs" / "tour.ipynb"


def run(folder: pathlib.Path) -> nbformat.NotebookNode:
    """Runs the notebook in a folder and returns it with its outputs."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    client = nbclient.NotebookClient(notebook, timeout=600, resources=resources)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *sys.path])
    client.execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # When it was run.
    return notebook


def text_of(cell: nbformat.NotebookNode) -> str:
    outputs = cell.get("outputs", ())
    data = [output.get("data", {}).get("text/plain", "") for output in outputs]
    return "".join([*data, *(output.get("text", "") for output in outputs)])


def test_what_is_committed_is_small_and_of_no_machine():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    text = NOTEBOOK.read_text()
    assert len(text) < 100_000
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert sum("image/png" in str(cell.outputs) for cell in cells) == 1
    assert "Error" not in text and not re.search(r"/(home|root|tmp|Users|work)/", text)


@pytest.mark.slow
def test_its_cells_are_a_script(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    whole = '"knowledge_composition:smoke"'
    small = f"rdt.load_config({whole}, {{'model.core_blocks': 1}})"  # As on python.md.
    backend, names = matplotlib.get_backend(), {}
    matplotlib.use("agg")
    try:
        for cell in notebook.cells:
            if cell.cell_type == "code":
                source = cell.source.replace(whole, small)
                exec(compile(source, "tour.ipynb", "exec"), names)
    finally:
        matplotlib.pyplot.close("all")
        matplotlib.use(backend)
    assert len(names["asked"].answers) == 6 and names["asked"].split == "train"
    assert {*names["frame"].num_loops} == {1, 2}


@pytest.mark.exhaustive
def test_it_runs_in_a_kernel(tmp_path):
    before = nbformat.read(NOTEBOOK, as_version=4).cells
    cells = run(tmp_path).cells
    assert [cell.source for cell in cells] == [cell.source for cell in before]
    for cell, stored in zip(cells, before, strict=True):
        if "print" in cell.source:  # An answer: of the same bits, the same words.
            assert len(text_of(cell).splitlines()) == len(text_of(stored).splitlines())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(run(pathlib.Path(folder)), NOTEBOOK)
