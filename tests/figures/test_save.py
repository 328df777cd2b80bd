import importlib.metadata
import json
import subprocess
import sys

from matplotlib.figure import Figure
from PIL import Image

from rdt_jax.figures import save
from rdt_jax.store import environment, files
from tests import fake_runs

ORIGIN = {"runs": ["0123456789ab"], "commits": ["c0ffee"]}


def figure():
    made = Figure(figsize=(2, 1))
    made.add_subplot().plot([1, 3], [2, 5])
    return made


def test_both_files_carry_their_provenance(tmp_path):
    png, pdf, numbers = save.save(figure(), tmp_path / "new" / "accuracy", ORIGIN)
    assert (png.name, pdf.name) == ("accuracy.png", "accuracy.pdf")
    assert numbers.name == "accuracy.json"
    assert files.read_json(numbers)["provenance"] == ORIGIN
    (panel,) = save.read_numbers(numbers)["panels"]
    assert panel["lines"] == [[[1, 2], [3, 5]]]
    with Image.open(png) as image:
        assert json.loads(image.info["provenance"]) == ORIGIN
    assert b"0123456789ab" in pdf.read_bytes()


def test_files_are_deterministic_and_hold_no_date(tmp_path):
    one = save.save(figure(), tmp_path / "one", ORIGIN)
    two = save.save(figure(), tmp_path / "two", ORIGIN)
    for first, second in zip(one, two, strict=True):
        assert first.read_bytes() == second.read_bytes()
    assert b"Date" not in one[1].read_bytes()
    other = save.save(figure(), tmp_path / "three", ORIGIN | {"commits": []})
    assert other[0].read_bytes() != one[0].read_bytes()


def test_a_dot_in_the_name_is_kept(tmp_path):
    names = [path.name for path in save.save(figure(), tmp_path / "decay-0.1", ORIGIN)]
    assert names == ["decay-0.1.png", "decay-0.1.pdf", "decay-0.1.json"]


def test_provenance_names_runs_commits_and_versions(tmp_path):
    members = []
    for seed, (commit, version) in enumerate(
        [("b2", "1.0"), ("a1", "1.1"), ("a1", "1.0")]
    ):
        fake = fake_runs.make(jumps={"train": 0}, seed=seed)
        folder = fake_runs.write(fake, tmp_path)
        segment = {"step": 0, "commit": commit, "versions": {"jax": version}}
        content = {"segments": [segment]} if seed else segment  # Of an old run.
        files.write_json(folder / "environment.json", content)
        members.append(save.Run(folder, fake.config, {}, [], []))
    pending = fake_runs.make(jumps={"train": 0}, seed=7)
    folder = fake_runs.write(pending, tmp_path)  # Its environment is not known yet.
    members.append(save.Run(folder, pending.config, {}, [], []))
    study = tmp_path / "study.py"
    study.touch()
    found = save.provenance(members, study)
    assert found["study"] == environment.of_files([study])
    assert found["runs"] == sorted(run.run_id for run in members)
    assert found["commits"] == ["a1", "b2"]
    assert found["trained_with"] == {"jax": ["1.0", "1.1"]}
    assert found["drawn_with"]["matplotlib"] == importlib.metadata.version("matplotlib")


def test_drawing_needs_neither_jax_nor_global_plotting_state():
    code = (
        "import sys\n"
        "from rdt_jax.figures import curves, diagram, page, save, tables\n"
        "from rdt_jax.analysis import claims\n"
        "print({'jax', 'matplotlib.pyplot'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stdout + done.stderr
