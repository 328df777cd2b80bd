"""`rdt report` on runs that were never trained."""

import errno
import json
import re

import pytest

from rdt_jax import cli
from rdt_jax.cli import report
from tests import fake_runs


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """A workdir with two sweeps; the working directory is above it."""
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "runs"
    fake_runs.write_planned(
        place, "depth", [fake_runs.staged(r, 60) for r in (1, 2)], study=""
    )
    fake_runs.write_planned(
        place, "seeds", [fake_runs.staged(4, 60, s) for s in (0, 1)], study=""
    )
    return place


def shown(path):
    """Returns the data in a page."""
    html = path.read_text(encoding="utf-8")
    held = re.search(r'<script[^>]*id="data"[^>]*>(.*?)</script>', html, re.S)
    return json.loads(held[1])


def names(path):
    return [sweep["name"] for sweep in shown(path)["sweeps"]]


@pytest.mark.parametrize(
    ("words", "out", "sweeps"),
    [
        (["runs/sweeps/depth"], "runs/sweeps/depth/report.html", ["depth"]),
        (["runs"], "runs/report.html", ["depth", "seeds"]),
        ([], "runs/report.html", ["depth", "seeds"]),
        (["--workdir=runs"], "runs/report.html", ["depth", "seeds"]),
        (["runs/sweeps/seeds", "runs", "--out=new/a b.html"], "new/a b.html",
         ["seeds", "depth"]),
    ],
)  # fmt: skip
def test_a_page_is_written(words, out, sweeps, workdir, capsys):
    assert cli.main(["report", *words]) == 0
    told = capsys.readouterr()
    assert (told.out, told.err) == (f"{out}\n", "")
    assert names(workdir.parent / out) == sweeps
    assert shown(workdir.parent / out)["refresh"] is None


def test_what_is_lost_or_damaged_is_told_and_the_rest_is_there(workdir, capsys):
    (workdir / "sweeps" / "seeds" / "plan.json").write_text("{")
    run = fake_runs.staged(2, 60)
    (workdir / run.run_id / "metrics.jsonl").write_text("x\ny\n")
    assert cli.main(["report", "runs"]) == 1
    told = capsys.readouterr()
    assert told.out == "runs/sweeps/depth/report.html\n"
    assert "rdt: runs/sweeps/seeds/plan.json is damaged" in told.err
    assert f"unreadable, counted as not arrived: {run.run_id}" in told.err
    page = shown(workdir / "sweeps" / "depth" / "report.html")
    assert "plan.json is damaged" in page["problems"][0]
    assert len(page["sweeps"][0]["cells"]) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["runs/sweeps"], "runs/sweeps has no sweep; `rdt sweep` plans and trains."),
        (["other"], "No study 'other' (a folder with study.py), no config"),
        (["--workdir=other"], "other has no sweep; `rdt sweep` plans and trains."),
        (["modular:smoke"], "runs has no run of modular-smoke; `rdt sweep`"),
        (["runs", "--workdir=other"], "--workdir must be runs, that of runs/sweeps/"),
        (["runs", "--preset=cpu"], "--preset does not go with runs/sweeps/depth"),
        (["runs", "--out=runs"], "--out: must be a file, and runs is a folder"),
        (["runs", "--task=modular"], "Give STUDY|FILE.py:PRESET|WORKDIR/sweeps/NAME"),
        (["runs", "--out=f/a"], "--out: f cannot be a folder, since f is a file"),
    ],
)  # fmt: skip
def test_a_mistake_exits_2(words, message, workdir, capsys):
    (workdir.parent / "f").touch()
    try:
        assert cli.main(["report", *words]) == 2
    except SystemExit as error:  # Of the parser.
        assert error.code == 2
    told = capsys.readouterr()
    assert (told.out, message in told.err) == ("", True), told.err
    assert not [*workdir.rglob("*.html")]


def test_a_folder_that_may_not_be_written_names_another(workdir, monkeypatch, capsys):
    def refuse(path, text):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(report.files, "write_text", refuse)
    assert cli.main(["report", "runs"]) == 2
    assert "`rdt report --out=FILE.html` writes elsewhere." in capsys.readouterr().err


def test_it_is_written_again_until_all_runs_are_over(tmp_path, monkeypatch, capsys):
    done = fake_runs.staged(2, 60)
    waiting = fake_runs.waiting(2, 60)
    plan = fake_runs.write_planned(tmp_path, "s", [waiting], study="")
    page = tmp_path / "sweeps" / "s" / "report.html"
    seen, now = [], [0.0]

    def sleep(seconds):
        now[0] += seconds
        if not seen or shown(page)["made"] != seen[-1]["made"]:
            seen.append(shown(page))
        if now[0] > 40:
            lines = "".join(f"{json.dumps(row)}\n" for row in done.metrics)
            (tmp_path / done.run_id / "metrics.jsonl").write_text(lines)
            lines = "".join(f"{json.dumps(row)}\n" for row in done.events)
            (tmp_path / done.run_id / "events.jsonl").write_text(lines)
            status = tmp_path / done.run_id / "status.json"
            status.write_text(json.dumps(done.status))

    monkeypatch.setattr(report.time, "sleep", sleep)
    monkeypatch.setattr(report.time, "monotonic", lambda: now[0])
    assert cli.main(["report", str(tmp_path), "--watch"]) == 0, capsys.readouterr()
    assert capsys.readouterr().out == f"{page}\n"
    assert 60 <= now[0] < 61
    assert seen[0]["refresh"] == report.WATCH_SECONDS == 30
    assert seen[0]["sweeps"][0]["cells"][0]["unfinished"] == 1
    last = shown(page)
    assert (last["refresh"], last["sweeps"][0]["cells"][0]["unfinished"]) == (None, 0)
    assert plan.run_ids == [done.run_id]
