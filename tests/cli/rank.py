"""A rank that does nothing but talk to its parent, and end in a given way.

    python rank.py NUMBER PROCESSES FILE WAY [SECONDS]

FILE stands for what JAX's processes share; WAY is one of WAYS.
"""

import json
import os
import pathlib
import signal
import socket
import sys
import time

CHILD = "RDT_JAX_CHILD"
number, processes, shared, way = sys.argv[1:5]
seconds = float(sys.argv[5]) if len(sys.argv) > 5 else 0.0


def say(message):
    parent.sendall((json.dumps(message) + "\n").encode())


def wait_for(path):
    while not path.exists():
        time.sleep(0.01)


def stay(how=lambda: end()):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(how()))
    path.with_name(f"joined-{number}").touch()
    while parent.recv(100):  # Until the parent is gone.
        pass
    return 9


def end():
    say({"ended": True})
    path.with_name("over").touch()
    return 0


def end_with_rank_0():
    path.with_name(f"joined-{number}").touch()
    wait_for(path.with_name("over"))
    return end()


def fail():
    say({"failed": "ValueError: a bad table"})
    return 5


def refuse():
    say({"refused": "--mesh is too large."})
    return 2


def stop_at_once():
    """Compiles, say: the others would wait for it."""
    return stay(lambda: say({"stopped": True}))


WAYS = {
    "stop_at_once": stop_at_once,
    "end": end,
    "end_with_rank_0": end_with_rank_0,
    "stay": stay,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "abort": lambda: os.kill(os.getpid(), signal.SIGABRT),
    "fail": fail,
    "refuse": refuse,
    "exit_3": lambda: 3,
}

parent = socket.socket(fileno=int(os.environ[CHILD]))
path = pathlib.Path(shared)
say({"rank": int(number), "processes": int(processes), "host": "127.0.0.1"})
if number == "0":
    answer = json.loads(parent.makefile().readline())
    path.with_name("part").write_text(json.dumps(answer))
    path.with_name("part").rename(path)
else:
    wait_for(path)
    answer = json.loads(path.read_text())
    say({"host": "127.0.0.1"} | answer)
time.sleep(seconds)
sys.exit(WAYS[way]())
