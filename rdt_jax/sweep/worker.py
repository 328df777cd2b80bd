"""The loop of a worker: takes a pack of a sweep that nobody trains, until none is left.

with stopping.on_signal() as stop:
    worker.work(folder, stop_requested=stop, may_end=stop.may_end, log=print)
"""

import contextlib
import pathlib
import time
import traceback
from collections.abc import Callable, Collection, Sequence

import ml_collections

from rdt_jax import tasks
from rdt_jax.store import leases
from rdt_jax.store.lease_files import Disk
from rdt_jax.store.leases import Leases
from rdt_jax.sweep import ledger, packing
from rdt_jax.sweep import plan as plans
from rdt_jax.training import multiprocess, recording, run
from rdt_jax.training.multiprocess import Build
from rdt_jax.training.pack import build as build_pack


def work(
    folder: pathlib.Path,
    *,
    stop_requested: Callable[[], int],
    log: Callable[[str], None],
    may_end: recording.MayEnd = contextlib.nullcontext,
    pack_leases: Leases | None = None,
    refresh: Callable[[], None] = lambda: None,
    build: Build = build_pack,
) -> None:
    """Trains packs of a sweep until all are finished, by this worker or by others.

    A pack that fails is recorded and reported, and tried again as `ledger.RETRIES` say.
    One with an unreadable run is reported and left as it is. `stop_requested` says how
    often this worker was asked to stop, after every dispatch and between packs;
    `may_end` is as of `run.train`; `refresh` copies the state of other workers here.
    """
    workdir = folder.parents[1]
    pack_leases = pack_leases or Leases(Disk(workdir))
    programs = ProgramCache(build)
    stop = lambda: stop_requested() or ledger.is_stopped(folder)
    refused: set[str] = set()  # Names of packs that this worker leaves alone.
    latest: str | None = None  # The program that this worker used last.
    while not stop():
        with may_end(lambda: None):
            refresh()
        pack_leases.shared.tell(ledger.settle(folder, pack_leases.observer))
        packs = [p for p in ledger.open_packs(folder) if p.name not in refused]
        if not packs:
            return
        free = ledger.free_packs(packs, pack_leases.observer)
        if not free:
            time.sleep(ledger.WAIT_SECONDS)  # A holder may end and leave its pack.
            continue
        others = {pack.program for pack in packs if pack not in free}
        pack = choose(free, latest, others)
        if not ledger.is_readable(workdir, pack.runs):
            refused.add(pack.name)
            continue
        latest = pack.program
        num_leases = len(pack.past_leases())
        try:
            for trial in pack.trials.values():
                plans.check_table(trial)
            run.train(
                pack.configs,
                workdir,
                options=run.TrainOptions(
                    exact=pack.exact,
                    max_pins=pack.max_pins,
                    budgets=plans.budgets_of(workdir, pack.runs),
                    config_file=plans.read(folder).config_file,
                    build=programs.build,
                ),
                leases=pack_leases,
                should_stop=stop,
                may_end=may_end,
                log=log,
            )
        except ConnectionError:  # The bucket cannot be reached.
            raise
        except leases.TakenOver as error:
            log(str(error))
        except BlockingIOError:
            pass  # Another worker was faster.
        except Exception as error:  # Other packs can be trained.
            message = " ".join(str(error).split())
            log(f"Pack {pack.name} failed: {message}\n{traceback.format_exc()}")
            programs.clear()  # Their memory may be what was missing.
            if len(pack.past_leases()) == num_leases:
                refused.add(pack.name)


def choose(
    free: Sequence[ledger.SweepPack], latest: str | None, others: Collection[str]
) -> ledger.SweepPack:
    """Returns the pack to train next, one of the most expensive, which come first.

    Among equally expensive packs, those of the program `latest` come first, since this
    worker has compiled it; then those of a program that no other worker uses now.
    """
    costliest = [pack for pack in free if pack.flops == free[0].flops]
    return min(costliest, key=lambda p: (p.program != latest, p.program in others))


class ProgramCache:
    """Compiles the program of a signature and size once, and keeps the newest few.

    Only few, since each program holds the rows of its task on the device.
    """

    def __init__(self, build: Build, num_programs: int = 4) -> None:
        self._build, self._num_programs = build, num_programs
        self._programs: dict[tuple[str, int, bool], multiprocess.AnyPack] = {}

    def build(
        self,
        pack: Sequence[ml_collections.ConfigDict],
        table: tasks.Table,
        exact: bool = False,
    ) -> multiprocess.AnyPack:
        """Returns the program of a pack, made now or before."""
        key = (packing.signature(pack[0]), len(pack), exact)
        program = self._programs.pop(key, None) or self._build(pack, table, exact)
        while len(self._programs) >= self._num_programs:
            del self._programs[next(iter(self._programs))]
        return self._programs.setdefault(key, program)

    def clear(self) -> None:
        """Forgets all programs."""
        self._programs.clear()
