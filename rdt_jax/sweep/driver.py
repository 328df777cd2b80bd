"""Keeps an engine's workers at work until nothing of a sweep is left to do.

A worker that dies takes down only its own pack, which is tried again as
`ledger.RETRIES` say; another worker is started in its place.
"""

import pathlib
import time
from collections.abc import Callable

from rdt_jax.store import leases
from rdt_jax.sweep import engines, ledger

POLL_SECONDS = 0.5
_GRACE_SECONDS = 30.0  # For workers that do not end when nothing is left to do.
_VAIN_STARTS = 3  # Workers in a row that end before they claim a pack.


def run(
    engine: engines.Engine,
    folder: pathlib.Path,
    *,
    stop_requested: Callable[[], int],
    on_poll: Callable[[], None],
    log: Callable[[str], None],
) -> None:
    """Trains a sweep, whose plan is written, until nothing is left to do.

    What a worker reports, a line of its log that begins with `rdt: `, is reported here.
    `stop_requested` says how often it was asked to stop: once makes the workers
    checkpoint and end, twice ends them as they are. `on_poll` is called about twice a
    second.

    Raises:
      RuntimeError: if workers end before they get a lease.
    """
    crew = _Crew(engine, folder, log)
    for index in range(min(engine.slots, len(ledger.open_packs(folder)))):
        crew.start(index)
    while crew.workers:
        on_poll()
        crew.report()
        time.sleep(POLL_SECONDS)
        crew.ask_to_stop(max(stop_requested(), ledger.is_stopped(folder)))
        crew.replace_ended()
        crew.end_idle()
    on_poll()
    crew.report()


class _Crew:
    """The workers of a sweep by their slots, and what became of those before them."""

    def __init__(
        self,
        engine: engines.Engine,
        folder: pathlib.Path,
        log: Callable[[str], None],
    ) -> None:
        self.workers: dict[int, engines.Worker] = {}
        self._engine, self._folder, self._log = engine, folder, log
        self._reports = _Reports(folder)
        self._observer = leases.Observer()
        self._leases_at_start: dict[int, int] = {}  # Number of leases, by worker.
        self._vain = 0  # Workers in a row that ended before they got a lease.
        self._is_stopping = False
        self._over_since: float | None = None

    def start(self, index: int) -> None:
        """Starts a worker in a slot."""
        self._leases_at_start[index] = ledger.num_leases(self._folder)
        self.workers[index] = self._engine.start(index)

    def report(self) -> None:
        """Logs what workers have reported since the last call."""
        for message in self._reports.read():
            self._log(message)

    def ask_to_stop(self, times: int) -> None:
        """Asks the workers to stop, if that was asked, or ends them the second time."""
        for worker in self.workers.values():
            if times > 1:
                worker.kill()
            elif times and not self._is_stopping:
                worker.terminate()
        self._is_stopping = self._is_stopping or times > 0

    def replace_ended(self) -> None:
        """Starts another worker for each that has failed, if something is left to do.

        RuntimeError if several in a row have ended before they got a lease.
        """
        for index, worker in list(self.workers.items()):
            code = worker.poll()
            if code is not None:
                del self.workers[index]
            if not code:
                continue
            self._log(f"Worker {index} ended with exit code {code}.")
            for name in ledger.settle(self._folder, self._observer):
                self._log(f"Run {name} failed.")
            num_leases = ledger.num_leases(self._folder)
            had_lease = num_leases > self._leases_at_start[index]
            self._vain = 0 if had_lease else self._vain + 1
            if self._is_stopping or not ledger.trainable_packs(self._folder):
                continue
            if self._vain == _VAIN_STARTS:
                self.report()
                raise RuntimeError(
                    f"{self._vain} workers in a row ended before they could train."
                )
            self.start(index)

    def end_idle(self) -> None:
        """Ends the workers that are there long after nothing was left to do."""
        if ledger.open_packs(self._folder):
            self._over_since = None
        elif self._over_since is None:
            self._over_since = time.monotonic()
        elif time.monotonic() - self._over_since > _GRACE_SECONDS:
            for worker in self.workers.values():  # It had lost its pack, and hangs.
                worker.kill()


class _Reports:
    """Reads what workers report in their logs, from now on."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._state = folder / "state"
        self._read = {path: path.stat().st_size for path in self._logs()}

    def _logs(self) -> list[pathlib.Path]:
        return sorted(self._state.glob("worker-*.log"))

    def read(self) -> list[str]:
        """Returns the messages since the last call, each with its worker."""
        messages = []
        for path in self._logs():
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                whole = file.read().rpartition(b"\n")[0]
            if whole:
                self._read[path] = self._read.get(path, 0) + len(whole) + 1
            index = path.stem.partition("-")[2]
            for line in whole.decode(errors="replace").splitlines():
                if line.startswith("rdt: "):
                    messages.append(f"Worker {index}: {line.removeprefix('rdt: ')}")
        return messages
