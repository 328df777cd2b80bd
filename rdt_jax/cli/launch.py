"""`rdt launch`: the commands that start rdt on machines that are rented."""

import argparse
import shlex
import subprocess
import sys

from rdt_jax.cli import exits


def add(verbs: argparse._SubParsersAction) -> None:
    """Registers `rdt launch`."""
    parser = verbs.add_parser(
        "launch",
        help="print, or run, the commands that start rdt on Cloud TPU VMs",
    )
    parser.add_argument("kind", choices=("tpu",), help="of machine")
    parser.add_argument("name", metavar="NAME", help="of the VM to create")
    # What it costs and who pays is never guessed.
    parser.add_argument("--project", required=True, help="of Google Cloud")
    parser.add_argument("--zone", required=True, help="such as us-west4-a")
    parser.add_argument("--type", required=True, help="such as v5litepod-16")
    parser.add_argument("--version", required=True, help="of the VM's software")
    parser.add_argument("--spot", action="store_true", help="cheap, may be taken away")
    parser.add_argument(
        "--python", default="python3", help="on the VM, 3.11 or newer; default: python3"
    )
    parser.add_argument("--yes", action="store_true", help="run them, not only print")
    parser.add_argument(
        "--run",
        required=True,
        metavar="COMMAND",
        help="for the VM, such as 'rdt train --config=configs/modular.py:paper'",
    )
    parser.set_defaults(verb=_launch)


def _launch(options: argparse.Namespace) -> int:
    from rdt_jax import cli
    from rdt_jax.sweep import launch

    try:
        command = shlex.split(options.run)
    except ValueError as error:
        raise exits.Mistake(
            f"--run must be a command of rdt, got {options.run!r}: {error}."
        ) from error
    tpu = launch.Tpu(
        name=options.name,
        project=options.project,
        zone=options.zone,
        accelerator_type=options.type,
        version=options.version,
        spot=options.spot,
        python=options.python,
    )
    if problems := launch.problems(tpu, command):
        raise exits.Mistake("\n  ".join(["nothing was launched:", *problems]))
    cli.parse(command[1:])  # A VM that cannot run its command costs as well.
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
            print(
                f"rdt: {step.what} failed with exit code {code}; what came before it "
                "is done.",
                file=sys.stderr,
            )
            return exits.FAILED
    print("# afterwards")
    for step in launch.afterwards(tpu):
        print(f"# {step.what}\n#   {step.line}")
    return exits.WELL
