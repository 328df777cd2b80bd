"""A sweep of a workdir in a bucket: its plan, its stop and the logs of its workers."""

import contextlib
import dataclasses
import json
import pathlib
import time

from rdt_jax.store import bucket_sync
from rdt_jax.store.bucket import Bucket
from rdt_jax.sweep import ledger
from rdt_jax.sweep import plan as plans

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
        for run in self._runs():
            if not self.bucket.exists(f"{run}/config.json"):
                bucket_sync.publish(self.bucket, [run], lambda: None)
                continue
            with contextlib.suppress(ValueError):  # A damaged one stays as it is.
                status = json.loads(self.bucket.get(f"{run}/status.json"))
                if status["state"] not in ("running", "done"):
                    bucket_sync.tell(self.bucket, [run])
        for part in ("state/packs.json", "plan.json"):
            content = (self.folder / part).read_bytes()
            self.bucket.put(f"sweeps/{self.name}/{part}", content)
        self.bucket.remove(f"sweeps/{self.name}/state/stop")

    def pull(self) -> None:
        """Brings the plan here, with the statuses of its runs and all leases.

        Whether the sweep is to stop comes with it.

        Raises:
          ValueError: if there is no such sweep.
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
        bucket_sync.BucketFiles(self.bucket).refresh()

    def request_stop(self) -> None:
        """Asks all workers of the sweep to checkpoint and end."""
        self.bucket.put(f"sweeps/{self.name}/state/stop", b"")

    def is_stopped(self) -> bool:
        """Says whether the workers of the sweep are asked to end."""
        return self.bucket.exists(f"sweeps/{self.name}/state/stop")

    def with_patience(self, seconds: float) -> "BucketSweep":
        """Returns the same sweep, whose store is asked again for so long."""
        bucket = dataclasses.replace(self.bucket, patience=seconds)
        return dataclasses.replace(self, bucket=bucket)

    def _runs(self) -> list[str]:
        """Returns the runs of the plan and of its packs."""
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


class LogPusher:
    """Uploads the logs of workers that were started here, as they grow.

    They are in `logs` of the sweep, in a folder named as the copy is.
    """

    def __init__(self) -> None:
        self._sent: dict[pathlib.Path, bytes] = {}

    def push(self, sweep: BucketSweep) -> None:
        """Uploads the logs that have grown."""
        for path in (sweep.folder / "state").glob("worker-*.log"):
            content = path.read_bytes()
            if self._sent.get(path) != content:
                copy = sweep.bucket.workdir.name
                name = f"sweeps/{sweep.name}/logs/{copy}/{path.name}"
                sweep.bucket.put(name, content)
                self._sent[path] = content
