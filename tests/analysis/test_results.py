import csv
import dataclasses

import pytest

from rdt_jax.analysis import results
from rdt_jax.store import files
from tests import fake_runs
from tests.fake_runs import staged

LOOPS = "recurrence.num_loops"


def rows_of(sweep, *runs):
    overrides = {
        run.run_id: {LOOPS: run.num_loops, "seed": run.config.seed} for run in runs
    }
    return results.rows(sweep, runs, overrides)


def written(path, rows):
    path.write_text(results.merged(path, rows))
    return list(csv.DictReader(path.read_text().splitlines()))


def test_a_run_is_a_line_of_what_it_was_judged_on(tmp_path):
    run = staged(2, 150, seed=3)
    folder = fake_runs.write(run, tmp_path)
    commit = 3 * "0123456789abc" + "d"
    segment = {"step": 0, "commit": commit, "devices": ["cpu", "cpu"], "threads": 2}
    moved = segment | {"step": 90, "commit": f"{commit}+changes", "threads": 8}
    files.write_json(folder / "environment.json", {"segments": [segment, moved]})
    measured = fake_runs.measured_at(run, [4])
    (row,) = rows_of("cpu", dataclasses.replace(measured, folder=folder))
    assert row == {
        "sweep": "cpu", "run": run.run_id, LOOPS: "2", "seed": "3",
        "outcome": "over", "budget": "230", "steps": "230",
        "memorized/onset": "30", "memorized/completed": "40",
        "id_generalized/onset": "60", "id_generalized/completed": "60",
        "ood_generalized/onset": "170", "ood_generalized/completed": "170",
        "train/accuracy@2": "1", "id/accuracy@2": "1", "ood/accuracy@2": "1",
        "train/accuracy@4": "0.8", "id/accuracy@4": "0.8", "ood/accuracy@4": "0.8",
        "commit": "0123456789ab; 0123456789ab+changes",
        "machine": "cpu, threads: 2; cpu, threads: 8",
    }  # fmt: skip


def test_runs_that_did_not_arrive_have_lines(tmp_path):
    runs = [staged(1, None), fake_runs.waiting(2), fake_runs.lost(staged(4, 60))]
    found = written(tmp_path / "results.csv", rows_of("cpu", *runs))
    assert [(row["outcome"], row["steps"]) for row in found] == [
        ("over", "230"), ("unfinished", "90"), ("missing", "0"),
    ]  # fmt: skip
    assert [row["memorized/completed"] for row in found] == ["40", "40", ""]
    assert "ood_generalized/completed" not in found[0]
    assert found[0]["ood/accuracy@1"] == "0" and found[0]["ood/accuracy@2"] == ""


def test_lines_of_other_sweeps_stay_and_all_are_sorted(tmp_path):
    path = tmp_path / "results.csv"
    first = rows_of("b-cpu", *(staged(r, 60, seed=s) for r, s in [(10, 1), (2, 3)]))
    written(path, first)
    mine = rows_of("a-cpu", staged(4, 60))
    mine[0]["optimizer.name"] = "adamw"
    mine[0]["hop_learned_10/onset"] = mine[0]["hop_learned_9/onset"] = "7"
    found = written(path, mine)
    order = [(row["sweep"], row[LOOPS], row["optimizer.name"]) for row in found]
    assert order == [("a-cpu", "4", "adamw"), ("b-cpu", "2", ""), ("b-cpu", "10", "")]
    assert list(found[0]) == [
        "sweep", "run", "optimizer.name", LOOPS, "seed", "outcome", "budget", "steps",
        "hop_learned_9/onset", "hop_learned_10/onset",
        *(f"{event}/{kind}"
          for event in ("id_generalized", "memorized", "ood_generalized")
          for kind in ("completed", "onset")),
        *(f"{split}/accuracy@{r}" for split in ("id", "ood", "train")
          for r in (2, 4, 10)),
        "commit", "machine",
    ]  # fmt: skip
    before = path.read_text()
    assert written(path, mine) == found and path.read_text() == before
    # Replaced, with the columns that nothing else has.
    found = written(path, rows_of("a-cpu", staged(2, 60)))
    assert [row["run"] for row in found[1:]] == [first[1]["run"], first[0]["run"]]
    assert "optimizer.name" not in found[0]


@pytest.mark.parametrize(
    "text",
    ["", "run,loss\n1,2\n", "sweep,run\na,b\n", "COLUMNS\na,b\n", "COLUMNS,run\n"],
)
def test_another_file_is_refused(tmp_path, text):
    path = tmp_path / "results.csv"
    columns = "sweep,run,outcome,budget,steps,commit,machine"
    path.write_text(text.replace("COLUMNS", columns))
    with pytest.raises(ValueError, match="results.csv is not a results.csv that"):
        results.merged(path, rows_of("cpu", staged(2, 60)))


def test_a_file_is_small(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "MOST_BYTES", 300)
    with pytest.raises(ValueError, match="would have .* bytes, more than the 300"):
        results.merged(tmp_path / "results.csv", rows_of("cpu", staged(2, 60)))
