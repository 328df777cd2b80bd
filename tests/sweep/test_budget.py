"""Sweeps whose configs gain keys or updates: what is over stays over."""

import json
import shutil

import pytest

from rdt_jax import cli, schema, tasks
from rdt_jax import config as configs
from rdt_jax.cli import ranks
from rdt_jax.store import files, packs, records, run_folder
from rdt_jax.sweep import ledger, worker
from rdt_jax.sweep import plan as plans
from tests.test_cli_sweep import NAME, NAMED, SWEEP

STEPS = 300  # of the preset


@pytest.fixture
def finished(tmp_path):
    """The folder of a sweep whose runs have spent their budget."""
    assert cli.main([*SWEEP, f"--workdir={tmp_path}", "--plan"]) == 0
    folder = tmp_path / "sweeps" / NAME
    for name in plans.read_run_ids(folder):
        records.append(tmp_path / name / "metrics.jsonl", {"step": 0})
        records.append(tmp_path / name / "metrics.jsonl", {"step": STEPS})
        done = {"state": "done", "reason": "budget", "step": STEPS}
        pack = packs.pack_of([name])
        done |= {"pack": pack, "lane": 0, "num_steps": STEPS, "saved": STEPS}
        done["evaluated"] = STEPS
        kept = tmp_path / "packs" / pack / "checkpoints" / str(STEPS)
        kept.mkdir(parents=True)
        files.write_json(kept.parents[1] / "runs.json", [name])
        files.write_json(tmp_path / name / "status.json", done)
    assert {trial.budget for trial in plans.read(folder).trials} == {STEPS}
    return folder


def runs_in(workdir):
    return sorted(path.parent.name for path in workdir.glob("*/config.json"))


def test_a_new_key_trains_nothing_again(finished, monkeypatch, capsys):
    """Every finished run is found by the name that it had, and its sweep is over."""
    workdir = finished.parents[1]
    before = runs_in(workdir)
    new = {"evaluation.patience": schema.Key(3, "new", "[1, inf)")}
    monkeypatch.setattr(schema, "KEYS", dict(schema.KEYS) | new)
    where = f"--workdir={workdir}"
    assert cli.main([*SWEEP, where, "--plan"]) == 0
    assert runs_in(workdir) == before
    assert ledger.open_packs(finished) == []
    assert cli.main([*NAMED, where, "--status"]) == 0
    assert f"{len(before)} trials: {len(before)} done" in capsys.readouterr().out


def test_more_updates_go_on_and_the_plan_of_fewer_stays_over(finished, capsys):
    workdir = finished.parents[1]
    before = runs_in(workdir)
    where, longer = f"--workdir={workdir}", [*SWEEP, f"--config.num_steps={2 * STEPS}"]
    assert cli.main([*longer, where, "--plan"]) == 0
    folder = workdir / "sweeps" / f"{NAME},num_steps={2 * STEPS}"
    assert runs_in(workdir) == before
    found = ledger.open_packs(folder)
    assert sorted(name for pack in found for name in pack.runs) == before
    assert {c.num_steps for pack in found for c in pack.configs} == {2 * STEPS}
    assert ledger.open_packs(finished) == []
    # Under way, the first plan sees what it asked for.
    folder = workdir / before[0]
    run_folder.set_budget(folder, 2 * STEPS)
    status = run_folder.read_status(folder)
    assert (status["state"], status["step"]) == ("preempted", STEPS)
    assert ledger.open_packs(finished) == []
    failed = {"state": "failed", "reason": "error", "message": "a bad table"}
    files.write_json(folder / "status.json", status | failed)
    assert ledger.open_packs(finished) == []
    assert cli.main([*SWEEP, where, "--retry-failed", "--plan"]) == 0
    assert run_folder.read_status(folder)["state"] == "failed"
    running = {"state": "running", "step": STEPS + 20}
    files.write_json(folder / "status.json", status | running)
    assert ledger.open_packs(finished) == []
    capsys.readouterr()
    assert cli.main([*NAMED, where, "--status"]) == 0
    assert f"{len(before)} trials: {len(before)} done" in capsys.readouterr().out


def test_two_budgets_of_one_run_are_refused(tmp_path, capsys):
    study = tmp_path / "studies" / "steps"
    study.mkdir(parents=True)
    (study / "study.py").write_text(
        "from rich.table import Table\n"
        "from rdt_jax.sweep import spec\n"
        'CONFIG = "configs/modular.py"\n'
        'def sweep(preset): return spec.grid("num_steps", 100, 200)\n'
        "def table(runs): return Table()\n"
        "def figures(runs): return {}\n"
        "def claims(runs): return []\n"
    )
    sweep = ["sweep", str(study), "--preset=smoke", f"--workdir={tmp_path / 'w'}"]
    assert cli.main(sweep) == 2
    assert (
        "Two trials differ in num_steps alone, 100 and 200" in capsys.readouterr().err
    )
    assert not (tmp_path / "w").exists()
    again = [*sweep, "--config.optimizer.schedule=cosine", "--plan"]
    assert cli.main(again) == 0
    assert len(runs_in(tmp_path / "w")) == 2


@pytest.fixture
def cosine(tmp_path):
    """Returns a function from a budget to a config file with a schedule that reads it.

    A study of one trial, in the folder `study`, has this config, too.
    """
    (tmp_path / "study").mkdir()
    path = tmp_path / "cosine.py"
    (tmp_path / "study" / "study.py").write_text(
        f"CONFIG = {str(path)!r}\ndef sweep(preset): return [{{'seed': 0}}]\n"
    )

    def write(steps):
        path.write_text(
            "from configs import modular\n"
            "def get_config(preset):\n"
            "    config = modular.get_config(preset)\n"
            f"    config.num_steps, config.seed = {steps}, 0\n"
            "    config.optimizer.schedule = 'cosine'\n"
            "    return config\n"
        )
        return f"{path}:smoke"

    return write


@pytest.mark.parametrize("verb", ["sweep", "train"])
def test_another_budget_of_a_schedule_that_reads_it_is_said_to_be_another_run(
    cosine, verb, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(ranks, "run", lambda *_: 0)  # Of `rdt train`: trains nothing.
    where = f"--workdir={tmp_path / 'runs'}"
    train = lambda steps: ["train", f"--config={cosine(steps)}", where]
    sweep = ["sweep", str(tmp_path / "study"), "--preset=smoke", where, "--plan"]
    first = configs.load(cosine(200))
    run_folder.create(tmp_path / "runs" / configs.run_id(first), first)
    damaged = tmp_path / "runs" / "damaged" / "config.json"
    damaged.parent.mkdir()
    damaged.write_text('{"num_steps"')
    for steps, is_said in [(200, False), (300, True)]:
        command = train(steps)
        assert cli.main(sweep if verb == "sweep" else command) == 0
        said = capsys.readouterr().err
        assert ("optimizer.schedule cosine reads num_steps" in said) == is_said
        run = f"at step 0. Run {configs.run_id(first)} has 200 updates."
        assert (run in said) == is_said
    if verb == "sweep":  # The second is planned, and so is there.
        assert cli.main(sweep) == 0
        assert "reads num_steps" not in capsys.readouterr().err


def test_a_sweep_of_an_earlier_version_is_read_and_not_gone_on_with(finished, capsys):
    """Its plan and its folders have names by another rule."""
    workdir, path = finished.parents[1], finished / "plan.json"
    plan = json.loads(path.read_text())
    for run in plan["runs"]:
        before = workdir / run["run_id"]
        run["run_id"] = configs.hash_of(run["config"])
        before.rename(workdir / run["run_id"])
    path.write_text(json.dumps(plan))
    where, total = f"--workdir={workdir}", len(plan["runs"])
    assert cli.main([*NAMED, where, "--status"]) == 0
    said = capsys.readouterr()
    assert f"{total} trials: {total} done" in said.out
    assert "planned by a version before 0.2" in said.err
    for command in ([*SWEEP, where], ["worker", str(finished)]):
        assert cli.main(command) == 2
        assert "planned by a version before 0.2" in capsys.readouterr().err
    longer = [*SWEEP, where, f"--config.num_steps={2 * STEPS}", "--plan"]
    assert cli.main(longer) == 2
    assert "were trained by a version before 0.2" in capsys.readouterr().err
    # A plan of then may have no configs: these are those of the runs.
    for run in plan["runs"]:
        del run["config"]
    path.write_text(json.dumps(plan))
    assert cli.main([*NAMED, where, "--status"]) == 0
    shutil.rmtree(workdir / plan["runs"][0]["run_id"])
    assert cli.main([*NAMED, where, "--status"]) == 2
    assert "does not tell what this run was" in capsys.readouterr().err


def test_a_plan_knows_its_table(finished, capsys, monkeypatch):
    """Another one is not trained on: neither as it was planned nor planned again."""
    plan = json.loads((finished / "plan.json").read_text())
    workdir = finished.parents[1]
    hashes = {run["table"] for run in plan["runs"]}
    assert {len(value) for value in hashes} == {64} and len(hashes) == 1
    longer = [*SWEEP, f"--config.num_steps={2 * STEPS}", f"--workdir={workdir}"]
    assert cli.main([*longer, "--plan"]) == 0
    monkeypatch.setattr(tasks, "hash_of", lambda config: 64 * "0")
    folder = workdir / "sweeps" / f"{NAME},num_steps={2 * STEPS}"
    said: list[str] = []
    worker.work(folder, stop_requested=lambda: 0, log=said.append)
    assert all("was planned with another table" in text for text in said)
    assert len(said) == len(plan["runs"])
    (name, *_) = (run["run_id"] for run in plan["runs"])
    files.write_json(workdir / name / "environment.json", {"table": hashes.pop()})
    capsys.readouterr()
    assert cli.main([*longer, "--plan"]) == 2
    assert "was trained on another table" in capsys.readouterr().err
