"""SIGTERM and Ctrl-C: the first asks to checkpoint and end, a second ends at once.

    with stopping.on_signal() as stop:
        run.train(configs, workdir, should_stop=stop, may_end=stop.may_end)

Python runs a signal handler between two instructions only, and a compilation is one
instruction that takes minutes. So a thread reads the signals from a pipe. Where nothing
would be lost (`Stop.may_end`) it ends the process itself.
"""

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

from rdt_jax.cli import exits

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Signals within this time count as one: `timeout` signals its child, then its group.
SAME_SECONDS = 0.5
_POLL_SECONDS = 0.5
_LEAVE_SECONDS = 5.0  # A bucket that is told of the end may not answer.


class Stop:
    """Counts requests to stop this process, and ends it where it may end at once."""

    def __init__(
        self,
        is_stopped: Callable[[], bool],
        before_exit: Callable[[], None],
        grace: float,
    ) -> None:
        self._is_stopped, self._before_exit = is_stopped, before_exit
        self._grace = grace
        self._num_signals, self._last_signal = 0, -math.inf
        self.over = threading.Event()  # The process has come to its own end.
        self._leave: Callable[[], None] | None = None  # Set where it may end.
        self._lock = threading.Lock()

    def __call__(self) -> int:
        """Returns how often this process was asked to stop."""
        return self._num_signals or int(self._is_stopped())

    @contextlib.contextmanager
    def may_end(self, leave: Callable[[], None]) -> Iterator[None]:
        """Lets this process end at once inside a `with`, after `leave` in a thread."""
        with self._lock:
            outer, self._leave = self._leave, leave
            if self._num_signals:
                self._end()
        try:
            yield
        finally:
            with self._lock:  # A thread that ends the process never releases it.
                self._leave = outer

    def hear(self, time: float) -> None:
        """Counts a signal of a time in seconds, and ends this process if it may end."""
        if time - self._last_signal > SAME_SECONDS:
            self._num_signals += 1
            self._last_signal = time
        if self._num_signals > 1:
            if self.over.wait(self._grace):
                return
            exits.tell("ended as it is, since it was asked to stop twice.")
            self._exit(exits.FAILED)
        self._end_if_it_may()

    def poll(self) -> None:
        """Ends this process where it may end once `is_stopped` says so; in a thread."""
        while not self.over.wait(_POLL_SECONDS):
            # A bucket may not answer for minutes, or raise; it is asked again.
            with contextlib.suppress(Exception):
                if self._leave is not None and self._is_stopped():
                    self._end_if_it_may()

    def _end_if_it_may(self) -> None:
        with self._lock:
            if self._leave is not None:
                self._end()

    def _end(self) -> None:
        leaving = threading.Thread(target=self._leave, daemon=True)
        leaving.start()
        leaving.join(_LEAVE_SECONDS)
        self._exit(exits.WELL)

    def _exit(self, code: int) -> None:
        try:
            self._before_exit()
        except Exception as error:  # The process ends whatever fails here.
            exits.tell(f"while ending: {error}")
        finally:
            os._exit(code)


@contextlib.contextmanager
def on_signal(
    is_stopped: Callable[[], bool] = lambda: False,
    before_exit: Callable[[], None] = lambda: None,
    grace: float = 0.0,
) -> Iterator[Stop]:
    """Yields a Stop that counts SIGTERM and Ctrl-C.

    Where something else asks this process to stop, `is_stopped` says so. Where it ends
    at once, `before_exit` comes last. After a second signal it has `grace` seconds.
    """
    stop = Stop(is_stopped, before_exit, grace)
    with listening(stop.hear, stop.over.set):
        threading.Thread(target=stop.poll, daemon=True).start()
        yield stop


@contextlib.contextmanager
def listening(
    hear: Callable[[float], None], over: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Listens to SIGTERM and Ctrl-C in a thread.

    It calls `hear` with the time of each signal, in seconds; at the end it calls
    `over`, and then waits for a running `hear`.
    """
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    earlier_fd = signal.set_wakeup_fd(write_end)
    handlers = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}

    def read() -> None:
        while number := os.read(read_end, 1):
            if number[0] in _SIGNALS:  # Python writes the other signals there, too.
                hear(time.monotonic())

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(earlier_fd)
        over()
        os.close(write_end)
        thread.join()
        os.close(read_end)
