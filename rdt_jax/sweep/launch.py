"""The commands that start rdt on Cloud TPU VMs; nothing here runs them."""

import re
import shlex
from collections.abc import Sequence
from typing import NamedTuple

_ARCHIVE = "rdt_jax.tar.gz"
_FOLDER = "rdt_jax"
LOG = "rdt.log"


class Tpu(NamedTuple):
    """A TPU VM, or a slice of several.

    Attributes:
      name: of the VM.
      project: of Google Cloud.
      zone: such as us-west4-a.
      accelerator_type: such as v5litepod-16.
      version: of the VM's software.
      spot: may be taken away at any time, for less money.
      python: on the VM, 3.11 or newer.
    """

    name: str
    project: str
    zone: str
    accelerator_type: str
    version: str
    spot: bool = False
    python: str = "python3"


class Step(NamedTuple):
    """One command of a launch.

    Attributes:
      what: it is for.
      words: of the command.
    """

    what: str
    words: tuple[str, ...]

    @property
    def line(self) -> str:
        """The command for a shell."""
        return shlex.join(self.words)


def problems(tpu: Tpu, command: Sequence[str]) -> list[str]:
    """Lists what is wrong with a launch, by flag."""
    found = []
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", tpu.name):
        found.append(
            "NAME must be lower-case letters, digits and dashes, a letter first, got "
            f"{tpu.name!r}."
        )
    for flag, value in (
        ("project", tpu.project), ("zone", tpu.zone), ("type", tpu.accelerator_type),
        ("version", tpu.version), ("python", tpu.python),
    ):  # fmt: skip
        if not value.strip():
            found.append(f"--{flag} must not be empty, got {value!r}.")
    if not command or command[0] != "rdt":
        found.append(
            "--run must be a command of rdt, such as 'rdt train "
            f"--config=configs/modular.py:paper', got {shlex.join(command)!r}."
        )
    return found


def steps(tpu: Tpu, command: Sequence[str]) -> list[Step]:
    """Returns what creates the VM, brings this commit there and starts a command.

    What can fail for nothing comes first: a VM costs from its creation on.

    The command goes on when the connection ends; a slice starts it on every host.

    Args:
      tpu: where.
      command: `rdt` and its arguments.
    """
    place = (f"--project={tpu.project}", f"--zone={tpu.zone}")
    vm = ("gcloud", "compute", "tpus", "tpu-vm")
    everywhere = (tpu.name, *place, "--worker=all")
    create = (
        *vm, "create", tpu.name, *place, f"--accelerator-type={tpu.accelerator_type}",
        f"--version={tpu.version}",
    )  # fmt: skip
    install = (
        f"mkdir -p {_FOLDER} && tar -xzf {_ARCHIVE} -C {_FOLDER} && cd {_FOLDER} && "
        f"{shlex.quote(tpu.python)} -m venv .venv && "
        ".venv/bin/pip install -q -e '.[tpu,gcs]' -c constraints.txt"
    )
    start = (
        f"cd {_FOLDER} && nohup .venv/bin/{shlex.join(command)} > {LOG} 2>&1 "
        "< /dev/null &"
    )
    remote = lambda what: (*vm, "ssh", *everywhere, f"--command={what}")
    return [
        Step(
            "pack this commit",
            ("git", "archive", "--format=tar.gz", f"--output={_ARCHIVE}", "HEAD"),
        ),
        Step("create the VM", (*create, *(["--spot"] if tpu.spot else []))),
        Step(
            "bring it to every host",
            (*vm, "scp", _ARCHIVE, f"{tpu.name}:{_ARCHIVE}", *everywhere[1:]),
        ),
        Step("install", remote(install)),
        Step("start", remote(start)),
    ]


def afterwards(tpu: Tpu) -> list[Step]:
    """Returns what looks after a launch: it is only ever printed."""
    place = (f"--project={tpu.project}", f"--zone={tpu.zone}")
    vm = ("gcloud", "compute", "tpus", "tpu-vm")
    follow = f"--command=tail -n 20 -f {_FOLDER}/{LOG}"
    return [
        Step("follow it", (*vm, "ssh", tpu.name, *place, "--worker=0", follow)),
        Step("give the VM back", (*vm, "delete", tpu.name, *place)),
    ]
