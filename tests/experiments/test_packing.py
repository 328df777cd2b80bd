import shutil

import numpy as np
import pytest

from experiments.packing import compare, study
from rdt_jax import config as configs
from rdt_jax.figures import study as studies
from rdt_jax.store import files
from rdt_jax.sweep import packing
from tests import fake_runs
from tests.experiments import verdicts

# Steps at which ID jumps, by seed; it completes 20 updates later. None: never.
SOLO = (60, 90, 100, 130, 150, 160)
PACKED = (70, 110, 130, 130, 190, None)


def run(id, seed=0, train=20, **options):
    return fake_runs.make(jumps={"train": train, "id": id}, seed=seed, **options)


def write(workdir, members, lanes):
    """Writes runs as trained in packs of some number of lanes; returns the workdir."""
    for member in members:
        folder = fake_runs.write(member, workdir)
        files.write_json(folder / "environment.json", {"lanes": lanes})
    return workdir


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with two workdirs of the same six runs, not to be changed."""
    folder = tmp_path_factory.mktemp("written")
    for name, steps, lanes in (("solo", SOLO, 1), ("packed", PACKED, 6)):
        members = [run(step, seed) for seed, step in enumerate(steps)]
        write(folder / name, members, lanes)
    return folder


@pytest.fixture
def workdirs(written, tmp_path, monkeypatch):
    """Two workdirs of the same six runs; simulations are few."""
    monkeypatch.setattr(compare.statistics, "SIMULATIONS", 40)
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    return [tmp_path / "solo", tmp_path / "packed"]


def compared(workdirs, **options):
    return compare.compare(
        *workdirs, **({"event": "id_generalized", "seed": 0} | options)
    )


# The study.


@pytest.mark.parametrize(("preset", "updates"), [("smoke", None), ("cpu", 1_000)])
def test_the_sweep_is_one_pack_with_the_budget_of_the_question(root, preset, updates):
    base = configs.load(f"{root / study.CONFIG}:{preset}")
    trials = [configs.override(base, trial) for trial in study.sweep(preset)]
    assert len({packing.signature(trial) for trial in trials}) == 1
    assert updates in (None, base.num_steps) and base.eval_every_steps <= 20


def test_figure_and_table_of_one_workdir():
    members = [run(60), run(90, seed=1)]
    assert list(study.figures(members)) == ["accuracy"]
    assert studies.table(study, members).row_count == 1


@pytest.mark.parametrize(
    ("members", "late", "all_arrive"),
    [
        ([], None, None),
        ([run(60), run(90, 1)], True, True),
        ([run(60), run(20, 1)], False, True),  # At one evaluation.
        ([run(60, train=None)], False, True),
        ([run(60), run(None, 1)], True, False),
        ([run(None)], None, False),
        ([run(60), run(None, 1, state="running")], None, None),
        ([run(60), run(20, 1), run(None, 2, state="running")], False, None),
        ([run(60), run(None, 1, state="failed", reason="nan")], True, False),
    ],
)
def test_claims(members, late, all_arrive):
    found = study.claims(members)
    assert [claim.holds for claim in found] == [late, all_arrive]


def test_claims_give_numbers():
    late, arrive = study.claims([run(60), run(90, 1), run(None, 2), run(20, 3)])
    verdicts.check(late, False, "2 3 40")
    verdicts.check(arrive, False, "3 4")


# The comparison.


def test_times_are_paired_by_seed(workdirs):
    found = compared(workdirs)
    np.testing.assert_array_equal(found.times["solo"], [80, 110, 120, 150, 170, 180])
    np.testing.assert_array_equal(
        found.times["packed"], [90, 130, 150, 150, 210, np.inf]
    )
    for solo, packed in zip(*found.runs.values(), strict=True):
        assert solo.run_id == packed.run_id
        assert solo.folder.parent.name == "solo"
        assert packed.folder.parent.name == "packed"
    # Five later, one tie: the signs of the five agree in 2 of 32 cases.
    assert found.tests["paired"].p_value == pytest.approx(2 / 32)
    assert found.tests["unpaired"].later == pytest.approx(23 / 36)
    assert found.left_out == 0


def test_lines_say_what_was_found(workdirs):
    first, solo, packed, pairs, paired, unpaired = map(
        verdicts.numbers_of, compare.lines(compared(workdirs))
    )
    assert first == ["6", "230", "10"]  # pairs, the budget, and between evaluations
    assert solo == ["6", "6", "135", "95", "80", "180", "1"]
    assert packed == ["5", "6", "150", "95", "90", "230", "6"]
    assert pairs[:2] == ["1", "5"] and pairs[2].startswith("0.9")
    assert paired[:2] == ["0.0625", "1.00"] and paired[-2:] == ["0.8", "0.05"]
    assert float(unpaired[0]) < 1


def test_the_smallest_shift_is_in_evaluations_up_to_the_budget(workdirs, monkeypatch):
    asked = []

    def record(first, second, **options):
        asked.append(options)
        return compare.statistics.VisibleShift(30.0, 0.83)

    monkeypatch.setattr(compare.statistics, "smallest_visible_shift", record)
    report = compared(workdirs, seed=4)
    assert [options["paired"] for options in asked] == [True, False]
    for options in asked:
        assert (options["resolution"], options["budget"]) == (10, 230)
        assert (options["power"], options["level"], options["seed"]) == (0.8, 0.05, 4)
    assert "would have seen a shift of 30 updates with" in compare.lines(report)[4]


def test_another_event(workdirs):
    found = compared(workdirs, event="memorized")
    assert set(found.times["solo"]) == {40}
    assert found.tests["paired"] == (0.5, 1.0)
    assert "Updates to memorized" in compare.lines(found)[0]


def test_runs_without_a_partner_are_counted(workdirs):
    write(workdirs[0], [run(60, seed=11), run(70, seed=12)], lanes=1)
    write(workdirs[1], [run(60, seed=13)], lanes=2)
    found = compared(workdirs)
    assert found.left_out == 3 and found.times["solo"].size == 6
    assert "left out: 3 runs" in compare.lines(found)[-1]
    for workdir in workdirs:  # Gone from both: the plan alone knows of it.
        plan = {"runs": [{"run_id": "0123456789ab", "overrides": {}}]}
        (workdir / "sweeps" / "packing-cpu").mkdir(parents=True)
        files.write_json(workdir / "sweeps" / "packing-cpu" / "plan.json", plan)
    found = compared(workdirs)
    assert found.left_out == 4
    assert "left out: 4 runs" in compare.draw(found).texts[-1].get_text()


def test_a_failed_run_is_censored(workdirs):
    broken = run(None, seed=0, until=40, state="failed", reason="nan")
    for name in ("metrics", "events"):
        (workdirs[0] / broken.run_id / f"{name}.jsonl").unlink()
    write(workdirs[0], [broken], lanes=1)
    assert compared(workdirs).times["solo"][0] == np.inf


# Mistakes.


def fails(workdirs, message, **options):
    with pytest.raises(ValueError, match=message):
        compared(workdirs, **options)


def test_an_event_without_a_split(workdirs):
    message = r"Run \w{12} has no split for ood_generalized; choose from memorized, id_"
    fails(workdirs, message, event="ood_generalized")


def test_workdirs_with_no_run_in_common(workdirs, tmp_path):
    other = write(tmp_path / "other", [run(60, seed=21)], lanes=3)
    message = r"solo and .*other must hold the same runs, .* \(they hold 6 and 1\)"
    fails([workdirs[0], other], message)


def test_runs_that_differ_in_more_than_the_seed(workdirs):
    for workdir, lanes in zip(workdirs, (1, 6), strict=True):
        write(workdir, [run(60, seed=8, decay=0.7)], lanes)
    fails(workdirs, r"differ in their seed only, but .* differ in optimizer\.weight_d")


def test_an_unfinished_run(workdirs):
    late = run(None, seed=5)
    status = {**late.status, "state": "running", "reason": None, "step": 40}
    files.write_json(workdirs[1] / late.run_id / "status.json", status)
    message = rf"Run {late.run_id} in .*packed is running and may still arrive; finish"
    fails(workdirs, message)


def test_workdirs_in_the_wrong_order(workdirs):
    solo, packed = workdirs
    message = r"packed must have trained alone, but their packs have 6 lanes; --lanes"
    fails([packed, solo], message)
    fails([solo, solo], r"solo must have trained in packs, but their packs have 1 lan")


# The command.


def test_the_command_prints_and_draws(workdirs, tmp_path, capsys):
    target = tmp_path / "figures" / "packing.png"
    assert compare.main([*map(str, workdirs), f"--figure={target}"]) == compare.WELL
    printed = capsys.readouterr().out.splitlines()
    assert printed[:6] == compare.lines(compared(workdirs))
    suffixes = (".png", ".pdf", ".json")
    assert printed[6:] == [str(target.with_suffix(suffix)) for suffix in suffixes]
    names = sorted(path.parent.name for path in workdirs[0].glob("*/config.json"))
    provenance = files.read_json(target.with_suffix(".json"))["provenance"]
    assert sorted(set(provenance["runs"])) == names


def test_the_figure_carries_the_tests(workdirs):
    found = compared(workdirs)
    title, line, paired, unpaired, *_ = verdicts.texts(compare.draw(found))
    assert "knowledge composition" in line
    assert title.startswith("No difference is seen between runs in packs and runs")
    assert "(p = 0.062, " in title
    assert paired.startswith("Paired test") and "0.062" in paired
    assert unpaired.startswith("Unpaired test")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "either"], "compare: No workdir 'nowhere'; `rdt sweep` makes it."),
        (["a", "b", "--event=x"], "compare: Unknown event 'x'; choose from depth_g"),
        (["a", "b", "--figure=x.pdf"], "compare: --figure must end in .png, got x.pdf"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(arguments, message, capsys):
    assert compare.main(arguments) == compare.MISTAKE
    said = capsys.readouterr().err
    assert said.startswith(message)
    assert said.count("\n") == 1
