"""The command `rdt`: a file per group of verbs; see `rdt --help`.

Only the file of the verb that is asked for is imported, and none for `rdt --help`, so
that it is immediate. A verb imports what imports JAX, scipy or matplotlib when it runs.
"""

import argparse
import errno
import importlib
import io
import logging
import os
import sys
from collections.abc import Sequence

from rdt_jax import machine, user_code
from rdt_jax.cli import exits

# The verbs, each with its file in this folder and what it does. The file declares its
# options in `add`, or in `add_VERB` where it has another name than the verb.
VERBS = {
    "train": ("train", "train one run, or go on with it"),
    "sweep": ("sweep", "train a study or a config over axes, or go on with it"),
    "worker": ("worker", "train what a sweep has left to do, beside other workers"),
    "runs": ("runs", "list runs: what sets them apart and what they reached"),
    "figures": ("figures", "draw the figures of a study or of a sweep again"),
    "report": ("report", "write a page of HTML that shows sweeps, offline"),
    "claims": ("claims", "judge the claims of all studies that have runs"),
    "compare": ("compare", "compare two sweeps in the cells that both have"),
    "analyze": ("analyze", "look inside the models of a run or of a sweep"),
    "ask": ("ask", "ask the model of a run; its answer after every loop"),
    "export": ("ask", "write the parameters of a run as safetensors"),
    "tasks": ("tasks", "list the tasks; show, check or export one"),
    "import-ltg": ("import_ltg", "make a run folder of a checkpoint of Kohli et al."),
    "cost": ("inspect", "say what a run will cost; compiles nothing"),
    "models": ("inspect", "list the models and their components"),
    "recipes": ("inspect", "list what may bring grokking forward"),
    "bench": ("bench", "measure how fast training is on this CPU, beside PyTorch"),
    "aot": (
        "aot", "compile a run for TPU chips that are not there, and say what it costs"
    ),
    "launch": ("launch", "what starts rdt on Cloud TPU VMs or in Slurm"),
}  # fmt: skip

# Errors of a path or its permissions: the same command would fail again.
_WRONG_PATHS = (
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)
_WRONG_PATH_NUMBERS = (errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb and returns its exit code."""
    logging.getLogger("matplotlib").addFilter(_is_not_of_a_cache)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # An ASCII terminal shows \\u escapes.
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            return _run(arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader of the output is gone; else Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.FAILED


def _is_not_of_a_cache(record: logging.LogRecord) -> bool:
    """Leaves out the message of matplotlib that its cache is in a temporary folder."""
    return record.funcName != "_get_config_or_cache_dir"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parses the words after `rdt`; SystemExit with code 2 if they are wrong."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    parser = _parser(next((word for word in words if not word.startswith("-")), None))
    options, overrides = parser.parse_known_args(words)
    if options.takes_words:  # argparse takes no words that follow an option.
        options.words += [word for word in overrides if not word.startswith("--")]
        overrides = [word for word in overrides if word.startswith("--")]
    unknown = [word for word in overrides if not word.startswith("--config.")]
    if unknown or (overrides and not options.takes_overrides):
        parser.error(f"unrecognized arguments: {' '.join(unknown or overrides)}")
    options.overrides = overrides
    options.arguments = words
    return options


def _check_names(names: Sequence[str]) -> None:
    """Raises ValueError unless Python reads names of files as UTF-8."""
    for name in names:
        try:
            is_utf8 = os.fsencode(name) == name.encode()
        except UnicodeEncodeError:  # A name whose bytes are no text.
            is_utf8 = False
        if not is_utf8:
            raise ValueError(
                f"Names of files must be UTF-8, got {name!a}, which Python read as "
                f"{sys.getfilesystemencoding()}; set PYTHONUTF8=1, or rename it."
            )


def _run(arguments: Sequence[str] | None) -> int:
    options = parse(arguments)
    from rdt_jax.cli.options import bring

    try:
        with exits.mistakes():
            machine.check()
            _check_names([*options.arguments, os.getcwd()])
            bring(options)
        return options.verb(options)
    except exits.Mistake as mistake:
        if options.traceback:
            print(user_code.format_traceback(mistake), file=sys.stderr)
        message = str(mistake)
        for copy, url in options.urls.items():
            message = message.replace(copy, url)
        exits.tell(message)
        return exits.MISTAKE
    except BrokenPipeError:
        raise
    except RuntimeError as error:
        if "Unable to initialize backend" not in str(error):
            raise
        exits.tell(str(error))
        return exits.MISTAKE
    except OSError as error:
        if options.traceback:
            print(user_code.format_traceback(error), file=sys.stderr)
        if isinstance(error, _WRONG_PATHS) or error.errno in _WRONG_PATH_NUMBERS:
            exits.tell(f"{error}.")
            return exits.MISTAKE
        exits.tell(
            f"{error}. What was written so far is intact; run the same command "
            "again to go on."
        )
        return exits.FAILED


def _parser(asked: str | None) -> argparse.ArgumentParser:
    """Returns the parser, with the options of one verb."""
    parser = argparse.ArgumentParser(
        prog="rdt",
        description="Grokking and compositional generalization in recurrent-depth "
        "transformers.",
    )
    parser.set_defaults(
        takes_overrides=False,
        takes_words=False,
        reads=None,
        urls={},
        traceback=False,
        check=lambda options: None,
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for verb, (_, does) in VERBS.items():
        verbs.add_parser(verb, help=does)
    if asked in VERBS:
        name, file = asked.replace("-", "_"), VERBS[asked][0]
        declared = importlib.import_module(f"{__name__}.{file}")
        add = getattr(declared, "add" if name == file else f"add_{name}")
        add(verbs.choices[asked])
    for each in (parser, *verbs.choices.values()):
        each.set_defaults(parser=each)
        each.add_argument(
            "--traceback",
            action="store_true",
            default=argparse.SUPPRESS,
            help="with an error: the lines of the user's code that led to it",
        )
    return parser
