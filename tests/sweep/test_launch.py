import shlex

import pytest

from rdt_jax import cli
from rdt_jax.sweep import launch

TPU = launch.Tpu("my-vm", "my-project", "my-zone", "v5litepod-16", "an-image")
COMMAND = ["rdt", "train", "--config=configs/modular.py:paper"]


def test_every_command_says_project_and_zone_and_nothing_of_its_own():
    steps = launch.steps(TPU, COMMAND) + launch.afterwards(TPU)
    for step in steps:
        if step.words[0] == "gcloud":
            assert "--project=my-project" in step.words
            assert "--zone=my-zone" in step.words
        assert tuple(shlex.split(step.line)) == step.words


def test_a_slice_is_installed_and_started_on_every_host():
    steps = {step.what: step.words for step in launch.steps(TPU, COMMAND)}
    for what in ("bring it to every host", "install", "start"):
        assert "--worker=all" in steps[what]
    assert "rdt train --config=configs/modular.py:paper" in steps["start"][-1]


def test_a_vm_is_created_only_once_there_is_something_to_bring():
    made = [step.what for step in launch.steps(TPU, COMMAND)]
    assert made[:2] == ["pack this commit", "create the VM"]


def test_spot_is_asked_for_only_if_it_is_wanted():
    wants = lambda tpu: "--spot" in launch.steps(tpu, COMMAND)[1].words
    assert wants(TPU._replace(spot=True)) and not wants(TPU)


def test_problems_name_the_flag():
    found = launch.tpu_problems(TPU._replace(name="My_VM"), ["ls"])
    assert [line.split()[0] for line in found] == ["NAME", "--run"]
    found = launch.tpu_problems(TPU._replace(zone="", version=" "), COMMAND)
    assert [line.split()[0] for line in found] == ["--zone", "--version"]
    assert not launch.tpu_problems(TPU, COMMAND)


def test_a_command_that_rdt_does_not_know_is_not_launched(capsys):
    words = "launch tpu my-vm --project=p --zone=z --type=t --version=v".split()
    for command in ("rdt trian", "rdt train --confg=x", "rdt tasks --config.a=1"):
        with pytest.raises(SystemExit, match="2"):
            cli.main([*words, f"--run={command}"])
        assert not capsys.readouterr().out


def test_a_command_with_a_quote_too_few_exits_2(capsys):
    words = "launch tpu my-vm --project=p --zone=z --type=t --version=v".split()
    assert cli.main([*words, "--run=rdt train 'x"]) == 2
    assert "--run must be a command of rdt, got" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option, flag",
    [
        ("--time=24h", "--time must be written as 24:00:00 or 2-00:00:00, got '24h'."),
        ("--time=2:00", "the 120 seconds before the limit at which a job is asked"),
        ("--time=00:01:59", "asked to checkpoint, got '00:01:59', which is 119."),
        (
            "--array=7-0",
            "--array must have ranges that ascend, such as 0-7, got '7-0'.",
        ),
        ("--array=0-3,9-8%2", "got '9-8'."),
        ("--run=rdt train --config=configs/modular.py:nope", "Unknown preset 'nope'"),
        ("--run=rdt train --config=configs/modular.py:cpu --config.a=1", "key 'a'"),
        ("--run=rdt train --config=configs/modular.py:cpu --mesh=trial=2", "trial=1,"),
        (
            "--run=rdt train --config=configs/modular.py:cpu --process-id=1",
            "is missing",
        ),
        ("--run=rdt worker a/sweeps/x --lease=0", "--lease must be at least 1 second"),
        ("--run=rdt worker a/sweeps/x --mesh=rows=2", "--mesh must give trial, data"),
        ("--run=rdt worker gs://a/x", "The folder of a sweep is WORKDIR/sweeps/NAME"),
        ("--run=rdt sweep experiments/packing --preset=no", "Unknown preset 'no'"),
        (
            "--run=rdt sweep experiments/packing --workers=0",
            "--workers must be at least",
        ),
        ("--array=x", "--array must be written as 0-7 or 0-15%4, got 'x'."),
        ("--gpus=-1", "--gpus must be at least 0, got -1."),
        ("--workers-per-gpu=0", "--workers-per-gpu must be at least 1, got 0."),
        ("--cpus-per-task=0", "--cpus-per-task must be at least 1, got 0."),
        ("--partition=a b", "--partition must be written as gpu, got 'a b'."),
        ("--run=ls", "--run must be a command of rdt"),
    ],
)
def test_a_batch_file_that_slurm_would_refuse_is_not_written(
    option, flag, tmp_path, capsys
):
    file = tmp_path / "job.sbatch"
    words = [
        "launch",
        "slurm",
        str(file),
        "--time=9",
        "--run=rdt worker runs/sweeps/x",
        option,
    ]
    assert cli.main(words) == 2
    assert flag in capsys.readouterr().err
    assert not file.exists()


@pytest.mark.parametrize("time", ["3", "0", "2:01", "00:02:01", "1-0", "1-00:00"])
def test_a_limit_of_more_than_the_warning_before_it_is_one(time):
    assert launch.slurm_problems(launch.Slurm("x", time), COMMAND) == []


def test_a_batch_file_that_exists_stays_as_it_is(tmp_path, capsys):
    file = tmp_path / "job.sbatch"
    file.write_text("mine")
    assert cli.main(["launch", "slurm", str(file), "--time=9", "--run=rdt tasks"]) == 2
    assert "exists; remove it, or name another file" in capsys.readouterr().err
    assert file.read_text() == "mine"


def test_a_container_stands_before_the_command_of_its_own(tmp_path):
    job = launch.Slurm("x", "1", container="apptainer exec --nv rdt.sif")
    text = launch.batch_file(job, ["rdt", "worker", "a b"])
    assert "apptainer exec --nv rdt.sif rdt worker 'a b' &" in text
    assert ".venv/bin/rdt worker 'a b' &" in launch.batch_file(
        job._replace(container=""), ["rdt", "worker", "a b"]
    )
