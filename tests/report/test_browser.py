"""What a reader sees and can do, in a real browser, against the run folders."""

import base64
import csv
import json

import pytest

from rdt_jax.analysis import grokking, runs
from rdt_jax.figures.cells import Sweep
from tests.conftest import ROOT
from tests.report.conftest import write

pytestmark = pytest.mark.browser

FIELDS = "[data-part=diagram] path[role=button]"
PANELS = "[data-part=curves] figure"
# Rows that Vega draws in a panel, by run and series: [[step, value], ..].
DRAWN = """async (panel) => {
  const chart = panel.querySelector('.chart');
  await chart.queue;
  const lines = {};
  for (const {run, series, step, value} of chart.result.view.data('lines'))
    (lines[`${run} ${series}`] ??= []).push([step, value]);
  return lines;
}"""


def until(page, expression):
    """Waits for what is true of a page; its policy forbids Playwright's own way."""
    for _ in range(200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"not so within 10 s: {expression}")


def drawn(page, title):
    """Returns the lines of the panel with a title."""
    panel = page.locator(PANELS).filter(has_text=title)
    panel.locator("svg g.mark-line path").first.wait_for(state="attached")
    return panel.evaluate(DRAWN)


def rounded(series, first=1):
    return [
        [step, pytest.approx(value, rel=1e-3, abs=1e-9)]
        for step, value in zip(series.steps, series.values, strict=True)
        if step >= first
    ]


def of_cell(reported, loops, decay):
    return [
        member
        for member in reported.members
        if (member.num_loops, member.config.optimizer.weight_decay) == (loops, decay)
    ]


def spread_of(reported, cell):
    """Returns the first and the last completion of OOD, as a field says them."""
    members = [run for run in reported.members if run.run_id in cell.run_ids]
    times = [grokking.grok_times(run).phases["ood_generalized"] for run in members]
    known = [time.completed for time in times if time.completed is not None]
    return f", {min(known)}-{max(known)}" if known else ""


def test_the_phase_diagram_says_the_medians(reported, visit):
    page = visit(reported.path)
    page.wait_for_selector(FIELDS)
    spoken = page.locator(FIELDS).evaluate_all(
        "paths => paths.map((path) => path.getAttribute('aria-label'))"
    )
    sweep = Sweep.of(reported.members)
    for cell in grokking.cells(reported.members, sweep.keys):
        times = cell.times["ood_generalized"]
        label = sweep.label(tuple(cell.values.values()))
        text = (
            f"{label}: OOD generalized at {times.median} {times.reached}/{times.runs}"
        )
        assert text + spread_of(reported, cell) in spoken
    assert len(spoken) == 6
    shown = page.locator("[data-part=diagram] svg").text_content()
    assert "> 230" in shown and "0/3" in shown and "3/3" in shown


def test_a_field_says_its_spread_under_the_pointer(reported, visit):
    page = visit(reported.path)
    page.locator(f"{FIELDS}[aria-label^='R = 2, decay 0.1']").hover()
    hint = page.locator("#vg-tooltip-element.visible")
    hint.wait_for()
    times = [
        grokking.grok_times(member).phases["ood_generalized"].completed
        for member in of_cell(reported, 2, 0.1)
    ]
    assert f"{min(times)}-{max(times)}" in hint.inner_text()
    assert "3/3" in hint.inner_text() and "3 seeds" in hint.inner_text()
    page.locator(f"{FIELDS}[aria-label^='R = 1, decay 0.1']").hover()
    until(
        page, "document.querySelector('#vg-tooltip-element').innerText.includes('0/3')"
    )
    assert "none arrived" in hint.inner_text()


def test_colored_by_the_accuracy_at_the_end(reported, visit):
    page = visit(reported.path)
    page.locator("[data-key=color]").select_option("final:ood")
    until(
        page,
        f"document.querySelector('{FIELDS}')?.getAttribute('aria-label').includes('0.00')",
    )
    colors = page.locator(FIELDS).evaluate_all(
        "paths => paths.map((path) => path.getAttribute('fill'))"
    )
    assert len(set(colors)) == 2  # R = 1 stays at 0; all others reach 1.
    assert "color=final%3Aood" in page.url


def test_accuracies_are_written_as_in_the_figures(reported, visit):
    values = [n / 1000 for n in range(1001)] + [n / 64 for n in range(65)]
    shown = visit(reported.path).evaluate(f"{values}.map(window.report.share)")
    assert shown == [f"{value:.2f}" for value in values]


def test_a_click_chooses_a_cell_and_another_leaves_it(reported, visit):
    page = visit(reported.path)
    page.wait_for_selector(FIELDS)
    titles = page.locator(f"{PANELS} figcaption").all_inner_texts()
    assert [title.splitlines()[0] for title in titles] == [
        "R = 1, decay 0.03", "R = 2, decay 0.03", "R = 4, decay 0.03",
    ]  # fmt: skip
    field = page.locator(f"{FIELDS}[aria-label^='R = 4, decay 0.1']")
    assert field.get_attribute("aria-pressed") == "false"
    field.click()
    page.wait_for_selector(f"{PANELS}:nth-of-type(4)")
    assert field.get_attribute("aria-pressed") == "true"
    assert page.url.endswith("#cell=0&cell=2&cell=4&cell=5")
    lines = drawn(page, "R = 4, decay 0.1")
    members = of_cell(reported, 4, 0.1)
    assert len(lines) == 9  # 3 seeds of train, ID and OOD
    for member in members:
        for group, words in (("train", "train"), ("id", "ID"), ("ood", "OOD")):
            series = runs.accuracy(member, group)
            assert lines[f"{member.run_id} {words}"] == rounded(series)
    field.click()
    until(page, f"document.querySelectorAll('{PANELS}').length === 3")


def test_the_bold_line_is_the_run_of_the_median_rank(reported, visit):
    page = visit(reported.path, "cell=3&split=ood")
    drawn(page, "R = 2, decay 0.1")
    bold = page.locator(PANELS).evaluate(
        "panel => panel.querySelector('.chart').result.view.data('lines')"
        ".filter((row) => row.width > 2).map((row) => row.run)"
    )
    median = grokking.median_run(of_cell(reported, 2, 0.1), "ood_generalized")
    assert set(bold) == {median.run_id}


def test_the_pointer_reads_the_curves(reported, visit):
    page = visit(reported.path, "cell=3&x=linear")
    drawn(page, "R = 2, decay 0.1")
    page.locator(f"{PANELS} svg").hover()  # Half of 230 updates is nearest to 110.
    hint = page.locator("#vg-tooltip-element.visible")
    hint.wait_for()
    lines = [line.split("\t") for line in hint.inner_text().splitlines()]
    values = dict(line for line in lines if len(line) == 2)
    step = int(values["updates"])
    median = grokking.median_run(of_cell(reported, 2, 0.1), "ood_generalized")
    for group, words in (("train", "train"), ("id", "ID"), ("ood", "OOD")):
        steps, accuracies = runs.accuracy(median, group)
        at = accuracies[list(steps).index(step)]
        assert float(values[words]) == pytest.approx(at, rel=0.01)


def test_events_stand_on_the_curves(reported, visit):
    page = visit(reported.path, "cell=3&split=ood")
    drawn(page, "R = 2, decay 0.1")
    marks = page.locator(PANELS).evaluate(
        "panel => panel.querySelector('.chart').result.view.data('marks')"
        ".map((row) => [row.run, row.spoken.split(':')[0], row.step, row.value])"
    )
    for member in of_cell(reported, 2, 0.1):
        completed = grokking.grok_times(member).phases["ood_generalized"].completed
        steps, values = runs.accuracy(member, "ood")
        at = values[list(steps).index(completed)]
        assert [member.run_id, "OOD generalized", completed, at] in marks


def test_the_keyboard_goes_from_field_to_field(reported, visit):
    page = visit(reported.path, "cell=0")
    page.wait_for_selector(FIELDS)
    page.wait_for_selector(f"{FIELDS}[aria-pressed=true]")
    page.locator(FIELDS).first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    focused = "document.activeElement.getAttribute('aria-label').split(':')[0]"
    assert page.evaluate(focused) == "R = 2, decay 0.1"
    page.keyboard.press("Enter")
    until(page, "location.hash === '#cell=0&cell=3'")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press(" ")
    until(page, "location.hash === '#cell=3'")
    assert page.locator("#told").inner_text() == (
        "R = 1, decay 0.03 no longer chosen; 1 cell chosen."
    )


def test_every_control_is_reached_and_named(reported, visit):
    page = visit(reported.path)
    unnamed = page.evaluate(
        "[...document.querySelectorAll('select, input, button')]"
        ".filter((each) => !each.closest('[hidden]'))"
        ".filter((each) => !(each.tagName === 'BUTTON' ? each.textContent.trim()"
        " || each.getAttribute('aria-label') : each.labels.length))"
        ".map((each) => each.outerHTML)"
    )
    assert unnamed == []
    seen = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.dataset?.key ?? ''"))
    assert {"color", "rows", "columns", "y", "x", "by", "loops", "filter"} <= seen


def test_the_slider_shows_other_loop_counts(reported, visit):
    page = visit(reported.path, "cell=2")
    drawn(page, "R = 2, decay 0.03")
    slider = page.locator("[data-key=loops]")
    slider.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    assert slider.evaluate("each => each.nextElementSibling.textContent") == "8 loops"
    assert slider.get_attribute("aria-valuetext") == "8 loops"
    lines = drawn(page, "R = 2, decay 0.03")
    for member in of_cell(reported, 2, 0.03):
        series = runs.series(member, "id/accuracy@8")
        assert lines[f"{member.run_id} ID"] == rounded(series)
    assert "at 8 loops" in page.locator("[data-part=curves-caption]").inner_text()


def test_the_address_keeps_what_is_chosen(reported, visit):
    member = of_cell(reported, 4, 0.03)[1]
    choice = f"x=linear&y=loss&cell=4&split=train&split=ood&run={member.run_id}"
    page = visit(reported.path, choice)
    lines = drawn(page, "R = 4, decay 0.03")
    series = runs.series(member, "ood/loss@4")
    assert lines[f"{member.run_id} OOD"] == rounded(series, first=0)
    assert f"{member.run_id} ID" not in lines
    assert page.locator("[data-key=x]").input_value() == "linear"
    assert page.locator("[data-list=split]:checked").count() == 2
    assert member.run_id in page.locator("[data-part=run] h4").inner_text()
    page.evaluate("location.hash = 'cell=1&split='")
    until(page, "!document.querySelector('[data-part=run]').firstChild")
    assert page.locator("[data-list=split]:checked").count() == 0
    assert "No split is chosen." in page.locator("[data-part=curves]").inner_text()


def test_an_address_that_names_nothing_shows_what_there_is(reported, visit):
    page = visit(
        reported.path,
        "sweep=no&color=no&rows=no&columns=no&cell=no&cell=99&cell=1&loops=3&x=no&y=no"
        "&by=no&split=no&split=id&run=no&sort=no&study=no",
    )
    page.wait_for_selector(FIELDS)
    assert "not at these loops" in page.locator(PANELS).inner_text()
    assert page.locator("[data-part=run] h4").count() == 0


def test_a_panel_per_split_compares_cells(reported, visit):
    page = visit(reported.path, "by=split&cell=2&cell=4&split=ood")
    lines = drawn(page, "OOD")
    assert {name.split(" ", 1)[1] for name in lines} == {
        "R = 2, decay 0.03", "R = 4, decay 0.03",
    }  # fmt: skip
    swatches = page.locator(".chosen svg path").evaluate_all(
        "paths => paths.map((path) => path.getAttribute('stroke'))"
    )
    colors = page.locator(f"{PANELS} g.mark-line path").evaluate_all(
        "paths => [...new Set(paths.map((path) => path.getAttribute('stroke')))]"
    )
    assert sorted(swatches) == sorted(colors) and len(swatches) == 2


def test_a_run_says_what_it_is(reported, visit):
    page = visit(reported.path, "cell=3")
    page.locator(f"{PANELS} figcaption button").nth(2).click()
    member = of_cell(reported, 2, 0.1)[2]
    shown = page.locator("[data-part=run]")
    shown.locator("h4").wait_for()
    text = shown.inner_text()
    assert f"Run {member.run_id}: R = 2, decay 0.1, seed 2" in text
    told = next(
        r for r in reported.data["sweeps"][0]["runs"] if r["id"] == member.run_id
    )
    for key, value in told["difference"].items():
        written = f"{value:g}" if isinstance(value, float) else json.dumps(value)
        assert f"{key}\n{written.strip(chr(34))}" in text
    for command in told["commands"]:
        assert command["text"] in text
    completed = grokking.grok_times(member).phases["ood_generalized"].completed
    assert f"OOD generalized\n{completed} updates" in text
    shown.locator("svg g.mark-symbol path").first.wait_for(state="attached")
    names = shown.locator("svg g.mark-symbol path").evaluate_all(
        "paths => paths.map((path) => path.getAttribute('aria-label'))"
    )
    assert f"OOD generalized: completed at {completed}" in names


def test_runs_are_filtered_and_sorted(reported, visit):
    page = visit(reported.path)
    rows = page.locator("[data-part=runs] tbody tr")
    assert rows.count() == 18
    page.locator("[data-key=filter]").fill("r = 4, decay 0.1")
    assert rows.count() == 3
    assert page.locator("[data-part=runs-count]").inner_text() == "3 of 18 runs"
    page.locator("[data-part=runs] th button", has_text="OOD generalized").click()
    page.locator("[data-part=runs] th button", has_text="OOD generalized").click()
    times = [
        grokking.grok_times(member).phases["ood_generalized"].completed
        for member in of_cell(reported, 4, 0.1)
    ]
    cells = page.locator("[data-part=runs] tbody td:nth-child(6)").all_inner_texts()
    assert cells == [f"{time}" for time in sorted(times, reverse=True)]


def test_tables_are_taken_along_as_csv(reported, visit):
    page = visit(reported.path, "cell=3&split=ood")
    drawn(page, "R = 2, decay 0.1")

    def taken(name):
        with page.expect_download() as download:
            page.locator(f"[data-csv={name}]").click()
        with open(download.value.path(), encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    by_id = {row["run_id"]: row for row in taken("runs")}
    assert len(by_id) == 18
    for member in reported.members:
        completed = grokking.grok_times(member).phases["ood_generalized"].completed
        row = by_id[member.run_id]
        assert row["ood_generalized"] == ("" if completed is None else f"{completed}")
        assert float(row["recurrence.num_loops"]) == member.num_loops
    curves = taken("curves")
    member = of_cell(reported, 2, 0.1)[0]
    values = [float(r["value"]) for r in curves if r["run_id"] == member.run_id]
    assert values == pytest.approx(list(runs.accuracy(member, "ood").values), rel=1e-3)
    assert len(taken("cells")) == 6
    assert any(row["key"] == "runs" for row in taken("provenance"))


CLAIMS = [
    {"text": "Two are sooner.", "source": "A (2026)", "expected": "yes",
     "judged_by": "count of runs; 3 seeds, 1 graph",
     "measured": "4 -> 2", "verdict": "holds", "study": "one", "figure": None},
    {"text": "Four are sooner.", "source": "B (2026)", "expected": "yes",
     "judged_by": "count of runs; 1 seeds, 1 graph",
     "measured": "2 -> 4", "verdict": "fails", "study": "one", "figure": None},
    {"text": "Eight are sooner.", "source": "C (2026)", "expected": "yes",
     "judged_by": "count of runs; 0 seeds, 1 graph",
     "measured": "no run", "verdict": "not tested", "study": "two", "figure": None},
]  # fmt: skip


def test_claims_are_filtered_by_study_and_verdict(reported, visit):
    page = visit(reported.written(claims=CLAIMS).path, "verdict=fails")
    shown = page.locator(".claims > li:visible .claim")
    assert shown.all_inner_texts() == ["fails Four are sooner."]
    page.locator("[data-key=verdict]").select_option("")
    page.locator("[data-key=study]").select_option("two")
    assert shown.all_inner_texts() == ["not tested Eight are sooner."]
    assert page.locator("[data-part=claims-count]").inner_text() == "1 of 3 claims"
    assert page.url.endswith("#verdict=&study=two")


def test_a_claim_leads_to_the_figures_of_its_sweep(reported, visit):
    image = (ROOT / "docs" / "depth_by_decay.png").read_bytes()
    figure = {"name": "curves", "drawn": "2026-01-02T03:04+00:00", "notes": []}
    figure["image"] = base64.b64encode(image).decode()
    first = reported.data["sweeps"][0]
    second = first | {"id": "second", "claims": CLAIMS[:1], "figures": [figure]}
    made = reported.data | {"sweeps": [first, second]}
    path = reported.path.with_name("figures.html")
    page = visit(write(reported.members, made, path).path)
    shown = page.locator("#figures-second img")
    assert not shown.is_visible()
    page.locator(".claims a", has_text="figures").click()
    shown.wait_for()
    assert shown.evaluate("image => image.naturalWidth") > 100
    caption = "curves, as rdt figures drew it on 2026-01-02 03:04 UTC"
    assert page.locator("#figures-second figcaption").inner_text() == caption
    assert path.stat().st_size < reported.path.stat().st_size * 2 + 1.4 * len(image)


def test_an_address_of_a_place_leads_there_and_keeps_what_is_chosen(reported, visit):
    second = reported.data["sweeps"][0] | {"id": "second", "claims": CLAIMS[:1]}
    second["figures"] = [
        {"name": "f", "drawn": "2026-01-02T03:04", "image": "", "notes": []}
    ]
    path = _write(reported, sweeps=[reported.data["sweeps"][0], second])
    page = visit(path, "figures-second")
    page.wait_for_selector("#figures-second:visible")
    until(page, "location.hash === '#sweep=second'")
    page.locator(f"article:visible {FIELDS}").last.click()
    until(page, "location.hash.startsWith('#sweep=second&cell=')")
    before = page.url
    page.locator(".claims a", has_text="figures").click()
    until(
        page,
        "document.querySelector('#figures-second').getBoundingClientRect().top < 500",
    )
    until(page, "location.hash.startsWith('#sweep=second&cell=')")
    assert page.url == before
    page.evaluate("location.hash = 'verdict=holds&cell=3'")
    until(page, "document.querySelector('article').checkVisibility()")
    page.locator(".claims a", has_text="figures").click()
    until(page, "location.hash === '#sweep=second&verdict=holds'")


def test_a_config_of_no_preset_says_all_that_it_changes(reported, visit):
    runs = json.loads(json.dumps(reported.data["sweeps"][0]["runs"]))
    runs[0] |= {"preset": "", "difference": {"a.clip": None, "a.text": "", "b": False}}
    page = visit(reported.written(runs=runs).path, f"run={runs[0]['id']}")
    text = page.locator("[data-part=run]").inner_text()
    assert "where it differs from the defaults" in text
    assert "a.clip\nNone\na.text\n''\nb\nfalse" in text


HOSTILE = (
    "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=1'>"
)


def test_words_that_look_like_markup_are_shown_as_words(reported, visit):
    sweep = json.loads(json.dumps(reported.data["sweeps"][0]))
    sweep["cells"][0]["label"] = HOSTILE
    sweep["runs"][0] |= {"message": HOSTILE, "name": HOSTILE, "seed": HOSTILE}
    sweep["runs"][0]["difference"] = {HOSTILE: HOSTILE}
    sweep["runs"][0]["warnings"] = [HOSTILE]
    sweep["groups"][0]["words"] = sweep["phases"][0]["words"] = HOSTILE
    sweep["axes"][1]["title"] = sweep["axes"][1]["values"][0] = HOSTILE
    changes = {"name": HOSTILE, "task": HOSTILE, "problems": [HOSTILE]}
    claim = {key: HOSTILE for key in CLAIMS[0]}
    changed = reported.written(**{**sweep, **changes, "claims": [claim]})
    page = visit(changed.path, f"run={sweep['runs'][0]['id']}")
    page.wait_for_selector(FIELDS)
    page.locator(FIELDS).first.hover()
    page.wait_for_selector("#vg-tooltip-element.visible")
    page.locator(f"{PANELS} svg").first.hover()
    assert page.evaluate("window.hacked") is None
    assert page.locator("img").count() == 0
    assert page.locator("h2", has_text=HOSTILE).count() == 1
    for part in ("[data-part=run]", ".claims", "[data-part=diagram] svg", ".controls"):
        assert "onerror='window.hacked=1'" in page.locator(part).first.text_content()


def test_several_sweeps_have_a_table_of_contents(reported, visit):
    second = reported.data["sweeps"][0] | {"id": "second", "name": "the second"}
    sweeps = [reported.data["sweeps"][0], second]
    page = visit(_write(reported, sweeps=sweeps))
    assert page.locator(".contents tbody tr").count() == 2
    assert page.locator("article.sweep:visible").count() == 1
    page.locator(".contents a", has_text="the second").click()
    page.wait_for_selector("article.sweep[data-sweep=second]:visible")
    assert page.locator("article.sweep:visible h2").inner_text() == "the second"
    assert page.url.endswith("#sweep=second")
    page.locator(f"article:visible {FIELDS}").last.click()
    until(page, "location.hash.startsWith('#sweep=second&cell=')")


def test_while_a_sweep_runs_the_page_is_loaded_again(reported, visit):
    path = _write(reported, refresh=3.0, title="before")
    page = visit(path, "cell=3")
    assert page.title().startswith("before")
    assert "Written again every 3 s while" in page.locator("header").first.inner_text()
    _write(reported, refresh=3.0, title="after")
    page.wait_for_event("load")
    assert page.title().startswith("after")
    page.wait_for_selector(f"{FIELDS}[aria-pressed=true]")
    assert page.url.endswith("#cell=3")
    assert "ago" in page.locator("#age").inner_text() or "now" in (
        page.locator("#age").inner_text()
    )


def _write(reported, **changes):
    path = reported.path.with_name("other.html")
    return write(reported.members, reported.data | changes, path).path


def test_a_sweep_without_runs_says_what_is_wrong(reported, visit):
    empty = dict.fromkeys(("axes", "phases", "groups", "cells", "runs"), [])
    wrong = [f"metrics.jsonl {number} is damaged" for number in range(5)]
    page = visit(reported.written(**empty, problems=wrong).path)
    shown = page.locator("article .problem:visible")
    assert shown.all_inner_texts() == wrong[:3]
    page.locator("article summary", has_text="2 more like these").click()
    assert shown.all_inner_texts() == wrong


def test_a_list_names_its_cells_in_full(reported, visit):
    cells = json.loads(json.dumps(reported.data["sweeps"][0]["cells"]))
    for number, cell in enumerate(cells):
        cell["label"] = "a long name " * 9 + str(number)
    size = {"width": 400, "height": 900}
    page = visit(reported.written(cells=cells).path, "rows=list", viewport=size)
    page.wait_for_selector(FIELDS)
    labels = page.locator("[data-part=diagram] .role-axis-label text")
    assert {cell["label"] for cell in cells} <= set(labels.all_text_contents())
    assert page.locator(FIELDS).first.bounding_box()["x"] < 100
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


@pytest.mark.parametrize("width", [400, 1100])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_every_paper(reported, visit, width, scheme):
    size = {"width": width, "height": 900}
    choice = "cell=1&cell=3&cell=5"
    page = visit(reported.path, choice, viewport=size, color_scheme=scheme)
    drawn(page, "R = 2, decay 0.1")
    page.locator(f"{PANELS} figcaption button").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    paper, ink = page.evaluate(
        "['backgroundColor', 'color']"
        ".map((name) => getComputedStyle(document.body)[name])"
    )
    light, dark = _brightness(paper), _brightness(ink)
    assert (light > 200 > 60 > dark) if scheme == "light" else (dark > 200 > 60 > light)
    labels = page.locator("[data-part=diagram] .role-axis-label text").first
    assert _brightness(labels.evaluate("each => getComputedStyle(each).fill")) == dark


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_lines_stand_out_from_the_paper(reported, visit, scheme):
    page = visit(reported.path, "by=split&cell=0&cell=2&cell=4", color_scheme=scheme)
    drawn(page, "OOD")
    lights = page.locator(f"{PANELS} g.mark-line path").evaluate_all(
        "paths => paths.map((path) => getComputedStyle(path).stroke)"
        ".map((color) => Number(color.match(/oklch\\(([\\d.]+)/)[1]))"
    )
    assert len(set(lights)) > 1  # One color per loop count.
    assert min(lights) >= 0.63 if scheme == "dark" else min(lights) < 0.4


def _brightness(color):
    return max(int(part) for part in color.strip("rgb()").split(","))


def test_print_shows_the_page_without_its_controls(reported, visit):
    page = visit(reported.path, "cell=3", color_scheme="dark")
    drawn(page, "R = 2, decay 0.1")
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("[data-csv]:visible, [type=search]:visible").count() == 0
    assert page.locator("details:not([open])").count() == 0
    assert page.locator("[data-part=diagram] svg:visible").count() == 1
    ink = page.evaluate("getComputedStyle(document.body).color")
    assert _brightness(ink) < 60  # On white paper, whatever the screen was.
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_wide_tables_fit_the_printed_page(reported, visit):
    sweep = json.loads(json.dumps(reported.data["sweeps"][0]))
    for group in sweep["groups"]:
        group["words"] = f"mixed, pattern={group['id']}-of-the-others"
    size = {"width": 688, "height": 900}  # A4, less the margins.
    page = visit(reported.written(groups=sweep["groups"]).path, viewport=size)
    page.emulate_media(media="print")
    page.locator("[data-part=runs] td").first.wait_for()
    beyond = page.locator(".scroll").evaluate_all(
        "all => all.map((each) => each.scrollWidth - each.clientWidth)"
    )
    assert max(beyond) <= 0


def test_it_says_all_numbers_without_scripts(reported, visit):
    page = visit(reported.path, java_script_enabled=False)
    text = page.locator("article").inner_text()
    sweep = Sweep.of(reported.members)
    for cell in grokking.cells(reported.members, sweep.keys):
        assert sweep.label(tuple(cell.values.values())) in text
        assert f"{cell.times['ood_generalized'].median}" in text
    assert "need JavaScript" in page.locator("noscript").inner_text()
