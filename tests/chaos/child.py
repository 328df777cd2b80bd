"""Trains a pack, and ends its own process with SIGKILL at a chosen moment.

    python -m tests.chaos.child CASE WORKDIR SEEN [KIND NUMBER DELAY]

A moment is a place where a kill could leave something half done: before a file under
WORKDIR is opened for writing; after that, with half of its text on the disk; before one
is renamed or removed or a folder made; before and after a function of interest. Moments
are counted by kind, which is the innermost such function that is at work. The process
ends DELAY seconds after moment NUMBER (from 1) of KIND. A process that gets to its end
writes to SEEN how many moments of each kind it saw, and for how many seconds it was
typically inside one of those functions.
"""

import collections
import contextlib
import json
import os
import pathlib
import signal
import statistics
import sys
import threading
import time

import jax

from rdt_jax import config as configs
from rdt_jax.store import checkpoint, files, records
from rdt_jax.training import phases, run
from rdt_jax.training.pack import Pack

ANY = "any"
STARTING, ENDING = "starting", "ending"


class Moments:
    """Counts moments, and kills at the one it was told."""

    def __init__(self, workdir: pathlib.Path, kind: str, number: int, delay: float):
        self.counts: collections.Counter[str] = collections.Counter()
        self.seconds = collections.defaultdict[str, list[float]](
            list
        )  # inside, by kind
        self._workdir = str(workdir.resolve()) + os.sep
        self._kill = (kind, number, delay)
        self._kinds = [STARTING]
        self._text = b""  # of the file that is about to be written
        self._ours = False  # While we write ourselves.

    def pass_by(self, torn: pathlib.Path | None = None, append: bool = False) -> None:
        """Counts a moment; at the chosen one, tears the file `torn` and kills."""
        self.counts.update([self._kinds[-1], ANY])
        kind, number, delay = self._kill
        if kind not in (self._kinds[-1], ANY) or self.counts[kind] != number:
            return
        if delay:
            threading.Thread(target=self._kill_after, args=[delay], daemon=True).start()
            return
        if torn is not None:
            self._ours = True
            with open(torn, "ab" if append else "wb") as file:
                file.write(self._text[: len(self._text) // 2])
        self._kill_after(0)

    def go(self, kind: str) -> None:
        """Says what the process is now about."""
        self._kinds[0] = kind

    def write(self, path: pathlib.Path) -> None:
        """Writes what was seen, which is no moment itself."""
        self._ours = True
        typical = {kind: statistics.median(all_) for kind, all_ in self.seconds.items()}
        path.write_text(json.dumps({"counts": self.counts, "seconds": typical}))

    @contextlib.contextmanager
    def inside(self, kind: str, text: bytes = b""):
        """Counts its beginning and its end, and names the moments between them."""
        self._kinds.append(kind)
        self._text, begin = text, time.monotonic()
        self.pass_by()
        yield
        self.pass_by()
        self.seconds[kind].append(time.monotonic() - begin)
        self._text = b""
        self._kinds.pop()

    def hear(self, event: str, arguments: tuple) -> None:
        """Takes the interpreter's audit events, which come before what they report."""
        if self._ours:
            return
        if event == "open":
            path, _, flags = arguments
            if flags & (os.O_WRONLY | os.O_RDWR) and self._is_ours(path):
                self.pass_by()
                if flags & (os.O_TRUNC | os.O_APPEND):  # Not to lock it only.
                    self.pass_by(path, append=bool(flags & os.O_APPEND))
        elif event in ("os.rename", "os.mkdir", "os.link"):
            if self._is_ours(arguments[0]):
                self.pass_by()
        elif event in ("os.remove", "os.rmdir"):
            # Removing a folder names what is in it by a descriptor.
            if arguments[1] != -1 or self._is_ours(arguments[0]):
                self._kinds.append("removing")
                self.pass_by()
                self._kinds.pop()

    def _is_ours(self, path) -> bool:
        if isinstance(path, int):
            return False
        return os.path.abspath(os.fsdecode(path)).startswith(self._workdir)

    def _kill_after(self, seconds: float) -> None:
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGKILL)


def wrap(moments: Moments) -> None:
    """Puts moments around the functions that write, and around what a pack does."""

    def around(module, name: str, kind: str, text=lambda *_: b"") -> None:
        function = getattr(module, name)

        def wrapped(*arguments, **named):
            with moments.inside(kind, text(*arguments)):
                return jax.block_until_ready(function(*arguments, **named))

        setattr(module, name, wrapped)

    save, train = checkpoint.save, Pack.train

    def save_or_pin(path, *arguments) -> None:
        kind = "saving" if path.name.isdigit() else "pinning"
        with moments.inside(kind):
            save(path, *arguments)

    def train_inside(*inputs, **named):
        moments.go("training")
        with moments.inside("training"):
            return jax.block_until_ready(train(*inputs, **named))

    Pack.train = train_inside
    around(Pack, "observe", "evaluating")
    checkpoint.save = save_or_pin
    around(checkpoint, "save_rotating", "saving")
    around(checkpoint, "load_newest", "restoring")
    around(records, "truncate", "restoring")
    around(records, "append", "appending", lambda _, row: json.dumps(row).encode())
    around(files, "write_text", "writing", lambda _, text: text.encode())
    sys.addaudithook(moments.hear)


def main() -> None:
    case, workdir, seen = map(pathlib.Path, sys.argv[1:4])
    kind, number, delay = sys.argv[4:] or ("", 0, 0)
    values = json.loads(case.read_text())
    pack = [configs.from_json(text) for text in values["lanes"]]
    phases.ONSET_ERRORS = values["onset_errors"]
    moments = Moments(workdir, kind, int(number), float(delay))
    wrap(moments)
    moments.pass_by()
    run.train(pack, workdir, options=run.TrainOptions(exact=values["exact"]))
    moments.go(ENDING)
    moments.pass_by()
    moments.write(seen)


if __name__ == "__main__":
    main()
