"""The study of hops: more loops may be needed, not needed, or needed and later."""

import pytest

from experiments.three_hops import study
from rdt_jax import config as configs
from tests import fake_runs
from tests.conftest import ROOT
from tests.experiments import verdicts

BASE = configs.load(f"{ROOT}/configs/knowledge_hops.py:smoke")
TWO, FOUR, SOONER, ID_THREE, ID_TWO, SOONEST = range(6)
ask = verdicts.asked(study.claims, range(6))


def run(loops, two, three, seed=0, split="ood", **options):
    """Returns a run whose rows of two and three hops jump at these steps."""
    jumps = {"train": 20, f"{split}[hops=2]": two, f"{split}[hops=3]": three}
    return fake_runs.make(jumps=jumps, loops=loops, seed=seed, base=BASE, **options)


WAITS = {"until": 90, "state": "running", "reason": None}


def runs(loops, *three, two=60):
    return [run(loops, two, step, seed) for seed, step in enumerate(three)]


def test_two_loops_do_not_complete_three_hops():
    ask(TWO, runs(2, None, None, 60), True, "1 3")
    ask(TWO, runs(2, None, 60), False, "1 2")
    ask(TWO, runs(2, None, 60, 60), False)
    ask(TWO, [*runs(2, None), run(2, 60, None, 1, **WAITS)], None, "", "the end of")
    ask(TWO, [], None, "", "runs with R = 2")


def test_four_loops_do():
    ask(FOUR, runs(4, 60, 60, None), True, "2 3")
    ask(FOUR, runs(4, None, None, 60), False)
    ask(FOUR, [], None)


def test_four_loops_are_sooner():
    ask(SOONER, [*runs(2, None), *runs(4, 60)], True)
    ask(SOONER, [*runs(2, 60), *runs(4, 150)], False)
    ask(SOONER, [*runs(2, None), *runs(4, None)], None)


def test_four_loops_are_sooner_on_practiced_facts_at_either_number_of_hops():
    id_of = lambda loops, two, three, seed=1: run(loops, two, three, seed, split="id")
    for times, three, two in (
        ((60, 90, 90, 150), True, True),  # of R = 4, then of R = 2
        ((90, 150, 60, 90), False, False),
        ((60, 150, 150, 150), False, True),
    ):
        made = [id_of(4, times[0], times[1]), id_of(2, times[2], times[3])]
        ask(ID_THREE, made, three)
        ask(ID_TWO, made, two)
    ask(ID_TWO, [id_of(4, 60, 90, 0), id_of(2, 90, 150, 0)], None, "0")


@pytest.mark.parametrize(
    ("two", "four", "holds"),
    [
        ((60, None), (90, 90), True),
        ((60, 90), (90, 150), False),
        ((60, None), (90, None), None),
        ((60, None), (60, 90), None),  # Two hops: both at once.
    ],
)
def test_the_soonest_loop_count_grows(two, four, holds):
    ask(SOONEST, [run(2, *two), run(4, *four)], holds)
    waits = run(4, *four, 1, **WAITS)
    ask(SOONEST, [run(2, *two), run(4, *four), waits], None, "", "the end of 1 run")
