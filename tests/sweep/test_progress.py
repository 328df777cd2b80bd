import dataclasses
import io

import pytest
from rich.console import Console

from rdt_jax.store import files
from rdt_jax.sweep import progress, spec

TRIALS = [
    spec.Trial(f"run{i}", {"recurrence.num_loops": i, "seed": 0}, {"num_steps": 7000})
    for i in range(1, 5)
]


def _write(workdir, name, **status):
    (workdir / name).mkdir(parents=True, exist_ok=True)
    (workdir / name / "config.json").touch()
    status |= {"pack": None, "lane": None}
    files.write_json(workdir / name / "status.json", status)


def _fill(workdir):
    accuracy = {"train": 1.0, "id": 0.5, "ood": 0.25}
    for name, state, reason, step, phase in (
        ("run1", "running", None, 1000, "memorized"),
        ("run2", "done", "budget", 7000, "ood_generalized"),
        ("run3", "failed", "nan", 3500, "start"),
    ):
        _write(
            workdir, name, state=state, reason=reason, step=step, num_steps=7000,
            updates_per_second=50.0, phase=phase, accuracy=accuracy,
        )  # fmt: skip
    _write(workdir, "run4", state="pending", reason=None, step=0)


def _text(renderable, width=120):
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    return console.file.getvalue()


def test_one_line_per_trial_with_rate_eta_phase_and_accuracies(tmp_path):
    _fill(tmp_path)
    lines = _text(progress.render(tmp_path, TRIALS, None, 120)).splitlines()
    running = next(line for line in lines if "num_loops=1" in line)
    for part in ("running", "1,000", "50", "2:00", "memorized", "1.00 / 0.50 / 0.25"):
        assert part in running
    assert sum("num_loops=" in line for line in lines) == 4
    assert "failed: nan" in _text(progress.render(tmp_path, TRIALS, None, 120))
    assert lines[-1].startswith("4 trials: 1 pending, 1 running, 1 done, 1 failed")


@pytest.mark.parametrize("width", [80, 120])
def test_a_low_terminal_shows_running_trials_first(tmp_path, width):
    _fill(tmp_path)
    trials = list(reversed(TRIALS))
    rows = 4 if width == 80 else 2  # A trial has two lines on a narrow one.
    text = _text(progress.render(tmp_path, trials, rows, width), width)
    assert "num_loops=1" in text and "num_loops=3" in text  # running, failed
    assert "num_loops=2" not in text and "num_loops=4" not in text


def test_log_says_each_end_once(tmp_path):
    _fill(tmp_path)
    console = Console(file=io.StringIO(), width=120)
    tagged = {"phases.further": ("two: id[hops=2] >= 0.5",)}
    trials = [
        dataclasses.replace(trial, overrides=trial.overrides | tagged)
        for trial in TRIALS
    ]
    monitor = progress.Monitor(tmp_path, trials, console)
    monitor.log()
    monitor.log()
    text = console.file.getvalue()
    assert text.count("done (budget) at step 7,000") == 1
    assert text.count("failed (nan)") == 1
    assert text.count("4 trials:") == 1
    assert text.count("further=('two: id[hops=2] >= 0.5',)") == 2  # No markup.


@pytest.mark.parametrize("width", [60, 80, 100, 250])
def test_a_narrow_terminal_cuts_off_no_name_and_no_number(tmp_path, width):
    _fill(tmp_path)
    more = {"optimizer.weight_decay": 0.03, "model.residual": "gated_layerscale"}
    trials = [
        dataclasses.replace(trial, overrides=trial.overrides | more) for trial in TRIALS
    ]
    text = _text(progress.render(tmp_path, trials, None, width), width)
    words = text.split()
    assert text.count("1.00 / 0.50 / 0.25") == 3
    for number, trial in enumerate(trials, start=1):
        assert words.count(trial.run_id) == words.count(f"num_loops={number}") == 1
    assert words.count("residual=gated_layerscale") == words.count("seed=0") == 4
    for word in ("trial", "run", "state", "step", "upd/s", "ETA", "phase"):
        assert words.count(word) == 1
    assert "7,000 (100%)" in text and "ood_generalized" in text
    assert text.isascii()
    if width >= 80:
        lines = text.splitlines()
        at = next(i for i, line in enumerate(lines) if "run2" in line)
        assert "done: budget" in lines[at] and "ood_generalized" in lines[at]
        names = lines[at if width == 250 else at + 1]
        assert "num_loops=2" in names and "1.00 / 0.50 / 0.25" in names
