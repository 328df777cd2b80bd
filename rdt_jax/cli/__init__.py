"""The command `rdt`: a file per group of verbs; see `rdt --help`.

A verb imports what imports JAX, scipy or matplotlib when it runs, so that `--help` is
immediate.
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
from rdt_jax.cli.options import bring

# The files of this folder with verbs, in the order of `rdt --help`.
VERBS = (
    "train", "sweep", "worker", "runs", "figures", "report", "claims", "compare",
    "analyze", "ask", "tasks", "import_ltg", "inspect", "bench", "aot", "launch",
)  # fmt: skip

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
    parser = _parser()
    options, overrides = parser.parse_known_args(arguments)
    if options.takes_words:  # argparse takes no words that follow an option.
        options.words += [word for word in overrides if not word.startswith("--")]
        overrides = [word for word in overrides if word.startswith("--")]
    unknown = [word for word in overrides if not word.startswith("--config.")]
    if unknown or (overrides and not options.takes_overrides):
        parser.error(f"unrecognized arguments: {' '.join(unknown or overrides)}")
    options.overrides = overrides
    options.arguments = list(sys.argv[1:] if arguments is None else arguments)
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


def _parser() -> argparse.ArgumentParser:
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
    for name in VERBS:
        importlib.import_module(f"{__name__}.{name}").add(verbs)
    for verb in (parser, *verbs.choices.values()):
        verb.set_defaults(parser=verb)
        verb.add_argument(
            "--traceback",
            action="store_true",
            default=argparse.SUPPRESS,
            help="with an error: the lines of the user's code that led to it",
        )
    return parser
