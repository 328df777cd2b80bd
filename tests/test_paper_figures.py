"""Pictures of the pages: each says what it was drawn from, and can be drawn."""

import json
import re

import pytest
from PIL import Image

from rdt_jax import cli
from tests.conftest import ROOT
from tests.experiments.test_studies import presets_of, study_of

PAGE = ROOT / "docs" / "paper_figures.md"
READMES = [ROOT / "README.md", *sorted(ROOT.glob("experiments/*/README.md"))]
_ROW = r"\| `(\w+)` \| \[?`(\w+)`(?:\]\(\S+\))? \| (\w+)(, not run yet)? \|$"
FOUND = re.findall(_ROW, PAGE.read_text(), re.M)
ROWS = [row[:3] for row in FOUND]
# Of learned stages, which runs of a minute do not pass.
LEARNED = {"hops_by_loops", "matched", "ratios", "margins", "by_hops"}


@pytest.mark.parametrize("page", READMES, ids=lambda page: page.parent.name)
def test_every_picture_of_a_readme_says_which_runs_and_code_it_was_drawn_from(page):
    text = page.read_text()
    named = {*re.findall(r"\]\(([\w/]+\.png)\)", text)}
    gone = [name for name in named if not (page.parent / name).exists()]
    assert not gone
    for name in named:
        with Image.open(page.parent / name) as image:
            origin = json.loads(image.text["provenance"])
        assert origin["runs"] and origin["commits"] and origin["drawn_with"], name


def test_rows_name_presets_and_every_study_of_a_table():
    assert len(ROWS) > 15
    for name, _, preset in ROWS:
        assert preset in presets_of(study_of(name)), (name, preset)


def test_the_page_says_what_was_run_and_how_it_came_out():
    sweeps = json.loads((PAGE.parent / "scorecard.json").read_text())["sweeps"]
    names = {sweep["sweep"] for sweep in sweeps}
    for study, _, preset, not_run in FOUND:
        assert bool(not_run) == (f"{study}-{preset}" not in names), (study, preset)
    for study in {study for study, _, _ in ROWS}:
        own = [sweep for sweep in sweeps if sweep["study"] == study]
        counted = max(own, key=lambda sweep: sweep["updates"])
        verdicts = [claim["verdict"] for claim in counted["claims"]]
        number = lambda kind: sum(each.startswith(kind) for each in verdicts)  # noqa: B023
        counts = ", ".join(str(number(kind)) for kind in ("holds", "fails", "not"))
        preset = counted["sweep"].removeprefix(f"{study}-")
        said = rf"^\| `{study}` \| .* \| {preset} \| {counts} \|$"
        assert re.search(said, PAGE.read_text(), re.M), (study, preset, counts)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", sorted({study for study, _, _ in ROWS}))
def test_each_target_draws_what_the_page_names(name, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    where = [f"experiments/{name}", "--preset=smoke", f"--workdir={tmp_path}"]
    assert cli.main(["sweep", *where]) == 0
    folder = tmp_path / "sweeps" / f"{name}-smoke" / "figures"
    for path in folder.iterdir():
        path.unlink()
    assert cli.main(["figures", *where]) == 0  # What `make fig-NAME` runs.
    named = {figure for study, figure, _ in ROWS if study == name}
    assert named - LEARNED <= {path.stem for path in folder.glob("*.png")}
