"""What keeps a sweep in a bucket and its copy here alike while it is shown."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rdt_jax.sweep.bucket_sweep import BucketSweep

REFRESH_SECONDS = 10.0  # Between two looks into a bucket.


class Exchange:
    """Exchanges a sweep with its bucket now and then; on a disk there is nothing to do.

    An outage of the store is reported once, and so is its end.
    """

    def __init__(self, copy: "BucketSweep | None", log: Callable[[str], None]) -> None:
        """Prepares the exchange.

        Args:
          copy: the sweep in the bucket; None for one on a disk.
          log: receives one-line messages for the user.
        """
        from rdt_jax.sweep.bucket_sweep import LogPusher

        self._copy, self._log = copy, log
        self._logs = LogPusher()
        self._at, self._is_away = time.monotonic(), False

    def refresh(self, now: bool = False) -> None:
        """Uploads the logs of workers and brings here what others have done.

        Args:
          now: whether to do so at once, and to wait for a store that is away. Else that
            is done now and then, without waiting; workers wait by themselves.

        Raises:
          ConnectionError: with `now`, if the store does not answer.
        """
        from rdt_jax.store.bucket import PATIENCE_SECONDS

        if not self._copy:
            return
        if not now and time.monotonic() - self._at <= REFRESH_SECONDS:
            return
        copy = self._copy if now else self._copy.with_patience(0.0)
        try:
            self._logs.push(copy)
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
