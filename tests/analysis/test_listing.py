import json

import pytest

from rdt_jax.analysis import grokking, listing, runs
from rdt_jax.store import files, records
from rdt_jax.sweep import spec
from tests import fake_runs

JUMPS = {"train": 20, "id": 50, "ood": None}


def _rows(workdir, trials=None, labels=None):
    return listing.rows(listing.read(workdir, trials), labels or {})


def test_a_row_says_what_whole_records_say(tmp_path):
    run = fake_runs.make(jumps=JUMPS, loops=3, top={"id": 0.123456789012345678})
    folder = fake_runs.write(run, tmp_path)
    (row,) = _rows(tmp_path)
    whole = runs.read_run(folder)
    completed = grokking.grok_times(whole).phases
    assert row["memorized/step"] == completed["memorized"].completed
    assert "ood_generalized/step" not in row
    for split in JUMPS:
        smoothed = grokking.smooth(runs.accuracy(whole, split).values)
        assert (row[f"{split}/accuracy"], row[f"{split}/loops"]) == (smoothed[-1], 3)
    expected = {"run": run.run_id, "state": "done", "reason": "budget", "step": 230}
    assert expected.items() <= row.items()
    assert row["apart"].startswith("num_loops=3,batch_size=64,")
    assert json.loads(json.dumps(row)) == row


def test_runs_of_a_task_are_told_apart_by_what_they_differ_in(tmp_path):
    members = [
        fake_runs.make(jumps=JUMPS, loops=n, seed=s) for n in (1, 2) for s in (0, 1)
    ]
    for run in members:
        fake_runs.write(run, tmp_path)
    labels = {members[0].run_id: "depth-cpu/num_loops=1"}
    apart = {row["run"]: row["apart"] for row in _rows(tmp_path, labels=labels)}
    assert [apart[run.run_id] for run in members] == [
        "depth-cpu/num_loops=1",
        "num_loops=1,seed=1",
        "num_loops=2,seed=0",
        "num_loops=2,seed=1",
    ]


def test_a_run_is_shown_at_the_budget_of_its_trial(tmp_path):
    jumps = {"train": 20, "id": 150}
    run = fake_runs.make(jumps=jumps)
    folder = fake_runs.write(run, tmp_path)
    status = run.status | {"evaluated": 230, "num_steps": 230}
    files.write_json(folder / "status.json", status)
    trial = spec.Trial(run.run_id, {}, run.config.to_dict() | {"num_steps": 100})
    (row,) = _rows(tmp_path, [trial])
    assert (row["step"], row["num_steps"], row["id/accuracy"]) == (100, 100, 0.0)
    assert row["memorized/step"] == 40 and "id_generalized/step" not in row
    (row,) = _rows(tmp_path)
    assert (row["step"], row["id/accuracy"], row["id_generalized/step"]) == (
        230, 1.0, 170
    )  # fmt: skip


def test_lost_and_failed_runs_have_a_row(tmp_path):
    members = [fake_runs.make(jumps=JUMPS, seed=seed) for seed in range(5)]
    whole, missing, edited, damaged, failed = members
    for run in (whole, edited, damaged, failed):
        fake_runs.write(run, tmp_path)
    path = tmp_path / edited.run_id / "config.json"
    path.write_text(path.read_text().replace('"seed": 2', '"seed": 9', 1))
    (tmp_path / damaged.run_id / "status.json").write_text("{")
    failure = {"state": "failed", "reason": "nan", "message": "loss is nan"}
    files.write_json(tmp_path / failed.run_id / "status.json", failed.status | failure)
    trials = [spec.Trial(r.run_id, {"seed": r.config.seed}, r.config) for r in members]
    states = ["done", "missing", "unreadable", "unreadable", "failed"]
    rows = _rows(tmp_path, trials)
    assert [row["state"] for row in rows] == states
    assert [row["task"] for row in rows] == 5 * ["knowledge_composition"]
    assert [row["seed"] for row in rows] == [0, 1, 2, 3, 4]
    assert "hashes to" in rows[2]["message"] and "damaged" in rows[3]["message"]
    assert (rows[4]["reason"], rows[4]["message"]) == ("nan", "loss is nan")
    unplanned = {row["run"]: row for row in _rows(tmp_path)}
    assert len(unplanned) == 4 and unplanned[edited.run_id]["task"] is None


def test_the_last_rows_are_read_from_the_end(tmp_path):
    path = tmp_path / "metrics.jsonl"
    wanted = [{"step": step, "text": "x" * 1000} for step in range(300)]
    path.write_text("".join(json.dumps(row) + "\n" for row in wanted) + '{"st')
    assert records.last_rows(path, 5, 1000) == wanted[-5:]
    assert records.last_rows(path, 5, 40) == wanted[36:41]
    assert records.last_rows(path, 5, 2) == wanted[:3]
    assert records.last_rows(path, 500, 1000) == wanted
    path.write_text("")
    assert records.last_rows(path, 5, 10) == []
    path.write_text('{"step": 1}\nnonsense\n')
    with pytest.raises(ValueError, match=r"metrics.jsonl is damaged"):
        records.last_rows(path, 1, 10)


def test_only_the_end_of_long_metrics_is_read(tmp_path):
    run = fake_runs.make(jumps=JUMPS)
    folder = fake_runs.write(run, tmp_path)
    path = folder / "metrics.jsonl"
    path.write_text("x" * 200_000 + "\n" + path.read_text())
    assert _rows(tmp_path)[0]["id/accuracy"] == 1.0


def test_short_names_are_of_one_run_each():
    names = ["abcdef", "abcxyz", "abcxya", "b12345"]
    assert listing.short_ids(["abcdef"], names)["abcdef"] == "abcd"
    assert listing.short_ids(names, []) == {
        "abcdef": "abcd", "abcxyz": "abcxyz", "abcxya": "abcxya", "b12345": "b123"
    }  # fmt: skip
