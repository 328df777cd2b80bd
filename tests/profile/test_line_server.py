"""Processes that answer lines, and what is heard of one that ends."""

import os
import sys

import pytest

from rdt_jax.profile import line_server

ECHO = """
import json, sys
for line in sys.stdin:
    print(json.dumps({"n": len(line)}), flush=True)
"""


def test_all_are_asked_and_all_answer():
    command = [sys.executable, "-c", ECHO]
    with (
        line_server.start(command, os.environ) as one,
        line_server.start(command, os.environ) as two,
    ):
        assert line_server.ask([one, two], "four") == [{"n": 5}, {"n": 5}]
        assert line_server.ask([two], "") == [{"n": 1}]
    assert one.popen.returncode and two.popen.returncode  # Killed.


def test_what_a_process_said_when_it_ended_is_told():
    command = [sys.executable, "-c", "import sys; input(); sys.exit('out of luck')"]
    with (
        line_server.start([sys.executable, "-c", ECHO], os.environ) as well,
        line_server.start(command, os.environ) as failing,
        pytest.raises(RuntimeError, match="exit code 1 and said: out of luck"),
    ):
        line_server.ask([well, failing], "go")
