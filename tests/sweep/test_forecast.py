"""What a dry run says, against numbers worked out by hand."""

import io
import pathlib

import pytest
from rich.console import Console

from rdt_jax.figures import forecast as tables
from rdt_jax.profile import line_server
from rdt_jax.store import files
from rdt_jax.sweep import forecast, ledger, packing, spec


@pytest.fixture(scope="module")
def plan(tiny_config):
    sweep = spec.product(spec.grid("recurrence.num_loops", 1, 2), spec.seeds(3))
    return spec.Plan("toy", None, [spec.Trial.of(tiny_config, t) for t in sweep])


def test_a_forecast_adds_up_and_writes_nothing(plan, tmp_path):
    options = ledger.Options(lanes=2)
    found = forecast.forecast(tmp_path, plan, options)
    assert list(tmp_path.iterdir()) == []
    assert (found.trials, found.over) == (6, 0)
    assert found.packs == 4  # Of each signature two lanes and one.
    assert found.needs.programs == 4
    assert found.flops == sum(packing.flops([config]) for config in plan.configs)
    assert [c.recurrence.num_loops for c in found.largest] == [2, 2]
    ledger.write_plan(tmp_path, plan, options)
    assert forecast.forecast(tmp_path, plan, options) == found


def test_what_is_over_costs_nothing(plan, tmp_path):
    options = ledger.Options(lanes=1)
    ledger.write_plan(tmp_path, plan, options)
    for name in plan.run_ids[:3]:
        path = tmp_path / name / "status.json"
        files.write_json(path, files.read_json(path) | {"state": "done"})
    found = forecast.forecast(tmp_path, plan, options)
    assert (found.trials, found.over, found.packs) == (6, 3, 3)
    assert found.flops == 3 * packing.flops([plan.configs[-1]])


def test_failed_trials_cost_something_where_they_are_tried_again(plan, tmp_path):
    options = ledger.Options(lanes=1)
    ledger.write_plan(tmp_path, plan, options)
    for name, reason in zip(plan.run_ids, ["oom", "error", "nan"], strict=False):
        path = tmp_path / name / "status.json"
        failed = {"state": "failed", "reason": reason}
        files.write_json(path, files.read_json(path) | failed)
    found = forecast.forecast(tmp_path, plan, options)
    assert (found.over, found.packs) == (3, 3)
    found = forecast.forecast(tmp_path, plan, options, retry_failed=True)
    assert (found.over, found.packs) == (1, 5)  # A NaN would repeat.


def test_the_rate_is_that_of_all_workers_together(plan, monkeypatch):
    """Two processes make 7 updates of two lanes, one in 2 s and one in 4 s."""
    asked = []

    def ask(processes, question):
        asked.append(question)
        if question.startswith("pilot"):
            return [{"updates": 7}, {"updates": 9}]
        if question.startswith("dispatch"):
            return [{"seconds": 2.0}, {"seconds": 4.0}]
        return [{"needed_flops": 1000}] * 2

    monkeypatch.setattr(line_server, "ask", ask)
    monkeypatch.setattr(
        line_server, "start", lambda command, variables: open(pathlib.Path("/dev/null"))
    )
    said = []
    rate = forecast.measure(plan.configs[:2], False, num_workers=2, log=said.append)
    assert rate == 1000 * 2 * 7 / 2.0 + 1000 * 2 * 7 / 4.0
    assert asked[1:] == ["pilot 1.0", "dispatch 7"]
    assert len(said) == len(asked) and "timing 7 updates" in said[-1]


def test_the_table_says_hours_and_what_they_leave_out(plan):
    needs = packing.Needs(programs=3, memory=2 * 10**9, pins=10**6, checkpoints=10**3)
    found = forecast.Forecast(6, 1, 4, needs, 72 * 10**12, plan.configs[:1])
    console = Console(width=100, file=io.StringIO())
    console.print(tables.table(found, 2, 8 * 10**9, 10.0**10))
    console.print(tables.table(found, 2, 10**9, None))
    text = " ".join(console.file.getvalue().split())
    for part in (
        "6, 1 of them over", "4, by 2 workers", "3 programs", "72T",
        "2 GB of 8 GB", "1 MB for parameters kept, 1 KB for checkpoints",
        "2 hours on this machine, at 10G FLOP/s",
        "not measured: the largest pack may not fit", "leaves out compiling",
    ):  # fmt: skip
        assert part in text, part
