"""`rdt ask` and `rdt export`: a model that a run kept is asked, or written to files."""

import argparse
import functools
import pathlib
import shlex
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from rich.markup import escape

from rdt_jax import tasks
from rdt_jax.analysis import finding, runs
from rdt_jax.cli import exits
from rdt_jax.cli import options as shared
from rdt_jax.figures import terminal

if TYPE_CHECKING:
    from rdt_jax.analysis import asking


def add(ask: argparse.ArgumentParser) -> None:
    """Adds the options of `rdt ask`."""
    ask.epilog = (
        "Without WORDS it prompts for questions, or reads one per line from a "
        "pipe. Words of the layout, such as <sep>, are added."
    )
    _add_run(ask)
    ask.add_argument("words", nargs="*", metavar="WORDS", help="of one question")
    ask.add_argument(
        "--loops", type=int, metavar="N", help="up to so many; default: as it trained"
    )
    ask.set_defaults(verb=_ask, takes_words=True)


def add_export(export: argparse.ArgumentParser) -> None:
    """Adds the options of `rdt export`."""
    _add_run(export)
    export.add_argument(
        "out", type=_read_out, metavar="OUT", help="a folder, new or empty"
    )
    export.set_defaults(verb=_export)


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run",
        metavar="RUN",
        help="its folder, a beginning of its name, or SWEEP/KEY=VALUE,..",
    )
    shared.add_workdir(parser, buckets=True)
    parser.add_argument(
        "--checkpoint",
        default="final",
        metavar="KIND",
        help="which parameters, such as ood_generalized-before; default: final",
    )
    parser.set_defaults(reads="parameters")


def _read_out(text: str) -> pathlib.Path:
    if shared.is_url(text):
        raise argparse.ArgumentTypeError(f"{text} is in a bucket: give a folder")
    return shared.folder(text)


def _find(options: argparse.Namespace) -> tuple[runs.Run, str]:
    """Returns the run and the checkpoint that are asked for."""
    from rdt_jax.analysis import stored

    folder = finding.find(options.workdir, options.run)
    if not (folder / "config.json").exists():
        raise ValueError(f"{folder} does not exist: the run is planned, not trained.")
    run = runs.read_run(folder)
    stored.check_table(run)
    return run, stored.only(run, options.checkpoint)


def _ask(options: argparse.Namespace) -> int:
    shared.use_compile_cache()

    from rdt_jax.analysis import asking, stored

    with exits.mistakes():
        run, name = _find(options)
        loops = asking.loop_count(run.config, options.loops)
        ((step, params),) = stored.read_params(run, name).items()
        table = tasks.make_table(run.config)
        ask = functools.partial(asking.ask, params, run.config, table, loops=loops)
        if options.words:
            show(ask(" ".join(options.words)))
            return exits.WELL
    lines: Iterable[str] = sys.stdin
    if sys.stdin.isatty():
        words = asking.vocabulary(table)
        shown = ", ".join(words[:6]) + ", .." * (len(words) > 6)
        print(f"{run.config.task.name}, run {run.run_id} at update {step:,} ({name}).")
        print(f"Words: {shown} (Tab completes them); Ctrl-D ends.")
        lines = _prompt(words)
    num_asked = num_wrong = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        num_asked += 1
        try:
            show(ask(line))
        except ValueError as error:
            num_wrong += 1
            exits.tell(str(error) if sys.stdin.isatty() else f"line {number}: {error}")
    if sys.stdin.isatty():
        return exits.WELL
    if not num_asked:
        raise exits.Mistake("rdt ask needs WORDS, or questions as lines of its input.")
    return exits.MISTAKE if num_wrong else exits.WELL


def _export(options: argparse.Namespace) -> int:
    from rdt_jax.analysis import stored
    from rdt_jax.models import import_ltg
    from rdt_jax.training import exported

    with exits.mistakes():
        run, name = _find(options)
        ((step, params),) = stored.read_params(run, name).items()
        origin = {"run": run.run_id, "checkpoint": name, "step": str(step)}
        table = tasks.make_table(run.config)
        shapes = exported.write(options.out, params, run.config, table, origin)
    print(f"{len(shapes)} arrays of update {step:,} ({name}) in {options.out}")
    if import_ltg.covers(run.config):
        model = run.config.model
        file = shlex.quote(str(options.out / exported.WEIGHTS))
        print(
            f"Named as the checkpoints of Kohli et al.: rdt import-ltg {file} OUT "
            f"--num-loops={run.num_loops} --num-heads={model.num_heads} "
            f"--injection={model.injection}"
        )
    return exits.WELL


def _prompt(words: list[str]) -> Iterator[str]:
    """Yields what is typed at a prompt that completes words, until Ctrl-D."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter

    completer = WordCompleter(words, WORD=True)
    session: PromptSession[str] = PromptSession("> ", completer=completer)
    while True:
        try:
            yield session.prompt()
        except EOFError:
            return
        except KeyboardInterrupt:  # Leaves the line.
            continue


def show(asked: "asking.Asked") -> None:
    """Prints a question, what is known of it, and the answer after each loop."""
    known = [asked.split or "not in the table"]
    known += [f"{name} {value}" for name, value in asked.tags.items()]
    target = "" if asked.target is None else f" -> {' '.join(asked.target)}"
    print(f"{' '.join(asked.question)}{target}  ({', '.join(known)})")
    table = terminal.table(
        "",
        ("loops", "answer", "probability", "right", "next"),
        words=("answer", "right", "next"),
    )
    for answer in asked.answers:
        rest = answer.choices[0][1:] if len(answer.choices) == 1 else ()
        table.add_row(
            str(answer.loops),
            escape(" ".join(answer.words) or "(no word)") + " .." * (not answer.ended),
            f"{answer.probability:.3f}",
            {None: "?", True: "yes", False: "no"}[answer.right],
            escape(", ".join(f"{word} {share:.3f}" for word, share in rest)),
        )
    shared.print_table(table)
