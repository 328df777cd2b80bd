"""The package as its wheel holds it, without the repository, in an empty folder."""

import json
import os
import subprocess
import sys
import tomllib
import zipfile

import pytest

from rdt_jax import config as configs
from tests import pages
from tests.conftest import ROOT

CONFIG = """
from rdt_jax.named import budget, getter, presets

PRESETS = presets(
    task=("modular", {"operation": "add", "modulus": 7, "train_fraction": 0.6}),
    cpu={
        "model.width": 8,
        "batch_size": 8,
        "optimizer.warmup_steps": 2,
        **budget(4, every=2, checkpoint=4),
    },
)
get_config = getter(PRESETS)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder into which the wheel of this repository is installed."""
    source = tmp_path_factory.mktemp("source")
    files = ("pyproject.toml", "README.md", "LICENSE")
    pages.copy(source, "rdt_jax", "configs", *files)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index",
         "--no-build-isolation", "--wheel-dir", "wheels", "."],
        cwd=source, check=True,
    )  # fmt: skip
    (wheel,) = source.glob("wheels/*.whl")
    folder = tmp_path_factory.mktemp("site-packages")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


@pytest.fixture
def rdt(site, tmp_path):
    """Runs `python` or `rdt` of the wheel in an empty folder; returns the output."""
    here = tmp_path / "a: place"
    here.mkdir()

    def run(*words, code=0):
        command = words if words[0] == "-c" else ("-m", "rdt_jax", *words)
        done = subprocess.run(
            [sys.executable, *command],
            cwd=here, capture_output=True, text=True,
            env=os.environ | {"PYTHONPATH": str(site), "JAX_PLATFORMS": "cpu"},
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    run.here = here
    return run


def test_every_package_is_in_the_wheel():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    folders = {path.parent for path in (ROOT / "rdt_jax").rglob("__init__.py")}
    names = {".".join(path.relative_to(ROOT).parts) for path in folders}
    listed = project["tool"]["setuptools"]["packages"]
    assert sorted(names | {"rdt_jax.configs"}) == listed


def test_named_configs_travel_in_the_package(site, rdt):
    top = {path.name for path in site.iterdir() if path.suffix != ".dist-info"}
    assert top == {"rdt_jax"}
    assert (site / "rdt_jax" / "py.typed").exists()
    said = rdt(
        "-c",
        "from rdt_jax import config; print(*config.named_configs());"
        "print(config.run_id(config.load('knowledge_composition:cpu')))",
    )
    run_id = configs.run_id(configs.load("configs/knowledge_composition.py:cpu"))
    assert said.split() == [*configs.named_configs(), run_id]
    assert "choose from cpu," in rdt("train", "--config=modular:none", code=2)


@pytest.mark.exhaustive
def test_it_trains_a_config_of_the_user(rdt):
    (rdt.here / "mine.py").write_text(CONFIG)
    rdt("train", "--config=mine.py:cpu", "--workdir=runs")
    (config,) = rdt.here.glob("runs/*/config.json")
    assert json.loads(config.read_text())["model"]["width"] == 8
    status = json.loads((config.parent / "status.json").read_text())
    assert (status["state"], status["step"]) == ("done", 4)
