"""A process that is asked to stop, in one instruction of Python that takes minutes."""

import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT

CODE = """
import contextlib, hashlib, pathlib, sys, time
from rdt_jax.cli import stopping

mark = pathlib.Path(sys.argv[2])
say = lambda word: print(word, flush=True)
if sys.argv[1] == "driver":
    with stopping.on_signal(grace=60) as stop:
        say("at work")
        while stop() < 2:
            pass
    say("cleared up")
    sys.exit()
also = mark.exists
if sys.argv[1] == "away":
    also = lambda: time.sleep(99)  # It does not answer.
def last():
    say("last")
    if "raises" in sys.argv[1]:
        raise OSError("not empty")

with stopping.on_signal(also, last) as stop:
    where = stop.may_end(lambda: say("left"))
    if "outside" in sys.argv[1]:
        with where:
            pass
        where = contextlib.nullcontext()
    with where:
        if "around" in sys.argv[1]:
            with stop.may_end(lambda: say("left what is inside")):
                pass
        say("at work")
        hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
"""


@pytest.fixture
def start(tmp_path, started):
    def start(where):
        command = [sys.executable, "-c", CODE, where, str(tmp_path / "mark")]
        started.append(
            subprocess.Popen(
                command, cwd=ROOT, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )
        )  # fmt: skip
        assert started[0].stdout.readline() == "at work\n"
        return started[0]

    return start


@pytest.mark.parametrize(
    ("where", "number"),
    [
        ("inside", signal.SIGTERM),
        ("inside", signal.SIGINT),
        ("inside", None),
        ("around", signal.SIGTERM),
    ],
)
def test_where_nothing_is_lost_it_ends_at_once(start, tmp_path, where, number):
    process = start(where)
    if number is None:  # Something else asks it to, such as a file.
        (tmp_path / "mark").touch()
    else:
        process.send_signal(number)
    assert process.communicate(timeout=5) == ("left\nlast\n", "")
    assert process.returncode == 0


def test_a_question_that_is_not_answered_keeps_no_signal_from_being_heard(start):
    process = start("away")
    time.sleep(0.7)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=5) == ("left\nlast\n", "")


def test_elsewhere_the_second_signal_ends_it_at_once(start):
    process = start("outside")
    for _ in range(2):  # As `timeout` does, which is once.
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.3)
    time.sleep(0.3)
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=5)
    assert (process.returncode, out) == (1, "last\n")
    assert said == "rdt: ended as it is, since it was asked to stop twice.\n"
    assert time.monotonic() - begin < 2


def test_who_has_to_clear_up_has_a_while_for_it(start):
    process = start("driver")
    for _ in range(2):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.6)  # Two that come at once are one.
    assert process.communicate(timeout=10) == ("cleared up\n", "")
    assert process.returncode == 0


@pytest.mark.parametrize("where, code", [("inside raises", 0), ("outside raises", 1)])
def test_what_cannot_be_cleared_up_keeps_no_process_alive(start, where, code):
    process = start(where)
    for _ in range(1 + code):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.6 * code)
    _, said = process.communicate(timeout=5)
    assert process.returncode == code
    assert said.endswith("rdt: while ending: not empty\n")
