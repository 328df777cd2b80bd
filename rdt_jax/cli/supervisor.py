"""Supervisors of the ranks of one job: each runs its rank as a child process.

When a rank ends early, the others wait for it in vain: all have to end, and begin again
from the newest checkpoint. So the supervisors tell each other. They connect to the
supervisor of rank 0, which decides which cause was the first; all of them print it.

Messages are lines of JSON. A child tells its supervisor its rank. The supervisor of
rank 0 answers with its port and a secret token, which the ranks pass on to each other.
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

CHILD = "RDT_JAX_CHILD"  # File descriptor of a child's socket to its supervisor.

_REFUSED = -1  # Kind of a cause that is a mistake of the user.
_CAUSE_SECONDS = 2.0  # Ranks that lose a rank end almost as soon as it does.
_VERDICT_SECONDS = 20.0
_END_SECONDS = 45.0


class Cause(NamedTuple):
    """A reason why the job cannot go on; of several, the smallest is printed."""

    kind: int  # -1: a rank refuses a mistake of the user, 0: a rank was killed,
    # 1: a supervisor is gone, 2: a rank failed, 3: JAX aborted it with another one.
    time: float  # in seconds, when the supervisor learned of it
    rank: int
    how: str  # words for how the rank ended


class Peer(NamedTuple):
    """The supervisor of another rank."""

    socket: socket.socket
    host: str


Message = dict[str, Any]
# Pairs of source and message; the message is None once the connection is closed. The
# sources: signal, child, end (of the child), peer (a new one), leader (the supervisor
# of rank 0), or the rank of a peer.
Inbox: TypeAlias = "queue.SimpleQueue[tuple[str | int, Any]]"


def is_child() -> bool:
    """Says whether this process is a rank that `run` started."""
    return CHILD in os.environ


def run(command: Sequence[str]) -> int:
    """Runs a command as a rank; returns the exit code of this supervisor.

    SIGTERM and SIGINT stop the whole job: rank 0 checkpoints and all ranks end. A
    second signal ends them at once.
    """
    own_socket, child_socket = socket.socketpair()
    with own_socket, child_socket:
        child = subprocess.Popen(
            command,
            env=os.environ | {CHILD: str(child_socket.fileno())},
            pass_fds=[child_socket.fileno()],
            start_new_session=True,  # Only this process gets the signals.
        )
        child_socket.close()
        inbox: Inbox = queue.SimpleQueue()
        listener = _listen(own_socket, "child", inbox)

        def wait() -> None:
            code = child.wait()
            listener.join(_CAUSE_SECONDS)  # The last messages of the child come first.
            inbox.put(("end", {"code": code}))

        # It is called in a thread: a signal handler that puts into the queue for which
        # its own thread waits can block for ever if two signals come at once.
        hear = lambda time: inbox.put(("signal", {"at": time}))
        threading.Thread(target=wait, daemon=True).start()
        try:
            with stopping.listening(hear):
                return _Supervisor(child, own_socket, inbox).run()
        finally:
            child.kill()
            child.wait()


class _Supervisor:
    """The state of a supervisor, and a method for each source of messages.

    These return the exit code of this process once the job is over, and None before.
    """

    def __init__(
        self, child: subprocess.Popen, to_child: socket.socket, inbox: Inbox
    ) -> None:
        self._child, self._to_child, self._inbox = child, to_child, inbox
        self._rank, self._processes = -1, 0
        self._peers: dict[int, Peer] = {}  # By rank; for rank 0 alone.
        self._leader: socket.socket | None = None  # To rank 0; for the other ranks.
        self._token = secrets.token_hex(16)
        self._causes: list[Cause] = []
        self._stop_asked_at: float | None = None
        self._ended = False  # The child has done all of its work.
        self._deadline: float | None = None  # When `run` stops waiting for messages.

    def run(self) -> int:
        """Handles messages until the job is over; returns the exit code."""
        handlers: dict[str, Callable[[Any], int | None]] = {
            "signal": self._on_signal,
            "child": self._on_child,
            "end": self._on_end,
            "peer": self._on_new_peer,
            "leader": self._on_leader,
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
                    return exits.WELL  # Rank 0 is done; the child may hang.
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
            return self._fail(
                "the job ends as it is, since it was asked to stop twice."
            )
        self._stop_asked_at = message["at"]
        if self._leader is not None:  # Rank 0 checkpoints.
            _send(self._leader, {"stop": True})
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
                address = (host, port)
                self._leader = socket.create_connection(address, timeout=_END_SECONDS)
                self._leader.settimeout(None)
                _keep_alive(self._leader)
                hello = {"rank": self._rank, "host": platform.node()}
                _send(self._leader, hello | {"token": token})
                _listen(self._leader, "leader", self._inbox)
            case {"ended": _}:
                self._ended = True
                _send(self._leader, {"ended": True})
            case {"refused": reason}:
                self._lost(_REFUSED, f"refuses: {reason}", self._rank)
            case {"failed": error}:
                self._lost(2, f"failed: {error}", self._rank)
            case {"stopped": _}:
                self._tell_peers({"stopped": True})
                return exits.WELL
        return None

    def _on_end(self, message: Message) -> int | None:
        status = message["code"]
        if not self._ended and self._rank >= 0:
            kind, how = 2, f"ended with exit code {status}"
            if status < 0:
                kind = 3 if -status == signal.SIGABRT else 0
                how = f"was killed by {signal.Signals(-status).name}"
            self._lost(kind, how, self._rank)
            return None
        self._tell_peers({"done": True})
        return status if status >= 0 else exits.FAILED

    def _on_new_peer(self, message: Message) -> None:
        self._peers[message["hello"]] = message["peer"]

    def _on_peer(self, rank: int, message: Message | None) -> None:
        """Handles, for rank 0, a message of another supervisor; None if it is gone."""
        match message:
            case {"lost": cause}:  # Clocks of hosts differ, so this one counts.
                self._lost(cause["kind"], cause["how"], rank)
            case {"ended": _}:
                del self._peers[rank]
            case {"stop": _}:
                self._child.terminate()
            case None if rank in self._peers:
                self._lost(1, "is gone, and so is its parent", rank)

    def _on_leader(self, message: Message | None) -> int | None:
        """Handles a message of the supervisor of rank 0; None if it is gone."""
        match message:
            case {"verdict": verdict, "code": code}:
                return self._fail(verdict, code)
            case {"stopped": _}:
                return self._on_child(message)
            case {"done": _}:
                self._leader = None
                self._deadline = time.monotonic() + _END_SECONDS
            case None if self._leader is not None and not self._ended:
                self._lost(1, "is gone, and so is its parent", 0)
                self._deadline = time.monotonic()
        return None

    def _lost(self, kind: int, how: str, rank: int) -> None:
        """Notes a cause, and waits a while for smaller ones."""
        cause = Cause(kind, time.monotonic(), rank, how)
        self._causes.append(cause)
        wait = _CAUSE_SECONDS
        if self._rank != 0 and self._leader is not None:
            _send(self._leader, {"lost": cause._asdict()})
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
        text = f"rank {cause.rank} of {self._processes} ({host}) {cause.how}"
        if cause.kind == _REFUSED:
            return f"{text.removesuffix('.')}. All ranks end."
        return (
            f"{text}. All ranks end; the same command on every host goes on from the "
            "newest checkpoint."
        )


def _accept(host: str, token: str, inbox: Inbox) -> int:
    """Accepts the other supervisors in the background; returns the port."""
    try:
        server = socket.create_server((host, 0))
    except OSError:  # The address that others use is not one of this host.
        server = socket.create_server(("", 0))

    def accept() -> None:
        while True:
            connection, _ = server.accept()
            threading.Thread(target=greet, args=[connection], daemon=True).start()

    def greet(connection: socket.socket) -> None:
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


def _keep_alive(connection: socket.socket) -> None:
    """Makes a connection end within half a minute after the other host is gone."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("IDLE", 10), ("INTVL", 5), ("CNT", 4)):
        if hasattr(socket, f"TCP_KEEP{name}"):
            option = getattr(socket, f"TCP_KEEP{name}")
            connection.setsockopt(socket.IPPROTO_TCP, option, value)


def _listen(connection: socket.socket, source: str, inbox: Inbox) -> threading.Thread:
    """Puts the messages of a connection into the inbox, in the background."""
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
    """Yields the messages of a connection until it ends or breaks."""
    with contextlib.suppress(OSError, ValueError), connection.makefile() as file:
        for line in file:
            yield json.loads(line)


def _send(connection: socket.socket | None, message: Message) -> None:
    """Sends a message; does nothing if the receiver is gone, which `_lines` shows."""
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.sendall((json.dumps(message) + "\n").encode())


def say_stopped() -> None:
    """Tells the supervisor, in rank 0, that the job stops before its work is done."""
    if is_child():
        with socket.socket(fileno=os.dup(int(os.environ[CHILD]))) as connection:
            _send(connection, {"stopped": True})


@contextlib.contextmanager
def as_child() -> Iterator[tuple[Callable[[Message], None], Iterator[Message]]]:
    """Connects a rank with its supervisor: yields a function that sends, and answers.

    When the supervisor ends, so does the rank. An error is sent at once, since a rank
    with an error waits for the other ranks before it ends.
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
