"""A sweep of a workdir in a bucket: its plan, its stop and the logs of its workers.

What it says lies in a copy here, which is brought up to date while it is shown.
"""

import contextlib
import dataclasses
import json
import pathlib
import time
from collections.abc import Callable

from rdt_jax.store import bucket_sync
from rdt_jax.store.bucket import PATIENCE_SECONDS, Bucket
from rdt_jax.sweep import ledger
from rdt_jax.sweep import plan as plans

REFRESH_SECONDS = 10.0  # Between two looks into a bucket, where a sweep is shown.
_ASK_SECONDS = 5.0  # Between two questions whether a sweep was stopped.


@dataclasses.dataclass(frozen=True)
class BucketSweep:
    """A sweep by its name, in a bucket and in the copy of its workdir here."""

    bucket: Bucket
    name: str

    @property
    def folder(self) -> pathlib.Path:
        """The folder of the sweep in the copy."""
        return self.bucket.workdir / "sweeps" / self.name

    def exists(self) -> bool:
        """Says whether the bucket has the plan of the sweep."""
        return self.bucket.exists(f"sweeps/{self.name}/plan.json")

    def push_plan(self) -> None:
        """Uploads the plan of the sweep and the run folders that are not there.

        Statuses, which the plan may have changed, go with it, but of runs that are done
        or that somebody trains by now.
        """
        shared = bucket_sync.InBucket(self.bucket)
        for run in self._runs():
            if not self.bucket.exists(f"{run}/config.json"):
                shared.publish([run], lambda: None)
                continue
            with contextlib.suppress(ValueError):  # A damaged one stays as it is.
                status = json.loads(self.bucket.get(f"{run}/status.json"))
                if status["state"] not in ("running", "done"):
                    shared.tell([run])
        for part in ("state/packs.json", "plan.json"):
            content = (self.folder / part).read_bytes()
            self.bucket.put(f"sweeps/{self.name}/{part}", content)
        self.bucket.remove(f"sweeps/{self.name}/state/stop")

    def pull(self) -> None:
        """Brings the plan here, with the statuses of its runs and all leases.

        Whether the sweep is to stop comes with it. ValueError if there is no such
        sweep.
        """
        if not self.exists():
            raise ValueError(
                f"{self.bucket.root}/sweeps/{self.name} has no plan.json; start it "
                "with `rdt sweep`."
            )
        for part in ("plan.json", "state/packs.json"):
            self.bucket.pull(f"sweeps/{self.name}/{part}")
        if self.is_stopped():
            ledger.request_stop(self.folder)
        else:  # The copy may be of before.
            (self.folder / "state" / "stop").unlink(missing_ok=True)
        bucket_sync.pull_runs(self.bucket, self._runs())
        bucket_sync.InBucket(self.bucket).refresh()

    def request_stop(self) -> None:
        """Asks all workers of the sweep to checkpoint and end."""
        self.bucket.put(f"sweeps/{self.name}/state/stop", b"")

    def is_stopped(self) -> bool:
        """Says whether the workers of the sweep are asked to end."""
        return self.bucket.exists(f"sweeps/{self.name}/state/stop")

    def push_logs(self, sent: dict[pathlib.Path, bytes]) -> None:
        """Uploads the logs of workers that were started here, those that have grown.

        They are in `logs` of the sweep, in a folder named as the copy is. `sent` has
        their contents as they were uploaded before, and is brought up to date.
        """
        for path in (self.folder / "state").glob("worker-*.log"):
            content = path.read_bytes()
            if sent.get(path) != content:
                name = f"logs/{self.bucket.workdir.name}/{path.name}"
                self.bucket.put(f"sweeps/{self.name}/{name}", content)
                sent[path] = content

    def with_patience(self, seconds: float) -> "BucketSweep":
        """Returns the same sweep, whose store is asked again for so long."""
        bucket = dataclasses.replace(self.bucket, patience=seconds)
        return dataclasses.replace(self, bucket=bucket)

    def _runs(self) -> list[str]:
        entries = ledger.read_packs(self.folder)
        packed = {run for entry in entries for run in entry.runs}
        return sorted(packed | set(plans.read_run_ids(self.folder)))


class StopRequest:
    """Asks now and then whether a sweep is to stop.

    It waits for no store that is away, so that a signal is heard.
    """

    def __init__(self, sweep: BucketSweep) -> None:
        self._sweep = sweep.with_patience(0.0)
        self._asked, self._answer = -_ASK_SECONDS, False

    def is_made(self) -> bool:
        """Says whether the sweep is to stop, as far as the store has answered."""
        if time.monotonic() - self._asked >= _ASK_SECONDS:
            self._asked = time.monotonic()
            with contextlib.suppress(ConnectionError):
                self._answer = self._sweep.is_stopped()
        return self._answer


class Exchange:
    """Exchanges a sweep with its bucket now and then; on a disk there is nothing to do.

    An outage of the store is reported once, and so is its end.
    """

    def __init__(self, copy: BucketSweep | None, log: Callable[[str], None]) -> None:
        """Prepares it; `copy` is the sweep in the bucket, or None on a disk."""
        self._copy, self._log = copy, log
        self._sent_logs: dict[pathlib.Path, bytes] = {}
        self._at, self._is_away = time.monotonic(), False

    def refresh(self, now: bool = False) -> None:
        """Uploads the logs of workers and brings here what others have done.

        That is done now and then, without waiting; workers wait by themselves. With
        `now` it is done at once, and a store that is away is waited for, up to a
        ConnectionError.
        """
        if not self._copy:
            return
        if not now and time.monotonic() - self._at <= REFRESH_SECONDS:
            return
        copy = self._copy if now else self._copy.with_patience(0.0)
        try:
            copy.push_logs(self._sent_logs)
            copy.pull()
            if self._is_away:
                self._log(f"The store of {copy.bucket.root} answers again.")
            self._is_away = False
        except ConnectionError as error:
            if now:
                raise
            if not self._is_away:
                self._log(
                    f"{error}. It is asked again; each worker asks for "
                    f"{PATIENCE_SECONDS / 60:g} minutes, with growing waits."
                )
            self._is_away = True
        self._at = time.monotonic()
