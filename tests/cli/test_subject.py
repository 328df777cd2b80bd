"""What verbs take first: a study, a config or a sweep; planned, extended, refused."""

import pathlib

import pytest

from rdt_jax import cli
from rdt_jax.store import packs, records
from rdt_jax.store.leases import history
from rdt_jax.sweep import plan as plans
from tests.conftest import ROOT

SMALL = ["--config.model.width=8", "--config.batch_size=8"]
SUFFIX = "batch_size=8,model.width=8"
SWEEP = ["sweep", "modular:smoke", "--loops=1,2", "--weight-decay=0.1,1", *SMALL]
NAME = f"modular-smoke-num_loops-weight_decay-{SUFFIX}"
QUIET = ["--workers=1", "--memory=8GB"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def planned(*words):
    """Plans a sweep and returns what is stored of it."""
    assert cli.main([*words, *QUIET, "--plan"]) == 0
    (newest,) = {
        max(pathlib.Path().rglob("plan.json"), key=lambda p: p.stat().st_mtime)
    }
    return plans.read(newest.parent)


def write_study(folder, more="", config="configs/modular.py"):
    """Writes a study of one run, and more of it."""
    folder.mkdir(parents=True)
    sweep = "sweep = lambda preset: [{'seed': 0}]\n"
    (folder / "study.py").write_text(f"CONFIG = {config!r}\n{sweep}{more}")


def cells(stored):
    """Returns the values of a plan's trials, in its order."""
    return [tuple(trial.overrides.values()) for trial in stored.trials]


def test_the_same_command_with_more_extends_a_sweep(here):
    first = planned(*SWEEP, "--seeds=1")
    assert first.path == pathlib.Path("runs/sweeps", NAME, "plan.json")
    assert (first.study, first.preset) == ("", "smoke")
    assert cells(first) == [(1, 0.1, 0), (1, 1.0, 0), (2, 0.1, 0), (2, 1.0, 0)]
    seeds = planned(*SWEEP, "--seeds=2")
    assert len(seeds.trials) == 8 and set(first.run_ids) < set(seeds.run_ids)
    # What was asked for before stays, and the order of the axes makes no other name.
    fewer = ["sweep", "modular:smoke", "--weight-decay=0.1", "--loops=4", *SMALL]
    more = planned(*fewer, "--config.num_steps=600")
    assert more.path == first.path
    assert len(more.trials) == 9 and set(seeds.run_ids) < set(more.run_ids)
    assert {trial.budget for trial in more.trials} == {600}
    assert cells(planned(*SWEEP)) == cells(more)


def test_a_smaller_budget_is_said_to_be_none(here, capsys):
    planned(*SWEEP)
    stored = planned(*SWEEP, "--config.num_steps=100")
    assert {trial.budget for trial in stored.trials} == {300}
    assert "keeps num_steps = 300, the largest that was" in capsys.readouterr().err


def test_a_sweep_goes_on_by_its_folder(here, capsys):
    folder = f"runs/sweeps/{NAME}"
    first = planned(*SWEEP)
    content = (here / folder / "plan.json").read_bytes()
    assert cells(planned("sweep", folder)) == cells(first)
    assert (here / folder / "plan.json").read_bytes() == content
    more = planned("sweep", folder, "--seeds=2", "--config.num_steps=400")
    assert len(more.trials) == 8
    assert {trial.budget for trial in more.trials} == {400}
    assert len(planned("sweep", f"{folder}/", "--over", "seed=5").trials) == 12
    capsys.readouterr()
    for words in (["--status"], ["--dry-run", "--rate=1e9"], ["--stop"]):
        assert cli.main(["sweep", folder, *words]) == 0
        assert "12" in (out := capsys.readouterr().out) or "Nobody" in out


def test_a_sweep_of_a_study_goes_on_by_its_folder(here, capsys, command):
    study = here / "somewhere" / "else" / "tiny"
    table = "__import__('rich.table').table.Table('OF TINY')"
    write_study(study, f"table = lambda runs: {table}\n")
    stored = planned("sweep", "somewhere/else/tiny", "--preset=smoke", *SMALL)
    assert stored.path.parent.name == f"tiny-smoke-{SUFFIX}"
    folder = str(stored.path.parent)
    again = planned("sweep", folder)
    assert (again.study, again.preset, again.changes) == (
        "tiny",
        "smoke",
        stored.changes,
    )
    assert again.config_file == stored.config_file
    for word in ("--seeds=2", "--config.num_steps=600", "--preset=smoke"):
        assert cli.main(["sweep", folder, word]) == 2
        flag = word if "num_steps" in word else word.partition("=")[0]
        assert f"{flag} does not go with " in capsys.readouterr().err
    write_metrics(here / "runs" / stored.run_ids[0])
    assert "OF TINY" in command(["figures", folder, "--out=figures"]).out
    (study / "study.py").unlink()
    said = command(["figures", folder, "--out=figures"])
    assert "Updates to each phase" in said.out and "is not here" in said.err


def write_metrics(run):
    """Writes one evaluation of a run."""
    row = {"step": 0}
    for split in ("train", "id"):
        row |= {f"{split}/accuracy": 0.5, f"{split}/loss": 1.0}
        row |= {f"{split}/{name}@2": 0.5 for name in ("accuracy", "loss")}
    records.append(run / "metrics.jsonl", row)


def test_a_study_anywhere_needs_a_config_and_a_sweep_only(here):
    write_study(here / "tiny", config="tiny/own.py")
    (here / "tiny" / "own.py").write_text(
        "from rdt_jax.named import getter\n"
        "from configs.modular import PRESETS\n"
        "get_config = getter(PRESETS)\n"
    )
    assert planned("sweep", "tiny", "--preset=smoke", *SMALL).study == "tiny"


def test_a_path_with_spaces_and_colons(here):
    folder = here / "my configs: all"
    folder.mkdir()
    source = (ROOT / "configs" / "modular.py").read_text()
    (folder / "a b:c.py").write_text(source)
    config = "my configs: all/a b:c.py:smoke"
    stored = planned("sweep", config, "--seeds=2", *SMALL, "--workdir=my runs: 1")
    folder = f"my runs: 1/sweeps/a_b_c-smoke-{SUFFIX}"
    assert stored.path == pathlib.Path(folder, "plan.json")
    assert len(planned("sweep", folder, "--seeds=3").trials) == 3
    assert cli.main(["sweep", config, *SMALL, "--workdir=my runs: 1", "--status"]) == 0


def test_verbs_find_the_sweep_of_a_config(here, capsys, command):
    stored = planned(*SWEEP)
    config = ["modular:smoke", *SMALL]
    assert f"Nobody trains {NAME}" in command(["sweep", *config, "--stop"]).out
    assert cli.main(["worker", "modular:smoke"]) == 2  # Of other values.
    assert "modular-smoke has no plan.json" in capsys.readouterr().err
    assert f"No run of {NAME} in runs has been" in command(["figures", *config], 2).err
    analyze = ["analyze", "modular:smoke", "--what=lens"]
    assert "modular-smoke" in command(analyze, 2).err
    planned("sweep", "modular:smoke", "--loops=1,2", "--name=other", *SMALL)
    for run in stored.run_ids:
        write_metrics(here / "runs" / run)
    said = command(["figures", *config], 2).err
    assert "several sweeps of this config: give one" in said
    assert f"runs/sweeps/{NAME}" in said and "runs/sweeps/other" in said


def test_a_sweep_of_a_config_in_a_bucket_is_extended(here, command):
    url = f"memory://{here.name}/runs"
    sweep = [*SWEEP, *QUIET, f"--workdir={url}", "--plan"]
    assert cli.main(sweep) == 0
    part = ["sweep", "modular:smoke", "--loops=4", "--weight-decay=1", *sweep[4:]]
    folder = command(part).out.splitlines()[-1]
    assert folder == f"{url}/sweeps/{NAME}"
    command(["sweep", folder, "--seeds=2", *QUIET, "--plan"])
    assert "10 trials" in command(["sweep", folder, "--status"]).out
    assert not list(here.iterdir())


LISTED = "must list values"
TWICE = "Two axes set recurrence.num_loops"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["depth_by_decay"], "/experiments/depth_by_decay?"),
        (["experiments/depth_by_decay"], "/experiments/depth_by_decay?"),
        (["modular"], "did you mean modular:cpu?"),
        (["none"], "no config (FILE.py:PRESET) and no sweep (WORKDIR/sweeps/NAME) of"),
        (["{root}/configs/modular.py"], "a config has a preset: one of cpu, smoke"),
        (["modular:none"], "Unknown preset 'none'; choose from cpu"),
        (["modulor:cpu"], "Unknown config 'modulor'; choose from"),
        (["none.py:cpu"], "none.py; the folder holds none."),
        (["modular:smoke", "--over", "model.widht=8"], "did you mean model.width?"),
        (["modular:smoke", "--over", "loss.zloss=1"], "choose from loss.block_"),
        (["modular:smoke", "--loops="], LISTED),
        (["modular:smoke", "--over", "model.width"], LISTED),
        (["modular:smoke", "--loops=1,,2"], LISTED),
        (["modular:smoke", "--loops=1,x"], "recurrence.num_loops must be an int, got"),
        (["modular:smoke", "--loops=1,1"], "must have each value once, got 1, 1"),
        (["modular:smoke", "--loops=1", "--loops=2"], TWICE),
        (["modular:smoke", "--loops=1", "--over", "recurrence.num_loops=2"], TWICE),
        (["modular:smoke", "--seeds=2", "--over", "seed=1"], "Two axes set seed"),
        (["modular:smoke", "--loops=0,1"], "recurrence.num_loops"),
        (
            ["modular:smoke", "--loops=1,2", "--config.recurrence.num_loops=2"],
            "--config.recurrence.num_loops does nothing where the sweep itself sets",
        ),
        (["modular:smoke", "--seeds=0"], "at least 1, got 0"),
        (["modular:smoke", "--seeds=100001"], "at most 100,000 trials, got 100,001"),
        (["modular:smoke", "--trials=3"], "--trials needs --random"),
        (["modular:smoke", "--random", "seed=int(0,9)"], "--random needs --trials=N"),
        (
            ["modular:smoke", "--random", "optimizer.b1=log(0,1)", "--trials=2"],
            "--random optimizer.b1 must be log(a,b) with 0 < a < b",
        ),
        (["modular:smoke", "--preset=cpu"], "--preset does not go with modular:smoke"),
        (["modular:smoke", "--name=a/b"], "--name must be letters, digits"),
        (["{root}/experiments/depth_by_decay", "--loops=1"], "--over does not go with"),
        (["{root}/experiments/depth_by_decay", "--name=x"], "--name does not go with"),
    ],
)
def test_a_wrong_sweep_is_one_message(words, message, here, command):
    said = command(["sweep", *(word.format(root=ROOT) for word in words)], 2)
    assert message in said.err and said.err.count("rdt: ") == 1 and not said.out
    assert not list(here.iterdir())


def test_a_name_that_another_sweep_has_is_refused(here, capsys, command):
    planned(*SWEEP, "--name=mine")
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    taken = ["--name=mine", *QUIET, "--plan"]
    for words, message in [
        (
            ["modular:smoke", "--loops=1", *SMALL],
            "is a sweep over recurrence.num_loops",
        ),
        ([*SWEEP[1:4], "--config.batch_size=16"], "batch_size is 8, and here 16"),
        (["dyck:smoke", *SWEEP[2:4], *SMALL], "task.name is modular, and here dyck"),
    ]:
        assert message in command(["sweep", *words, *taken], 2).err
    for words, message in [
        (["--over", "model.width=16"], "varies recurrence.num_loops, optimizer.weight"),
        (["--config.model.width=16"], "--config.model.width makes other runs"),
        (["--name=other"], "--name does not go with runs/sweeps/mine"),
        (["--preset=cpu"], "--preset does not go with runs/sweeps/mine"),
        (["--workdir=other"], "--workdir must be runs, that of runs/sweeps/mine"),
    ]:
        assert cli.main(["sweep", "runs/sweeps/mine", *words, *QUIET, "--plan"]) == 2
        assert message in capsys.readouterr().err
    assert cli.main(["figures", "runs/sweeps/mime"]) == 2
    assert "choose from runs/sweeps/mine." in capsys.readouterr().err
    write_study(here / "mine")
    (here / "runs/sweeps/mine").rename(here / "runs/sweeps/mine-smoke")
    said = command(["sweep", "mine", "--preset=smoke", *QUIET, "--plan"], 2).err
    assert "mine-smoke is a sweep of no study. Use another --workdir." in said
    assert cli.main(["claims", "runs/sweeps/mine-smoke"]) == 2
    assert "has no study here, whose study.py says what is" in capsys.readouterr().err
    (here / "runs/sweeps/mine-smoke").rename(here / "runs/sweeps/mine")
    (here / "mine" / "study.py").unlink()
    assert {p: p.read_bytes() for p in here.rglob("*") if p.is_file()} == before


@pytest.mark.slow
def test_an_extended_sweep_trains_nothing_twice(here, capsys, command):
    tiny = [
        "sweep", "modular:smoke", "--loops=1", "--weight-decay=0.1,1", *SMALL,
        "--config.eval_every_steps=10", "--config.checkpoint_every_steps=10",
        "--config.num_steps=10", "--config.task.kwargs.modulus=5",
    ]  # fmt: skip
    path = planned(*tiny).path
    folder = str(path.parent)

    def trained():
        assert cli.main(["worker", folder]) == 0
        files = {name: here / "runs" / name for name in plans.read(path.parent).run_ids}
        return {n: (run / "metrics.jsonl").read_text() for n, run in files.items()}

    def num_leases(run):
        return len(history(here / "runs", packs.pack_of([run])))

    first = trained()
    planned(*tiny, "--seeds=2")
    second = trained()
    assert (len(first), len(second)) == (2, 4)
    assert first.items() < second.items()
    assert [num_leases(run) for run in second] == [1] * 4

    planned("sweep", folder, "--config.num_steps=20")
    third = trained()
    for name, text in second.items():
        assert third[name].startswith(text)
        rows = records.read_rows(here / "runs" / name / "metrics.jsonl")
        assert [row["step"] for row in rows] == [0, 10, 20]
    capsys.readouterr()
    assert "Updates to each phase: modular" in command(["figures", folder]).out
    assert list((here / folder / "figures").glob("*.png"))
