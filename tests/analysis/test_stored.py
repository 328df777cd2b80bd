"""Analyses beside a run: computed once, found again, made again when they are stale."""

import inspect
import json
import sys
from typing import NamedTuple

import jax
import numpy as np
import pytest

from rdt_jax import cli, tasks
from rdt_jax import config as configs
from rdt_jax.analysis import fourier, stability, stored
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis import weights as norms
from rdt_jax.models import presets, recurrent
from rdt_jax.store import checkpoint, files, records, run_folder


class Weights(NamedTuple):
    total: np.ndarray
    words: np.ndarray
    loops: np.ndarray


CALLS = []


def measure(params, config, table, *, factor: float = 2.0) -> Weights:
    CALLS.append(config.seed)
    if config.seed == 3:
        raise ValueError("Needs a prime.")
    total = sum(np.abs(leaf).sum() for leaf in jax.tree.leaves(params))
    return Weights(
        total=np.float64(total * factor),
        words=np.array(table.vocab[:3]),
        loops=np.arange(config.recurrence.num_loops),
    )


@pytest.fixture(autouse=True)
def weights(monkeypatch):
    CALLS.clear()
    monkeypatch.setitem(stored.MEASURES, "sizes", measure)


@pytest.fixture(scope="module")
def params_at(tiny_config):
    """Returns a function from a step to parameters."""
    model = presets.model_config(tiny_config, tasks.make_table(tiny_config))
    draw = jax.jit(lambda key: recurrent.init(key, model))
    return lambda step: draw(jax.random.key(step))


@pytest.fixture
def make_run(tiny_config, params_at, tmp_path):
    """Returns a function that makes a run that kept parameters under some names."""

    def make(names, seed=0, overrides=None):
        base = configs.override(tiny_config, {"seed": seed, "num_steps": 200})
        config = configs.override(base, overrides or {})
        folder = tmp_path / configs.run_id(config)
        run_folder.create(folder, config)
        for name in names:
            step = int(name.rpartition("-")[2])
            extra = {"step": step, "event": name.split("-")[0]}
            checkpoint.save(folder / "transitions" / name, params_at(step), extra)
        over = {"state": "done", "reason": "imported", "step": 90}
        status = run_folder.read_status(folder) | over
        files.write_json(folder / "status.json", status)
        return run_folders.read_run(folder)

    return make


NAMES = ("final-after-90", "memorized-after-20", "memorized-before-4",
         "hop_learned_3-after-40", "hop_learned_3-before-30")  # fmt: skip


@pytest.fixture
def run(make_run):
    return make_run(NAMES)


def write(run, what, kinds):
    """Stores what is not current; returns the paths of all that was asked for."""
    for job in stored.jobs([run], what, kinds):
        stored.compute(job)
    return [
        stored.path_of(run, name, checkpoint)
        for name in what
        for checkpoint in stored.names_of(run, name, kinds)
    ]


def test_checkpoints_are_named_and_ordered(run):
    unfinished = run.folder / "transitions" / "lost-after-50.tmp"
    unfinished.mkdir()
    (unfinished / "manifest.json").write_text("{}")
    assert list(stored.checkpoints(run)) == [
        "memorized-before-4",
        "memorized-after-20",
        "hop_learned_3-before-30",
        "hop_learned_3-after-40",
        "final",
    ]
    assert stored.of_kind(run, "memorized-after") == ["memorized-after-20"]
    assert stored.of_kind(run, "memorized-after-20") == ["memorized-after-20"]
    assert stored.of_kind(run, "final") == ["final"]
    assert stored.of_kind(run, "memorized") == stored.of_kind(run, "hop_learned") == []
    assert stored.transitions(run) == [
        ("memorized", "memorized-before-4", "memorized-after-20"),
        ("hop_learned_3", "hop_learned_3-before-30", "hop_learned_3-after-40"),
    ]


def test_a_kind_stands_for_its_only_checkpoint(make_run):
    run = make_run((*NAMES, "snapshot-at-100", "snapshot-at-8"))
    assert stored.only(run, "memorized-after") == "memorized-after-20"
    assert stored.only(run, "final") == "final"
    several = "has several parameters 'snapshot-at'; choose from snapshot-at-8, snapsh"
    with pytest.raises(ValueError, match=several):
        stored.only(run, "snapshot-at")
    with pytest.raises(ValueError, match="has no parameters 'end'; choose from memor"):
        stored.only(run, "end")


def test_what_is_written_is_what_was_measured(run, params_at):
    assert stored.load(run, "sizes", "final") is None
    (path,) = write(run, ["sizes"], ["final"])
    assert path == run.folder / "analysis" / "sizes-final-after-90.npz"
    found = stored.load(run, "sizes", "final")
    assert isinstance(found, Weights)
    expected = measure(params_at(90), run.config, tasks.make_table(run.config))
    for value, same in zip(found, expected, strict=True):
        np.testing.assert_array_equal(value, same)
    text = json.loads(path.with_suffix(".json").read_text())
    assert (text["run_id"], text["checkpoint"], text["step"]) == (
        run.run_id, "final", 90,
    )  # fmt: skip
    assert text["arguments"] == {"factor": 2.0}
    assert text["summary"] == {"total": pytest.approx(float(found.total))}
    assert text["fields"]["loops"] == ["int64", [run.num_loops]]
    assert {p.name for p in path.parent.iterdir()} == {
        "sizes-final-after-90.npz", "sizes-final-after-90.json",
    }  # fmt: skip


class Totals(NamedTuple):
    steps: np.ndarray
    totals: np.ndarray


def totals(params_by_step, config, table) -> Totals:
    del config, table
    sums = [
        sum(np.abs(leaf).sum() for leaf in jax.tree.leaves(params))
        for params in params_by_step.values()
    ]
    return Totals(np.array(list(params_by_step)), np.array(sums))


def test_a_run_measure_sees_snapshots_and_the_end(make_run, params_at, monkeypatch):
    monkeypatch.setitem(stored.RUN_MEASURES, "totals", totals)
    run = make_run((*NAMES, "snapshot-at-100", "snapshot-at-8"))
    assert stored.names_of(run, "totals", ("final",)) == ["run"]
    (path,) = write(run, ["totals"], ["run"])
    assert path.name == "totals-run-of-200.npz"
    found = stored.load(run, "totals", "run")
    np.testing.assert_array_equal(found.steps, [8, 90, 100])
    expected = totals({step: params_at(step) for step in (8, 90, 100)}, None, None)
    np.testing.assert_array_equal(found.totals, expected.totals)
    assert stored.read_provenance(run, "totals", "run")["step"] == [8, 90, 100]
    assert stored.jobs([run], ["totals"], ["run"]) == []
    kept = run.folder / "transitions" / "snapshot-at-110"
    extra = {"step": 110, "event": "snapshot"}
    checkpoint.save(kept, params_at(110), extra)
    assert stored.load(run, "totals", "run") is None  # There is more to see.


def test_other_parameters_arguments_or_code_make_it_stale(
    run, params_at, monkeypatch, tmp_path
):
    write(run, ["sizes"], ["final"])
    extra = {"step": 90, "event": "final"}
    checkpoint.save(stored.checkpoints(run)["final"], params_at(1), extra)
    assert stored.load(run, "sizes", "final") is None
    write(run, ["sizes"], ["final"])
    assert stored.load(run, "sizes", "final") is not None

    def other(params, config, table, *, factor: float = 3.0) -> Weights:
        return measure(params, config, table, factor=factor)

    with monkeypatch.context() as patch:
        patch.setitem(stored.MEASURES, "sizes", other)
        assert stored.load(run, "sizes", "final") is None
    edited = tmp_path / "edited.py"  # A measure of the user's.
    edited.write_text("# Other code.\n")
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules[__name__], "__file__", str(edited))
        assert stored.load(run, "sizes", "final") is None
    assert stored.load(run, "sizes", "final") is not None


def test_another_version_of_a_measure_of_ours_makes_it_stale(run, monkeypatch):
    write(run, ["weights"], ["final"])
    assert stored.load(run, "weights", "final") is not None
    monkeypatch.setattr(norms, "VERSION", norms.VERSION + 1)
    assert stored.load(run, "weights", "final") is None


@pytest.mark.parametrize("name", stored.MEASURES | stored.RUN_MEASURES)
def test_every_measure_of_ours_has_a_version(name):
    measure = (stored.MEASURES | stored.RUN_MEASURES)[name]
    assert type(inspect.getmodule(measure).VERSION) is int


def test_a_torn_pair_is_not_read_and_is_made_again(run):
    (path,) = write(run, ["sizes"], ["final"])
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert stored.load(run, "sizes", "final") is None
    write(run, ["sizes"], ["final"])
    assert path.read_bytes() == content
    path.with_suffix(".json").unlink()
    assert stored.load(run, "sizes", "final") is None


def test_a_run_of_another_table_is_not_measured(run):
    path = run.folder / "environment.json"
    files.write_json(path, {"table": 64 * "0", "segments": []})
    with pytest.raises(ValueError, match="another table of knowledge_composition"):
        write(run, ["sizes"], ["final"])
    files.write_json(path, {"segments": []})  # Of before it was recorded.
    write(run, ["sizes"], ["final"])


def test_it_outlives_the_parameters(run):
    write(run, ["sizes"], ["final"])
    before = stored.load(run, "sizes", "final")
    (stored.checkpoints(run)["final"] / "manifest.json").unlink()
    np.testing.assert_array_equal(stored.load(run, "sizes", "final").total, before[0])


def test_damaged_parameters_are_refused(run):
    path = stored.checkpoints(run)["final"] / "extra.json"
    path.write_text(path.read_text() + " ")
    with pytest.raises(ValueError, match=r"extra\.json differs from the manifest"):
        write(run, ["sizes"], ["final"])


def test_a_summary_is_of_numbers_without_axes_or_as_the_measure_says(monkeypatch):
    result = Weights(np.float64(2.5), np.array(["a"]), np.array([1, 2]))
    assert stored.summarize("sizes", result) == {"total": 2.5}
    monkeypatch.setitem(
        stored.SUMMARIES, "sizes", lambda found: {"most": found.loops.max()}
    )
    assert stored.summarize("sizes", result) == {"most": 2.0}
    monkeypatch.setitem(
        stored.SUMMARIES, "sizes", lambda _: {"mean": np.nan, "depth": np.inf}
    )
    assert stored.summarize("sizes", result) == {"mean": None, "depth": None}


def test_numbers_that_are_unknown_before_a_transition_have_no_change(
    run, capsys, monkeypatch
):
    unknown_at_first = lambda found: {"share": np.nan if len(CALLS) == 1 else 0.25}
    monkeypatch.setitem(stored.SUMMARIES, "sizes", unknown_at_first)
    assert cli.main(["analyze", str(run.folder), "--what=sizes", "--transition"]) == 0
    rows = [x.split()[2:] for x in capsys.readouterr().out.splitlines() if "share" in x]
    assert rows == [["-", "0.25", "-"], ["0.25", "0.25", "+0"]]
    text = stored.path_of(run, "sizes", "memorized-before-4").with_suffix(".json")
    assert json.loads(text.read_text())["summary"] == {"share": None}


def test_the_command_computes_and_prints_paths(run, capsys):
    assert cli.main(["analyze", str(run.folder), "--what=sizes"]) == 0
    path = run.folder / "analysis" / "sizes-final-after-90.npz"
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == str(path)
    total = stored.load(run, "sizes", "final").total
    assert lines[1].split() == ["quantity", "final"]
    assert lines[3].split() == ["total", f"{total:.4g}"]
    assert cli.main(["analyze", str(run.folder), "--what=sizes"]) == 0
    assert len(CALLS) == 1


def test_what_is_analyzed_is_told_where_no_bar_is_drawn(run, capsys, monkeypatch):
    monkeypatch.setattr("rdt_jax.cli.analyze.SECONDS_UNTOLD", 0)
    assert cli.main(["analyze", str(run.folder), "--what=sizes", "--transition"]) == 0
    told = [x for x in capsys.readouterr().err.splitlines() if "done)" in x]
    counts = [f"({count} of 4 done)" for count in range(4)]
    assert [line[-len(counts[0]) :] for line in told] == counts
    assert "sizes of" in told[0] and "at memorized-before-4 " in told[0]


def test_an_analysis_without_numbers_has_its_paths_alone(run, capsys, monkeypatch):
    monkeypatch.setitem(stored.SUMMARIES, "sizes", lambda found: {})
    assert cli.main(["analyze", str(run.folder), "--what=sizes"]) == 0
    path = run.folder / "analysis" / "sizes-final-after-90.npz"
    assert capsys.readouterr().out == f"{path}\n"


def test_every_analysis_has_numbers():
    """Those that no other test runs through `summarize`, of arrays of ones."""
    ones = np.ones((3, 2))
    settled = stability.Stability(ones, ones[0], ones, ones, ones[0])
    assert stored.summarize("stability", settled) == dict.fromkeys(
        ("spectral_radius", "state_norm", "distance", "gradient_norm"), 1.0
    )
    fields = dict.fromkeys(fourier.Progress._fields, ones)
    fields |= {
        "is_key": ones[0],
        "embedding_gini": ones[0],
        "sum_squared_weights": ones[0],
    }
    assert stored.summarize("progress", fourier.Progress(**fields)) == {
        "key_frequencies": 2.0, "gini": 1.0, "embedding_gini": 1.0,
        "sum_squared_weights": 1.0,
    }  # fmt: skip


def test_the_command_lists_every_analysis_with_what_it_asks(capsys):
    assert cli.main(["analyze", "--list"]) == 0
    listed = dict(x.split(": ", 1) for x in capsys.readouterr().out.splitlines())
    assert listed.keys() == stored.MEASURES.keys() | stored.RUN_MEASURES.keys()
    assert all(line.endswith((".", "?")) for line in listed.values())
    assert len(set(listed.values())) == len(listed)
    assert "logit lens" in listed["lens"]


def _sweep_of(members, keys=()):
    """Writes the plan of a sweep over these keys."""
    folder = members[0].folder.parent / "sweeps" / "study-smoke"
    folder.mkdir(parents=True)
    plan = [
        {
            "run_id": member.run_id,
            "overrides": {key: run_folders.value_of(member, key) for key in keys},
        }
        for member in members
    ]
    files.write_json(folder / "plan.json", {"runs": plan})
    return folder


def test_a_sweep_has_a_table_by_cell(make_run, capsys):
    """Two seeds of two depths; of one cell one run kept nothing."""
    depths = {"recurrence.num_loops": 1}, {"recurrence.num_loops": 2}
    members = [
        make_run(() if (seed, depth) == (1, depths[1]) else NAMES[:1], seed, depth)
        for depth in depths
        for seed in (0, 1)
    ]
    folder = _sweep_of(members, ["seed", "recurrence.num_loops"])
    assert cli.main(["analyze", str(folder), "--what=sizes"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["sizes", "at", "final"]
    assert lines[1] == ["quantity", "num_loops", "median", "range", "runs"]
    total = f"{stored.load(members[0], 'sizes', 'final').total:.4g}"
    same = [total, total, "to", total]
    assert [x for x in lines if x[:1] == ["total"]] == [
        ["total", "1", *same, "2/2"],
        ["total", "2", *same, "1/2"],
    ]


def test_the_command_compares_both_sides_of_each_transition(run, capsys):
    assert cli.main(["analyze", str(run.folder), "--what=sizes", "--transition"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"Run {run.run_id}\n")
    headings = [line.split()[2:] for line in out.splitlines() if "quantity" in line]
    assert headings == [
        ["at", "4", "at", "20", "change"],
        ["at", "30", "at", "40", "change"],
    ]
    assert " hop learned 3 " in out
    before, after = (
        float(stored.load(run, "sizes", name).total)
        for name in ("memorized-before-4", "memorized-after-20")
    )
    (row, _) = (line.split() for line in out.splitlines() if "total" in line)
    assert [float(x) for x in row[2:]] == pytest.approx(
        [before, after, after - before], rel=1e-3
    )


def test_a_sweep_reports_what_does_not_apply_and_goes_on(make_run, capsys):
    members = [make_run(NAMES[:1], seed) for seed in (3, 0)] + [make_run((), 1)]
    folder = _sweep_of(members)
    assert cli.main(["analyze", str(folder), "--what=sizes"]) == 0
    printed = capsys.readouterr()
    (row,) = (x.split() for x in printed.out.splitlines() if "total" in x)
    assert row[0] == "total" and row[-1] == "1/3"
    assert "Needs a prime." in printed.err
    assert f"{members[2].run_id} has no such parameters; it kept none" in printed.err


def test_a_run_of_another_table_is_told_from_one_that_does_not_apply(
    make_run, capsys, monkeypatch
):
    """Once for all analyses; of a sweep the other runs are measured."""
    monkeypatch.setitem(stored.MEASURES, "weights", measure)
    members = [make_run(NAMES[:1], seed) for seed in (0, 1)]
    files.write_json(members[0].folder / "environment.json", {"table": 64 * "0"})
    for folder, code in [(members[0].folder, 2), (_sweep_of(members), 1)]:
        assert cli.main(["analyze", str(folder), "--what=sizes,weights"]) == code
        said = capsys.readouterr()
        assert said.err.count("was trained on another table") == 1
        assert "sizes of" not in said.err
        measured = [
            line.split()[-1] for line in said.out.splitlines() if "total" in line
        ]
        assert measured == (2 * ["1/2"] if code == 1 else [])
    assert set(CALLS) == {1}


def test_a_budget_that_a_run_had_passed_has_no_final_parameters(make_run, capsys):
    """Those of a larger budget are not taken for it, and one line says so."""
    members = []
    for seed, names in enumerate([NAMES[:1], ["final-after-40", *NAMES[:1]]]):
        run = make_run(names, seed)
        for step in (0, 40, 90):
            records.append(run.folder / "metrics.jsonl", {"step": step})
        run_folder.set_budget(run.folder, 90)
        done = {"state": "done", "reason": "budget", "step": 90, "num_steps": 90}
        status = run_folder.read_status(run.folder)
        files.write_json(run.folder / "status.json", status | done | {"evaluated": 90})
        members.append(run)
    folder = _sweep_of(members)
    path = folder / "plan.json"
    plan = files.read_json(path)
    for entry, run in zip(plan["runs"], members, strict=True):
        entry["config"] = run.config.to_dict() | {"num_steps": 40}
    files.write_json(path, plan)
    assert cli.main(["analyze", str(folder), "--what=sizes"]) == 0
    said = capsys.readouterr()
    (line,) = said.err.strip().splitlines()
    assert "no final parameters were kept at num_steps 40 by 1 run" in line
    assert line.endswith(f"{members[0].run_id}.")
    assert [x.split()[-1] for x in said.out.splitlines() if "total" in x] == ["1/2"]
    files.write_json(path, {"runs": plan["runs"][:1]})
    assert cli.main(["analyze", str(folder), "--what=sizes"]) == 2
    assert "were kept at num_steps 40 by 1 run" in capsys.readouterr().err
    # At its own budget it has them.
    assert cli.main(["analyze", str(members[0].folder), "--what=sizes"]) == 0
    assert capsys.readouterr().err.strip() == ""


@pytest.mark.parametrize("what", ["sizes", "weights,sizes"])
def test_a_sweep_of_which_an_analysis_applies_to_no_run_exits_2(
    make_run, capsys, monkeypatch, what
):
    monkeypatch.setitem(stored.MEASURES, "weights", lambda *_: Weights(1.0, "", 1))
    folder = _sweep_of([make_run(NAMES[:1], 3), make_run((), 1)])
    assert cli.main(["analyze", str(folder), f"--what={what}"]) == 2
    assert "Needs a prime." in capsys.readouterr().err
    assert cli.main(["analyze", str(folder), "--what=weights"]) == 0


@pytest.mark.parametrize(
    ("seed", "arguments", "message"),
    [
        (3, ["--what=sizes"], "Needs a prime"),
        (0, ["--what=size"], "Unknown analysis 'size'; choose from"),
        (0, ["--what=sizes", "--checkpoint=lost"], "such parameters; it kept final."),
        (
            0,
            ["--what=sizes", "--transition"],
            "transition with parameters; it kept final.",
        ),
        (0, ["--what=sizes", "--transition", "--checkpoint=final"], "give no --check"),
        (0, [], "--what=NAME,..; --list says the names"),
    ],
)
def test_a_mistake_exits_2(make_run, seed, arguments, message, capsys):
    made = make_run(NAMES[:1], seed)
    assert cli.main(["analyze", str(made.folder), *arguments]) == 2
    printed = capsys.readouterr()
    assert message in " ".join(printed.err.split()) and "Traceback" not in printed.err


def test_a_folder_that_is_no_run_exits_2(tmp_path, capsys):
    assert cli.main(["analyze", str(tmp_path), "--what=sizes"]) == 2
    assert "is not a run folder" in capsys.readouterr().err
