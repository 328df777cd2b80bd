"""`rdt launch`: commands and batch files that start rdt on TPU VMs and in Slurm."""

import argparse
import pathlib
import shlex
import subprocess

from rdt_jax.cli import exits
from rdt_jax.sweep import launch


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `rdt launch`."""
    kinds = parser.add_subparsers(required=True, metavar="tpu|slurm")
    _add_tpu(kinds)
    _add_slurm(kinds)


def _add_tpu(kinds: argparse._SubParsersAction) -> None:
    parser = kinds.add_parser(
        "tpu", help="print, or run, the commands that start rdt on Cloud TPU VMs"
    )
    parser.add_argument("name", metavar="NAME", help="of the VM to create")
    # Options on which the costs depend have no defaults.
    parser.add_argument("--project", required=True, help="of Google Cloud")
    parser.add_argument("--zone", required=True, help="such as us-west4-a")
    parser.add_argument(
        "--type",
        dest="accelerator_type",
        required=True,
        metavar="TYPE",
        help="such as v5litepod-16",
    )
    parser.add_argument("--version", required=True, help="of the VM's software")
    parser.add_argument("--spot", action="store_true", help="cheap, may be taken away")
    parser.add_argument(
        "--queued",
        action="store_true",
        help="queue for the VM and wait until it is there",
    )
    parser.add_argument(
        "--python", default="python3", help="on the VM, 3.11 or newer; default: python3"
    )
    parser.add_argument("--yes", action="store_true", help="run them, not only print")
    _add_run(parser, "rdt train --config=configs/modular.py:paper")
    parser.set_defaults(verb=_tpu)


def _add_slurm(kinds: argparse._SubParsersAction) -> None:
    parser = kinds.add_parser("slurm", help="write a batch file for sbatch")
    parser.add_argument("file", type=pathlib.Path, metavar="FILE", help="to write")
    parser.add_argument("--time", required=True, help="limit, such as 24:00:00")
    parser.add_argument("--partition", help="default: the cluster's")
    parser.add_argument("--account", help="that pays; default: yours")
    parser.add_argument(
        "--array",
        default="0",
        help="indices of the jobs, such as 0-7; default: one job",
    )
    parser.add_argument(
        "--gpus", type=int, default=1, help="of each job; default: 1; 0 for a CPU"
    )
    parser.add_argument(
        "--workers-per-gpu",
        type=int,
        default=1,
        metavar="N",
        help="processes of each job, which share its GPU; default: 1",
    )
    parser.add_argument(
        "--cpus-per-task",
        type=int,
        default=4,
        metavar="N",
        help="cores of each process; default: 4",
    )
    parser.add_argument(
        "--container",
        default="",
        metavar="WORDS",
        help="before the command, such as 'apptainer exec --nv rdt.sif'; default: "
        "none, and the command is that of .venv",
    )
    _add_run(parser, "rdt worker runs/sweeps/depth_by_decay-paper")
    parser.set_defaults(verb=_slurm)


def _add_run(parser: argparse.ArgumentParser, example: str) -> None:
    parser.add_argument(
        "--run", required=True, metavar="COMMAND", help=f"such as '{example}'"
    )


def _command(options: argparse.Namespace) -> list[str]:
    """Returns the command of --run as words."""
    try:
        return shlex.split(options.run)
    except ValueError as error:
        raise exits.Mistake(
            f"--run must be a command of rdt, got {options.run!r}: {error}."
        ) from error


def _check(problems: list[str], command: list[str]) -> None:
    """Raises exits.Mistake if the launch or its command is wrong, before it costs."""
    from rdt_jax import cli

    if problems:
        raise exits.Mistake("\n  ".join(["nothing was launched:", *problems]))
    options = cli.parse(command[1:])
    try:
        options.check(options)
    except (ValueError, exits.Mistake) as error:
        raise exits.Mistake(f"nothing was launched: --run: {error}") from error


def _tpu(options: argparse.Namespace) -> int:
    command = _command(options)
    tpu = launch.Tpu(*(getattr(options, name) for name in launch.Tpu._fields))
    _check(launch.tpu_problems(tpu, command), command)
    for step in launch.steps(tpu, command):
        print(f"# {step.what}\n{step.line}", flush=True)
        if not options.yes:
            continue
        try:
            code = subprocess.run(step.words).returncode
        except FileNotFoundError as error:
            raise exits.Mistake(
                f"{step.words[0]} is not installed; without --yes the commands are "
                "printed."
            ) from error
        if code:
            exits.tell(
                f"{step.what} failed with exit code {code}; what came before it "
                "is done."
            )
            return exits.FAILED
    print("# afterwards")
    for step in launch.afterwards(tpu):
        print(f"# {step.what}\n#   {step.line}")
    return exits.WELL


def _slurm(options: argparse.Namespace) -> int:
    command = _command(options)
    options.name = f"rdt-{options.file.stem}"
    job = launch.Slurm(*(getattr(options, name) for name in launch.Slurm._fields))
    _check(launch.slurm_problems(job, command), command)
    try:
        with options.file.open("x") as file:
            file.write(launch.batch_file(job, command))
    except FileExistsError as error:
        raise exits.Mistake(
            f"{options.file} exists; remove it, or name another file."
        ) from error
    print(f"sbatch {shlex.quote(str(options.file))}")
    return exits.WELL
