"""A worker as a child process. Imports nothing heavy: tasks of Ray load this module."""

import os
import pathlib
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence

_POLL_SECONDS = 0.2


def start(
    command: Sequence[str], environment: Mapping[str, str], log_path: pathlib.Path
) -> subprocess.Popen:
    """Starts a worker, which ends when this process does.

    `--parent`, the process without which the worker ends, is added to the command. The
    variables are all that it has; its output is appended to the log.
    """
    log_path.parent.mkdir(parents=True, exist_ok=True)  # New in a copy of a bucket.
    with log_path.open("a") as file:
        return subprocess.Popen(
            [*command, f"--parent={os.getpid()}"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,  # Only this process gets the signals.
        )


def run(
    command: Sequence[str], variables: Mapping[str, str], log_path: pathlib.Path | None
) -> tuple[int, str]:
    """Runs a worker to its end, which is what a Ray task does.

    The variables are on top of those of this process. Returns its exit code, and its
    output where there is no log, for want of a shared disk.
    """
    with tempfile.TemporaryDirectory() as folder:
        own_log = pathlib.Path(folder, "log")
        worker = start(command, {**os.environ, **variables}, log_path or own_log)
        try:
            # Not `wait`: a cancelled task is told between two instructions of Python.
            while worker.poll() is None:
                time.sleep(_POLL_SECONDS)
        except BaseException:
            worker.terminate()
            worker.wait()
            raise
        output = "" if log_path else own_log.read_text(errors="replace")
        return worker.returncode, output
