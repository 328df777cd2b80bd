"""SIGTERM and Ctrl-C: the first asks to checkpoint and end, the second ends at once.

    with stopping.on_signal() as stop:
        run.train(configs, workdir, should_stop=stop, may_end=stop.may_end)

Python runs the handler of a signal between two of its instructions, and a compilation
is one of them, of minutes. So a thread reads the signals from a pipe, and ends the
process itself where nothing would be lost.
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
SAME_SECONDS = 0.5  # `timeout` signals its child, and then the group of both.
_ASK_SECONDS = 0.5
_LEAVE_SECONDS = 5.0  # For what is still said, to a bucket that may be away.


class Stop:
    """What asks a process to stop, and where it may end at once."""

    def __init__(
        self, also: Callable[[], bool], last: Callable[[], None], grace: float
    ) -> None:
        self._also, self._last, self._grace = also, last, grace
        self._signals, self._counted_at = 0, -math.inf
        self.over = threading.Event()
        self._leave: Callable[[], None] | None = None
        self._lock = threading.Lock()

    def __call__(self) -> int:
        """Returns how often this process was asked to stop."""
        return self._signals or int(self._also())

    @contextlib.contextmanager
    def may_end(self, leave: Callable[[], None]) -> Iterator[None]:
        """Lets this process end inside a `with` when it is asked to stop.

        Args:
          leave: called just before, in another thread.
        """
        with self._lock:
            around, self._leave = self._leave, leave
            if self._signals:
                self._end()
        try:
            yield
        finally:
            with self._lock:  # Whoever is leaving holds it to the end.
                self._leave = around

    def hear(self, at: float) -> None:
        """Counts a signal that came at a time, and ends this process if it may end."""
        if at - self._counted_at > SAME_SECONDS:
            self._signals += 1
            self._counted_at = at
        if self._signals > 1:
            if self.over.wait(self._grace):
                return
            why = "it was asked to stop twice"
            exits.tell(f"ended as it is, since {why}.")
            self._exit(exits.FAILED)
        self._end_if_it_may()

    def ask(self) -> None:
        """Asks what else may ask this process to stop, where it may end."""
        while not self.over.wait(_ASK_SECONDS):
            # A bucket may not answer for minutes, or raise; it is asked again.
            with contextlib.suppress(Exception):
                if self._leave is not None and self._also():
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
            self._last()
        except Exception as error:  # Whatever it is, this process was asked to end.
            exits.tell(f"while ending: {error}")
        finally:
            os._exit(code)


@contextlib.contextmanager
def on_signal(
    also: Callable[[], bool] = lambda: False,
    last: Callable[[], None] = lambda: None,
    grace: float = 0.0,
) -> Iterator[Stop]:
    """Yields what says whether SIGTERM or Ctrl-C has asked this process to stop.

    Args:
      also: says whether something else asks it to.
      last: called just before this process ends at once, without an end of its own.
      grace: seconds that it has after the second signal to end by itself.
    """
    stop = Stop(also, last, grace)
    with heard(stop.hear, stop.over.set):
        threading.Thread(target=stop.ask, daemon=True).start()
        yield stop


@contextlib.contextmanager
def heard(
    hear: Callable[[float], None], over: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Calls `hear` in a thread with the time of each SIGTERM and Ctrl-C.

    `over` is called at the end, before what `hear` may still do is waited for.
    """
    pipe, told = os.pipe()
    os.set_blocking(told, False)
    before = signal.set_wakeup_fd(told)
    handlers = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}

    def read() -> None:
        while number := os.read(pipe, 1):
            if number[0] in _SIGNALS:  # Another has a handler of its own.
                hear(time.monotonic())

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before)
        over()
        os.close(told)
        thread.join()
        os.close(pipe)
