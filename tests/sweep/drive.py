"""Works through a sweep with an engine, in a process that tests can kill.

python -m tests.sweep.drive ENGINE FOLDER WORKERS LEASE
"""

import pathlib
import sys

from rdt_jax.cli import stopping
from rdt_jax.sweep import driver, engines


def main(engine: str, folder: str, workers: str, lease: str) -> None:
    order = engines.Order(pathlib.Path(folder), int(workers), float(lease))
    with stopping.on_signal() as stop, engines.ENGINES[engine](order) as started:
        driver.run(
            started,
            order.folder,
            stop_requested=stop,
            on_poll=lambda: None,
            log=lambda message: print(message, flush=True),
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
