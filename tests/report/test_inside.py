"""What the page of a report shows of stored analyses, against what is stored."""

import csv
import dataclasses
import json
import re

import numpy as np
import pytest

from rdt_jax.analysis import (
    answers,
    fourier,
    geometry,
    lens,
    patching,
    stored,
)
from rdt_jax.report import inside, inside_charts, rendering
from tests import fake_inside as planted
from tests import fake_runs
from tests.report.conftest import DECAYS, LOOPS, SEEDS
from tests.report.test_browser import until

MEMORIZED, BEFORE, PASSED = (
    "memorized-after-20", "id_generalized-before-30", "ood_generalized-after-90",
)  # fmt: skip
JUMPS = {"train": 20, "id": 40, "ood": 60}


@pytest.fixture
def make_run(tmp_path, monkeypatch):
    """Returns a function that makes a run with checkpoints and stored results."""
    monkeypatch.setattr(stored, "check_table", lambda run: None)
    monkeypatch.setattr(stored.tasks, "make_table", lambda config: None)
    monkeypatch.setattr(stored, "read_params", lambda run, name: {0: {}})

    def make(results, seed=0, kept=("final-after-90",), **options):
        run = fake_runs.make(jumps=options.pop("jumps", JUMPS), seed=seed, **options)
        folder = tmp_path / run.run_id
        status = {**run.status, "step": 90}
        run = dataclasses.replace(run, folder=folder, status=status)
        for name in kept:
            (folder / "transitions" / name).mkdir(parents=True)
            (folder / "transitions" / name / "manifest.json").write_text("{}")
        for (what, name), result in results.items():
            table = stored.RUN_MEASURES if name == stored.RUN else stored.MEASURES
            monkeypatch.setitem(table, what, _measure(result))
            stored.compute(stored.Job(run, what, name))
        return run

    return make


def _measure(result):
    def measure(params, config, table):
        return result

    measure.__annotations__["return"] = type(result)
    return measure


def lens_of(share):
    bridge = {group: [0.1, share, share / 3] for group in range(3)}
    return planted.lens_of(bridge, {0: [0, 0, 1]})


def answers_of(right):
    return answers.Answers(
        row=np.array([4]),
        split=np.array(["ood"]),
        question=np.array(["a <b>"]),
        target=np.array(["c"]),
        answer=np.array([["d", "c"]]),
        right=np.array([[False, right]]),
        probability=np.array([[0.123456, 1]]),
    )


def entry_of(found, name, run=0, stage=0):
    view = next(view for view in found["views"] if view["name"] == name)
    entry = next(e for e in view["entries"] if (e["run"], e["stage"]) == (run, stage))
    values = np.array(entry["values"], float)
    return entry, values.reshape([len(axis) for axis in entry["axes"]])


def test_stages_are_those_of_the_figures_in_the_order_of_training(make_run):
    kept = (MEMORIZED, BEFORE, PASSED, "final-after-90", "snapshot-at-40")
    names = (PASSED, "final", BEFORE, "snapshot-at-40", MEMORIZED)
    first = make_run({("lens", name): lens_of(0.5) for name in names}, kept=kept)
    only_end = make_run({("lens", "final"): lens_of(0.25)}, seed=1)
    problems = []
    found = inside.of_runs([first, only_end], problems)
    assert found["stages"] == [
        "memorized",
        "ID generalized, before",
        "update 40",
        "OOD, or the end",
    ]
    (view,) = found["views"]
    told = [(e["run"], e["stage"], e["step"]) for e in view["entries"]]
    # The end of the first run has the parameters that had passed OOD.
    assert sorted(told) == [(0, 0, 20), (0, 1, 30), (0, 2, 40), (0, 3, 90), (1, 3, 90)]
    assert not problems


def test_a_task_without_ood_has_an_end(make_run):
    run = make_run({("lens", "final"): lens_of(0.5)}, jumps={"train": 20, "id": 40})
    assert inside.of_runs([run], [])["stages"] == ["the end"]


def test_arrays_are_what_the_figures_draw(make_run):
    result = lens_of(1 / 3)
    patched = planted.patching_of([0.25, 0.5], rows=(50, patching.FEWEST - 1, 50))
    run = make_run({("lens", "final"): result, ("patching", "final"): patched})
    found = inside.of_runs([run], [])
    entry, values = entry_of(found, "lens")
    assert entry["axes"][:2] == [[*inside.READ], [*inside.DECODED]]
    assert entry["axes"][2] == [0, 1, 2]
    assert entry["places"] == [
        "embedding, block 0",
        "loop 1, block 1",
        "loop 2, block 1",
    ]
    assert entry["ends"] == [1]
    np.testing.assert_allclose(values[:3, 0], lens.bridge_at_r1(result), rtol=1e-4)
    np.testing.assert_allclose(values[:3, 1], lens.target_at_answer(result), rtol=1e-4)
    np.testing.assert_allclose(values[3], 0.02)
    assert 0.3333 in entry["values"]  # Four digits.
    entry, values = entry_of(found, "patching")
    assert entry["axes"][1] == ["h", "r1", "r2"]
    np.testing.assert_array_equal(values[0, 1], [0.25, 0.5])
    assert np.isnan(values[1]).all() and None in entry["values"]
    json.dumps(found, allow_nan=False)


def test_what_a_block_loses_is_that_of_its_head_that_loses_most(make_run):
    result = planted.knockout_of(([0.9, 0], [0, 0]), ([0, 0.7], [0, 0]))
    result.head[:, :, 1] /= 2
    found = inside.of_runs([make_run({("knockout", "final"): result})], [])
    entry, values = entry_of(found, "knockout")
    assert entry["axes"] == [[*inside.HOPS], [*inside.ASKED], [1, 2, 3, 4]]
    assert entry["ends"] == [2.5]  # Blocks are counted from 1.
    np.testing.assert_array_equal(values[0], 2 * [[0.9, 0.9, 0, 0]])
    np.testing.assert_array_equal(values[1], 2 * [[0, 0, 0.7, 0.7]])


def test_progress_has_the_steps_and_loops_of_its_run(make_run):
    draw = np.random.default_rng(0).uniform
    result = fourier.Progress(
        np.array([0, 20, 60]), np.array([True, False]), draw(size=(3, 2, 2)),
        draw(size=(3, 2)), draw(size=(3, 2)), draw(size=3),
        *(draw(size=(3, 2, 5)) for _ in range(3)), draw(size=(3, 2, 2)),
        draw(size=(3, 2, 5)), draw(size=3), draw(size=3), draw(size=3),
    )  # fmt: skip
    run = make_run({("progress", stored.RUN): result})
    found = inside.of_runs([run], [])
    entry, values = entry_of(found, "losses")
    assert entry["axes"] == [[1, 2], [*inside.LOSSES], [0, 20, 60]]
    assert entry["step"] is None and found["stages"] == ["the whole run"]
    train, id_ = (fourier.GROUPS.index(name) for name in ("train", "id"))
    np.testing.assert_allclose(values[1, 0], result.loss[:, 1, train], rtol=1e-3)
    restricted = result.restricted_loss[:, 1, id_]
    np.testing.assert_allclose(values[1, 2], restricted, rtol=1e-3)
    excluded = result.excluded_loss[:, 0, train]
    np.testing.assert_allclose(values[0, 3], excluded, rtol=1e-3)
    entry, values = entry_of(found, "spectrum")
    assert values.shape == (3, 2, 2, result.share.shape[-1])
    np.testing.assert_allclose(values[2, 1, 0], result.share[2, 1], rtol=1e-3)


def test_answers_and_numbers_are_those_that_are_stored(make_run):
    run = make_run({("answers", "final"): answers_of(True)})
    found = inside.of_runs([run], [])
    assert found["answers"] == [
        {
            "run": 0, "stage": 0, "step": 90, "question": ["a <b>"], "target": ["c"],
            "split": ["OOD"], "answer": [["d", "c"]], "right": [[0, 1]],
            "probability": [[0.1235, 1.0]],
        }
    ]  # fmt: skip
    provenance = stored.read_provenance(run, "answers", "final")
    told = {"what": "answers", "numbers": provenance["summary"]}
    assert found["numbers"] == [{"run": 0, "stage": 0, "step": 90, **told}]
    assert not found["views"]


def test_what_cannot_be_shown_is_told_and_the_rest_is_there(make_run):
    whole = make_run({("lens", "final"): lens_of(0.5)})
    other = make_run(
        {("lens", "final"): lens_of(0.5), ("answers", "final"): answers_of(True)}, 1
    )
    record = stored.path_of(other, "lens", "final").with_suffix(".json")
    told = json.loads(record.read_text())
    record.write_text(json.dumps(told | {"arguments": {"per_group": 3}}))
    stored.path_of(other, "answers", "final").with_suffix(".json").write_text("{")
    lost = dataclasses.replace(whole, status={"state": "missing"})
    problems = []
    found = inside.of_runs([whole, other, lost], problems)
    assert [e["run"] for e in found["views"][0]["entries"]] == [0]
    damaged, old = sorted(problems, key=lambda text: text.startswith("Run"))
    assert "answers-final" in damaged and f"Run {other.run_id} has 1 analysis" in old
    assert "lens-final" in old and "rdt analyze" in old


def test_arrays_that_are_too_large_for_a_page_are_left_out_and_told(
    make_run, monkeypatch
):
    rank = planted.geometry_of([0.1, 0.2, 0.3])
    run = make_run({("lens", "final"): lens_of(0.5), ("geometry", "final"): rank})
    monkeypatch.setattr(inside, "MOST_NUMBERS", 23)  # One less than the lens has.
    problems = []
    found = inside.of_runs([run], problems)
    assert [view["name"] for view in found["views"]] == ["geometry"]
    (problem,) = problems
    assert problem.startswith("Lens") and "24 numbers" in problem
    _, values = entry_of(found, "geometry")
    np.testing.assert_allclose(values, geometry.alignment(rank), atol=1e-4)


def test_runs_without_analyses_have_no_views(make_run):
    nothing = {"stages": [], "views": [], "answers": [], "numbers": []}
    assert inside.of_runs([fake_runs.make(jumps=JUMPS)], []) == nothing
    assert inside.of_runs([make_run({})], []) == nothing


def test_a_chart_draws_the_axes_of_its_view():
    specs = inside_charts.specs()
    assert [*specs] == [f"inside.{name}" for name in inside.VIEWS]
    for name, view in inside.VIEWS.items():
        used = set(re.findall(r'"field": "(\w+)"', json.dumps(specs[f"inside.{name}"])))
        drawn = {"x", "y", "line", "dash", "column"}.intersection(view.axes)
        assert drawn <= used <= drawn | {"value", "cell", "place", "end", "seen"}, name


# In a browser.

ROOT = ".inside"
POINTS = f"{ROOT} svg g.mark-symbol.role-mark path"
# The points of a panel that Vega draws: [[line, dash, x, median], ..].
DRAWN = """paths => paths.map(({__data__: {datum}}) =>
  [datum.cell, datum.line, datum.dash, datum.x, datum.median_value])"""


@pytest.fixture
def looked_into(reported, make_run):
    """The runs of the page with a lens and answers at two stages, and their page."""
    shares = np.random.default_rng(0).uniform(0.1, 0.9, size=18).round(2).tolist()
    places = [(n, decay, seed) for n in LOOPS for decay in DECAYS for seed in SEEDS]
    runs = [
        make_run(
            {
                ("lens", MEMORIZED): lens_of(share / 2),
                ("lens", PASSED): lens_of(share),
                ("answers", MEMORIZED): answers_of(False),
                ("answers", PASSED): answers_of(True),
            },
            seed=seed,
            kept=(MEMORIZED, PASSED, "final-after-90"),
            loops=loops,
            decay=decay,
        )
        for (loops, decay, seed), share in zip(places, shares, strict=True)
    ]
    found = inside.of_runs(runs, [])
    for view in found["views"]:
        view["entries"].reverse()
    return runs, reported.written(inside=found).path


def medians(runs, checkpoint, group):
    """Returns the medians over runs of the bridge at r1 by effective depth."""
    found = [stored.load(run, "lens", checkpoint) for run in runs]
    return np.median([lens.bridge_at_r1(each)[group] for each in found], axis=0)


def drawn(page, cell, line, dash):
    points = page.locator(POINTS).evaluate_all(DRAWN)
    return [
        p[4] for p in sorted(points, key=lambda p: p[3]) if p[:3] == [cell, line, dash]
    ]


@pytest.mark.browser
def test_a_slider_goes_through_the_stages(looked_into, visit):
    runs, path = looked_into
    page = visit(path, "cell=2&cell=4&in.view=lens")
    page.locator(POINTS).first.wait_for(state="attached")
    slider = page.locator(f"{ROOT} input[data-inside=stage]")
    assert slider.get_attribute("aria-valuetext") == "OOD, or the end"
    cell = "R = 2, decay 0.03, n = 3"
    at_end = medians(runs[6:9], PASSED, 2)
    found = drawn(page, cell, "OOD", "bridge at r1")
    np.testing.assert_allclose(found, at_end, rtol=1e-3)
    assert not drawn(page, "R = 1, decay 0.03, n = 3", "OOD", "bridge at r1")
    titles = page.locator(
        f"{ROOT} svg g.role-column-title text, {ROOT} g.role-title text"
    )
    texts = [text for text in titles.all_text_contents() if text.startswith("R = ")]
    assert texts == [cell, "R = 4, decay 0.03, n = 3"]  # Entries come in another order.
    slider.fill("0")
    until(page, f"document.querySelector('{ROOT} output').textContent === 'memorized'")
    page.locator(f"{ROOT} .chart").evaluate("async (node) => void (await node.queue)")
    before = medians(runs[6:9], MEMORIZED, 2)
    found = drawn(page, cell, "OOD", "bridge at r1")
    np.testing.assert_allclose(found, before, rtol=1e-3)
    assert "in.stage=0" in page.url
    assert "after 20 updates, 6 runs" in page.locator(f"{ROOT} .caption").inner_text()


@pytest.mark.browser
def test_one_run_is_shown_alone(looked_into, visit):
    runs, path = looked_into
    page = visit(path, "cell=2&in.view=lens&in.run=7")
    page.locator(POINTS).first.wait_for(state="attached")
    found = drawn(page, "R = 2, decay 0.03, n = 1", "ID", "bridge at r1")
    np.testing.assert_allclose(found, medians(runs[7:8], PASSED, 1), rtol=1e-3)
    chosen = page.locator(f"{ROOT} [data-inside=run] option:checked").inner_text()
    assert chosen.startswith("R = 2, decay 0.03, seed 1")


@pytest.mark.browser
def test_answers_stand_by_loops_and_follow_the_slider(looked_into, visit):
    _, path = looked_into
    page = visit(path, "cell=2")
    cells = page.locator(f"{ROOT} tbody tr").locator("th, td")
    assert cells.all_text_contents() == [
        "a <b>",
        "OOD",
        "c",
        "✗ wrong: d 0.12",
        "✓ right: c 1.00",
    ]
    assert "1 of 1 right" in page.locator(f"{ROOT} thead").inner_text()
    page.locator(f"{ROOT} input[data-inside=stage]").fill("0")
    until(page, f"document.querySelectorAll('{ROOT} td.right').length === 0")
    assert cells.last.text_content() == "✗ wrong: c 1.00"
    page.locator(f"{ROOT} [data-inside=view]").select_option("numbers")
    until(page, f"document.querySelectorAll('{ROOT} tbody tr').length > 3")
    row = page.locator(f"{ROOT} tbody tr", has_text="right after 2 loops")
    assert row.locator(".number").all_inner_texts() == ["0", "1"]


@pytest.mark.browser
def test_long_answers_fit_a_narrow_page(looked_into, visit):
    _, path = looked_into
    made = json.loads(re.search(r'id="data">(.*?)</script>', path.read_text())[1])
    for entry in made["sweeps"][0]["inside"]["answers"]:
        entry["question"], entry["target"] = ["a long question " * 20], ["b " * 90]
    narrow = path.with_name("narrow.html")
    narrow.write_text(rendering.render(made))
    page = visit(narrow, "cell=2", viewport={"width": 400, "height": 900})
    page.locator(f"{ROOT} td.wrong").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


@pytest.mark.browser
def test_a_view_is_saved_at_all_stages(looked_into, visit, tmp_path):
    runs, path = looked_into
    page = visit(path, "cell=2&in.view=lens")
    with page.expect_download() as download:
        page.locator(f"{ROOT} .downloads button").click()
    download.value.save_as(tmp_path / "lens.csv")
    with (tmp_path / "lens.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 2 * 4 * 2 * 3  # seeds, stages, lines, words, depths
    found = [
        float(row["value"])
        for row in rows
        if (row["run_id"], row["stage"]) == (runs[8].run_id, "memorized")
        and (row["line"], row["dash"]) == ("OOD", "bridge at r1")
    ]
    np.testing.assert_allclose(found, medians(runs[8:9], MEMORIZED, 2), rtol=1e-3)


@pytest.mark.browser
def test_a_sweep_without_analyses_says_how_to_make_some(reported, visit):
    page = visit(reported.path)
    text = page.locator(ROOT).inner_text()
    folder = reported.members[0].folder.parent / "sweeps" / "depth"
    assert f"rdt analyze {folder} --what=answers --checkpoint=memorized-after" in text
