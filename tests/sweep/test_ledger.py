import dataclasses
import json
import pathlib

import pytest

from rdt_jax import config as configs
from rdt_jax.store import files, lease_files, leases, packs, records, run_folder
from rdt_jax.store.lease_files import Disk
from rdt_jax.store.leases import Leases, Observer
from rdt_jax.sweep import ledger, packing, spec, worker
from rdt_jax.sweep import plan as plans
from rdt_jax.training import run
from rdt_jax.training.pack import build as build_pack

ROOT = pathlib.Path(__file__).parents[2]


def _plan(seeds, loops=(1, 2), **toy):
    base = configs.load(f"{ROOT / 'configs/knowledge_composition.py'}:smoke")
    base = configs.override(base, toy)
    sweep = spec.product(
        spec.grid("recurrence.num_loops", *loops), spec.grid("seed", *seeds)
    )
    return spec.Plan("smoke", None, [spec.Trial.of(base, trial) for trial in sweep])


def _packs(folder):
    return [
        [configs.run_id(config) for config in pack.configs]
        for pack in ledger.open_packs(folder)
    ]


def _set_status(workdir, run_id, **fields):
    path = workdir / run_id / "status.json"
    files.write_json(path, files.read_json(path) | fields)


def test_an_edited_plan_is_refused_by_the_name_of_its_file_once(tmp_path):
    folder = ledger.write_plan(tmp_path, _plan((0,), loops=(1,)), ledger.Options())
    content = files.read_json(folder / "plan.json")
    content["runs"][0]["config"]["batch_size"] += 1
    files.write_json(folder / "plan.json", content)
    with pytest.raises(ValueError, match="hashes to") as refused:
        plans.read(folder).configs()
    assert str(refused.value).startswith(str(folder / "plan.json"))
    assert str(refused.value).count("plan.json") == 1


def test_extending_keeps_packs_and_adds_only_what_is_new(tmp_path):
    first, longer = _plan((0, 1)), _plan((9, 0, 1))
    folder = ledger.write_plan(tmp_path, first, ledger.Options(lanes=2))
    before = _packs(folder)
    ledger.write_plan(tmp_path, longer, ledger.Options(lanes=2))
    after = _packs(folder)
    assert [p for p in after if p in before] == before
    added = {name for pack in after for name in pack} - set(first.run_ids)
    assert added == set(longer.run_ids) - set(first.run_ids)


def test_a_run_that_is_over_joins_no_pack(tmp_path):
    plan = _plan((0, 1, 2), loops=(1,))
    first, *others = plan.run_ids
    run_folder.create(tmp_path / first, plan.configs[0])
    done = {"state": "done", "reason": "budget", "step": plan.configs[0].num_steps}
    _set_status(tmp_path, first, **done, pack="a" * 12)
    folder = ledger.write_plan(tmp_path, plan, ledger.Options(lanes=3))
    assert _packs(folder) == [others]
    with pytest.raises(
        ValueError, match=f"Run {first} is done; a pack with other runs"
    ):
        run.train(plan.configs, tmp_path)


def test_open_packs_are_the_unfinished_ones_dearest_first(tmp_path):
    plan = _plan((0,), loops=(1, 4, 2))
    folder = ledger.write_plan(tmp_path, plan, ledger.Options(lanes=1))
    cheap, dear, middle = plan.run_ids
    assert _packs(folder) == [[dear], [middle], [cheap]]
    _set_status(tmp_path, dear, state="done", reason="phases_passed")
    _set_status(tmp_path, middle, state="failed", reason="nan")
    assert _packs(folder) == [[cheap]]


def _open_packs(*kinds):
    """Packs of (FLOPs, program), named by their place."""
    return [
        ledger.SweepPack(pathlib.Path(), [str(place)], {}, False, 0, flops, program)
        for place, (flops, program) in enumerate(kinds)
    ]


@pytest.mark.parametrize(
    ("latest", "others", "place"),
    [
        (None, (), 0),
        (None, ("a",), 1),  # Nobody works on b.
        ("b", (), 1),
        ("b", ("b",), 1),  # This worker has it all the same.
        ("c", ("a", "b"), 0),  # c is cheaper: its turn comes later.
    ],
)
def test_among_packs_as_dear_one_of_a_program_that_need_not_be_made_is_next(
    latest, others, place
):
    free = _open_packs((2, "a"), (2, "b"), (2, "a"), (1, "c"))
    assert worker.choose(free, latest, others) == free[place]


def test_packs_of_one_signature_and_size_share_a_program(tmp_path):
    plan = _plan((0, 1, 2), loops=(1, 2))
    folder = ledger.write_plan(tmp_path, plan, ledger.Options(lanes=2))
    programs = {
        tuple(pack.configs[0].recurrence.num_loops for _ in pack.runs): pack.program
        for pack in ledger.open_packs(folder)
    }
    assert sorted(programs) == [(1,), (1, 1), (2,), (2, 2)]
    assert len(set(programs.values())) == 4
    folder = ledger.write_plan(tmp_path / "single", plan, ledger.Options(lanes=1))
    assert len({pack.program for pack in ledger.open_packs(folder)}) == 2


def _attempts(workdir, run_ids, *ended, step=-1, unfinished=None):
    """Writes attempts at the pack of these runs; one that ended None was lost."""
    pack = packs.pack_of(run_ids)
    state = workdir / "state"
    state.mkdir(exist_ok=True)
    begin = len(leases.history(workdir, pack)) + 1
    for number, outcome in enumerate(ended, start=begin):
        claim = {"machine": lease_files.machine(), "step": step, "runs": run_ids}
        files.write_json(state / f"{pack}.{number}.json", claim)
        if outcome is not None:
            end = {"outcome": outcome, "message": f"{outcome} {number}"}
            end["unfinished"] = run_ids if unfinished is None else unfinished
            files.write_json(state / f"{pack}.{number}.end.json", end)


@pytest.mark.parametrize(
    ("outcome", "tries"), [("error", 2), ("oom", 1), (None, 4), ("stopped", None)]
)
def test_each_class_of_failure_has_its_retries(tmp_path, outcome, tries):
    plan = _plan((0,), loops=(1,))
    folder = ledger.write_plan(tmp_path, plan, ledger.Options(lanes=1))
    (name,) = plan.run_ids
    for number in range(1, 1 + (tries or 6)):
        assert _packs(folder) == [[name]]
        _attempts(tmp_path, [name], outcome)
        _set_status(tmp_path, name, state="running")
        failed = ledger.settle(folder, Observer())
        assert failed == ([name] if number == tries else [])
        state = "failed" if number == tries else "preempted"
        assert run_folder.read_status(tmp_path / name)["state"] == state
    if tries is None:
        return
    assert _packs(folder) == []
    ((failed, status),) = ledger.failures(tmp_path, plan.trials)
    reason = outcome or "preempted"
    assert (failed.run_id, status["reason"]) == (name, reason)
    expected = f"{reason} {tries}" if outcome else "4 attempts in a row were lost"
    assert expected in status["message"]
    ledger.write_plan(tmp_path, plan, ledger.Options(lanes=1))
    assert _packs(folder) == [], "starting again is no new try"
    ledger.write_plan(tmp_path, plan, ledger.Options(lanes=1), retry_failed=True)
    assert _packs(folder) == [[name]]
    assert ledger.failures(tmp_path, plan.trials) == []
    _attempts(tmp_path, [name], outcome)  # The retries are whole again.
    ledger.settle(folder, Observer())
    assert _packs(folder) == ([[name]] if tries > 1 else [])


@pytest.mark.parametrize("outcomes", [(None, None), ("error",), (None, "error")])
def test_attempts_that_got_on_do_not_count(tmp_path, outcomes):
    plan = _plan((0,), loops=(1,))
    folder = ledger.write_plan(tmp_path, plan, ledger.Options(lanes=1))
    for newest in range(0, 1000, 100):
        _attempts(tmp_path, plan.run_ids, *outcomes, step=newest)
        assert ledger.settle(folder, Observer()) == []


def test_a_nan_is_not_tried_again(tmp_path):
    plan = _plan((0, 1), loops=(1,))
    folder = ledger.write_plan(tmp_path, plan, ledger.Options(lanes=1))
    nan, killed = plan.run_ids
    _set_status(tmp_path, nan, state="failed", reason="nan")
    _set_status(tmp_path, killed, state="running", pack="b" * 12)
    ledger.write_plan(tmp_path, plan, ledger.Options(lanes=1), retry_failed=True)
    assert _packs(folder) == [[killed]]
    assert run_folder.read_status(tmp_path / killed)["state"] == "preempted"


def test_a_pack_that_needs_too_much_memory_is_halved_until_it_fits(tmp_path):
    plan = _plan(range(5), loops=(1,))
    folder = ledger.write_plan(tmp_path, plan, ledger.Options(lanes=5))
    ((*whole,),) = _packs(folder)
    *left, over = whole  # One lane had ended before memory ran out.
    _set_status(tmp_path, over, state="failed", reason="nan")
    _attempts(tmp_path, whole, "oom", unfinished=left)
    assert _packs(folder) == [left[:2], left[2:]]
    for name in left:
        _set_status(tmp_path, name, state="failed", reason="oom")
    assert ledger.settle(folder, Observer()) == []
    states = {run_folder.read_status(tmp_path / n)["state"] for n in left}
    assert states == {"preempted"}
    _attempts(tmp_path, left[2:], "oom")
    assert _packs(folder) == [left[:2], left[2:3], left[3:]]
    _attempts(tmp_path, left[2:3], "oom")
    assert ledger.settle(folder, Observer()) == left[2:3]
    assert _packs(folder) == [left[:2], left[3:]]
    before = ledger.read_packs(folder)
    ledger.write_plan(tmp_path, plan, ledger.Options(lanes=5))
    assert ledger.read_packs(folder) == before


def test_a_run_that_is_being_trained_stays_running(tmp_path):
    plan = _plan((0, 1), loops=(1,))
    folder = ledger.write_plan(tmp_path, plan, ledger.Options(lanes=1))
    held, dead = plan.run_ids
    for name in (held, dead):
        _set_status(tmp_path, name, state="running")
    with Leases(Disk(tmp_path)).acquire(packs.pack_of([held]), [held]):
        ledger.settle(folder, Observer())
    states = [run_folder.read_status(tmp_path / n)["state"] for n in plan.run_ids]
    assert states == ["running", "preempted"]


def test_a_plan_that_is_being_trained_is_extended_and_never_replaced(tmp_path):
    write = lambda plan: ledger.write_plan(tmp_path, plan, ledger.Options())
    plan, other = _plan((0, 1), loops=(1,)), _plan((1, 2), loops=(1,))
    longer = _plan((0, 1, 2), loops=(1,))
    folder = write(plan)
    assert plans.dropped(folder, other) == plan.run_ids[:1]
    held = plan.run_ids[1]  # The trial that would be lost is pending.
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    with Leases(Disk(tmp_path)).acquire(packs.pack_of([held]), [held]):
        with pytest.raises(ValueError, match="is being trained, and 1 of its unfinish"):
            write(other)
        assert before.items() <= {p: p.read_bytes() for p in before}.items()
        assert not (tmp_path / other.run_ids[1]).exists()
        write(longer)
        assert plans.read_run_ids(folder) == longer.run_ids
        for name in longer.run_ids:
            _set_status(tmp_path, name, state="done", reason="budget")
        write(plan)  # Nothing is lost.
    _set_status(tmp_path, plan.run_ids[0], state="pending", reason=None)
    write(other)
    assert plans.read_run_ids(folder) == other.run_ids


def test_work_goes_on_after_a_failure_and_skips_what_is_held(tmp_path, monkeypatch):
    plan = _plan((0, 1, 2), loops=(1,))
    folder = ledger.write_plan(tmp_path, plan, ledger.Options(lanes=1))
    bad, held, good = plan.run_ids
    trained, said = [], []

    def train(pack, workdir, **_):
        name = configs.run_id(pack[0])
        assert name != held
        if name == bad:  # With the disk full not even a claim can be written.
            raise RuntimeError("planted")
        trained.append(name)
        _set_status(workdir, name, state="done", reason="budget")

    monkeypatch.setattr(run, "train", train)
    monkeypatch.setattr(ledger, "WAIT_SECONDS", 0)
    stop = iter([False, False, False, True])  # The held pack would be waited for.
    with Leases(Disk(tmp_path)).acquire(packs.pack_of([held]), [held]):
        worker.work(folder, stop_requested=lambda: next(stop), log=said.append)
    assert trained == [good]
    assert len(said) == 1 and "planted" in said[0]


def test_a_stop_is_asked_of_every_worker_and_lasts_until_the_next_start(tmp_path):
    plan = _plan((0,), loops=(1,))
    folder = ledger.write_plan(tmp_path, plan, ledger.Options())
    ledger.request_stop(folder)
    worker.work(folder, stop_requested=lambda: False, log=pytest.fail)
    assert _packs(folder) == [plan.run_ids]
    assert not list((tmp_path / "state").glob("*.json"))
    ledger.write_plan(tmp_path, plan, ledger.Options())
    assert not ledger.is_stopped(folder)


def test_reading_a_missing_plan_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="no plan.json; start it with `rdt sweep`"):
        plans.read(tmp_path)


def test_a_run_goes_on_in_the_pack_that_it_began_in(tmp_path):
    plan = _plan((0, 1, 2), loops=(1,))
    other = plan._replace(name="other-smoke")
    folder = ledger.write_plan(tmp_path, other, ledger.Options(lanes=2))
    began = max(_packs(folder), key=len)
    pack = packs.pack_of(began)
    files.write_json(_made(tmp_path / "packs" / pack) / "runs.json", began)
    _made(tmp_path / "packs" / pack / "checkpoints" / "100")
    for name in began:
        _set_status(tmp_path, name, state="preempted", pack=pack)
    folder = ledger.write_plan(tmp_path, plan, ledger.Options(lanes=3))
    (alone,) = set(plan.run_ids) - set(began)
    assert sorted(map(len, _packs(folder))) == [1, 2]
    assert sorted(_packs(folder), key=len) == [[alone], began]


def _made(folder):
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_options_stay_with_the_packs_that_they_formed(tmp_path):
    first, longer = _plan((0,), loops=(1,)), _plan((0, 1), loops=(1,))
    params = packing.predictor()(first.configs[0]).params
    exact = ledger.Options(exact=True, pin_bytes=2 * params)
    ledger.write_plan(tmp_path, first, exact)
    folder = ledger.write_plan(tmp_path, longer, ledger.Options())
    found = {
        configs.run_id(pack.configs[0]): (pack.exact, pack.max_pins)
        for pack in ledger.open_packs(folder)
    }
    old, new = longer.run_ids
    assert found == {old: (True, 2), new: (False, 6)}


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("metrics.jsonl", '{"step": 0}\n{"step": 50}\n{"step": 50}\n', " line 3 "),
        ("status.json", '{"state": "pend', " "),
        ("config.json", "[" * 10_000, " "),
        ("environment.json", "", " "),
    ],
)
def test_a_pack_with_an_unreadable_run_is_left_and_the_others_go_on(
    tmp_path, name, content, where
):
    plan = _plan((0, 1), loops=(1,))
    damaged, whole = plan.run_ids
    for options in (ledger.Options(), ledger.Options(lanes=2)):
        folder = ledger.write_plan(tmp_path, plan, options)
        assert {p.runs[0] for p in ledger.trainable_packs(folder)} == {damaged, whole}
        path = tmp_path / damaged / name
        before = path.read_text()
        path.write_text(content)
        ledger.write_plan(tmp_path, plan, options)
        assert [p.runs for p in ledger.trainable_packs(folder)] == [[whole]]
        status = records.planned_status(tmp_path / damaged, in_full=True)
        assert status["state"] == "unreadable"
        assert f"{path}{where}is damaged" in status["message"]
        assert path.read_text() == content
        path.write_text(before)


@pytest.mark.parametrize(
    "content",
    ['{"runs": [', "[]", "{}", '{"runs": {}}', '{"runs": []}', '{"runs": [3]}']
    + ['{"runs": [{"run_id": "../victim", "overrides": {}}]}']
    + ['{"runs": [{"run_id": "0123456789ab"}]}'],
)
def test_a_damaged_plan_is_named(tmp_path, content):
    folder = ledger.write_plan(tmp_path, _plan((0,), loops=(1,)), ledger.Options())
    (folder / "plan.json").write_text(content)
    with pytest.raises(ValueError, match=rf"^{folder}/plan\.json is damaged: "):
        ledger.open_packs(folder)


@pytest.mark.parametrize(
    "change",
    [{"runs": 3}, {"runs": []}, {"runs": [3]}, {"runs": ["../victim"]}]
    + [{"flops": None}, {"exact": 1}, {"retry_from": []}],
)
def test_damaged_packs_are_named_and_nothing_is_written_elsewhere(tmp_path, change):
    workdir = tmp_path / "runs"
    folder = ledger.write_plan(workdir, _plan((0,), loops=(1,)), ledger.Options())
    path = folder / "state" / "packs.json"
    whole = ledger.read_packs(folder)
    for content in (
        '[{"runs',
        "{}",
        "[3]",
        json.dumps([dataclasses.asdict(whole[0]) | change]),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=rf"^{path} is damaged: "):
            ledger.settle(folder, Observer())
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


@pytest.mark.exhaustive
def test_one_compilation_for_each_signature(tmp_path):
    """Six trials of two signatures in packs of one, and again in packs of three."""
    for lanes, workdir in ((1, tmp_path / "solo"), (3, tmp_path / "packs")):
        toy = {
            "num_steps": 4, "eval_every_steps": 2, "checkpoint_every_steps": 4,
            "model.width": 8, "model.num_heads": 2, "model.remat": "none",
            "optimizer.warmup_steps": 1,
        }  # fmt: skip
        plan = _plan((0, 1, 2), **toy)
        folder = ledger.write_plan(workdir, plan, ledger.Options(lanes=lanes))
        programs = []

        def build(pack, table, exact=False, programs=programs):
            programs.append(build_pack(pack, table, exact))
            return programs[-1]

        stop = lambda: False
        worker.work(folder, stop_requested=stop, log=pytest.fail, build=build)
        states = [run_folder.read_status(workdir / n)["state"] for n in plan.run_ids]
        assert states == ["done"] * 6
        assert [program.compilations() for program in programs] == [1, 1]


def test_a_worker_keeps_only_the_newest_programs():
    built = []
    make = lambda pack, table, exact: built.append(len(pack)) or 1
    build = worker.ProgramCache(make, num_programs=2).build
    base = _plan((0,), loops=(1,)).configs
    for size in (1, 2, 1, 3, 1, 2):
        build(base * size, None, False)
    assert built == [1, 2, 3, 2]
    build(base, None, True)
    assert built == [1, 2, 3, 2, 1], "exact lanes are another program"
