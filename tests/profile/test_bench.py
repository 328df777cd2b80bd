"""`rdt bench`: what is measured and compared; nothing here depends on how fast.

What holds of compiled programs, their number and their memory, is measured in the
processes that `rdt bench` itself starts, without the settings of the test session.
"""

import json
import os
import re
import subprocess
import sys

import pytest

from rdt_jax import cli, machine, tasks
from rdt_jax import config as configs
from rdt_jax.models import presets
from rdt_jax.profile import bench, bench_cases
from rdt_jax.profile.throughput import Facts
from rdt_jax.store import files

SMOKE = "configs/knowledge_composition.py:smoke"
FILE = f"""
from rdt_jax.profile.bench_cases import Bound, Updates
tiny = {{"model.width": 8, "model.core_blocks": 1, "batch_size": 16}}
bounds = (Bound("ratio", at_least=1e9), Bound("share of peak", at_most=1.0))
CASES = {{
    "one": Updates("{SMOKE}", tiny, bounds, True, 50, seconds=0.01, rounds=3),
    "other": Updates("{SMOKE}", tiny, seconds=0.01),
}}
"""
# Stands in for PyTorch: two updates a second, and it keeps what it was told.
THEIRS = """
import json, sys
settings = input()
open(__file__ + ".json", "w").write(settings)
print(json.dumps({"parameters": 1}), flush=True)
for line in sys.stdin:
    word, number = line.split()
    answer = {"updates": 6, "seconds": float(number) / 2, "flops_per_second": 1e9}
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def cases(tmp_path):
    path = tmp_path / "cases.py"
    path.write_text(FILE)
    return path


def facts(**changed):
    """Facts of a program of one lane, all of them 1 but what is `changed`."""
    return Facts(*[1] * len(Facts._fields))._replace(**changed)


@pytest.mark.exhaustive
def test_a_case_beside_pytorch_from_the_command_to_the_file(
    cases, tmp_path, monkeypatch, capsys
):
    for name in ("torch", "transformers"):
        (tmp_path / f"{name}.py").touch()
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{bench_cases.ROOT}")
    theirs = tmp_path / "theirs.py"
    theirs.write_text(THEIRS)
    monkeypatch.setattr(bench, "reference", lambda: theirs)
    out = tmp_path / "out.json"
    arguments = ["bench", "one", f"--cases={cases}", f"--out={out}"]
    assert cli.main([*arguments, f"--torch-python={sys.executable}"]) == 0
    assert "not measured" not in capsys.readouterr().out

    content = files.read_json(out)
    assert set(content) == {"environment", "cases", "failed"}
    assert set(content["environment"]) == {"versions", "machine", "cores", "commit"}
    assert set(content["cases"]) == {"one"} and content["failed"] == {}
    case = content["cases"]["one"]
    assert set(case) == {"rows", "quantities", "verdicts", "seconds"}
    mine, other = case["rows"]
    assert set(mine) == set(bench.Row._fields)
    assert mine["compilations"] == 1  # However many dispatches there were.
    assert 0 < mine["slowest"] <= mine["updates_per_second"] <= mine["fastest"]
    assert 0 < mine["share_of_peak"] < mine["executed_share"] < 1
    assert mine["compile_seconds"] > 0 and mine["temporary_bytes"] > 0
    assert (other["name"], other["updates_per_second"]) == (bench.TORCH, 2)
    assert mine["ratio"] == pytest.approx(mine["updates_per_second"] / 2)
    needed = mine["facts"]["needed_flops"]
    assert other["flops_per_second"] == 2 * needed
    assert other["share_of_peak"] == pytest.approx(2 * needed / 1e9)
    assert case["quantities"]["ratio"] == mine["ratio"]
    ratio, share = case["verdicts"]
    assert set(ratio) == {*bench_cases.Bound._fields, "value", "holds"}
    assert (ratio["holds"], share["holds"]) == (False, True)

    settings = json.loads((tmp_path / "theirs.py.json").read_text())
    assert (settings["width"], settings["batch_size"]) == (8, 16)
    assert (settings["length"], settings["words"]) == (50, 3)


@pytest.mark.exhaustive
def test_more_loops_need_no_more_compiled_memory_than_their_states(monkeypatch):
    monkeypatch.setattr(bench, "COMPILES", 1)
    small = {"model.core_blocks": 1, "batch_size": 128, "model.width": 32}
    # The time to compile is bounded here as well, but wide: it is no exact number.
    bounds = (
        bench_cases.Bound("growth of memory", at_least=0.5, at_most=1.3),
        bench_cases.Bound("compile seconds", at_most=3.0),
    )
    measured = bench.measure(bench_cases.Loops(SMOKE, small, bounds, (4, 32)))
    assert [v.holds for v in measured.verdicts] == [True, True], measured.quantities
    assert [row.name for row in measured.rows] == ["R = 4", "R = 32"]


def test_a_race_is_decided_round_by_round_and_by_the_slowest_process(monkeypatch):
    answers = {
        "ours": {
            "pilot": [10, 8],
            "peak": [3e3, 5e3],
            "dispatch": [(1, 2), (4, 1), (8, 8)],
        },
        bench.TORCH: {"pilot": [3], "peak": [1e3], "dispatch": [(3,), (6,), (3,)]},
    }
    turn = {name: iter(told["dispatch"]) for name, told in answers.items()}

    def ask(processes, question):
        (name,) = set(processes)
        word, number = question.split()
        if word == "dispatch":
            assert number == {"ours": "8", bench.TORCH: "3"}[name]
            return [{"seconds": seconds} for seconds in next(turn[name])]
        field = {"pilot": "updates", "peak": "flops_per_second"}[word]
        return [{field: value} for value in answers[name][word]]

    monkeypatch.setattr(bench.line_server, "ask", ask)
    told = facts(needed_flops=50, executed_flops=100)._asdict()
    entrants = [
        bench.Entrant("ours", ["ours"] * 2, [told] * 2, lanes=4),
        bench.Entrant(bench.TORCH, [bench.TORCH], [{}], lanes=1),
    ]
    case = bench_cases.Updates(SMOKE, {}, rounds=3)
    ours, theirs = bench.race(entrants, case, lambda _: None)
    assert (ours.slowest, ours.fastest) == (64 / 8, 64 / 2)
    assert (theirs.slowest, theirs.fastest) == (0.5, 1)
    assert ours.ratio == 32  # Of 32 / 1, 16 / 0.5, 8 / 1; that of the medians is 16.
    assert ours.flops_per_second == ours.updates_per_second * 50
    assert ours.share_of_peak == ours.updates_per_second * 50 / 8e3
    assert ours.executed_share == 2 * ours.share_of_peak


@pytest.mark.parametrize(
    ("bound", "value", "holds"),
    [
        ({"at_least": 2.0}, 2.0, True),
        ({"at_least": 2.0, "aim": 2.5}, 1.99, False),
        ({"at_most": 1.3}, 1.3, True),
        ({"at_most": 1.3}, 1.31, False),
        ({"at_least": 2.0, "at_most": 3.0}, 3.5, False),
        ({"at_least": 2.0}, None, None),
    ],
)
def test_a_bound_is_judged_on_both_sides_and_not_without_a_value(bound, value, holds):
    bound = bench_cases.Bound("ratio", **bound)
    assert bench.judge(bound, value) == bench.Verdict(bound, value, holds)


def test_seeds_train_as_a_sweep_does_by_default_first(monkeypatch):
    entered = []

    def enter(stack, name, pack, exact=False, processes=1):
        entered.append((processes, len(pack), exact))
        assert [config.seed for config in pack] == list(range(len(pack)))
        return bench.Entrant(name, [], [facts()._asdict()], len(pack))

    far_off = facts(predicted_bytes=9)._asdict()
    rows = lambda entrants, *_: [
        bench.Row(e.name, ratio=4.0, facts=(far_off, e.facts[0])[e is entrants[0]])
        for e in entrants
    ]
    monkeypatch.setattr(bench, "enter", enter)
    monkeypatch.setattr(bench, "race", rows)
    monkeypatch.setattr(bench, "default_workers", lambda: 2)
    monkeypatch.setattr(bench, "default_lanes", lambda: 1)
    case = bench_cases.Seeds(
        SMOKE, {}, [bench_cases.Bound("ratio", at_least=3)], num_seeds=8
    )
    measured = bench.measure(case)
    assert entered == [
        (2, 1, False), (2, 4, False), (1, 8, False), (1, 8, True), (1, 1, False),
    ]  # fmt: skip
    assert measured.rows[0].name == "2 x 1 lane (sweep)"
    assert measured.verdicts[0].holds
    told = [warning.partition(":")[0] for warning in measured.warnings]
    assert told == [row.name for row in measured.rows[1:]]
    entered.clear()
    monkeypatch.setattr(bench, "default_workers", lambda: 1)
    monkeypatch.setattr(bench, "default_lanes", lambda: None)
    bench.measure(case)
    assert entered[0] == (1, 8, False)


def test_a_worker_among_several_has_its_share_of_the_cores(monkeypatch):
    seen = []

    def start(command, variables):
        seen.append(variables)
        return subprocess.Popen([sys.executable, "-c", ""])

    monkeypatch.delenv("NPROC", raising=False)
    monkeypatch.setattr(bench.line_server, "start", start)
    monkeypatch.setattr(
        bench.line_server, "ask", lambda processes, _: [{}] * len(processes)
    )
    for processes in (1, 2):
        with bench.contextlib.ExitStack() as stack:
            bench.enter(stack, "x", [], processes=processes)
    cores = machine.cores()
    shares = [variables.get("NPROC") for variables in seen]
    assert shares == [str(cores)] + [str(max(1, cores // 2))] * 2
    assert {v["JAX_ENABLE_COMPILATION_CACHE"] for v in seen} == {"false"}


def test_the_overhead_is_what_a_run_does_beside_its_dispatches(monkeypatch):
    case = bench_cases.Overhead(SMOKE, {"num_steps": 100})
    name = configs.run_id(bench_cases.resolve(case))

    def run(command, **options):
        assert command[2:4] == ["rdt_jax", "train"]
        assert "--config.num_steps=100" in command
        workdir = next(c for c in command if c.startswith("--workdir="))
        folder = bench.pathlib.Path(workdir.partition("=")[2]) / name
        folder.mkdir()
        rows = [
            {"step": 0, "time": 1000.0, "evaluate_seconds": 9.0},
            {"step": 50, "time": 1013.0, "compile_seconds": 5.0, "train_seconds": 7.0},
            {
                "step": 100,
                "time": 1021.0,
                "train_seconds": 8.0,
                "evaluate_seconds": 2.0,
            },
        ]
        (folder / "timing.jsonl").write_text(
            "".join(f"{json.dumps(r)}\n" for r in rows)
        )
        (folder / "status.json").touch()
        os.utime(folder / "status.json", (1025.0, 1025.0))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(bench.subprocess, "run", run)
    measured = bench.measure(case)
    assert measured.quantities["share of wall time"] == pytest.approx(1 - 15 / 20)
    assert measured.rows[0].updates_per_second == pytest.approx(100 / 15)
    assert measured.rows[0].facts["evaluate_seconds"] == 2


def test_a_case_that_fails_is_told_and_the_others_go_on(
    cases, tmp_path, monkeypatch, capsys
):
    def measure(case, torch_python, log):
        if case.torch_length:
            raise RuntimeError("out of luck")
        return bench.Measured([bench.Row("rdt_jax", 5.0)], {}, [], 1.0)

    monkeypatch.setattr(bench, "measure", measure)
    out = tmp_path / "out.json"
    assert cli.main(["bench", f"--cases={cases}", f"--out={out}"]) == 1
    told = capsys.readouterr()
    assert "one failed: out of luck" in told.err and "rdt_jax" in told.out
    content = files.read_json(out)
    assert content["failed"] == {"one": "out of luck"}
    assert list(content["cases"]) == ["other"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["two"], "Unknown case two; choose from one, other"),
        (["--cases={tmp}/none.py"], "No cases file"),
        (["--cases={tmp}/empty.py"], "must define CASES"),
        (["--cases={tmp}/wrong.py"], "must be a multiple of"),
        (["--out={tmp}/none/out.json"], "--out must be a file in a folder that exists"),
        (["--torch-python={tmp}/none"], "--torch-python must be a Python, got"),
        (["--torch-python={tmp}/python"], "says: no torch"),
    ],
)
def test_a_mistake_exits_2_with_one_clear_message(
    arguments, message, cases, tmp_path, capsys
):
    (tmp_path / "empty.py").touch()
    (tmp_path / "wrong.py").write_text(FILE.replace("8", "9"))
    (tmp_path / "python").write_text("#!/bin/sh\necho no torch >&2\nexit 1\n")
    (tmp_path / "python").chmod(0o755)
    arguments = [argument.format(tmp=tmp_path) for argument in arguments]
    assert cli.main(["bench", f"--cases={cases}", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


# The study.


def test_the_cases_of_the_study_have_the_sizes_that_must_be_reached(root):
    cases = bench_cases.read_cases(root / "experiments" / "throughput" / "cases.py")
    sizes = {}
    for name in ("small", "composition", "two_hops"):
        config = bench_cases.resolve(cases[name])
        vocab = len(tasks.make_table(config).vocab)
        model = config.model
        rates = (model.dropout, model.embedding_dropout)
        sizes[name] = (
            model.width, model.num_heads, model.core_blocks,
            config.recurrence.num_loops, config.batch_size, vocab, model.dtype, rates,
        )  # fmt: skip
        assert presets.problems(config) == []
    assert sizes == {
        "small": (64, 4, 1, 4, 256, 61, "float32", (0, 0)),
        "composition": (768, 12, 4, 4, 128, 2207, "float32", (0.1, 0.1)),
        "two_hops": (768, 12, 4, 4, 128, 217, "float32", (0.1, 0)),
    }
    assert cases["two_hops"].torch_length == 50
    for case in cases.values():
        assert case.bounds  # Each of a quantity that is measured:
        names = {
            bench_cases.Updates: {"ratio", "share of peak"},
            bench_cases.Seeds: {"ratio"},
            bench_cases.Loops: {"compile seconds", "growth of memory"},
            bench_cases.Overhead: {"share of wall time"},
        }
        assert {bound.quantity for bound in case.bounds} <= names[type(case)]


def test_pytorch_is_told_all_that_it_reads(root):
    source = bench.reference().read_text()
    told = bench.torch_case(
        bench_cases.resolve(bench_cases.Updates(SMOKE, {})), facts()
    )
    assert set(re.findall(r'case\["(\w+)"\]', source)) == set(told) - {"name"}
