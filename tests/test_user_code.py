"""Errors in the user's code: one message with file and line, whatever is raised."""

import pathlib

import pytest

from rdt_jax import cli, user_code
from rdt_jax import config as configs
from rdt_jax.analysis import runs as run_folders
from rdt_jax.figures import study as studies
from rdt_jax.store import files
from rdt_jax.sweep import spec

STUDY = """
from rdt_jax.analysis import runs as run_folders
CONFIG = "configs/modular.py"
def sweep(preset): return [{"seed": 0}]
def table(runs): return None
def figures(runs): return {}
def claims(runs): return []
"""

TABLE = "import rich.table; return rich.table.Table()"


@pytest.fixture
def study(tmp_path):
    """Returns a function that writes a study with a line of STUDY replaced."""

    def write(name, body, more=""):
        folder = tmp_path / "experiments" / "mine"
        folder.mkdir(parents=True, exist_ok=True)
        lines = [
            f"def {name}(_): {body}" if line.startswith(f"def {name}(") else line
            for line in STUDY.splitlines()
        ]
        (folder / "study.py").write_text("\n".join([*lines, more]))
        return folder

    return write


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 1 / 0", "line 4: ZeroDivisionError: division by zero. sweep must"),
        ("assert False", "line 4: AssertionError. sweep must return a list of"),
        ("return sweep(_)", "line 4: RecursionError: maximum recursion depth"),
        ("raise SystemExit(0)", "line 4: it ends the program, with sys.exit(0). "),
        ("import json; return json.loads('{')", "line 4: JSONDecodeError: Expecting"),
        ("return run_folders.shared_value([], 'seed')", "got no run. ({path} line 4)"),
        ("raise type('Own', (BaseException,), {})('x')", "line 4: Own: x. sweep must"),
        (
            "raise type('Own', (Exception,), {'__str__': lambda self: 1 / 0})",
            "Own: a Own whose text raises ZeroDivisionError. sweep must return a list",
        ),
        (
            "return type('Own', (), {'__repr__': lambda self: 1 / 0})()",
            '[{{"seed": 0}}], got a Own whose text raises ZeroDivisionError.',
        ),
        ("return None", "sweep must return a list of overrides, at least one, such"),
        ("return 'seed'", "got 'seed'."),
        ("return []", "got []."),
        ("return [3]", "got [3]."),
    ],
)
def test_a_sweep_that_is_wrong_ends_with_its_line(
    study, tmp_path, command, body, message
):
    folder = study("sweep", body)
    workdir = tmp_path / "runs"
    error = command(["sweep", str(folder), f"--workdir={workdir}"], 2).err
    assert message.format(path=folder / "study.py") in error
    assert str(folder / "study.py") in error and "Traceback" not in error
    assert not workdir.exists()


def test_the_traceback_is_that_of_the_users_code(study, tmp_path, command):
    folder = study("sweep", "return 1 / 0")
    for arguments in (
        ["--traceback", "sweep", str(folder)],
        ["sweep", str(folder), "--traceback"],
    ):
        error = command([*arguments, f"--workdir={tmp_path}"], 2).err
        assert error.startswith("Traceback (most recent call last):\n  File")
        assert f'"{folder / "study.py"}", line 4, in sweep' in error
        assert "rdt_jax/" not in error


def test_what_this_package_raises_for_the_user_has_their_line(study, tmp_path, command):
    folder = study("sweep", "return run_folders.group(3, ['seed'])")
    arguments = ["sweep", str(folder), f"--workdir={tmp_path / 'runs'}"]
    error = command(arguments, 2).err
    assert error.startswith(f"rdt: {folder / 'study.py'} line 4: TypeError: 'int' obj")
    assert "--traceback shows all frames, those of rdt_jax too." in error
    shown = command([*arguments, "--traceback"], 2).err
    theirs, ours = shown.index("line 4, in sweep"), shown.index("analysis/runs.py")
    assert theirs < ours and shown.endswith(error)


def test_an_error_that_no_code_of_the_user_led_to_stays_one():
    with pytest.raises(TypeError, match="not iterable"):
        user_code.call(
            pathlib.Path(__file__).with_name("study.py"),
            run_folders.values_of,
            3,
            "seed",
            expected="it must return",
        )


def test_a_file_that_ends_the_program_is_named(tmp_path):
    path = tmp_path / "some.py"
    path.write_text("import sys\nsys.exit()\n")
    with pytest.raises(ValueError, match=rf"^{path} line 2: it ends the program"):
        configs.load(f"{path}:cpu")
    path.write_text("x = (\n")
    with pytest.raises(ValueError, match=rf"^{path} line 1: SyntaxError"):
        configs.load(f"{path}:cpu")


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("table", "return None", "table must return a rich.table.Table, got None"),
        ("claims", "return [1]", "claims must return a list of Claims, got [1]"),
        ("claims", "return {}[3]", "line 7: KeyError: 3. claims must return a list"),
        ("figures", "return []", "figures must return a dict of name -> matplotlib"),
        ("figures", "return {'../x': Figure()}", "name of a figure must be that of a"),
        ("figures", "return {'/x': Figure()}", "of at most 200 bytes, got '/x'"),
        ("figures", "return {300 * 'x': Figure()}", "of at most 200 bytes, got 'xxx"),
    ],
)
def test_results_of_a_study_are_checked(study, name, body, message):
    folder = study(name, f"from matplotlib.figure import Figure; {body}")
    with pytest.raises(ValueError) as found:
        getattr(studies, name)(spec.read_study(folder), [])
    assert message in str(found.value) and str(folder / "study.py") in str(found.value)


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("figures", "return {'x': runs[0].metric}", "line 6: NameError"),
        ("claims", "return [_[0].metric]", "AttributeError: 'Run' object has no"),
        (
            "claims",
            "return [_[0].config.recurence]",
            "line 7: AttributeError: ",
        ),
        ("claims", "return run_folders.values_of(_, 'sed')", "no config key 'sed'"),
        ("claims", "return run_folders.accuracy(_[0], 'odd')", "got 'odd'. ("),
        ("claims", "return None", "claims must return a list of Claims, got None"),
        ("claims", "return [].index(3)", None),
        ("claims", "raise ValueError('none is evaluated')", None),
        ("claims", "return []", None),
    ],
)
def test_a_study_is_tried_before_it_is_trained(
    study, tmp_path, capsys, name, body, message
):
    folder = study(name, body, f"def table(runs): {TABLE}\n")
    workdir = tmp_path / "runs"
    arguments = ["sweep", str(folder), "--preset=smoke", f"--workdir={workdir}"]
    assert cli.main([*arguments, "--plan"]) == (0 if message is None else 2)
    assert message is None or message in capsys.readouterr().err
    assert workdir.exists() == (message is None)


@pytest.mark.parametrize(
    ("analyses", "is_right"),
    [
        ("3", False),
        ("{'nope': ['final']}", False),
        ("{'weights': 'final'}", False),
        ("{'weights': ['finl']}", False),
        ("{'weights': []}", False),
        ("{'lens': ['final', 'memorized-after', 'hop_learned_3-before-40']}", True),
        ("{'progress': ('run',)}", True),
    ],
)
def test_the_analyses_of_a_study_are_known_before_it_is_trained(
    study, analyses, is_right
):
    folder = study("table", TABLE, f"ANALYSES = {analyses}\n")
    if is_right:
        return studies.rehearse(spec.read_study(folder), {})
    with pytest.raises(
        ValueError, match=r"study\.py: ANALYSES must be a dict of answers,"
    ):
        studies.rehearse(spec.read_study(folder), {})


def test_the_analyses_of_a_study_may_be_around_a_phase_of_its_configs(
    study, tiny_config
):
    folder = study("table", TABLE, "ANALYSES = {'weights': ['half-after']}\n")
    key = {"phases.further": "half: id >= 0.5"}
    planned = {"a": tiny_config, "b": configs.override(tiny_config, key)}
    studies.rehearse(spec.read_study(folder), planned)
    with pytest.raises(
        ValueError, match=r"ANALYSES .* depth_generalized, hop_learned_"
    ):
        studies.rehearse(spec.read_study(folder), {"a": tiny_config})


def test_what_a_function_of_a_study_is(study):
    folder = study("sweep", "return []", "table = 3\n")
    with pytest.raises(ValueError, match=r"study\.py: table must be a function, got 3"):
        spec.read_study(folder)


def test_a_message_says_to_run_again_only_where_that_helps(
    tmp_path, monkeypatch, command
):
    def write_json(path, value):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(files, "write_json", write_json)
    config = f"{pathlib.Path(__file__).parents[1]}/configs/modular.py:smoke"
    error = command(["train", f"--config={config}", f"--workdir={tmp_path}"], 2).err
    assert "Permission denied" in error and "again" not in error


def test_a_library_beside_an_installed_file_is_not_the_users(tmp_path, monkeypatch):
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "their_library.py").write_text("def divide(): 1 / 0\n")
    path = folder / "users_file.py"
    path.write_text("import their_library\ndef make(): their_library.divide()\n")
    monkeypatch.syspath_prepend(folder)
    make = configs.load_module(path, "task").make
    with pytest.raises(ValueError, match=rf"^{path} line 2: ZeroDivisionError"):
        user_code.call(path, make, expected="it must return")


def test_a_file_that_stands_in_for_one_of_the_repository_is_named(tmp_path):
    folder = tmp_path / "configs"
    folder.mkdir()
    (folder / "base.py").write_text("THEIRS = 1\n")
    body = "from configs import modular; return modular.get_config(preset)"
    path = folder / "mine.py"
    path.write_text(f"def get_config(preset): {body}\n")
    with pytest.raises(
        ValueError, match=rf"\({folder / 'base.py'} is imported for rdt"
    ):
        configs.load(f"{path}:smoke")


def test_a_config_that_is_nowhere_is_named_with_both_its_places(
    study, tmp_path, command
):
    folder = study("sweep", "return [{'seed': 0}]")
    path = folder / "study.py"
    path.write_text(path.read_text().replace("configs/modular.py", "configs/none.py"))
    error = command(["sweep", str(folder), "--dry-run"], 2).err
    assert error.startswith(
        f"rdt: {path}: CONFIG must be a config file, got 'configs/n"
    )
    for root in (tmp_path, pathlib.Path(__file__).parents[1]):
        assert f"no {root / 'configs/none.py'}" in error
