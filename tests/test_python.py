"""The names of `import rdt_jax as rdt`, and docs/python.md, which is executed here."""

import importlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import pytest

import rdt_jax as rdt
from rdt_jax import cli
from rdt_jax import config as configs
from rdt_jax.analysis import stored
from rdt_jax.models import recurrent
from rdt_jax.store import run_folder
from tests import fake_runs
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "python.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.M | re.S)


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """The names that the page has defined at its end, read in a folder of its own."""
    folder = tmp_path_factory.mktemp("page")
    before = os.getcwd()
    os.chdir(folder)
    names = {}
    try:
        for language, text in BLOCKS:
            if text.startswith("# mine.py"):
                pathlib.Path("mine.py").write_text(text)
            elif language == "python":
                exec(compile(text, "docs/python.md", "exec"), names)
            else:
                for line in text.splitlines():
                    assert cli.main(line.split()[1:]) == 0, line
        yield names | {"folder": folder}
    finally:
        os.chdir(before)


def test_the_page_does_what_it_says(read):
    assert [run.config.recurrence.num_loops for run in read["runs"]] == [1, 2]
    frame = read["frame"]
    assert list(frame.columns[:7]) == [
        "run", "num_loops", "seed", "step", "split", "loops", "part",
    ]  # fmt: skip
    assert frame.part.isna().all() and set(frame.split) >= {"train", "id", "ood"}
    assert (read["folder"] / "runs").is_dir()
    (figure,) = read["folder"].glob("runs/sweeps/*/figures/mine-gap.png")
    assert figure.stat().st_size > 1_000
    assert len(read["asked"].answers) == 6 and read["asked"].split == "ood"


def test_the_page_names_all_there_is():
    for name in rdt.__all__:
        assert f"`{name}" in PAGE, name
        assert getattr(rdt, name).__doc__
    for kind in (rdt.Run, rdt.Runs, rdt.Rows, rdt.Model):
        for name in vars(kind):
            is_public = not name.startswith("_") and name != "of"
            assert not is_public or re.search(rf"\b{name}\b", PAGE), name


def test_every_measure_is_a_method():
    for what in stored.MEASURES | stored.RUN_MEASURES:
        assert getattr(rdt.Run, what).__doc__ == stored.describe(what)


def test_no_name_is_also_a_module():
    for name in rdt.__all__:
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(f"rdt_jax.{name}")
    assert {*rdt.__all__} <= {*dir(rdt)}
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        rdt.no_such_name  # noqa: B018


def test_importing_the_package_imports_nothing_slow():
    code = "import rdt_jax, sys; dir(rdt_jax); print({'jax', 'numpy'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_a_run_is_the_model_that_it_says(read):
    run, table = read["run"], read["table"]
    model, params = run.model, run.params()
    rows = table.rows_of("train")[:5]
    output = model.apply(params, rows, num_loops=3)
    passes = jax.jit(recurrent.apply, static_argnames=("config", "num_loops"))
    passed = passes(
        params, table.tokens[rows], table.answer_positions[rows],
        config=model.architecture, num_loops=3,
    )  # fmt: skip
    np.testing.assert_allclose(output.logits[-1], passed.logits, atol=1e-4)
    np.testing.assert_allclose(output.states, passed.states, atol=1e-4)
    shallow = model.apply(params, rows, num_loops=1)
    np.testing.assert_allclose(output.logits[:1], shallow.logits, atol=1e-4)
    same = model.apply(params, table.tokens[rows], num_loops=3)
    np.testing.assert_array_equal(same.logits, output.logits)
    first = jax.tree.leaves(model.init(run.config.seed))
    begun = jax.tree.leaves(run.params(run.checkpoints[0]))  # Kept before any update.
    assert run.checkpoints[0].endswith("-before-0")
    assert all(map(np.array_equal, first, begun))


def _other(run):
    """The model of a run, on the table of another task."""
    return rdt.Model(run.config, rdt.make_table(rdt.load_config("modular:smoke")))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: rdt.load_config("modular:cpu", {"model.widht": 3}), "model.width"),
        (lambda r: rdt.load_config("modular:cpu", num_lops=3), "num_loops"),
        (
            lambda r: rdt.load_config("modular:cpu", num_loops=0),
            r"in \[1, 65536\], got 0",
        ),
        (lambda r: rdt.make_config("modlar"), "choose from"),
        (lambda r: rdt.train("modular:smoke", "gs://bucket/runs"), "in a bucket"),
        (lambda r: rdt.run_sweep("modular:smoke", {"model.width": []}), "model.width"),
        (lambda r: rdt.train(r.config, "mine.py/runs"), "since .*mine.py is a file"),
        (lambda r: rdt.run_sweep(r.config, {}, workers=-1), "workers must be .*-1"),
        (lambda r: rdt.run_sweep(r.config, {}, workers="2"), "workers must be .*'2'"),
        (lambda r: rdt.open("nowhere"), "nowhere"),
        (lambda r: rdt.open("gs://bucket/runs"), "gs://bucket/runs is in a bucket"),
        (lambda r: r.params("ood_generalized-before"), "memorized-before-0, final"),
        (lambda r: r.measure("no_such"), "choose from answers"),
        (lambda r: r.measure("mine.py:no_such"), "choose from gap, norms"),
        (lambda r: r.ask("entity_1 no_such"), "no_such"),
        (lambda r: r.ask([1, 2]), "must be a text or words, got 1"),
        (lambda r: r.ask("entity_1", loops=1.5), "loops must be an integer in"),
        (lambda r: r.ask("entity_1", loops="2"), "loops must be an integer in .*'2'"),
        (lambda r: r.model.table.rows_of("test"), "'test'; choose from train"),
        (lambda r: r.model.init(-1), "seed must be an integer in"),
        (lambda r: r.model.init(1.5), "seed must be an integer in"),
        (lambda r: r.model.apply(r.params(), [0], num_loops=1.5), "num_loops must be"),
        (lambda r: _other(r).apply(r.params(), [0]), "params must be of the "),
        (lambda r: r.model.apply(r.params(), [10**6]), "row numbers .B. below"),
        (lambda r: r.model.apply(r.params(), [[[0]]]), "row numbers .B. below"),
        (lambda r: r.model.apply(r.params(), [0], num_loops=0), "num_loops must be"),
        (lambda r: rdt.open("runs").where(num_lops=1), "num_loops"),
    ],
)
def test_a_mistake_is_one_message(read, call, message):
    there = sorted(pathlib.Path().rglob("*"))
    with pytest.raises(ValueError, match=message):
        call(read["run"])
    assert sorted(pathlib.Path().rglob("*")) == there, "nothing is written"


def test_a_measure_of_a_file_says_what_is_wrong_and_follows_its_file(read, tmp_path):
    path = tmp_path / "own.py"
    path.write_text("def one(params, config, table):\n    return {'value': 1}\n")
    assert read["run"].measure(f"{path}:one").value == 1
    path.write_text("def one(params, config, table):\n    return {'value': 2}\n")
    assert read["run"].measure(f"{path}:one").value == 2
    path.write_text("def one(params, config, table):\n    return 3\n")
    with pytest.raises(ValueError, match="one must return a dict of arrays, got 3"):
        read["run"].measure(f"{path}:one")
    path.write_text("def one(params, config, table):\n    return 1 / 0\n")
    with pytest.raises(ValueError, match="own.py line 2: ZeroDivisionError"):
        read["run"].measure(f"{path}:one")


def test_rows_are_what_was_measured():
    jumps = {"train": 20, "ood": None}
    records = [
        fake_runs.make(jumps=jumps, loops=n, seed=s) for n in (1, 2) for s in (0, 1)
    ]
    runs = rdt.Runs.of(records)
    rows = runs.metrics()
    assert {row["split"] for row in rows} == {"train", "ood", "model"}
    chosen = [row for row in rows if (row["num_loops"], row["seed"]) == (2, 1)]
    expected = [row["train/accuracy@2"] for row in records[3].metrics]
    assert [r["accuracy"] for r in chosen if r["split"] == "train"] == expected
    of_splits = [row for row in rows if row["split"] != "model"]
    assert all(row["loops"] == row["num_loops"] for row in of_splits)
    assert len(runs.where(num_loops=2)) == 2
    assert [row["run"] for row in runs[1:].events()[:1]] == [runs[1].id]
    assert len(runs[1:]) == 3 and runs[1:].metrics()[-2:]["seed"] == [1, 1]
    assert len(runs.where({"recurrence.num_loops": 2}, seed=1)) == 1
    assert len(rows.to_pandas()) == len(rows) == rows.to_polars().height
    empty = rdt.Rows.of([])
    assert len(empty.to_pandas()) == len(empty.to_polars()) == 0


def test_without_pandas_the_message_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        rdt.Rows.of([{"a": 1}]).to_pandas()


def test_a_lost_run_is_named(read, tmp_path):
    planned = [run.record for run in read["runs"]]
    lost = fake_runs.make(jumps={"train": None}, state="missing", reason=None)
    with pytest.warns(UserWarning, match="1 of 3 planned runs missing"):
        assert len(rdt.Runs.of([*planned, lost])) == 3


def interrupt_once_evaluated(workdir):
    while not any(path.stat().st_size for path in workdir.glob("*/metrics.jsonl")):
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.exhaustive
def test_an_interrupt_is_a_checkpoint_and_the_same_call_goes_on(tmp_path, tiny_config):
    sizes = {"num_steps": 2_000, "checkpoint_every_steps": 20}
    config = configs.override(tiny_config, sizes | {"eval_every_steps": 10})
    threading.Thread(target=interrupt_once_evaluated, args=[tmp_path]).start()
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="the same call goes on"):
        rdt.train(config, tmp_path)
    assert signal.getsignal(signal.SIGINT) is handler
    stopped = run_folder.read_status(tmp_path / configs.run_id(config))
    assert stopped["state"] == "preempted" and stopped["step"] < 2_000
    # In another thread, which gets no signals.
    until = configs.override(config, {"num_steps": stopped["step"] // 20 * 20 + 40})
    found = []
    train = lambda: found.append(rdt.train(until, tmp_path))
    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    (run,) = found
    assert (run.state, run.record.last_step) == ("done", until.num_steps)
