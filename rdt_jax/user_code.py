"""Calls code of the user's own: config files, studies, tasks of other packages.

    expected = "sweep must return a list of overrides"
    trials = user_code.call(path, study.sweep, preset, expected=expected)

Whatever goes wrong in there, or in this package on its behalf, becomes one ValueError
that says where. An error that no code of the user led to stays what it is.
"""

import pathlib
import sysconfig
import traceback
import types
from collections.abc import Callable
from typing import Any

_PACKAGE = pathlib.Path(__file__).resolve().parent
_STDLIB = pathlib.Path(sysconfig.get_path("stdlib")).resolve()


def call(
    path: pathlib.Path,
    function: Callable[..., Any],
    *arguments: Any,
    expected: str,
    is_valid: Callable[[Any], bool] = lambda value: True,
) -> Any:
    """Returns what a function of the user returns.

    Args:
      path: file that the function is in.
      function: to call.
      *arguments: of the function.
      expected: sentence without its period: what the function must do.
      is_valid: says whether that is what it returned.

    Raises:
      ValueError: if the function raises anything or ends the program, with the deepest
        line of the user's code, or if it returns something else. A ValueError of this
        package, which refuses what the function asked for, keeps its text.
    """
    try:
        value = function(*arguments)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # Of classes of the user's own too.
        frames = [
            (frame, is_own)
            for frame in traceback.extract_tb(error.__traceback__)[1:]
            if (is_own := _is_own(pathlib.Path(frame.filename), path)) is not None
        ]
        own = [frame for frame, is_own in frames if is_own]
        if frames and not own:
            raise
        is_ours = bool(own) and not frames[-1][1]
        where = f"{own[-1].filename} line {own[-1].lineno}" if own else str(path)
        if isinstance(error, SyntaxError) and error.filename and not is_ours:
            where = f"{error.filename} line {error.lineno}"
        if isinstance(error, ValueError) and is_ours:
            raise ValueError(f"{error} ({where})") from error
        said = f"{type(error).__name__}: {_shown(error, str)}".rstrip(": .")
        if isinstance(error, SystemExit):
            said = f"it ends the program, with sys.exit({_shown(error.code)})"
        hint = " --traceback shows all frames, those of rdt_jax too." * is_ours
        raise ValueError(f"{where}: {said}. {expected}.{hint}") from error
    if not is_valid(value):
        shown = _shown(value)
        shown = shown if len(shown) <= 60 else f"a {type(value).__name__}"
        raise ValueError(f"{path}: {expected}, got {shown}.")
    return value


def format_traceback(error: BaseException) -> str:
    """Returns the traceback of the first cause of an error, from the user's code on.

    Where none of theirs is in it, it is whole.
    """
    while error.__cause__ is not None and error.__cause__.__traceback__ is not None:
        error = error.__cause__
    entry: types.TracebackType | None = error.__traceback__
    while entry is not None and _is_skipped(entry.tb_frame.f_code.co_filename):
        entry = entry.tb_next
    shown = entry or error.__traceback__
    return "".join(traceback.format_exception(type(error), error, shown))


def _shown(value: Any, show: Callable[[Any], str] = repr) -> str:
    try:
        return show(value)
    except Exception as error:  # Of the user's `__repr__` or `__str__`.
        return f"a {type(value).__name__} whose text raises {type(error).__name__}"


def _is_own(file: pathlib.Path, path: pathlib.Path) -> bool | None:
    """Says whether a file is the user's (True) or ours (False); None: a library's."""
    if _PACKAGE in file.parents:
        return False
    root = path if path.parent.name == "site-packages" else path.parent
    if root in (file, *file.parents):
        return "site-packages" not in file.relative_to(root).parts or None
    is_library = "site-packages" in file.parts or _STDLIB in file.parents
    return None if is_library or not file.is_absolute() else True


def _is_skipped(filename: str) -> bool:
    return _PACKAGE in pathlib.Path(filename).parents or filename.startswith("<")
