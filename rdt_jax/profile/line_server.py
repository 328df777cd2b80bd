"""Processes that take turns: each answers a line with a line of JSON and waits."""

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, NamedTuple


class Process(NamedTuple):
    """A process, started and waiting for a line."""

    popen: subprocess.Popen  # the process itself
    questions: IO[str]  # its standard input
    answers: IO[str]  # its standard output
    log: IO[str]  # what it wrote to standard error


@contextlib.contextmanager
def start(command: Sequence[str], variables: Mapping[str, str]) -> Iterator[Process]:
    """Starts a process with these environment variables; it is killed at the end."""
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            command,
            env=variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as popen,
    ):
        assert popen.stdin is not None and popen.stdout is not None
        try:
            yield Process(popen, popen.stdin, popen.stdout, log)
        finally:
            popen.kill()


def ask(processes: Sequence[Process], question: str) -> list[dict[str, Any]]:
    """Asks all at once, a line, and returns all answers once the last one is there.

    RuntimeError, with what it said last, if one has ended.
    """
    for process in processes:
        with contextlib.suppress(BrokenPipeError):  # Its answer will be missing.
            process.questions.write(question + "\n")
            process.questions.flush()
    return [_answer_of(process) for process in processes]


def _answer_of(process: Process) -> dict[str, Any]:
    line = process.answers.readline()
    if not line:
        code = process.popen.wait()
        process.log.seek(0)
        said = process.log.read().strip()[-500:]
        raise RuntimeError(f"A process ended with exit code {code} and said: {said}")
    return json.loads(line)
