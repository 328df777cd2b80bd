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
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from rdt_jax.cli import exits, stopping

CHILD = "RDT_JAX_CHILD"  # Holds the descriptor of a child's socket to its parent.

_REFUSED = -1  # The kind of a cause that is a mistake of the user.
_CAUSE_SECONDS = 2.0  # Ranks that lose another one end almost as soon as it does.
_VERDICT_SECONDS = 20.0
_END_SECONDS = 45.0


class Cause(NamedTuple):
    """Why the job cannot go on; the smallest is named.

    Attributes:
      kind: -1 for a mistake of the user that a rank refuses, 0 for a rank that was
        killed, 1 for a parent that is gone, 2 for a rank that failed, 3 for one that
        JAX aborted, since another one was gone.
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


Message = dict[str, Any]
# (where a message is from, the message; None once that connection is closed).
# From: signal, child, end (of the child), peer (a new one), zero (the parent of rank
# 0), or the rank of a peer.
Inbox: TypeAlias = "queue.SimpleQueue[tuple[str | int, Any]]"


def is_child() -> bool:
    """Says whether this process is a rank, started by `run`."""
    return CHILD in os.environ


def run(command: Sequence[str]) -> int:
    """Runs a command as a rank; returns the exit code of this parent.

    SIGTERM and SIGINT are for the whole job: rank 0 checkpoints and all ranks end. The
    second signal ends them at once.
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
        inbox: Inbox = queue.SimpleQueue()
        listener = _listen(ours, "child", inbox)

        def wait() -> None:
            code = child.wait()
            listener.join(_CAUSE_SECONDS)  # What the child said last comes first.
            inbox.put(("end", {"code": code}))

        # In a thread: a handler that puts, in a thread that waits for the queue, can
        # leave it waiting for ever if two signals come at once.
        hear = lambda at: inbox.put(("signal", {"at": at}))
        threading.Thread(target=wait, daemon=True).start()
        try:
            with stopping.heard(hear):
                return _Supervisor(child, ours, inbox).run()
        finally:
            child.kill()
            child.wait()


class _Supervisor:
    """The state of a parent, and what it does about each message of its inbox.

    The methods that take a message return the exit code of this parent once the job is
    over, and None before.
    """

    def __init__(
        self, child: subprocess.Popen, to_child: socket.socket, inbox: Inbox
    ) -> None:
        self._child, self._to_child, self._inbox = child, to_child, inbox
        self._rank, self._processes = -1, 0
        self._peers: dict[int, Peer] = {}  # By rank; of the parent of rank 0.
        self._zero: socket.socket | None = None  # Of the other parents.
        self._token = secrets.token_hex(16)
        self._causes: list[Cause] = []
        self._stop_asked_at: float | None = None
        self._ended = False  # The child got to its end.
        self._deadline: float | None = None  # When no other message is waited for.

    def run(self) -> int:
        """Goes through the messages until the job is over; returns the exit code."""
        handlers: dict[str, Callable[[Any], int | None]] = {
            "signal": self._on_signal,
            "child": self._on_child,
            "end": self._on_end,
            "peer": self._on_new_peer,
            "zero": self._on_zero,
        }
        code: int | None = None
        while code is None:
            wait = None
            if self._deadline is not None:
                wait = max(0, self._deadline - time.monotonic())
            try:
                source, message = self._inbox.get(timeout=wait)
            except queue.Empty:
                if self._ended and not self._causes:
                    return exits.WELL  # Rank 0 is done, whatever keeps the child.
                cause = min(self._causes)
                code = exits.MISTAKE if cause.kind == _REFUSED else exits.FAILED
                return self._fail(self._verdict(cause), code)
            if isinstance(source, int):
                self._on_peer(source, message)
            else:
                code = handlers[source](message)
        return code

    def _on_signal(self, message: Message) -> int | None:
        if self._stop_asked_at is not None:
            if message["at"] - self._stop_asked_at <= stopping.SAME_SECONDS:
                return None
            why = "it was asked to stop twice"
            return self._fail(f"the job ends as it is, since {why}.")
        self._stop_asked_at = message["at"]
        if self._zero is not None:  # Rank 0 checkpoints.
            _send(self._zero, {"stop": True})
        else:
            self._child.terminate()
        return None

    def _on_child(self, message: Message | None) -> int | None:
        match message:
            case {"rank": rank, "processes": processes, "host": host}:
                self._rank, self._processes = rank, processes
                if rank == 0:
                    port = _accept(host, self._token, self._inbox)
                    _send(self._to_child, {"port": port, "token": self._token})
            case {"host": host, "port": port, "token": token}:
                self._zero = _connect(host, port)
                hello = {"rank": self._rank, "host": platform.node()}
                _send(self._zero, hello | {"token": token})
                _listen(self._zero, "zero", self._inbox)
            case {"ended": _}:
                self._ended = True
                _send(self._zero, {"ended": True})
            case {"refused": why}:
                how = f"refuses: {why}"
                self._lost(Cause(_REFUSED, time.monotonic(), self._rank, how))
            case {"failed": how}:
                self._lost(Cause(2, time.monotonic(), self._rank, f"failed: {how}"))
            case {"stopped": _}:
                self._tell_peers({"stopped": True})
                return exits.WELL
        return None

    def _on_end(self, message: Message) -> int | None:
        status = message["code"]
        if not self._ended and self._rank >= 0:
            self._lost(_cause_of(status, self._rank))
            return None
        self._tell_peers({"done": True})
        return status if status >= 0 else exits.FAILED

    def _on_new_peer(self, message: Message) -> None:
        self._peers[message["hello"]] = message["peer"]

    def _on_peer(self, rank: int, message: Message | None) -> None:
        """Takes what another parent says to that of rank 0; None if it is gone."""
        match message:
            case {"lost": told}:
                now = {"rank": rank, "time": time.monotonic()}
                self._lost(Cause(**told | now))
            case {"ended": _}:
                del self._peers[rank]
            case {"stop": _}:
                self._child.terminate()
            case None if rank in self._peers:
                how = "is gone, and so is its parent"
                self._lost(Cause(1, time.monotonic(), rank, how))

    def _on_zero(self, message: Message | None) -> int | None:
        """Takes what the parent of rank 0 says to another; None if it is gone."""
        match message:
            case {"verdict": verdict, "code": code}:
                return self._fail(verdict, code)
            case {"stopped": _}:
                return self._on_child(message)
            case {"done": _}:
                self._zero = None
                self._deadline = time.monotonic() + _END_SECONDS
            case None if self._zero is not None and not self._ended:
                self._lost(Cause(1, 0.0, 0, "is gone, and so is its parent"))
                self._deadline = time.monotonic()
        return None

    def _lost(self, cause: Cause) -> None:
        """Takes a cause; others that come soon may be smaller."""
        self._causes.append(cause)
        wait = _CAUSE_SECONDS
        if self._rank != 0 and self._zero is not None:
            _send(self._zero, {"lost": cause._asdict()})
            wait = _VERDICT_SECONDS
        self._deadline = self._deadline or time.monotonic() + wait

    def _tell_peers(self, message: Message) -> None:
        for peer in self._peers.values():
            _send(peer.socket, message)

    def _fail(self, verdict: str, code: int = exits.FAILED) -> int:
        self._tell_peers({"verdict": verdict, "code": code})
        exits.tell(verdict)
        return code

    def _verdict(self, cause: Cause) -> str:
        peer = self._peers.get(cause.rank)
        host = platform.node() if peer is None else peer.host
        if cause.kind == 1 and peer is None:
            host = "another host"
        said = f"rank {cause.rank} of {self._processes} ({host}) {cause.how}"
        if cause.kind == _REFUSED:
            return f"{said.removesuffix('.')}. All ranks end."
        return (
            f"{said}. All ranks end; the same command on every host goes on from the "
            "newest checkpoint."
        )


def _cause_of(status: int, rank: int) -> Cause:
    if status >= 0:
        how = f"ended with exit code {status}"
        return Cause(2, time.monotonic(), rank, how)
    kind = 3 if -status == signal.SIGABRT else 0
    how = f"was killed by {signal.Signals(-status).name}"
    return Cause(kind, time.monotonic(), rank, how)


def _accept(host: str, token: str, inbox: Inbox) -> int:
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


def _listen(connection: socket.socket, source: str, inbox: Inbox) -> threading.Thread:
    """Puts what comes from a connection into the inbox, in the background."""
    thread = threading.Thread(
        target=_forward, args=[_lines(connection), source, inbox], daemon=True
    )
    thread.start()
    return thread


def _forward(lines: Iterator[Message], source: str | int, inbox: Inbox) -> None:
    for message in lines:
        inbox.put((source, message))
    inbox.put((source, None))


def _lines(connection: socket.socket) -> Iterator[Message]:
    """Yields the messages of a connection until it ends, in whatever way."""
    with contextlib.suppress(OSError, ValueError), connection.makefile() as file:
        for line in file:
            yield json.loads(line)


def _send(connection: socket.socket | None, message: Message) -> None:
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
def as_child() -> Iterator[tuple[Callable[[Message], None], Iterator[Message]]]:
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
    except exits.Mistake as error:
        _send(connection, {"refused": str(error)})
        raise
    except Exception as error:
        _send(connection, {"failed": f"{type(error).__name__}: {error}"[:500]})
        raise
