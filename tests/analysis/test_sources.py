"""Code that a measure runs, in a package that is made up."""

import pytest

from rdt_jax.analysis import sources

FILES = {
    "rdt_jax/analysis/__init__.py": "",
    "rdt_jax/analysis/measure.py": """
from rdt_jax import tasks
from rdt_jax.analysis import sample as asked
from rdt_jax.training.losses import loss
import numpy
""",
    "rdt_jax/analysis/sample.py": "from rdt_jax.analysis import words",
    "rdt_jax/analysis/words.py": "words = 1",
    "rdt_jax/analysis/other.py": "other = 1",
    "rdt_jax/tasks/__init__.py": "from rdt_jax.tasks import knowledge",
    "rdt_jax/tasks/knowledge.py": "facts = 1",
    "rdt_jax/training/losses.py": "loss = 1",
    "rdt_jax/training/step.py": "step = 1",
    "rdt_jax/models/attention.py": "heads = 1",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Returns a function from changed files to the fingerprint of measure.py."""
    monkeypatch.setattr(sources, "_ROOT", tmp_path)
    monkeypatch.setattr(sources, "_ANALYSIS", tmp_path / "rdt_jax" / "analysis")
    monkeypatch.setattr(sources, "_MODELS", tmp_path / "rdt_jax" / "models")

    def fingerprint(changed):
        for name, text in (FILES | changed).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        sources._digest.cache_clear()
        sources._imported.cache_clear()
        return sources.fingerprint(tmp_path / "rdt_jax" / "analysis" / "measure.py")

    return fingerprint


@pytest.mark.parametrize(
    ("name", "matters"),
    [
        ("analysis/measure", True),
        ("analysis/sample", True),
        ("analysis/words", True),  # By way of what is imported.
        ("analysis/other", False),
        ("tasks/__init__", True),
        ("tasks/knowledge", False),
        ("training/losses", True),
        ("training/step", False),
        ("models/attention", True),  # Imported by nobody here.
    ],
)
def test_what_a_measure_runs_changes_its_fingerprint(package, name, matters):
    path = f"rdt_jax/{name}.py"
    first = package({})
    assert (package({path: f"{FILES[path]}\nmore = 2\n"}) != first) == matters
    assert package({path: f"# Said.\n\n{FILES[path]}\n"}) == first


def test_a_new_file_of_the_models_changes_it(package):
    first = package({})
    assert package({"rdt_jax/models/routing.py": "gate = 1"}) != first


def test_the_measures_of_questions_reach_them_and_the_pass():
    found = {path.stem for path in sources._reached(sources._ANALYSIS / "lens.py")}
    assert {"lens", "questions", "trace", "recurrent"} <= found
