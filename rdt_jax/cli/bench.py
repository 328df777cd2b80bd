"""`rdt bench`: the speed of training on this CPU."""

import argparse
import pathlib

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from rdt_jax.cli import exits
from rdt_jax.cli import options as shared
from rdt_jax.store import files


def add(bench: argparse.ArgumentParser) -> None:
    """Adds the options of `rdt bench`."""
    bench.add_argument(
        "names", nargs="*", metavar="CASE", help="a case of the file; default: all"
    )
    bench.add_argument(
        "--cases",
        type=pathlib.Path,
        default=shared.ROOT / "experiments/throughput/cases.py",
        metavar="FILE.py",
        help="default: those of experiments/throughput",
    )
    bench.add_argument(
        "--torch-python",
        metavar="PYTHON",
        help="one with the extra `torch`; default: no comparison with PyTorch",
    )
    bench.add_argument(
        "--out", type=pathlib.Path, metavar="FILE.json", help="all that was measured"
    )
    bench.set_defaults(verb=_bench)


def _bench(options: argparse.Namespace) -> int:
    import jax

    from rdt_jax.figures import bench as tables
    from rdt_jax.profile import bench, bench_cases

    jax.config.update("jax_platforms", "cpu")
    with exits.mistakes():
        cases = bench_cases.read_cases(options.cases, options.names)
        out = options.out
        if out is not None and (not out.parent.is_dir() or out.is_dir()):
            raise ValueError(
                f"--out must be a file in a folder that exists, got {out}."
            )
        if options.torch_python is not None:
            bench.check_torch(options.torch_python)
    measured: dict[str, bench.Measured] = {}
    failures: dict[str, str] = {}  # By case: the message.
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True) as progress:
        for number, (name, case) in enumerate(cases.items()):
            title = f"{name} ({number + 1} of {len(cases)})"
            bar = progress.add_task(title)
            log = lambda message, bar=bar, title=title: progress.update(
                bar, description=f"{title}: {message}"
            )
            try:
                measured[name] = bench.measure(case, options.torch_python, log)
                console.print(f"{title}: measured in {measured[name].seconds:.0f} s")
                for warning in measured[name].warnings:
                    console.print(warning)
            except RuntimeError as error:
                failures[name] = str(error)
                console.print(f"{title}: failed")
            progress.remove_task(bar)
            if out is not None:
                files.write_json(out, bench.as_json(measured, failures))
    for name, message in failures.items():
        exits.tell(f"{name} failed: {message}")
    for table in tables.tables(measured):
        shared.print_table(table)
    return exits.FAILED if failures else exits.WELL
