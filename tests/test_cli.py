"""The command as a user types it: exit codes, messages, what is left behind."""

import errno
import io
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from rdt_jax import cli, machine
from rdt_jax import config as configs
from rdt_jax.models import import_ltg
from rdt_jax.store import files, records, run_folder
from rdt_jax.sweep import spec
from rdt_jax.training import recipes
from tests import pages
from tests.conftest import ROOT
from tests.golden import FOLDER

CONFIG = str(ROOT / "configs" / "knowledge_composition.py") + ":smoke"
STUDY = str(ROOT / "experiments" / "depth_by_decay")
TINY = [
    "--config.model.width=8",
    "--config.model.core_blocks=1",
    "--config.num_steps=20",
    "--config.eval_every_steps=10",
    "--config.checkpoint_every_steps=10",
    "--config.optimizer.warmup_steps=5",
]


def test_an_ascii_terminal_shows_escapes_of_what_it_cannot_show(monkeypatch):
    """Some brackets of this task are no ASCII, and so may be a path in any message."""
    shown = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", shown)
    small = ["train_per_depth=40", "heldout_per_depth=8", "num_kinds=5"]
    assert cli.main(["tasks", "dyck", *(f"--set={each}" for each in small)]) == 0
    assert b"\\u27e8" in shown.buffer.getvalue()


def test_help_exits_0_and_imports_no_jax():
    """Without a verb not even numpy, so that it is immediate."""
    code = (
        "import sys; from rdt_jax import cli\n"
        "for verb in ([], *([name] for name in cli.VERBS)):\n"
        "    try: cli.main([*verb, '--help'])\n"
        "    except SystemExit as end: assert end.code == 0, (verb, end.code)\n"
        "    assert verb or 'numpy' not in sys.modules\n"
        "assert 'jax' not in sys.modules and 'matplotlib' not in sys.modules\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("usage: rdt") == 1 + len(cli.VERBS)


def test_a_reader_that_leaves_early_is_told_nothing():
    process = subprocess.Popen(
        [sys.executable, "-m", "rdt_jax", "recipes"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.model.widht=8"], "Unknown config key 'model.widht'; did you mean"),
        (["--config.num_steps=ten"], "num_steps must be an int, got 'ten'"),
        (["--config.optimizer.weight_decay=-1"], "weight_decay must be at least 0"),
        (["--config.model.width=33"], "model.width (33) must be a multiple of"),
        (["--config.eval_every_steps=7"], "num_steps (300) must be a multiple of"),
        (["--config.task.name=modulo"], "Unknown task 'modulo'; choose from"),
        (["--config.task.kwargs.phi=99"], "task.kwargs.phi must leave at least one"),
        (["--config.task.kwargs.size=9"], "Unknown config key 'task.kwargs.size'"),
        (["--config.optimizer.name=adam"], "optimizer.name must be one of adamw"),
        (["--config.model.preset=gpt"], "model.preset must be one of rdt"),
        (["--config.batch_size=100000"], "batch_size must be in [1,"),
        # Sizes that no machine has, or this one has not: before anything is built.
        (["--config.model.width=1000000000"], "fewer than 1e+12 parameters, got 2.4e+"),
        (["--config.model.width=200000"], "A run needs at least 7,680,"),
        (["--config.model.core_blocks=1000000"], "at most 1000 together, since each"),
        (["--config.recurrence.num_loops=1000000000"], "must be in [1, 65536], got"),
        (["--config.recurrence.eval_loops=(2,70000)"], "in [1, 65536], got"),
        ([f"--config.num_steps={10**30}"], "num_steps must be below 2147483648, got 1"),
        ([f"--config.model.width={10**400}"], "must be below 2147483648, got one of"),
        ([f"--config.task.kwargs.num_entities={2**40}"], "must be below 2147483648"),
        (["--mesh=rows=2"], "--mesh must give trial, data, model sizes"),
        (["--mesh=trial=2"], "--mesh must have trial=1, since `rdt train` trains one"),
        (["--mesh=model=3"], "num_heads (4) must be a multiple of the model axis of"),
        (["--process-id=1"], "--coordinator, --num-processes is missing"),
        (["--transition-budget=inf"], "--transition-budget must be a size such as"),
    ],
)
def test_a_mistake_exits_2_with_one_clear_message(arguments, message, tmp_path, capsys):
    workdir = tmp_path / "runs"
    code = cli.main(["train", f"--config={CONFIG}", f"--workdir={workdir}", *arguments])
    error = capsys.readouterr().err
    assert code == 2
    assert message in error and "Traceback" not in error
    assert not workdir.exists()  # Nothing is made before everything is checked.


def test_unknown_preset_file_and_study(tmp_path, command):
    workdir = f"--workdir={tmp_path}"
    for arguments, message in [
        (["train", f"--config={CONFIG}y", workdir], "Unknown preset 'smokey'"),
        (["train", "--config=configs/none.py:cpu", workdir], "No config file"),
        (["train", "--config=configs/base.py", workdir], "must be FILE.py:PRESET"),
        (["sweep", f"{STUDY}s", workdir], "choose from accelerators, "),
        (["sweep", STUDY, "--preset=huge", workdir], "Unknown preset 'huge'"),
        (["sweep", STUDY, "--preset=smoke", "--lanes=0", workdir], "--lanes must be"),
        (["sweep", STUDY, "--preset=smoke", "--workers=0", workdir], "--workers must"),
        (["figures", STUDY, "--preset=smoke", workdir], "`rdt sweep` trains them"),
    ]:
        assert message in command(arguments, 2).err


def test_a_workdir_below_a_file_exits_2_and_names_it(tmp_path, capsys):
    (tmp_path / "file").touch()
    for workdir in (tmp_path / "file", tmp_path / "file" / "runs"):
        with pytest.raises(SystemExit, match="2"):
            cli.main(["train", f"--config={CONFIG}", f"--workdir={workdir}"])
        assert f"since {tmp_path / 'file'} is a file" in capsys.readouterr().err


def test_a_run_that_began_in_a_pack_of_a_sweep_is_not_begun_alone(tmp_path, capsys):
    config = configs.load(CONFIG)
    run = configs.run_id(config)
    run_folder.create(tmp_path / run, config)
    (tmp_path / "packs" / ("a" * 12) / "checkpoints" / "100").mkdir(parents=True)
    files.write_json(tmp_path / "packs" / ("a" * 12) / "runs.json", [run, "0" * 12])
    status = {
        "state": "preempted",
        "reason": None,
        "step": 100,
        "pack": "a" * 12,
        "lane": 0,
    }
    files.write_json(tmp_path / run / "status.json", status)
    assert cli.main(["train", f"--config={CONFIG}", f"--workdir={tmp_path}"]) == 2
    assert f"began in pack {'a' * 12} with 2 runs" in capsys.readouterr().err


def test_a_study_that_is_wrong_itself_exits_2(tmp_path, command):
    for content, message in [
        ("CONFIG = 'x'", "must define CONFIG and sweep; it lacks sweep"),
        ("x = 1\nimport nothing_of_this_name", "line 2: ModuleNotFoundError"),
        ("def (", "SyntaxError"),
    ]:
        (tmp_path / "study.py").write_text(content)
        error = command(["sweep", str(tmp_path), f"--workdir={tmp_path}"], 2).err
        assert message in error and "Traceback" not in error


def test_an_argument_that_no_verb_takes_exits_2(capsys):
    for arguments in (["train", f"--config={CONFIG}", "--wokdir=x"], ["tasks", "--x"]):
        with pytest.raises(SystemExit, match="2"):
            cli.main(arguments)
        assert "unrecognized arguments" in capsys.readouterr().err


def test_import_ltg_reads_the_file_and_prints_the_run(
    tmp_path, monkeypatch, capsys, command
):
    with np.load(FOLDER / "gpt2.npz") as file:
        weights = {k.partition("/")[2]: file[k] for k in file if "weights/" in k}
    monkeypatch.setattr(import_ltg, "read", lambda path: weights)
    checkpoint = tmp_path / "checkpoint.pt"
    checkpoint.write_bytes(b"weights")
    arguments = ["import-ltg", str(checkpoint), str(tmp_path / "out"), "--num-loops=3"]
    arguments.append("--num-heads=3")
    assert cli.main([*arguments, "--step=20"]) == 2
    assert "--injection must be none or add" in capsys.readouterr().err
    arguments.append("--injection=add")
    folder = pathlib.Path(command([*arguments, "--step=20"]).out.strip())
    config = configs.read_run(folder)
    assert (config.recurrence.num_loops, config.task.kwargs.answer_at) == (3, "pad")
    assert (config.model.injection, config.task.kwargs.row_length) == ("add", 11)
    assert (folder / "transitions" / "final-after-20").is_dir()
    assert "--num-heads must divide" in command([*arguments, "--num-heads=5"], 2).err


def test_import_ltg_without_torch_exits_2_and_says_how(tmp_path, monkeypatch, command):
    monkeypatch.setitem(sys.modules, "torch", None)
    arguments = ["import-ltg", "c.pt", str(tmp_path), "--num-loops=3", "--num-heads=3"]
    assert "needs torch: pip install -e '.[torch]'" in command(arguments, 2).err


def test_models_lists_presets_with_components_and_source(command):
    out = command(["models"]).out
    assert "arXiv:1807.03819" in out and "arXiv:2405.16039" in out
    assert "  model.norm_placement = peri\n" in out
    assert "  model.injection: none, add, concat, diagonal\n" in out
    names = [line.split(":")[0] for line in out.splitlines() if line[0] != " "]
    assert names == [
        "rdt", "feedforward", "universal", "moeut", "huginn", "gated", "custom",
        "components",
    ]  # fmt: skip


def test_cost_prints_both_tables(command):
    arguments = ["cost", f"--config={CONFIG}", "--config.model.width=8"]
    arguments.append("--loops=3,2,3")  # The config has two, on the first line.
    out = command(arguments).out
    assert "embedding" in out and "memory" in out
    rows = [line.split() for line in out.splitlines() if line[:2] in ("2 ", "3 ")]
    assert [row[0] for row in rows] == ["2", "3"]
    assert {len(row) for row in rows} == {8}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--loops=1,x"], "must be ints of at least 1 such as 1,2,4, got '1,x'"),
        (["--loops=0"], "--loops must be ints of at least 1"),
        (["--loops="], "--loops must be ints of at least 1"),
        (["--config.model.width=33"], "model.width (33) must be a multiple of"),
        (
            ["--config.recurrence.num_loops=1", "--config.model.preset=feedforward",
             "--loops=2"],
            "recurrence.num_loops must be 1 in preset feedforward, got 2",
        ),
    ],
)  # fmt: skip
def test_a_mistake_in_cost_exits_2(arguments, message, command):
    assert message in command(["cost", f"--config={CONFIG}", *arguments], 2).err


def test_a_run_folder_that_was_edited_is_refused(tmp_path, command):
    config = configs.load(CONFIG)
    path = tmp_path / configs.run_id(config) / "config.json"
    run_folder.create(path.parent, config)
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1', 1))
    error = command(["train", f"--config={CONFIG}", f"--workdir={tmp_path}"], 2).err
    assert "it was edited or moved" in error and "Traceback" not in error


@pytest.mark.parametrize("verb", ["train", "sweep"])
def test_damaged_records_are_named_and_left_as_they_are(tmp_path, command, verb):
    train = ["train", f"--config={CONFIG}", *TINY]
    sweep = ["sweep", STUDY, "--preset=smoke", "--plan", *TINY]  # Others go on.
    where = f"--workdir={tmp_path}"
    if verb == "train":
        config = configs.load(CONFIG)
        config = configs.override(config, configs.parse_overrides(config, TINY))
    else:
        config = spec.make_plan(
            pathlib.Path(STUDY), "smoke", TINY, lambda _: None
        ).configs[0]
    path = tmp_path / configs.run_id(config) / "metrics.jsonl"
    run_folder.create(path.parent, config)
    path.write_text('{"step": 0}\n{"st\n{"step": 20}\n')
    code = 2 if verb == "train" else 1
    error = command([*(train if verb == "train" else sweep), where], code).err
    assert f"{path} line 2 is damaged" in error and "Traceback" not in error
    assert path.read_text() == '{"step": 0}\n{"st\n{"step": 20}\n'


@pytest.mark.parametrize(
    "code, message",
    [
        (errno.ENOTSUP, "must be on a file system with symbolic links"),
        # Nothing of the link, nor of an option that only others have.
        (errno.EACCES, "[Errno 13] Permission denied: '{}/state'.\n"),
    ],
)
@pytest.mark.parametrize("verb", ["train", "sweep"])
def test_a_workdir_that_refuses_links_exits_2(
    tmp_path, monkeypatch, command, verb, code, message
):
    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "symlink", refuse)
    train = ["train", f"--config={CONFIG}"]
    sweep = ["sweep", STUDY, "--preset=smoke", "--workers=1"]
    arguments = [*(train if verb == "train" else sweep), *TINY]
    error = command([*arguments, f"--workdir={tmp_path}"], 2).err
    assert message.format(tmp_path) in error
    assert error.endswith("\n") and "--out" not in error
    assert not list(tmp_path.glob("*/*"))


def test_a_run_that_is_predicted_not_to_fit_is_refused(tmp_path, command, monkeypatch):
    monkeypatch.setattr(machine, "memory", lambda: 10**8)
    arguments = [*TINY, "--config.recurrence.num_loops=500", f"--workdir={tmp_path}"]
    error = command(["train", f"--config={CONFIG}", *arguments], 2).err
    assert "predicted to need 136," in error and "has 100,000,000;" in error
    assert not [*tmp_path.iterdir()]


def test_a_name_that_is_not_utf8_on_the_disk_is_refused(tmp_path, command, monkeypatch):
    where = f"--workdir={tmp_path}/w\udcc3\udca9"  # Of a locale that is ASCII.
    error = command(["train", f"--config={CONFIG}", where, *TINY], 2).err
    assert "must be UTF-8" in error and "w\\udcc3\\udca9" in error
    assert not [*tmp_path.iterdir()]
    monkeypatch.setattr(os, "fsencode", lambda name: name.encode("latin-1"))
    assert "must be UTF-8, got 'caf\\xe9'" in command(["tasks", "caf\u00e9"], 2).err


def test_a_home_that_cannot_be_written_is_no_warning(tmp_path):
    code = "from rdt_jax import cli; cli.main(['tasks', 'x']); import matplotlib"
    environment = {k: v for k, v in os.environ.items() if k != "MPLCONFIGDIR"}
    environment |= {"HOME": "/proc/home", "XDG_CONFIG_HOME": "/proc/config"}
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert ran.returncode == 0 and "atplotlib" not in ran.stderr


def test_a_full_disk_exits_1_and_the_run_goes_on_later(tmp_path, monkeypatch, command):
    arguments = ["train", f"--config={CONFIG}", f"--workdir={tmp_path}", *TINY]
    append = records.append

    def append_until_full(path, row):
        if path.name == "metrics.jsonl" and row["step"] == 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        append(path, row)

    monkeypatch.setattr(records, "append", append_until_full)
    error = command(arguments, 1).err
    assert "No space left on device" in error and "run the same command" in error
    monkeypatch.setattr(records, "append", append)
    folder = pathlib.Path(command(arguments).out.strip())
    steps = [row["step"] for row in records.read_rows(folder / "metrics.jsonl")]
    assert steps == [0, 10, 20]


@pytest.mark.exhaustive
def test_sweep_trains_shows_extends_and_survives_a_kill(tmp_path):
    arguments = [
        "sweep", STUDY, "--preset=smoke", f"--workdir={tmp_path}", *TINY,
        "--config.num_steps=1000", "--config.eval_every_steps=50",
        "--config.checkpoint_every_steps=200", "--config.stop_after_phases=false",
    ]  # fmt: skip
    rdt = [sys.executable, "-m", "rdt_jax"]
    driver = subprocess.Popen(
        [*rdt, *arguments],
        env=os.environ | pages.QUICK,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not any(r.stat().st_size for r in tmp_path.glob("*/metrics.jsonl")):
        assert time.monotonic() < deadline and driver.poll() is None
        time.sleep(0.1)
    driver.send_signal(signal.SIGTERM)  # As a scheduler would: the workers checkpoint.
    assert driver.wait(timeout=60) == 0
    states = {s: files.read_json(s)["state"] for s in tmp_path.glob("*/status.json")}
    assert len(states) >= 2
    assert set(states.values()) <= {"preempted", "pending", "done"}
    assert "running" not in states.values()

    told = pages.run([*rdt, *arguments], ROOT)
    for path in states:
        assert files.read_json(path)["state"] == "done"
        rows = records.read_rows(path.parent / "metrics.jsonl")
        assert [row["step"] for row in rows] == list(range(0, 1001, 50))
    (figures,) = tmp_path.glob("sweeps/depth_by_decay-smoke-*/figures")
    assert len(list(figures.glob("*.png"))) == len(list(figures.glob("*.pdf"))) == 3
    page = figures.with_name("report.html")
    assert told.endswith(f"\n{page}\n") and "</html>" in page.read_text()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.jsonl")}
    status = pages.run([*rdt, *arguments, "--status"], ROOT)
    assert f"{len(states)} trials" in status
    pages.run([*rdt, *arguments], ROOT)  # Nothing is trained again.
    assert before == {p: p.stat().st_mtime_ns for p in tmp_path.glob("*/*.jsonl")}
    plan = json.loads((figures.parent / "plan.json").read_text())
    assert {run["run_id"] for run in plan["runs"]} == {p.parent.name for p in states}


def test_recipes_are_listed_with_their_keys(command):
    lines = command(["recipes"]).out.splitlines()
    assert len(lines) == len(recipes.RECIPES)
    assert (
        "grokfast_ma: gradient.filter=grokfast_ma gradient.filter_strength=5.0: adds "
        "the mean of the last gradients (Lee et al. 2024, arXiv:2405.20233)"
    ) in lines
