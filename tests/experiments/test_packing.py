import math

import pytest

from experiments.packing import study
from rdt_jax import config as configs
from rdt_jax.figures import study as studies
from rdt_jax.store import files
from rdt_jax.sweep import packing
from tests import fake_runs
from tests.experiments import verdicts

SEEDS = range(10)
TIMES = [60 + 10 * seed for seed in SEEDS]  # ID jumps, by seed; it completes 20 later


def run(at, seed, *, alone, **options):
    every = {"checkpoint_every_steps": 240 + 10 * seed} if alone else {}
    jumps = {"train": 20, "id": at}
    return fake_runs.make(jumps=jumps, seed=seed, **every | options)


def both(alone=TIMES, packed=TIMES, **options):
    """Returns runs alone and in packs; options are those of the last one."""
    found = [run(at, seed, alone=True) for seed, at in enumerate(alone)]
    found += [run(at, seed, alone=False) for seed, at in enumerate(packed)]
    last = len(packed) - 1
    return [*found[:-1], run(packed[-1], last, alone=False, **options)]


def judged(runs):
    (claim,) = studies.claims(study, runs)
    return claim


@pytest.mark.parametrize(("preset", "updates"), [("smoke", 300), ("cpu", 1_000)])
def test_each_seed_trains_in_one_pack_with_the_others_and_alone(root, preset, updates):
    base = configs.load(f"{root / study.CONFIG}:{preset}")
    trials = [configs.override(base, trial) for trial in study.sweep(preset)]
    packs = packing.form(trials, None, 10**12, packing.predictor())
    half = len(trials) // 2
    assert sorted(map(len, packs)) == [1] * half + [half]
    pack = max(packs, key=len)
    assert {c.seed for c in pack} == {c[0].seed for c in packs if len(c) == 1}
    assert base.num_steps == updates and base.eval_every_steps == 20
    is_alone = lambda config: config.checkpoint_every_steps > config.num_steps
    assert all(map(is_alone, (each[0] for each in packs if len(each) == 1)))
    assert not any(map(is_alone, pack))


def test_runs_are_paired_by_seed():
    runs = both()[::-1]
    found = study.sides(runs[1:])  # One is not planned in the pack.
    assert [r.config.seed for r in found[study.ALONE]] == list(range(9))
    assert [r.config.seed for r in found[study.PACKED]] == list(range(9))


def shifted(*shifts):
    return [at if at is None else at + s for at, s in zip(TIMES, shifts, strict=True)]


@pytest.mark.parametrize(
    ("packed", "holds", "said"),
    [
        (TIMES, True, "10 10 10 0 0 10 10"),
        (shifted(*8 * [0], 10, -10), True, "10 8 10 1 1"),  # Two tests of 9 in 10.
        (shifted(*7 * [0], 10, 10, -10), None, "10 7 10 2 1"),
        (shifted(*9 * [0], 10), True, "10 9 10 1 0"),
        (shifted(*10 * [10]), False, "10 0 10 10 0"),  # One evaluation later.
        (shifted(*10 * [-30]), False, "10 0 10 0 10"),
        (shifted(*5 * [0], *5 * [10]), None, "10 5 10 5 0"),
        ([*TIMES[:9], None], True, "10 9 10 1 0 9 10"),
    ],
)
def test_a_shift_below_one_evaluation_is_told_from_larger_ones(packed, holds, said):
    claim = judged(both(packed=packed))
    verdicts.check(claim, holds, said)
    assert claim.test and 0 <= claim.p_value <= 1


def test_p_values_are_those_of_the_sign_tests():
    assert judged(both()).p_value == pytest.approx(2**-10)
    late = judged(both(packed=shifted(*10 * [10])))
    assert late.p_value == pytest.approx(2 * 2**-10)


def test_two_censored_times_count_against_the_claim():
    never = [*TIMES[:8], None, None]
    runs = both(never, never)
    p = sum(math.comb(10, k) for k in (8, 9, 10)) / 2**10
    assert judged(runs).p_value == pytest.approx(p)
    verdicts.check(judged(runs), None, "10 8 10 0 0 8 8", "more runs")


def test_what_still_trains_or_trained_otherwise_is_missed(tmp_path):
    going = {"until": 90, "state": "running", "reason": None}
    verdicts.check(judged(both(**going)), None, "", "the end of 1 run")
    verdicts.check(judged([]), None, "", "the runs alone and in packs")
    runs = both()
    for lanes, missing in ((1, "--lanes of `rdt sweep`"), (10, "")):
        written = []
        for each in runs:
            alone = each.config.checkpoint_every_steps > each.config.num_steps
            folder = tmp_path / str(lanes) / each.run_id
            folder.mkdir(parents=True)
            row = {"lanes": 1 if alone else lanes}
            files.write_json(folder / "environment.json", row)
            written.append(fake_runs.dataclasses.replace(each, folder=folder))
        verdicts.check(judged(written), None if missing else True, "", missing)
    columns = verdicts.columns(study.table(written))
    assert columns["trained"] == ["alone", "in packs"]
    assert columns["lanes"] == ["1", "10"] and columns["n/N"] == ["10/10"] * 2
    assert columns["median"] == ["125", "125"]


def test_the_figure_says_what_it_shows():
    runs = both(packed=shifted(*9 * [0], 10))
    figure = study.figures(runs)["times"]
    told = "Of 10 seeds 1 generalize later in a pack than alone, 0 sooner"
    assert told in verdicts.texts(figure)
    assert study.summary(runs) == [f"{told}."]
