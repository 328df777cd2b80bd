"""A worker as a child process. Imports nothing heavy: tasks of Ray load this module."""

import os
import pathlib
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence

_POLL_SECONDS = 0.2


def start(
    command: Sequence[str], environment: Mapping[str, str], log: pathlib.Path
) -> subprocess.Popen:
    """Starts a worker, which ends when this process does.

    Args:
      command: that takes `--parent`, the process without which it ends.
      environment: all of its variables.
      log: a file that takes what it says, behind what it has.
    """
    log.parent.mkdir(parents=True, exist_ok=True)  # A copy of a bucket has it not yet.
    with log.open("a") as file:
        return subprocess.Popen(
            [*command, f"--parent={os.getpid()}"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,  # An interrupt reaches workers through us alone.
        )


def run(
    command: Sequence[str], variables: Mapping[str, str], log: pathlib.Path | None
) -> tuple[int, str]:
    """Runs a worker to its end, which is what a Ray task does.

    Args:
      command: as of `start`.
      variables: on top of those of this process.
      log: as of `start`; None where no file is shared with who reads it.

    Returns:
      Its exit code, and without `log` what it said.
    """
    with tempfile.TemporaryDirectory() as folder:
        said = pathlib.Path(folder, "log")
        worker = start(command, {**os.environ, **variables}, log or said)
        try:
            # Not `wait`: a cancelled task is told between two instructions of Python.
            while worker.poll() is None:
                time.sleep(_POLL_SECONDS)
        except BaseException:
            worker.terminate()
            worker.wait()
            raise
        return worker.returncode, "" if log else said.read_text(errors="replace")
