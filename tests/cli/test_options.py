"""What several verbs share: where compiled programs are kept, how tables are shown."""

import io
import os
import re

import pytest
from rich.console import Console
from rich.table import Table

from rdt_jax import cli, machine
from rdt_jax.cli import options
from tests.conftest import ROOT

SWEEP = ["sweep", str(ROOT / "experiments" / "depth_by_decay"), "--preset=smoke"]
PLANS = {"--workers", "--lanes", "--exact", "--memory", "--transition-budget",
         "--mesh", "--retry-failed"}  # fmt: skip
TRAINS = PLANS | {"--engine", "--lease"}
WORKER = ["worker", "runs/sweeps/none"]
# Forms of the verbs that have several, and the options that each reads.
FORMS = [
    (SWEEP, TRAINS | {"--plan", "--status", "--stop", "--dry-run"}),
    ([*SWEEP, "--dry-run"], TRAINS | {"--rate"}),
    ([*SWEEP, "--plan"], PLANS),
    ([*SWEEP, "--status"], {"--watch"}),
    ([*SWEEP, "--stop"], set()),
    (WORKER, {"--lease", "--parent", "--mesh"}),
    (["analyze", "--list"], set()),
    (["analyze", "RUN", "--what=progress"], set()),
    (["analyze", "RUN", "--what=lens", "--checkpoint=final"], set()),
    (
        ["train", "--config=x.py:y", "--num-processes=1"],
        {"--mesh", "--transition-budget", "--coordinator"},
    ),
    (["tasks"], set()),
    (["tasks", "dyck"], {"--preset", "--set"}),
    (["tasks", "check", "dyck"], {"--preset", "--set"}),
]
VALUES = {
    "--engine": "ray", "--address": "auto", "--workers": "3", "--lanes": "3",
    "--memory": "1B", "--transition-budget": "1B", "--mesh": "data=2", "--lease": "9",
    "--rate": "v6e", "--scratch": "x", "--coordinator": "x:1", "--num-processes": "2",
    "--process-id": "1", "--what": "lens", "--checkpoint": "final", "--out": "x",
    "--preset": "smoke", "--set": "a=1",
}  # fmt: skip

VARIABLES = ("JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE")


@pytest.fixture
def home(monkeypatch, tmp_path):
    """An empty home of a user who has set nothing."""
    for variable in (*VARIABLES, "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, "")  # So that it is put back.
        monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("form", "read"), FORMS, ids=[" ".join(form[:1] + form[2:]) for form, _ in FORMS]
)
def test_an_option_that_a_form_of_a_verb_does_not_read_is_refused(
    form, read, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="0"):
        cli.main([form[0], "--help"])
    usage = capsys.readouterr().out.partition("\n\n")[0]
    there = set(re.findall(r"(?<=[\[ ])--[a-z-]+", usage)) - {"--traceback"}
    own = {word.partition("=")[0] for word in form}
    there -= {"--workdir"} | own
    assert read <= there and len(there) > 1
    for flag in sorted(there - read):
        given = f"{flag}={VALUES[flag]}" if flag in VALUES else flag
        try:
            code = cli.main([*form, given])
        except SystemExit as end:  # Of options that exclude each other.
            code = end.code
        said = capsys.readouterr()
        assert code == 2 and not said.out, given
        assert flag in said.err and said.err.rstrip().count("\nrdt: ") == 0, given
        named = said.err.partition("does not use ")[2].rstrip(".\n").split(", ")
        assert set(named) <= {flag, "", "subject"} | own, given
    assert not list(tmp_path.iterdir())


def told():
    return [os.environ.get(variable) for variable in VARIABLES]


def test_compiled_programs_are_kept_where_this_user_alone_may_write(home):
    options.use_compile_cache()
    folder = home / ".cache" / "rdt_jax" / "compile"
    assert told() == [str(folder), None]
    assert folder.stat().st_mode & 0o777 == 0o700


def test_the_users_own_folders_are_used(home, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "xdg"))
    options.use_compile_cache()
    assert told() == [str(home / "xdg" / "rdt_jax" / "compile"), None]
    for variable, value in zip(VARIABLES, (str(home / "mine"), "false"), strict=True):
        for each in VARIABLES:
            monkeypatch.delenv(each, raising=False)
        monkeypatch.setenv(variable, value)
        before = told()
        options.use_compile_cache()
        assert told() == before
    assert not (home / "mine").exists()


def others_may_write(home):
    folder = home / ".cache" / "rdt_jax" / "compile"
    folder.mkdir(parents=True)
    folder.chmod(0o777)


def is_a_file(home):
    (home / ".cache").touch()


@pytest.mark.parametrize("spoil", [others_may_write, is_a_file])
def test_without_a_folder_of_ones_own_nothing_is_kept_and_one_line_says_so(
    home, spoil, capsys
):
    spoil(home)
    options.use_compile_cache()
    options.use_compile_cache()  # As a child does, which has the same environment.
    assert told() == [None, "false"]
    (line,) = capsys.readouterr().err.splitlines()
    assert "compiled programs are not kept" in line
    assert str(home / ".cache") in line and "JAX_COMPILATION_CACHE_DIR" in line


def test_what_was_read_longest_ago_goes_when_the_cache_is_full(home, monkeypatch):
    folder = home / ".cache" / "rdt_jax" / "compile"
    folder.mkdir(mode=0o700, parents=True)
    for age in range(5):
        path = folder / f"jit_{age}-cache"
        path.write_bytes(bytes(10))
        os.utime(path, (1e9 - age, 1e9 - age))
    (folder / "notes").write_bytes(bytes(100))
    monkeypatch.setattr(machine, "CACHE_BYTES", 50)
    options.use_compile_cache()
    assert len(list(folder.iterdir())) == 6
    monkeypatch.setattr(machine, "CACHE_BYTES", 40)
    options.use_compile_cache()
    assert (
        len(list(folder.iterdir())) == 6
    )  # JAX is told already: nothing is looked at.
    monkeypatch.delenv(VARIABLES[0])
    options.use_compile_cache()
    assert {p.name for p in folder.iterdir()} == {"jit_0-cache", "jit_1-cache", "notes"}


@pytest.mark.parametrize("width", [80, 40, 20])
def test_a_narrow_terminal_breaks_words_and_cuts_none(width):
    words = ("a heading that is long", "modular_addition", "1,000,000,000 2.5e+12")
    table = Table(words[0], "claim", box=None)
    table.add_row(*words[1:])
    console = Console(file=io.StringIO(), width=width)
    options.print_table(table, console)
    letters = lambda text: sorted("".join(text.split()))
    assert letters(console.file.getvalue()) == letters("".join(("claim", *words)))
