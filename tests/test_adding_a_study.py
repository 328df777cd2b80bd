"""docs/adding_a_study.md to the letter: its file is written, its commands run."""

import json
import re
import shlex

import pytest

from rdt_jax import cli
from tests import pages
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "adding_a_study.md").read_text()
FILES = re.findall(r"^```python\n# (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"^rdt .*$", PAGE, re.MULTILINE)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder outside of the repository with the page's study in it."""
    for name, text in FILES:
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)
    for variable, value in pages.QUICK.items():
        monkeypatch.setenv(variable, value)
    return tmp_path


@pytest.mark.slow
def test_every_command_of_the_page_does_what_it_says(here, capfd):
    assert len(FILES) == 1 and len(COMMANDS) == 7
    _, dry, sweep, status, draw, check, claims = map(shlex.split, COMMANDS)
    assert cli.main(dry[1:]) == 0
    assert not (here / "runs").exists()
    assert cli.main(sweep[1:]) == 0
    assert "ID is completed after fewer updates" in capfd.readouterr().out
    folder = here / "runs" / "sweeps" / "decay_and_loops-smoke"
    for words in (status, draw, check):
        assert cli.main(words[1:]) == 0
    assert capfd.readouterr().out.count("every number comes out again") == 3
    assert {path.suffix for path in (folder / "figures").glob("accuracy*")} == {
        ".json",
        ".pdf",
        ".png",
    }
    assert cli.main(claims[1:]) == 0
    (claim,) = json.loads((here / "runs" / "claims.json").read_text())
    assert claim["study"] == "decay_and_loops"


def test_the_study_of_the_page_is_written_like_our_own(here):
    ((name, _),) = FILES
    pages.check_style(here, name)
