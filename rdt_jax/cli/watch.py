"""The parents of the processes of one job: each runs its rank as its child.

When a rank ends before its time, the others wait for it in vain: they have to be ended
and begin again from the newest checkpoint. So the parents tell each other. That of rank
0 listens, the others connect to it; the first cause is named by all of them.

Messages are lines of JSON. A child tells its parent its rank, the parent of rank 0
answers with its port, and the ranks pass that on among themselves, with a word that
only they know.
"""

import contextlib
import json
import os
import platform
import queue
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from rdt_jax.cli import exits, stopping

CHILD = "RDT_JAX_CHILD"  # Holds the descriptor of a child's socket to its parent.

_CAUSE_SECONDS = 2.0  # Ranks that lose another one end almost as soon as it does.
_VERDICT_SECONDS = 20.0
_END_SECONDS = 45.0


class Cause(NamedTuple):
    """Why the job cannot go on; the smallest is named.

    Attributes:
      kind: 0 for a rank that was killed, 1 for a parent that is gone, 2 for a rank that
        failed, 3 for one that JAX aborted, since another one was gone.
      time: when it was heard of, in seconds.
      rank: of the process.
      how: it ended, in words.
    """

    kind: int
    time: float
    rank: int
    how: str


class Peer(NamedTuple):
    """Another parent.

    Attributes:
      socket: the connection to it.
      host: its name.
    """

    socket: socket.socket
    host: str


def is_child() -> bool:
    """Says whether this process is a rank, started by `run`."""
    return CHILD in os.environ


def run(command: Sequence[str]) -> int:
    """Runs a command as a rank; returns the exit code of this parent.

    SIGTERM and SIGINT are for the whole job: rank 0 checkpoints and all of them end;
    the second one ends them at once.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        child = subprocess.Popen(
            command,
            env=os.environ | {CHILD: str(theirs.fileno())},
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # An interrupt reaches it through us alone.
        )
        theirs.close()
        inbox: queue.SimpleQueue = queue.SimpleQueue()
        stop_hearing = _hear(inbox)
        _listen(ours, "child", inbox)
        threading.Thread(
            target=lambda: inbox.put(("end", {"code": child.wait()})), daemon=True
        ).start()
        try:
            return _watch(child, ours, inbox)
        finally:
            stop_hearing()
            child.kill()
            child.wait()


def _hear(inbox: queue.SimpleQueue) -> Callable[[], None]:
    """Puts signals into a queue from now on; returns what ends that.

    A thread does so: a handler that puts, in a thread that waits for the queue, can
    leave it waiting for ever if two signals come at once.
    """
    numbers = (signal.SIGTERM, signal.SIGINT)
    heard, told = os.pipe()
    os.set_blocking(told, False)
    handlers = {number: signal.signal(number, lambda *_: None) for number in numbers}
    descriptor = signal.set_wakeup_fd(told)

    def forward() -> None:
        while number := os.read(heard, 1):
            if number[0] in numbers:
                inbox.put(("signal", {"at": time.monotonic()}))
        os.close(heard)

    def end() -> None:
        signal.set_wakeup_fd(descriptor)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(told)

    threading.Thread(target=forward, daemon=True).start()
    return end


def _watch(child: subprocess.Popen, ours: socket.socket, inbox) -> int:
    """Goes through what happens until the job is over."""
    rank, processes = -1, 0
    peers: dict[int, Peer] = {}  # of the parent of rank 0
    zero: socket.socket | None = None  # of the other parents
    token = secrets.token_hex(16)
    causes: list[Cause] = []
    asked_at: float | None = None  # to stop
    ended = False  # The child got to its end.
    verdict: str | None = None
    give_up: float | None = None

    def lost(cause: Cause) -> None:
        nonlocal give_up
        causes.append(cause)
        if rank == 0 or zero is None:
            give_up = give_up or time.monotonic() + _CAUSE_SECONDS
        else:
            _send(zero, {"lost": cause._asdict()})
            give_up = give_up or time.monotonic() + _VERDICT_SECONDS

    while verdict is None:
        try:
            left = None if give_up is None else max(0, give_up - time.monotonic())
            who, message = inbox.get(timeout=left)
        except queue.Empty:
            if ended and not causes:
                return exits.WELL  # Rank 0 is done, whatever keeps the child.
            verdict = _name(min(causes), processes, peers)
            break
        match who, message:
            case "signal", {"at": at} if asked_at is not None:
                if at - asked_at > stopping.SAME_SECONDS:
                    verdict = "the job ends as it is, since it was asked to stop twice."
            case "signal", {"at": asked_at}:
                if zero is not None:
                    _send(zero, {"stop": True})
                else:
                    child.terminate()
            case "child", {"rank": rank, "processes": processes, "host": host}:
                if rank == 0:
                    port = _accept(host, token, inbox)
                    _send(ours, {"port": port, "token": token})
            case "child", {"host": host, "port": port, "token": token}:
                zero = _connect(host, port)
                _send(zero, {"token": token, "rank": rank, "host": platform.node()})
                _listen(zero, "zero", inbox)
            case "child", {"ended": ended}:
                if zero is not None:  # Else rank 0 is done.
                    _send(zero, {"ended": True})
            case (("child" | "zero"), {"stopped": _}):
                for peer in peers.values():
                    _send(peer.socket, {"stopped": True})
                return exits.WELL
            case "child", {"failed": how}:
                lost(Cause(2, time.monotonic(), rank, f"failed: {how}"))
            case "end", {"code": status} if ended or rank < 0:
                for peer in peers.values():
                    _send(peer.socket, {"done": True})
                return status if status >= 0 else exits.FAILED
            case "end", {"code": status}:
                lost(_cause_of(status, rank))
            case "peer", {"hello": number, "peer": peer}:
                peers[number] = peer
            case ((int() as number), {"lost": told}):
                lost(Cause(**told | {"rank": number, "time": time.monotonic()}))
            case ((int() as number), {"ended": _}):
                del peers[number]
            case ((int() as number), {"stop": _}):
                child.terminate()
            case ((int() as number), None) if number in peers:
                how = "is gone, and so is its parent"
                lost(Cause(1, time.monotonic(), number, how))
            case "zero", {"verdict": verdict}:
                pass
            case "zero", {"done": _}:
                zero = None
                give_up = time.monotonic() + _END_SECONDS
            case "zero", None if zero is not None and not ended:
                lost(Cause(1, 0.0, 0, "is gone, and so is its parent"))
                give_up = time.monotonic()
    for peer in peers.values():
        _send(peer.socket, {"verdict": verdict})
    print(f"rdt: {verdict}", file=sys.stderr, flush=True)
    return exits.FAILED


def _name(cause: Cause, processes: int, peers: dict[int, Peer]) -> str:
    host = peers[cause.rank].host if cause.rank in peers else platform.node()
    if cause.kind == 1 and cause.rank not in peers:
        host = "another host"
    return (
        f"rank {cause.rank} of {processes} ({host}) {cause.how}. All ranks end; the "
        "same command on every host goes on from the newest checkpoint."
    )


def _cause_of(status: int, rank: int) -> Cause:
    if status >= 0:
        how = f"ended with exit code {status}"
        return Cause(2, time.monotonic(), rank, how)
    kind = 3 if -status == signal.SIGABRT else 0
    how = f"was killed by {signal.Signals(-status).name}"
    return Cause(kind, time.monotonic(), rank, how)


def _accept(host: str, token: str, inbox) -> int:
    """Waits for the other parents in the background; returns the port."""
    try:
        server = socket.create_server((host, 0))
    except OSError:  # The name by which others know this host is not its own.
        server = socket.create_server(("", 0))

    def accept() -> None:
        while True:
            connection, _ = server.accept()
            threading.Thread(target=meet, args=[connection], daemon=True).start()

    def meet(connection: socket.socket) -> None:
        _keep_alive(connection)
        lines = _lines(connection)
        hello = next(lines, None) or {}
        if hello.get("token") != token:
            connection.close()
            return
        peer = Peer(connection, hello["host"])
        inbox.put(("peer", {"hello": hello["rank"], "peer": peer}))
        _forward(lines, hello["rank"], inbox)

    threading.Thread(target=accept, daemon=True).start()
    return server.getsockname()[1]


def _connect(host: str, port: int) -> socket.socket:
    connection = socket.create_connection((host, port), timeout=_END_SECONDS)
    connection.settimeout(None)
    _keep_alive(connection)
    return connection


def _keep_alive(connection: socket.socket) -> None:
    """Lets a connection end within half a minute if the other host is gone."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("IDLE", 10), ("INTVL", 5), ("CNT", 4)):
        if hasattr(socket, f"TCP_KEEP{name}"):
            option = getattr(socket, f"TCP_KEEP{name}")
            connection.setsockopt(socket.IPPROTO_TCP, option, value)


def _listen(connection: socket.socket, who: str, inbox) -> None:
    """Puts what comes from a connection into the inbox, in the background."""
    threading.Thread(
        target=_forward, args=[_lines(connection), who, inbox], daemon=True
    ).start()


def _forward(lines: Iterator[dict[str, Any]], who: str | int, inbox) -> None:
    for message in lines:
        inbox.put((who, message))
    inbox.put((who, None))


def _lines(connection: socket.socket) -> Iterator[dict[str, Any]]:
    """Yields the messages of a connection until it ends, in whatever way."""
    with contextlib.suppress(OSError, ValueError), connection.makefile() as file:
        for line in file:
            yield json.loads(line)


def _send(connection: socket.socket | None, message: dict[str, Any]) -> None:
    """Sends a message, unless the other one is gone, which `_lines` tells."""
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.sendall((json.dumps(message) + "\n").encode())


def say_stopped() -> None:
    """Tells the parent, in the rank that leads, that the job stops as it is."""
    if is_child():
        with socket.socket(fileno=os.dup(int(os.environ[CHILD]))) as connection:
            _send(connection, {"stopped": True})


@contextlib.contextmanager
def as_child() -> Iterator[tuple[Any, Iterator[dict[str, Any]]]]:
    """Yields, in a rank, how it tells its parent something and what that answers.

    The rank ends with its parent. An error is told at once, since a process of a job
    does not end before the others do.
    """
    connection = socket.socket(fileno=int(os.environ[CHILD]))
    answers: queue.SimpleQueue = queue.SimpleQueue()

    def hear() -> None:
        for message in _lines(connection):
            answers.put(message)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=hear, daemon=True).start()
    try:
        yield lambda message: _send(connection, message), iter(answers.get, None)
    except Exception as error:
        _send(connection, {"failed": f"{type(error).__name__}: {error}"[:500]})
        raise
