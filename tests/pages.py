"""What tests of pages and commands share: a copy of the repository, runs, style."""

import os
import shutil
import subprocess
import sys

from tests.conftest import ROOT

QUICK = {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}


def copy(folder, *names):
    """Copies files and folders of the repository into a folder."""
    for name in names:
        if (ROOT / name).is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=ignore)
        else:
            shutil.copy(ROOT / name, folder)


def run(words, folder, **environment):
    """Returns what a command prints, which must succeed, in a folder."""
    done = subprocess.run(
        words, cwd=folder, env=os.environ | QUICK | environment,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def check_style(folder, *names):
    """Checks that files of a folder are written like our own."""
    options = ["--config", str(ROOT / "pyproject.toml"), "--no-cache", *names]
    for verb in (["check"], ["format", "--check", "--diff"]):
        run([sys.executable, "-m", "ruff", *verb, *options], folder)
