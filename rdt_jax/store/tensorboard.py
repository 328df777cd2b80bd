"""Numbers of a run for TensorBoard, which no run depends on.

    writer = tensorboard.Writer(folder / "tensorboard", step, log=print)
    writer.add(step, {"train/loss@4": 0.5})
    writer.close()

Each number is written by the caller's thread. The queue and thread of tensorboardX are
not used: that thread ends at an error, or when the clock steps back by weeks, and its
callers then wait forever. A folder that cannot be written is reported once.
"""

import contextlib
import pathlib
import platform
import re
import time
from collections.abc import Callable, Mapping

from tensorboardX import record_writer, summary
from tensorboardX.proto import event_pb2

_NAME = re.compile(r"events\.out\.tfevents\.([0-9]+)\..*")


class Writer:
    """A file of events in a folder; the holder of the run alone writes there."""

    def __init__(
        self, folder: pathlib.Path, step: int, log: Callable[[str], None]
    ) -> None:
        """Begins a file that replaces what others in the folder say from `step` on."""
        self._folder, self._report = folder, log
        self._writer: record_writer.RecordWriter | None = None
        try:
            folder.mkdir(exist_ok=True)
            numbers = [_NAME.fullmatch(path.name) for path in folder.iterdir()]
            # TensorBoard reads files in the order of their names, whatever the clock.
            number = max([int(time.time()), *(int(n[1]) + 1 for n in numbers if n)])
            name = f"events.out.tfevents.{number:010}.{platform.node()}"
            self._writer = record_writer.RecordWriter(str(folder / name))
        except OSError as error:
            self._give_up(error)
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._write(
            event_pb2.Event(file_version="brain.Event:2"),
            event_pb2.Event(step=step, session_log=start),
        )

    def add(self, step: int, row: Mapping[str, float]) -> None:
        """Writes the numbers of an evaluation."""
        self._write(
            *(
                event_pb2.Event(step=step, summary=summary.scalar(name, value))
                for name, value in row.items()
            )
        )

    def close(self) -> None:
        """Ends the file."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with contextlib.suppress(OSError):  # All that was said had been flushed.
                writer.close()

    def _write(self, *events: event_pb2.Event) -> None:
        if self._writer is None:
            return
        try:
            for event in events:
                event.wall_time = time.time()
                self._writer.write(event.SerializeToString())
            self._writer.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self.close()
        self._report(f"{self._folder} gets no more numbers for TensorBoard: {error}")
