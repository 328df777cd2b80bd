"""The package alone, installed without its repository: defaults, tables, training."""

import json
import os
import shutil
import subprocess
import sys

import pytest

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


@pytest.mark.exhaustive
def test_it_trains_a_config_of_the_user(tmp_path):
    site, here = tmp_path / "site-packages", tmp_path / "here"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "rdt_jax", site / "rdt_jax", ignore=ignore)
    here.mkdir()
    (here / "mine.py").write_text(CONFIG)
    done = subprocess.run(
        [sys.executable, "-m", "rdt_jax", "train", "--config=mine.py:cpu",
         "--workdir=runs"],
        cwd=here, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(site), "JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (config,) = here.glob("runs/*/config.json")
    assert json.loads(config.read_text())["model"]["width"] == 8
    status = json.loads((config.parent / "status.json").read_text())
    assert (status["state"], status["step"]) == ("done", 4)
