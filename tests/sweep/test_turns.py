"""Processes that answer lines, and what is heard of one that ends."""

import os
import sys

import pytest

from rdt_jax.sweep import turns

ECHO = """
import json, sys
for line in sys.stdin:
    print(json.dumps({"n": len(line)}), flush=True)
"""


def test_all_are_asked_and_all_answer():
    command = [sys.executable, "-c", ECHO]
    with (
        turns.start(command, os.environ) as one,
        turns.start(command, os.environ) as two,
    ):
        assert turns.ask([one, two], "four") == [{"n": 5}, {"n": 5}]
        assert turns.ask([two], "") == [{"n": 1}]
    assert one.popen.returncode and two.popen.returncode  # Killed.


def test_what_a_process_said_when_it_ended_is_told():
    command = [sys.executable, "-c", "import sys; input(); sys.exit('out of luck')"]
    with (
        turns.start([sys.executable, "-c", ECHO], os.environ) as well,
        turns.start(command, os.environ) as failing,
        pytest.raises(RuntimeError, match="exit code 1 and said: out of luck"),
    ):
        turns.ask([well, failing], "go")
