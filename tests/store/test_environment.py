"""Which code, files, versions and settings the numbers of a run come from."""

import importlib.util
import pathlib
import shutil
import subprocess

import jax
import pytest

from rdt_jax import config as configs
from rdt_jax.store import environment, files

ROOT = pathlib.Path(__file__).parents[2]
SOURCE = pathlib.Path("rdt_jax", "store", "environment.py")
PACKING = {"pack": "p", "lane": 0, "lanes": 1, "shapes": [[0, 1]]}


def git(folder, *words):
    return subprocess.check_output(
        ["git", "-C", folder, "-c", "user.name=n", "-c", "user.email=e", *words],
        text=True,
    ).strip()  # fmt: skip


def repository(folder):
    """Makes a repository of a folder's files; returns its commit."""
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "all")
    return git(folder, "rev-parse", "HEAD")


def commit_in(folder):
    """Returns the commit that a copy of the package in a folder says it has."""
    return module_in(folder).commit()


def module_in(folder):
    spec = importlib.util.spec_from_file_location("copied", folder / SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def copy(folder, *names):
    for name in (str(SOURCE), *names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture
def own(tmp_path):
    """A repository of this package, and its commit."""
    folder = copy(tmp_path / "own", "pyproject.toml", ".gitattributes")
    return folder, repository(folder)


def test_the_commit_is_that_of_the_packages_own_repository(own, tmp_path, monkeypatch):
    folder, commit = own
    other = copy(tmp_path / "other")
    theirs = repository(other)
    # As git sets it for its hooks.
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert commit_in(folder) == commit != theirs
    monkeypatch.delenv("GIT_DIR")
    (folder / "notes").touch()
    assert commit_in(folder) == commit
    (folder / "rdt_jax" / "new.py").touch()
    assert commit_in(folder) == f"{commit}+changes"


def test_the_commit_is_never_that_of_a_repository_that_holds_a_copy(tmp_path):
    vendored = copy(tmp_path / "third_party", "pyproject.toml")
    root = copy(tmp_path)
    installed = copy(tmp_path / ".venv" / "site-packages")
    (tmp_path / ".gitignore").write_text("/.venv/\n")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "theirs"\n')
    repository(tmp_path)
    assert [commit_in(folder) for folder in (root, vendored, installed)] == [None] * 3


def test_an_export_carries_its_commit_and_tells_changes_by_its_hash(
    own, tmp_path, tiny_config
):
    folder, commit = own
    code = lambda folder: module_in(folder).segment(tiny_config, 0)["code"]
    git(folder, "archive", f"--output={tmp_path / 'all.tar'}", "HEAD")
    for name in ("export", "vendored/export"):
        (tmp_path / name).mkdir(parents=True)
        shutil.unpack_archive(tmp_path / "all.tar", tmp_path / name)
    assert commit_in(tmp_path / "export") == f"{commit}+export"
    repository(tmp_path / "vendored")
    assert commit_in(tmp_path / "vendored" / "export") == f"{commit}+export"
    assert code(tmp_path / "export") == code(folder)
    with (tmp_path / "export" / SOURCE).open("a") as file:
        file.write("# edited\n")
    assert commit_in(tmp_path / "export") == f"{commit}+export"
    assert code(tmp_path / "export") != code(folder)


def test_files_of_the_user_have_their_repositorys_commit_and_their_hashes(tmp_path):
    (tmp_path / ".gitignore").write_text("ignored.py\n")
    for name in ("task.py", "ignored.py"):
        (tmp_path / name).write_text("x = 1\n")
    # What `sha256sum` says of that content.
    digest = "9e26bf369911c45c243c684147b23fc9e1dcfcf257d299a1c632016a6fcd33f4"
    outside = environment.of_files([tmp_path / "task.py"])
    commit = repository(tmp_path)
    clean = environment.of_files([tmp_path / "task.py"])
    assert outside == {"commit": None, "sha256": {"task.py": digest}}
    assert clean == outside | {"commit": commit}
    assert environment.of_files([tmp_path / "ignored.py"])["commit"] is None
    (tmp_path / "task.py").write_text("x = 2\n")
    changed = environment.of_files([tmp_path / "task.py"])
    assert changed["commit"] == f"{commit}+changes"
    assert changed["sha256"] != clean["sha256"]


def test_a_segment_names_the_files_of_an_installed_task(tiny_config, install):
    path = install()
    config = configs.override(tiny_config, {"task.name": "toy"})
    expected = environment.of_files([path])
    assert environment.segment(config, 0)["task"] == expected
    assert "task" not in environment.segment(tiny_config, 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [("jax_default_matmul_precision", "highest"), ("jax_enable_x64", True)],
)
def test_a_segment_has_the_settings_that_change_numbers(name, value, tiny_config):
    before = environment.segment(tiny_config, 0)["settings"]
    old = jax.config.values[name]
    jax.config.update(name, value)
    try:
        now = environment.segment(tiny_config, 0)["settings"]
    finally:
        jax.config.update(name, old)
    assert now == before | {name: value} != before


def test_random_numbers_do_not_depend_on_what_jax_is_told():
    draw = lambda: jax.random.bits(jax.random.key(3), (5,)).tolist()
    expected = draw()
    with jax.default_prng_impl("rbg"), jax.threefry_partitionable(False):
        assert draw() != expected
        with environment.pinned():
            assert draw() == expected
    with jax.threefry_partitionable(False):
        assert draw() != expected
        with environment.pinned():
            assert draw() == expected


class History:
    """The environment.json of one run, and what was reported of it."""

    def __init__(self, folder):
        self.folder, self.reports = folder, []
        folder.mkdir()

    def goes_on(self, step, begins=False, **values):
        now = {"step": step, "commit": "c" * 40, "settings": {"x64": False}} | values
        log = self.reports.append
        environment.write(self.folder, PACKING, now, begins, log)
        return [s["step"] for s in environment.read(self.folder)["segments"]]


@pytest.fixture
def history(tmp_path):
    history = History(tmp_path / "0123")
    assert history.goes_on(0, begins=True) == [0]
    return history


def test_a_run_that_goes_on_in_its_environment_has_one_segment(history):
    path = history.folder / "environment.json"
    before = path.read_text()
    assert history.goes_on(0) == history.goes_on(24) == history.goes_on(12) == [0]
    assert path.read_text() == before and history.reports == []
    assert {k: v for k, v in files.read_json(path).items() if k in PACKING} == PACKING


def test_each_change_is_kept_and_reported_once(history):
    assert history.goes_on(8, commit="d" * 40 + "+changes") == [0, 8]
    assert history.goes_on(12, commit="d" * 40 + "+changes") == [0, 8]
    assert history.goes_on(16, settings={"x64": True}) == [0, 8, 16]
    assert [report.rpartition("run's: ")[2] for report in history.reports] == [
        "commit is dddddddddddd+changes, was cccccccccccc.",
        "commit is cccccccccccc, was dddddddddddd+changes; settings x64 is True, was "
        "False.",
    ]
    assert "Run 0123 goes on from step 8 in another environment" in history.reports[0]


def test_what_a_run_lost_is_no_part_of_its_history(history):
    history.goes_on(8, commit="d")
    assert history.goes_on(4) == [0]  # An earlier checkpoint.
    assert history.goes_on(0, commit="e") == [0, 0]  # The start is of the first one.
    assert len(history.reports) == 2
    assert history.goes_on(0, begins=True, commit="f") == [0]
    assert environment.read(history.folder)["segments"][0]["commit"] == "f"
    assert len(history.reports) == 2  # Nothing is left of the others.


def test_a_file_without_segments_is_one(history):
    old = PACKING | {"commit": "d", "versions": {"jax": "1"}, "exact": True}
    path = history.folder / "environment.json"
    files.write_json(path, old)
    (segment,) = environment.read(history.folder)["segments"]
    assert (segment["step"], segment["versions"]) == (0, {"jax": "1"})
    assert history.goes_on(8, commit="d", exact=True) == [0]
    assert history.reports == []  # What it does not know has not changed.
    assert history.goes_on(8, commit="d", exact=False) == [0, 8]
    assert history.reports[0].endswith("run's: exact is False, was True.")
    files.write_json(path, {})
    assert environment.read(history.folder)["segments"] == []
