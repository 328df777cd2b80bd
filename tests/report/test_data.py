"""The data of a page: numbers of run folders, and those that `rdt figures` shows."""

import dataclasses
import hashlib
import itertools
import json
import pathlib
import re
import shlex
import types

import pytest

import rdt_jax as rdt
from rdt_jax import cli
from rdt_jax import config as configs
from rdt_jax.analysis import grokking, weights
from rdt_jax.cli import options as shared
from rdt_jax.figures import claims as verdicts
from rdt_jax.figures import diagram, numbers, tables
from rdt_jax.report import data, rendering, run_data
from rdt_jax.store import files
from rdt_jax.sweep import plan as plans
from rdt_jax.sweep import spec
from rdt_jax.tasks import presets
from tests import fake_runs

LOOPS = (1, 2, 5)


def of(run):
    return fake_runs.measured_at(run, LOOPS)


@pytest.fixture(scope="module")
def members():
    """Three seeds of four cells: runs that arrive, do not, are lost, wait, or broke."""
    broken = {"until": 50, "state": "failed", "reason": "nan"}
    return [
        *(of(fake_runs.staged(1, None, seed, id=40 + 30 * seed)) for seed in range(3)),
        *(of(fake_runs.staged(2, ood, s)) for s, ood in enumerate((60, 150, None))),
        of(fake_runs.staged(2, 90, 0, 0.3)),
        of(fake_runs.waiting(2, seed=1, decay=0.3)),
        of(fake_runs.waiting(2, seed=2, decay=0.3)),
        of(fake_runs.staged(5, 80, 0)),
        fake_runs.lost(fake_runs.staged(5, 80, 1)),
        of(fake_runs.staged(5, None, 2, **broken)),
    ]


@pytest.fixture(scope="module")
def sweep(members, tmp_path_factory):
    """What the page shows of their sweep."""
    workdir = tmp_path_factory.mktemp("report") / "runs"
    plan = fake_runs.write_planned(workdir, "seeds", members)
    found = data.of_sweeps([(workdir, plan)])
    return json.loads(json.dumps(found, allow_nan=False))["sweeps"][0]


def entry(times):
    """Returns what the table writes of a cell's times."""
    return f"{times['text']}  {times['reached']}/{times['runs']}" + (
        f"\n{times['spread']}" if times["spread"] else ""
    )


def test_times_are_those_of_the_table(members, sweep):
    columns = tables.updates_to_phases(members).columns
    shown = [[str(text) for text in column.cells] for column in columns]
    values = [
        [
            axis["values"][i]
            for axis, i in zip(sweep["axes"], cell["values"], strict=True)
        ]
        for cell in sweep["cells"]
    ]
    assert [list(pair) for pair in zip(*shown[:2], strict=True)] == values
    for phase, texts in zip(sweep["phases"], shown[2:5], strict=True):
        assert [entry(c["phases"][phase["name"]]) for c in sweep["cells"]] == texts
    ends = [text.partition("\n")[0] for text in shown[5]]
    assert [cell["final"]["ood"]["text"] for cell in sweep["cells"]] == ends


def test_times_are_those_of_the_phase_diagram(members, sweep):
    drawn = numbers.of(diagram.phase_diagram(members))["panels"]
    for phase, panel in zip(sweep["phases"], drawn[:3], strict=True):
        times = [cell["phases"][phase["name"]] for cell in sweep["cells"]]
        texts = [f"{t['text']}\n{t['reached']}/{t['runs']}" for t in times]
        assert panel["titles"][0] == phase["words"]
        first = ["\n".join(text.split("\n")[:2]) for text in panel["texts"]]
        assert sorted(first) == sorted(texts)


def test_numbers_are_those_of_the_cells(members, sweep):
    keys = [axis["key"] for axis in sweep["axes"]]
    for cell, shown in zip(grokking.cells(members, keys), sweep["cells"], strict=True):
        assert [sweep["runs"][i]["id"] for i in shown["runs"]] == [*cell.run_ids]
        told = (shown["unfinished"], shown["failed"])
        assert told == (cell.unfinished, cell.failed)
        for event, times in cell.times.items():
            told = shown["phases"][event]
            bounds = {k: getattr(times, k) for k in ("median", "low", "high")}
            assert {k: told[k] for k in bounds} == {
                k: None if bound.beyond else bound.steps for k, bound in bounds.items()
            }
            assert (told["beyond"], told["bound"]) == times.median[::-1]
        finals = {group: each._asdict() for group, each in cell.final.items()}
        told = {g: {k: f[k] for k in finals[g]} for g, f in shown["final"].items()}
        assert told == finals


def test_the_bold_run_is_that_of_the_figures(members, sweep):
    for cell in sweep["cells"]:
        own = [members[i] for i in cell["runs"]]
        event = grokking.watched_events(own)[-1]
        median = grokking.median_run(own, event)
        assert sweep["runs"][cell["median_run"]]["id"] == median.run_id


def test_a_run_is_its_records(members, sweep):
    for run, shown in zip(members, sweep["runs"], strict=True):
        assert (shown["id"], shown["seed"]) == (run.run_id, run.config.seed)
        assert shown["loops"] == run.num_loops
        assert shown["state"] == run.status["state"]
        assert sweep["cells"][shown["cell"]]["runs"].count(members.index(run)) == 1
        times = grokking.grok_times(run).phases
        if not run.is_lost:
            assert shown["phases"] == {e: t.completed for e, t in times.items()}
        assert shown["steps"] == [row["step"] for row in run.metrics]
        for group, curve in shown["curves"]["accuracy"].items():
            name = f"{group}/accuracy@{run.num_loops}"
            assert curve == [float(f"{row[name]:.4g}") for row in run.metrics]
            smooth = grokking.smooth([row[name] for row in run.metrics])
            assert shown["final"][group] == smooth[-1]
        for group, curve in shown["curves"]["loss"].items():
            name = f"{group}/loss@{run.num_loops}"
            assert curve == [float(f"{row[name]:.4g}") for row in run.metrics]
        for group, curves in shown["curves"]["accuracy_by_loops"].items():
            assert [*map(int, curves)] == sorted({*LOOPS})
            for loops, curve in curves.items():
                name = f"{group}/accuracy@{loops}"
                assert curve == [float(f"{row[name]:.4g}") for row in run.metrics]
    assert sweep["runs"][3]["curves"]["loss"]["ood"]
    assert len(sweep["runs"][3]["curves"]["accuracy_by_loops"]) == 3


def test_a_seed_is_told_with_those_others_that_differ(tmp_path):
    places = ((0, 0), (0, 7), (1, 0), (1, 7))
    runs = [fake_runs.staged(2, 60, s, task__seed=task) for s, task in places]
    found = sweep_of(runs, tmp_path)
    told = ["0, task seed 0", "0, task seed 7", "1, task seed 0", "1, task seed 7"]
    assert [run["seed"] for run in found["runs"]] == told
    assert (found["repeats"], len(found["cells"])) == ("run", 1)


def test_events_stand_where_the_figures_draw_them(members, sweep):
    events = sweep["runs"][3]["events"]
    for phase, times in grokking.grok_times(members[3]).phases.items():
        steps = {e["kind"]: e["step"] for e in events if e["phase"] == phase}
        assert (steps["onset"], steps["completed"]) == times[:2]
    assert {"OOD generalized: onset", "ID generalized: completed"} <= {
        event["name"] for event in events
    }


def test_what_did_not_arrive_is_told(members, sweep):
    lost, *problems = sweep["problems"]
    assert lost.startswith("1 of 12 planned runs missing, counted as not arrived")
    assert problems[0].endswith("config.json does not exist")
    assert problems[1] == "2 of 12 runs not yet finished."
    assert problems[2] == f"Loss not finite: {members[-1].run_id}."
    assert sweep["provenance"]["lost"] == {members[-2].run_id: "missing"}
    assert sweep["notes"] == []


def sweep_of(runs, tmp_path, study=spec.NO_STUDY):
    plan = fake_runs.write_planned(tmp_path, "s", runs, preset="smoke")
    return data.of_sweep(tmp_path, plan._replace(study=study))


def test_nothing_evaluated_is_told(tmp_path):
    found = sweep_of([fake_runs.waiting(2, until=-1)], tmp_path)
    assert found["problems"][-1].startswith("No run has been evaluated yet")
    assert [group["id"] for group in found["groups"]] == ["train", "id", "ood"]
    assert found["cells"][0]["phases"]["memorized"]["text"] == "..."
    assert found["cells"][0]["median_run"] is None


def test_damage_is_told_and_the_rest_is_there(tmp_path):
    runs = [fake_runs.staged(2, 60, seed) for seed in range(3)]
    plan = fake_runs.write_planned(tmp_path, "s", runs, preset="smoke")
    with (tmp_path / runs[0].run_id / "metrics.jsonl").open("a") as file:
        file.write('{"step": 0}\n')
    (tmp_path / runs[1].run_id / "timing.jsonl").write_text(
        '{"step": 1}\nx\n{"step": 2}\n'
    )
    found = data.of_sweep(tmp_path, plan)
    assert "metrics.jsonl line 25 is damaged" in " ".join(found["problems"])
    assert "timing.jsonl line 2 is damaged" in " ".join(found["problems"])
    assert [run["state"] for run in found["runs"]] == ["unreadable", "done", "done"]
    assert found["runs"][1]["cost"] == {}
    assert found["cells"][0]["phases"]["memorized"]["reached"] == 2


def test_an_address_names_a_sweep_also_when_others_are_added(tmp_path):
    runs = [fake_runs.staged(2, 60)]
    plans_by_name = {
        name: fake_runs.write_planned(tmp_path, name, runs)
        for name in ("width=8", "depth", "an <odd> one")
    }
    sweeps = [(tmp_path, plan) for plan in plans_by_name.values()]
    ids = lambda given: [s["id"] for s in data.of_sweeps(given)["sweeps"]]
    assert ids(sweeps) == ["width=8", "depth", "sweep-3"]
    assert ids(sweeps[1:]) == ["depth", "sweep-2"]
    assert ids([*sweeps[1:2], *sweeps]) == ["sweep-1", "width=8", "sweep-3", "sweep-4"]


def test_what_cannot_be_shown_together_is_one_problem(tmp_path):
    runs = [
        fake_runs.staged(2, 60, seed, **{"phases__further": (f"half: {part} >= 0.5",)})
        for seed, part in enumerate(("id", "ood"))
    ]
    found = sweep_of(runs, tmp_path)
    (problem,) = found["problems"]
    assert "The runs differ in what half is about: id, ood" in problem
    assert (found["cells"], found["runs"]) == ([], [])


def test_claims_are_those_of_the_study(root, tmp_path):
    study = spec.read_study(root / "experiments" / "depth_by_decay")
    runs = [fake_runs.staged(r, ood) for r, ood in ((1, None), (2, 90), (4, 60))]
    lost = fake_runs.lost(fake_runs.staged(8, 60))
    found = sweep_of([*runs, lost], tmp_path, study)
    assert found["summary"] == study.summary([*runs, lost])
    found = found["claims"]
    claims = verdicts.by_verdict(study.claims([*runs, lost]))
    assert [claim["verdict"] for claim in found] == [c.verdict for c in claims]
    assert "holds" in [claim.verdict for claim in claims]
    for shown, claim in zip(found, claims, strict=True):
        assert {k: shown[k] for k in ("text", "source", "expected", "judged_by")} == {
            k: getattr(claim, k) for k in ("text", "source", "expected", "judged_by")
        }
        assert shown["measured"].startswith(claim.measured)
        assert lost.run_id in shown["measured"]


def test_a_study_that_fails_or_lacks_analyses_is_told(tmp_path):
    def claims(runs):
        raise KeyError("width")

    path = tmp_path / "study.py"
    path.write_text("")
    study = types.SimpleNamespace(__file__=str(path), claims=claims)
    found = sweep_of([fake_runs.staged(2, 60)], tmp_path, study)
    assert re.search("Nothing is judged: .*width", found["problems"][0])
    assert found["cells"]


def test_analyses_that_claims_read_and_that_are_missing_are_told(tmp_path):
    (tmp_path / "study.py").touch()
    study = types.SimpleNamespace(
        __file__=str(tmp_path / "study.py"), ANALYSES={"lens": ["final"]}
    )
    plan = fake_runs.write_planned(tmp_path, "s", [fake_runs.staged(2, 60)])
    plan = plan._replace(study=study)
    assert data.of_sweep(tmp_path, plan)["problems"] == []
    kept = tmp_path / plan.run_ids[0] / "transitions" / "final-after-230"
    kept.mkdir()
    (kept / "manifest.json").write_text("{}")
    found = data.of_sweep(tmp_path, plan)
    assert found["problems"] == [
        "Analyses that claims read are missing, damaged or of other code: `rdt "
        "figures` makes them."
    ]
    assert found["runs"][0]["checkpoints"] == ["final"]
    assert [command["text"] for command in found["runs"][0]["commands"]][-1] == (
        f"rdt ask {tmp_path / plan.run_ids[0]} --checkpoint=final"
    )


ORIGIN = {
    "params": [hashlib.sha256(b"{}").hexdigest()],
    "code": weights.VERSION,
    "arguments": {"rows": 512, "steps": 24},
}


@pytest.mark.parametrize("content", [ORIGIN, []])
def test_claims_stand_beside_analyses_that_are_damaged(content, root, tmp_path):
    own = spec.read_study(root / "experiments" / "depth_by_decay")
    study = types.SimpleNamespace(**{**vars(own), "ANALYSES": {"weights": ["final"]}})
    plan = fake_runs.write_planned(tmp_path, "s", [fake_runs.staged(2, 60)])
    folder = tmp_path / plan.run_ids[0]
    kept = folder / "transitions" / "final-after-230"
    kept.mkdir()
    (kept / "manifest.json").write_text("{}")
    (folder / "analysis" / "weights-final-after-230.npz").touch()
    files.write_json(folder / "analysis" / "weights-final-after-230.json", content)
    found = data.of_sweep(tmp_path, plan._replace(study=study))
    assert found["claims"]
    lacking, damaged = found["problems"]
    assert lacking.startswith("Analyses that claims read are missing, damaged or")
    assert "weights-final-after-230.json is damaged: it" in damaged


def test_curves_are_thinned_to_a_number_and_it_is_told(members, tmp_path, monkeypatch):
    monkeypatch.setattr(run_data, "FEWEST", 6)
    plan = fake_runs.write_planned(tmp_path, "s", members[3:4], preset="smoke")
    found = data.of_sweep(tmp_path, plan, most=10 * 12)  # 12 curves
    (run,) = found["runs"]
    assert 6 < len(run["steps"]) < 14
    assert {0, 230} | {row["step"] for row in members[3].events} <= {*run["steps"]}
    assert found["notes"] == [
        f"Curves show {len(run['steps'])} of up to 24 evaluations of each run."
    ]
    rows = {row["step"]: row for row in members[3].metrics}
    assert run["curves"]["accuracy"]["ood"] == [
        rows[step]["ood/accuracy@2"] for step in run["steps"]
    ]


def test_what_is_not_finite_is_left_out(tmp_path):
    run = fake_runs.measured_at(fake_runs.staged(2, 60), (2,))
    run.metrics[3]["id/loss@2"] = float("inf")
    found = sweep_of([run], tmp_path)
    json.dumps(found, allow_nan=False)
    assert found["runs"][0]["curves"]["loss"]["id"][3] is None


@pytest.mark.parametrize("is_stored", [False, True])
@pytest.mark.parametrize("named", ["modular:smoke", "own.py:small", "dyck:smoke"])
def test_its_command_trains_a_run_again(named, is_stored, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(
        "from configs import modular\n\n\n"
        "def get_config(preset):\n    return modular.get_config('smoke')\n"
    )
    changes = {"phases.further": ("half: id >= 0.5",), "model.dropout": 0.1}
    over = {"recurrence.num_loops": (1, 3), "gradient.clip_norm": (None, 1.5)}
    plan = spec.plan_of_config(
        named, over, 2, check=lambda config: None, changes=changes
    )
    if is_stored:
        folder = tmp_path / "sweeps" / plan.name
        folder.mkdir(parents=True)
        plans.write(folder, plan)
        plan = plans.read(folder).as_plan()
    found = data.of_sweep(tmp_path, plan)
    assert len(found["runs"]) == 8
    for run, trial in zip(found["runs"], plan.trials, strict=True):
        rdt_word, *words = shlex.split(run["commands"][0]["text"])
        if is_stored and named == "own.py:small":  # Its folder is not in the plan.
            assert rdt_word == "python"
            continue
        assert (rdt_word, words[0], run["preset"]) == ("rdt", "train", named)
        again = shared.config(cli.parse(words))
        assert configs.run_id(again) == trial.run_id
        assert again.num_steps == trial.budget
        assert run["difference"]["model.dropout"] == 0.1
        assert "model.width" not in run["difference"]


def test_the_command_of_a_task_names_it(tmp_path):
    config = presets.config_of("dyck", "smoke")
    named = spec.Named(config, "dyck-smoke", "smoke")
    plan = spec.plan_of_config(named, {"batch_size": (16,)}, check=lambda config: None)
    (run,) = data.of_sweep(tmp_path, plan)["runs"]
    assert run["commands"][0]["text"] == (
        "rdt train --task=dyck --preset=smoke --config.batch_size=16 --workdir=again"
    )


def test_a_preset_of_another_task_is_none_of_a_run(tmp_path):
    plan = fake_runs.write_planned(tmp_path, "s", [fake_runs.staged(2, 60)])
    modular = configs.named_configs()["modular"]
    found = data.of_sweep(tmp_path, plan._replace(preset="cpu", config_file=modular))
    assert found["runs"][0]["commands"][0]["text"].startswith("python -c ")


def test_without_a_preset_python_trains_a_run_again(tmp_path, monkeypatch):
    runs = [fake_runs.staged(2, 60, model__width=32)]
    plan = fake_runs.write_planned(tmp_path / "a 'b", "s", runs, preset="smoke")
    found = data.of_sweep(tmp_path / "a 'b", plan._replace(preset=""))
    words = shlex.split(found["runs"][0]["commands"][0]["text"])
    assert words[:2] == ["python", "-c"]
    trained = []
    monkeypatch.setattr(rdt, "train", lambda config, workdir: trained.append(config))
    exec(words[2])
    assert configs.run_id(trained[0]) == runs[0].run_id
    assert found["runs"][0]["difference"]["model.width"] == 32


def test_a_history_is_told_with_its_warnings(tmp_path):
    run = fake_runs.staged(2, 60)
    plan = fake_runs.write_planned(tmp_path, "s", [run], preset="smoke")
    segment = {
        "step": 0, "commit": "a" * 40, "versions": {"jax": "1"}, "devices": ["cpu"],
        "processes": 1, "threads": 1,
    }  # fmt: skip
    later = segment | {"step": 100, "commit": "b" * 40 + "+changes", "threads": 2}
    path = tmp_path / run.run_id / "environment.json"
    files.write_json(path, {"table": "c", "segments": [segment, later]})
    rows = [
        {"step": s, "time": 1e9 + s, "train_seconds": 2.0, "evaluate_seconds": 0.5}
        for s in (100, 200, 9999)
    ]
    path.with_name("timing.jsonl").write_text(
        "".join(f"{json.dumps(r)}\n" for r in rows)
    )
    found = data.of_sweep(tmp_path, plan)
    (shown,) = found["runs"]
    assert shown["warnings"] == [
        f"From step 100 on another environment: commit is {'b' * 12}+changes, was "
        f"{'a' * 12}; threads is 2, was 1.",
        f"Its code is not that of a commit: {'b' * 40}+changes.",
    ]
    assert shown["environment"]["threads"] == 2
    assert shown["cost"]["seconds"] == 5.0
    assert shown["cost"]["flops"] > 1e6
    assert shown["trained"][0] == "2001-09-09T01:48:20+00:00"
    assert found["provenance"]["devices"] == ["cpu"]
    assert found["provenance"]["commits"] == ["a" * 40, "b" * 40 + "+changes"]


def test_a_history_of_an_older_version_says_what_it_has(tmp_path):
    runs = [fake_runs.staged(2, 60, seed) for seed in range(2)]
    plan = fake_runs.write_planned(tmp_path, "s", runs, preset="smoke")
    for run, more in zip(runs, ({}, {"devices": ["cpu"], "processes": 1}), strict=True):
        content = {"segments": [{"step": 0, "commit": "a" * 40} | more]}
        files.write_json(tmp_path / run.run_id / "environment.json", content)
    provenance = data.of_sweep(tmp_path, plan)["provenance"]
    assert (provenance["devices"], provenance["processes"]) == (["cpu"], [1])
    assert provenance["study"] is None


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&amp;\u2028'\""


def test_hostile_words_are_text(tmp_path, monkeypatch):
    runs = [fake_runs.staged(2, 60), fake_runs.lost(fake_runs.staged(2, 60, 1))]
    for run, note in zip(runs, ("", HOSTILE), strict=True):
        run.config.unlock().task.kwargs["note"] = note
    runs[1].status["message"] = HOSTILE
    trials = [spec.Trial(r.run_id, {"note": r.config.seed}, r.config) for r in runs]
    plan = spec.Plan(HOSTILE, spec.NO_STUDY, trials)
    monkeypatch.setattr(data.runs, "read_runs", lambda workdir, planned: runs)
    html = rendering.render(data.of_sweeps([(tmp_path, plan)], problems=[HOSTILE]))
    assert "alert(1)</script>" not in html
    assert "<img src=x" not in html
    held = re.search(r'<script[^>]*id="data"[^>]*>(.*?)</script>', html, re.S)
    told = json.loads(held[1])
    assert (told["problems"], told["sweeps"][0]["name"]) == ([HOSTILE], HOSTILE)
    (_, run) = told["sweeps"][0]["runs"]
    assert run["difference"]["task.kwargs.note"] == HOSTILE
    assert run["message"] == HOSTILE
    assert HOSTILE in told["sweeps"][0]["problems"]


def big(cells, seeds, evaluations):
    """Returns runs of a sweep, evaluated so often at four loop counts."""
    steps = evaluations * fake_runs.EVERY
    options = {"num_steps": steps, "until": steps}
    for loops in (1, 2, 4, 8):
        run = fake_runs.measured_at(
            fake_runs.staged(loops, 60, **options), (1, 2, 4, 8)
        )
        digits = lambda value: 0.1234 + value / 10
        rows = [
            {k: v if k == "step" else digits(v) for k, v in row.items()}
            for row in run.metrics
        ]
        for cell, seed in itertools.product(range(cells // 4), range(seeds)):
            values = {"optimizer.weight_decay": 0.01 + cell, "seed": seed}
            config = configs.override(run.config, values)
            folder = pathlib.Path(configs.run_id(config))
            yield dataclasses.replace(run, folder=folder, config=config, metrics=rows)


@pytest.mark.parametrize(
    ("cells", "seeds", "most"),
    [
        pytest.param(68, 3, 6e6, id="204 runs"),
        pytest.param(400, 5, 25e6, id="2,000 runs", marks=pytest.mark.exhaustive),
    ],
)
def test_a_large_sweep_stays_small(cells, seeds, most, tmp_path, monkeypatch):
    runs = [*big(cells, seeds, 100)]
    trials = [
        spec.Trial(run.run_id, {"seed": run.config.seed}, run.config) for run in runs
    ]
    plan = spec.Plan("big", spec.NO_STUDY, trials)
    monkeypatch.setattr(data.runs, "read_runs", lambda workdir, planned: runs)
    found = data.of_sweeps([(tmp_path, plan)])
    assert len(found["sweeps"][0]["runs"]) == cells * seeds
    assert len(rendering.render(found)) < most


def test_figures_are_in_the_page_and_those_too_large_are_named(tmp_path, monkeypatch):
    plan = fake_runs.write_planned(tmp_path, "s", [fake_runs.staged(2, 60)])
    folder = tmp_path / "sweeps" / "s" / "figures"
    (folder / "more").mkdir(parents=True)
    for name, size in (("large", 9), ("more/small", 3), ("small", 4)):
        (folder / f"{name}.png").write_bytes(b"x" * size)
    monkeypatch.setattr(data, "MOST_IMAGE_BYTES", 8)
    found = data.of_sweep(tmp_path, plan)
    assert [(f["name"], f["image"]) for f in found["figures"]] == [
        ("more/small", "eHh4"),
        ("small", "eHh4eA=="),
    ]
    assert found["notes"] == ["large.png (9 bytes) is left out of this page."]
