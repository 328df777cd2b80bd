"""docs/cli.md: every verb with its options, as the parser tells them.

`python -m tests.test_cli_page` writes the page again.
"""

import contextlib
import io
import os
import re

import pytest

from rdt_jax import cli
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "cli.md"
COLUMNS = 92
HEAD = """# The command

Every verb with its options, as `rdt VERB --help` tells them.

- A key of the config is set by `--config.KEY=VALUE`; the keys are on the page
  [configs/base.py](../configs/base.py).
- A mistake is one message and exit code 2, before anything is compiled or written. Exit
  code 1 means that something failed: a run, or what was to be checked.
- SIGTERM or Ctrl-C checkpoints and ends; the same command goes on. A second one ends at
  once.

| verb | does |
|---|---|
"""


def help_of(*words):
    """Returns what `rdt WORDS --help` prints, without the options of all verbs."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), pytest.raises(SystemExit):
        cli.main([*words, "--help"])
    common = r"^  (-h, --help|--traceback) .*\n( {6,}.*\n)*"
    text = re.sub(common, "", shown.getvalue(), flags=re.M)
    return re.sub(r"\n(options|positional arguments):\n(?=\n|\Z)", "", text).rstrip()


def verbs_of(*words):
    """Returns the verbs that follow `words`, each with what it does in words."""
    found = re.findall(
        r"^    ([a-z][\w-]*)\s+(.*(?:\n {8,}.*)*)$", help_of(*words), re.M
    )
    return {verb: " ".join(does.split()) for verb, does in found}


def make_page():
    """Returns the page as the parser of this version makes it."""
    rows, sections = [], []
    for verb, does in verbs_of().items():
        rows.append(f"| [`rdt {verb}`](#rdt-{verb}) | {does} |\n")
        parts = [[verb], *([verb, under] for under in verbs_of(verb))]
        shown = "\n\n".join(help_of(*part) for part in parts)
        sections.append(f"\n## rdt {verb}\n\n```text\n{shown}\n```\n")
    return HEAD + "".join(rows + sections)


def test_the_page_is_what_the_parser_tells(monkeypatch):
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    command = "\n    .venv/bin/python -m tests.test_cli_page"
    # By words, since lines are wrapped otherwise by another Python.
    assert PAGE.read_text().split() == make_page().split(), f"write it:{command}"


if __name__ == "__main__":
    os.environ["COLUMNS"] = str(COLUMNS)
    PAGE.write_text(make_page())
