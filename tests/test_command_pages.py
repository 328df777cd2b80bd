"""The commands of docs/tpu.md and docs/sweeps.md, with stand-ins for what is rented.

`gcloud`, `sbatch`, `srun`, `ray`, `git` and the Python of a host are scripts that write
down how they were called; a host is a folder, and what is sent to it runs there; a
bucket is a folder that all of them see. `rdt` is the real one with the small presets;
in `make test` its words are only parsed and the configs they name resolved, in `make
test-all` it trains.
"""

import json
import os
import pathlib
import re
import shlex
import signal
import stat
import subprocess
import sys
import time

import pytest

from rdt_jax import cli
from rdt_jax import config as configs
from rdt_jax.cli import subject
from rdt_jax.sweep import spec
from tests.conftest import ROOT

PAGES = [
    (ROOT / "docs" / name).read_text().replace("\\\n", "")
    for name in ("tpu.md", "sweeps.md")
]
SECTIONS = {
    section.splitlines()[0]: re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    for page in PAGES
    for section in page.split("\n## ")
}
HOSTS = 2  # of every VM that is created

# What a host does: the folder is its disk, `python3 -m venv` gives it pip and rdt.
STANDINS = {
    "gcloud": """
import os, pathlib, shutil, subprocess, sys
words = sys.argv[1:]
if words[:3] == ["compute", "tpus", "queued-resources"]:
    # What is queued for is there at the second look.
    asked = pathlib.Path(os.environ["HOSTS"]) / "asked"
    if words[3] == "describe":
        print("ACTIVE" if asked.exists() else "WAITING_FOR_RESOURCES")
        asked.parent.mkdir(exist_ok=True)
        asked.touch()
        sys.exit()
    words[2] = "tpu-vm"
    words = [w.replace("--runtime-version", "--version") for w in words]
if words[2:3] != ["tpu-vm"] or "--recurse" in words:
    sys.exit()  # Nothing to stand in for.
given = dict(w[2:].split("=", 1) for w in words if w.startswith("--") and "=" in w)
assert given["project"] == "my-project" and given["zone"] == "my-zone", words
hosts = pathlib.Path(os.environ["HOSTS"])
name = [w for w in words[4:] if not w.startswith("--")][-1].partition(":")[0]
disks = [hosts / f"{name}-{i}" for i in range(int(os.environ["HOST_COUNT"]))]
if words[3] == "create":
    assert {"accelerator-type", "version"} <= given.keys(), words
    for disk in disks:
        disk.mkdir(parents=True)
elif words[3] == "scp":
    for disk in disks:
        shutil.copy(words[4], disk / words[5].partition(":")[2])
elif words[3] == "ssh":
    chosen = disks if given["worker"] == "all" else [disks[int(given["worker"])]]
    for disk in chosen:
        subprocess.run(["bash", "-c", given["command"]], cwd=disk, check=True)
""",
    "git": """
import os, subprocess, sys
assert sys.argv[1:3] == ["archive", "--format=tar.gz"], sys.argv
out = next(w for w in sys.argv if w.startswith("--output=")).partition("=")[2]
subprocess.run(["tar", "-czf", out, "-C", os.environ["ROOT"], "configs",
                "experiments", "constraints.txt"], check=True)
""",
    "python3": """
import pathlib, shutil, sys
assert sys.argv[1:3] == ["-m", "venv"], sys.argv
folder = pathlib.Path(sys.argv[3]) / "bin"
folder.mkdir(parents=True)
here = pathlib.Path(sys.argv[0]).parent
for name in ("pip", "rdt"):
    shutil.copy(here / name, folder / name)
""",
    "pip": """
import pathlib, sys
assert sys.argv[1] == "install" and pathlib.Path("constraints.txt").exists()
""",
    "sbatch": """
import os, subprocess, sys
os.environ |= {"SLURM_CPUS_PER_TASK": "2", "SLURM_JOB_ID": "7"}
subprocess.run(["bash", sys.argv[1]], check=True)
""",
    "srun": """
import os, sys
assert sys.argv[1].startswith("--cpus-per-task="), sys.argv
os.execvp(sys.argv[2], sys.argv[2:])
""",
    "ray": "",
    "sleep": "",
}
RECORD = """#!{python}
import json, os, sys
with open(os.environ["RECORD"], "a") as file:
    file.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + "\\n")
"""
ONLY_RECORDED = """
import os, sys
if sys.argv[1:3] == ["launch", "slurm"]:  # It writes what the page submits.
    os.environ["PYTHONPATH"] = os.environ["ROOT"]
    python = os.environ["REAL_PYTHON"]
    os.execv(python, [python, "-m", "rdt_jax", *sys.argv[1:]])
"""
TRAINED = """
import os, sys
small = [w.replace(":paper", ":smoke").replace("-paper", "-smoke")
         for w in sys.argv[1:]]
small = [w if w != "--preset=paper" else "--preset=smoke" for w in small]
small = [w.replace("data=16", "data=2").replace("trial=4,data=4", "data=2")
         for w in small]
small = [w.replace("gs://my-bucket", os.environ["HOSTS"] + "/bucket") for w in small]
os.environ["PYTHONPATH"] = os.environ["ROOT"]
python = os.environ["REAL_PYTHON"]
os.execv(python, [python, "-m", "rdt_jax", *small])
"""


def run_blocks(blocks: list[str], tmp_path: pathlib.Path, rdt: str) -> pathlib.Path:
    """Runs blocks of commands; returns the record of every call, in order."""
    bin_folder, work = tmp_path / "bin", tmp_path / "work"
    (work / ".venv" / "bin").mkdir(parents=True)
    bin_folder.mkdir()
    for name in ("configs", "experiments", "constraints.txt"):
        (work / name).symlink_to(ROOT / name)
    for name, body in {**STANDINS, "rdt": rdt}.items():
        for folder in (bin_folder, work / ".venv" / "bin"):
            path = folder / name
            path.write_text(RECORD.format(python=sys.executable) + body)
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
    record = tmp_path / "record"
    record.touch()
    environment = os.environ | {
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "RECORD": str(record),
        "HOSTS": str(tmp_path / "hosts"),
        "HOST_COUNT": str(HOSTS),
        "ROOT": str(ROOT),
        "REAL_PYTHON": sys.executable,
        "JAX_PLATFORMS": "cpu",
    }
    for block in blocks:
        subprocess.run(
            ["bash", "-ec", block], cwd=work, env=environment, check=True, timeout=600
        )
    return record


def calls_of(record: pathlib.Path, program: str) -> list[list[str]]:
    """Returns the words that a program was called with."""
    calls = [json.loads(line) for line in record.read_text().splitlines()]
    return [words for name, *words in calls if name == program]


def check_words(words: list[str]) -> None:
    """Parses the words of a call of rdt, and resolves what they name."""
    options = cli.parse(words)
    if words[0] == "train":
        configs.load(f"{ROOT}/{options.config}")
    if words[0] == "sweep":
        kind = subject.kind_of(options)
        if kind == subject.CONFIG:
            options.check(options)
        elif not options.subject.startswith("runs/sweeps/"):
            folder = ROOT / options.subject
            spec.make_plan(folder, options.preset or "cpu", [], lambda config: None)
    if words[0] == "launch":
        check_words(shlex.split(options.run)[1:])


@pytest.mark.parametrize(
    "section", [name for name, blocks in SECTIONS.items() if blocks]
)
def test_every_command_of_the_page_is_one(section, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    record = run_blocks(SECTIONS[section], tmp_path, ONLY_RECORDED)
    called = calls_of(record, "rdt")
    assert called
    for words in called:
        check_words(words)


@pytest.mark.parametrize("options", [[], ["--queued"]])
def test_what_launch_prints_starts_a_command_on_every_host(options, tmp_path, capsys):
    (block,) = SECTIONS["# TPUs and GPUs"]
    launch = shlex.split(block)
    assert cli.main([*launch[1:], *options]) == 0
    printed = re.sub(r"^#.*\n", "", capsys.readouterr().out, flags=re.MULTILINE)
    record = run_blocks([printed], tmp_path, ONLY_RECORDED)
    asked = shlex.split(next(word for word in launch if word.startswith("--run="))[6:])
    late = time.monotonic() + 20  # What is started goes on behind the page's back.
    while len(calls_of(record, "rdt")) < HOSTS and time.monotonic() < late:
        time.sleep(0.05)
    assert calls_of(record, "rdt") == [asked[1:]] * HOSTS
    assert len(calls_of(record, "pip")) == HOSTS
    assert len(calls_of(record, "sleep")) == len(options)


def test_a_queue_that_never_ends_well_stops_the_launch(tmp_path, capsys):
    (block,) = SECTIONS["# TPUs and GPUs"]
    assert cli.main([*shlex.split(block)[1:], "--queued"]) == 0
    printed = re.sub(r"^#.*\n", "", capsys.readouterr().out, flags=re.MULTILINE)
    (wait,) = re.findall(r"^bash -c '.*?'$", printed, re.MULTILINE | re.DOTALL)
    for state, code in (("FAILED", 1), ("SUSPENDED", 1), ("ACTIVE", 0)):
        gcloud = f"gcloud() {{ echo {state}; }}; export -f gcloud; "
        done = subprocess.run(["bash", "-c", gcloud + wait], capture_output=True)
        assert done.returncode == code, state


SRUN = """
import os, signal, sys, time
pathlib = __import__("pathlib")
def stop(*_):
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
pathlib.Path(os.environ["HOSTS"]).write_text(str(os.getpid()))
time.sleep(60)
"""


def test_a_slurm_job_near_its_limit_checkpoints_and_is_queued_again(tmp_path, command):
    file = tmp_path / "job.sbatch"
    words = ["launch", "slurm", str(file), "--time=9", "--workers-per-gpu=2"]
    assert command([*words, "--run=rdt worker runs/sweeps/x"]).out == f"sbatch {file}\n"
    text = file.read_text()
    for line in ("time=9", "array=0", "ntasks=2", "gpus=1", "requeue"):
        assert f"#SBATCH --{line}\n" in text
    assert "MEM_FRACTION=0.45" in text and "--partition" not in text
    (tmp_path / "srun").write_text(f"#!{sys.executable}{SRUN}")
    (tmp_path / "scancel").write_text('#!/bin/sh\nkill -TERM "$(cat "$HOSTS")"\n')
    (tmp_path / "scontrol").write_text('#!/bin/sh\necho "$@"\n')
    for name in ("srun", "scancel", "scontrol"):
        (tmp_path / name).chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "HOSTS": str(tmp_path / "pid"),
        "SLURM_JOB_ID": "7",
        "SLURM_CPUS_PER_TASK": "2",
    }
    job = subprocess.Popen(
        ["bash", str(file)], env=environment, stdout=subprocess.PIPE, text=True
    )
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.01)
    job.send_signal(signal.SIGUSR1)
    printed, _ = job.communicate(timeout=20)
    assert (job.returncode, printed) == (0, "requeue 7\n")


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "section",
    ["A pod slice: all chips in one program", "Slurm", "GPUs"],
)
def test_the_page_trains(section, tmp_path):
    run_blocks(SECTIONS[section], tmp_path, TRAINED)
    is_done = lambda path: '"done"' in path.read_text()
    runs = list((tmp_path / "work" / "runs").glob("*/status.json"))
    assert runs and all(map(is_done, runs))
    # What `rdt launch` would start is printed only; the plan for it is there.
    planned = (tmp_path / "hosts" / "bucket").glob("runs/sweeps/*/plan.json")
    assert bool(list(planned)) == ("slice" in section)
