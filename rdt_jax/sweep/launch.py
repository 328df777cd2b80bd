"""Commands that start rdt on Cloud TPU VMs, and a batch file for Slurm.

This module makes the commands; `cli.launch` runs them.
"""

import operator
import re
import shlex
from collections.abc import Sequence
from typing import NamedTuple

_ARCHIVE = "rdt_jax.tar.gz"
_FOLDER = "rdt_jax"
LOG = "rdt.log"
_WARNING_SECONDS = 120  # Time between the signal to a job and its limit.
_VM = ("gcloud", "compute", "tpus", "tpu-vm")
_QUEUE = ("gcloud", "compute", "tpus", "queued-resources")

# The wait ends in states from which a queued resource never becomes active.
_WAIT = """\
while state=$({state}) && echo "$state" && [ "$state" != ACTIVE ]; do
  case $state in FAILED|SUSPEND*|DELETING) exit 1;; esac
  sleep 60
done
[ "$state" = ACTIVE ]"""

# `wait` returns at a signal, too: the loop waits until the step itself has ended.
_BATCH = """\

again=
trap 'again=1; scancel --signal=TERM "$SLURM_JOB_ID.0"' USR1
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" {command} &
step=$!
while wait "$step"; code=$?; [ "$code" -gt 128 ] && kill -0 "$step" 2>/dev/null; do
  :
done
[ -z "$again" ] || scontrol requeue "$SLURM_JOB_ID"
exit "$code"
"""


class Tpu(NamedTuple):
    """A TPU VM, or a slice of several: the options of `rdt launch tpu`."""

    name: str
    project: str
    zone: str
    accelerator_type: str
    version: str
    spot: bool = False
    queued: bool = False
    python: str = "python3"


class Slurm(NamedTuple):
    """A job array whose jobs run one command each: the options of `rdt launch slurm`.

    None stands for the default of the cluster or of the user.
    """

    name: str
    time: str
    partition: str | None = None
    account: str | None = None
    array: str = "0"
    gpus: int = 1
    workers_per_gpu: int = 1
    cpus_per_task: int = 4
    container: str = ""


class Step(NamedTuple):
    """One command of a launch."""

    what: str
    words: tuple[str, ...]

    @property
    def line(self) -> str:
        """The command as a line for a shell."""
        return shlex.join(self.words)


def tpu_problems(tpu: Tpu, command: Sequence[str]) -> list[str]:
    """Lists what is wrong with a launch on TPUs, by flag."""
    problems = []
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", tpu.name):
        problems.append(
            "NAME must be lower-case letters, digits and dashes, a letter first, got "
            f"{tpu.name!r}."
        )
    for flag, value in (
        ("project", tpu.project), ("zone", tpu.zone), ("type", tpu.accelerator_type),
        ("version", tpu.version), ("python", tpu.python),
    ):  # fmt: skip
        if not value.strip():
            problems.append(f"--{flag} must not be empty, got {value!r}.")
    return problems + _command_problems(command)


def slurm_problems(job: Slurm, command: Sequence[str]) -> list[str]:
    """Lists what is wrong with a job array, by flag."""
    problems = []
    for flag, value, pattern, example in (
        ("time", job.time, r"(\d+-)?\d+(:\d\d){0,2}", "24:00:00 or 2-00:00:00"),
        ("array", job.array, r"\d+(-\d+)?(,\d+(-\d+)?)*(%\d+)?", "0-7 or 0-15%4"),
        ("partition", job.partition, r"\S+", "gpu"),
        ("account", job.account, r"\S+", "my-account"),
    ):
        if value is not None and not re.fullmatch(pattern, value):
            problems.append(f"--{flag} must be written as {example}, got {value!r}.")
    if not problems:
        problems = _time_problems(job.time) + _array_problems(job.array)
    for flag, count, least in (
        ("gpus", job.gpus, 0),
        ("workers-per-gpu", job.workers_per_gpu, 1),
        ("cpus-per-task", job.cpus_per_task, 1),
    ):
        if count < least:
            problems.append(f"--{flag} must be at least {least}, got {count}.")
    if job.workers_per_gpu > 1 and job.gpus != 1:
        problems.append(
            "--workers-per-gpu goes with --gpus=1 (more GPUs are more jobs: --array), "
            f"got --gpus={job.gpus}."
        )
    return problems + _command_problems(command)


def _time_problems(time: str) -> list[str]:
    days, _, rest = time.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    # `minutes[:seconds]` or `hours:minutes:seconds`; after days, hours come first.
    units = (3600, 60, 1) if days or len(parts) == 3 else (60, 1)
    seconds = 86400 * int(days or 0) + sum(map(operator.mul, parts, units))
    if not 0 < seconds <= _WARNING_SECONDS:  # Zero is no limit.
        return []
    return [
        f"--time must be more than the {_WARNING_SECONDS} seconds before the limit at "
        f"which a job is asked to checkpoint, got {time!r}, which is {seconds}."
    ]


def _array_problems(array: str) -> list[str]:
    for part in array.partition("%")[0].split(","):
        first, _, last = part.partition("-")
        if last and int(last) < int(first):
            return [f"--array must have ranges that ascend, such as 0-7, got {part!r}."]
    return []


def _command_problems(command: Sequence[str]) -> list[str]:
    if command and command[0] == "rdt":
        return []
    return [
        "--run must be a command of rdt, such as 'rdt train "
        f"--config=configs/modular.py:paper', got {shlex.join(command)!r}."
    ]


def steps(tpu: Tpu, command: Sequence[str]) -> list[Step]:
    """Returns the steps that create the VM, install this commit and start a command.

    A VM costs money from its creation on, so the steps that are free come first. The
    command goes on when the connection ends; in a slice every host starts it.
    """
    place = _place(tpu)
    everywhere = (tpu.name, *place, "--worker=all")
    install = (
        f"mkdir -p {_FOLDER} && tar -xzf {_ARCHIVE} -C {_FOLDER} && cd {_FOLDER} && "
        f"{shlex.quote(tpu.python)} -m venv .venv && "
        ".venv/bin/pip install -q -e '.[tpu,gcs]' -c constraints.txt"
    )
    start = (
        f"cd {_FOLDER} && nohup .venv/bin/{shlex.join(command)} > {LOG} 2>&1 "
        "< /dev/null &"
    )
    remote = lambda what: (*_VM, "ssh", *everywhere, f"--command={what}")
    return [
        Step(
            "pack this commit",
            ("git", "archive", "--format=tar.gz", f"--output={_ARCHIVE}", "HEAD"),
        ),
        *_creation(tpu),
        Step(
            "bring it to every host",
            (*_VM, "scp", _ARCHIVE, f"{tpu.name}:{_ARCHIVE}", *everywhere[1:]),
        ),
        Step("install", remote(install)),
        Step("start", remote(start)),
    ]


def afterwards(tpu: Tpu) -> list[Step]:
    """Returns the steps by which the user follows a launch and deletes the VM."""
    place = _place(tpu)
    follow = f"--command=tail -n 20 -f {_FOLDER}/{LOG}"
    delete: tuple[str, ...] = (*_VM, "delete", tpu.name, *place)
    if tpu.queued:  # This deletes the VM as well.
        delete = (*_QUEUE, "delete", tpu.name, *place, "--force")
    return [
        Step("follow it", (*_VM, "ssh", tpu.name, *place, "--worker=0", follow)),
        Step("give the VM back", delete),
    ]


def batch_file(job: Slurm, command: Sequence[str]) -> str:
    """Returns the text of a file for `sbatch`, to be submitted in the repository.

    Slurm signals the batch shell two minutes before the time limit. The shell then
    asks the command to checkpoint and end, and queues the job again, so that a job
    goes on until its command ends by itself.
    """
    settings = {
        "job-name": job.name,
        "partition": job.partition,
        "account": job.account,
        "time": job.time,
        "array": job.array,
        "nodes": 1,
        "ntasks": job.workers_per_gpu,
        "cpus-per-task": job.cpus_per_task,
        "gpus": job.gpus or None,
        "output": "%x-%A_%a.log",
        "open-mode": "append",  # A requeued job goes on with its log.
        "requeue": "",
        "signal": f"B:USR1@{_WARNING_SECONDS}",
    }
    lines = ["#!/bin/bash"]
    for name, value in settings.items():
        if value is not None:
            lines.append(f"#SBATCH --{name}" + (f"={value}" if value != "" else ""))
    if job.workers_per_gpu > 1:
        share = 0.9 / job.workers_per_gpu
        lines.append(f"export XLA_PYTHON_CLIENT_MEM_FRACTION={share:.2f}")
    words = [*shlex.split(job.container), *command]
    if not job.container:
        words[0] = f".venv/bin/{command[0]}"
    return "\n".join([*lines, _BATCH.format(command=shlex.join(words))])


def _place(tpu: Tpu) -> tuple[str, str]:
    return (f"--project={tpu.project}", f"--zone={tpu.zone}")


def _creation(tpu: Tpu) -> list[Step]:
    kind = f"--accelerator-type={tpu.accelerator_type}"
    spot = ("--spot",) if tpu.spot else ()
    common = (tpu.name, *_place(tpu), kind)
    if not tpu.queued:
        create = (*_VM, "create", *common, f"--version={tpu.version}", *spot)
        return [Step("create the VM", create)]
    create = (
        *_QUEUE, "create", *common, f"--node-id={tpu.name}",
        f"--runtime-version={tpu.version}", *spot,
    )  # fmt: skip
    describe = (
        *_QUEUE, "describe", tpu.name, *_place(tpu), "--format=value(state.state)",
    )  # fmt: skip
    wait = _WAIT.format(state=shlex.join(describe))
    return [
        Step("queue for the VM", create),
        Step("wait until it is there", ("bash", "-c", wait)),
    ]
