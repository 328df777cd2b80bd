"""The commands of docs/tpu.md, run with stand-ins for what is rented.

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
import stat
import subprocess
import sys
import time

import pytest

from rdt_jax import cli
from rdt_jax import config as configs
from rdt_jax.sweep import spec
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "tpu.md").read_text()
SECTIONS = {
    section.splitlines()[0]: re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    for section in PAGE.split("\n## ")[1:]
}
HOSTS = 2  # of every VM that is created

# What a host does: the folder is its disk, `python3 -m venv` gives it pip and rdt.
STANDINS = {
    "gcloud": """
import os, pathlib, shutil, subprocess, sys
words = sys.argv[1:]
assert words[:3] == ["compute", "tpus", "tpu-vm"], words
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
wrap = next(w for w in sys.argv if w.startswith("--wrap=")).partition("=")[2]
subprocess.run(["bash", "-c", wrap], check=True)
""",
    "srun": """
import os, sys
os.execvp(sys.argv[1], sys.argv[1:])
""",
    "ray": "",
}
RECORD = """#!{python}
import json, os, sys
with open(os.environ["RECORD"], "a") as file:
    file.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + "\\n")
"""
ONLY_RECORDED = ""
TRAINED = """
import os, sys
small = [w.replace(":paper", ":smoke").replace("-paper", "-smoke")
         for w in sys.argv[1:]]
small = [w if w != "--preset=paper" else "--preset=smoke" for w in small]
small = [w.replace("data=16", "data=2").replace("trial=4,data=4", "trial=2")
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
    options, rest = cli._parser().parse_known_args(words)
    assert all(word.startswith("--config.") for word in rest), rest
    if words[0] == "train":
        configs.load(f"{ROOT}/{options.config}")
    if words[0] == "sweep":
        folder = ROOT / options.study
        spec.make_plan(folder, options.preset, [], lambda config: None)
    if words[0] == "launch":
        check_words(shlex.split(options.run)[1:])


@pytest.mark.parametrize(
    "section", [name for name, blocks in SECTIONS.items() if blocks]
)
def test_every_command_of_the_page_is_one(section, tmp_path):
    record = run_blocks(SECTIONS[section], tmp_path, ONLY_RECORDED)
    called = calls_of(record, "rdt")
    assert called
    for words in called:
        check_words(words)


def test_what_launch_prints_starts_a_command_on_every_host(tmp_path, capsys):
    launch = shlex.split(SECTIONS["One TPU VM"][0])
    assert cli.main(launch[1:]) == 0
    printed = [line for line in capsys.readouterr().out.splitlines() if line[0] != "#"]
    record = run_blocks(["\n".join(printed)], tmp_path, ONLY_RECORDED)
    asked = shlex.split(next(word for word in launch if word.startswith("--run="))[6:])
    late = time.monotonic() + 20  # What is started goes on behind the page's back.
    while len(calls_of(record, "rdt")) < HOSTS and time.monotonic() < late:
        time.sleep(0.05)
    assert calls_of(record, "rdt") == [asked[1:]] * HOSTS
    assert len(calls_of(record, "pip")) == HOSTS


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "section",
    ["A pod slice: all chips in one program", "Many machines: one sweep", "GPUs"],
)
def test_the_page_trains(section, tmp_path):
    run_blocks(SECTIONS[section], tmp_path, TRAINED)
    is_done = lambda path: '"done"' in path.read_text()
    runs = list((tmp_path / "work" / "runs").glob("*/status.json"))
    assert runs and all(map(is_done, runs))
    # What `rdt launch` would start is printed only; the plan for it is there.
    planned = (tmp_path / "hosts" / "bucket").glob("runs/sweeps/*/plan.json")
    assert bool(list(planned)) == ("slice" in section)
