"""The study of protocols: its arms are told apart, and every prediction can fail."""

import numpy as np
import pytest

from experiments.two_hops import study
from rdt_jax import config as configs
from tests import fake_runs
from tests.conftest import ROOT
from tests.experiments import verdicts

(PRESET, PAPER, SCALED, DEEP, DRAWN, INJECTION, CLOSER_SCALED, CLOSER_PAD, CLOSER_BLOCK,
 CLOSER_SIZE) = range(10)  # fmt: skip
ask = verdicts.asked(study.claims, range(10))


def run(arm, loops, ood, pair=(0, 0), **options):
    """Returns a run of an arm on a graph and with a seed; waits for what is `until`."""
    changes = study.trial_of(loops, 5e-3, 0.1, arm)
    keys = {k.replace(".", "__"): v for k, v in changes.items()}
    del keys["recurrence__num_loops"], keys["optimizer__weight_decay"]
    make = fake_runs.waiting if options.pop("waits", False) else fake_runs.staged
    return make(loops, ood, seed=pair[1], task__seed=pair[0], **keys, **options)


PAIRS = [(0, 0), (0, 1), (1, 0), (1, 1)]


def cell(arm, loops, times):
    return [run(arm, loops, t, pair) for t, pair in zip(times, PAIRS, strict=False)]


COMPARED = {
    PRESET: (("preset", 4), ("preset", 2)),
    PAPER: (("all three", 4), ("all three", 2)),
    SCALED: (("preset", 4), ("not scaled", 4)),
    DEEP: (("deep supervision", 4), ("preset", 4)),
    DRAWN: (("drawn loops", 4), ("preset", 4)),
    INJECTION: (("injection", 4), ("preset", 4)),
}


@pytest.mark.parametrize(("claim", "cells"), COMPARED.items())
def test_a_cell_is_sooner_in_most_replicates(claim, cells):
    first, second = cells
    four = lambda a, b: cell(*first, a) + cell(*second, b)
    soon, late = 4 * [60], 4 * [150]
    ask(claim, four(soon, late), True, "4 0 0 4")
    ask(claim, four(late, soon), False, "0 4 0 4")
    ask(claim, four([*soon[:2], *late[:2]], [*late[:2], *soon[:2]]), False)
    ask(claim, [], None, "0 0 0", "replicates")


def test_less_than_two_evaluations_is_no_difference():
    both = lambda a, b: cell("preset", 4, [a]) + cell("preset", 2, [b])
    ask(PRESET, both(60, 80), True)
    ask(PRESET, both(70, 80), False)
    ask(PRESET, both(80, 80), False)


def test_a_censored_run_is_behind_what_is_known_and_never_behind_another():
    both = lambda a, b: cell("preset", 4, [a]) + cell("preset", 2, [b])
    ask(PRESET, both(60, None), True, "1 0 0 1")
    ask(PRESET, both(None, 60), False, "0 1 0 1")
    ask(PRESET, both(None, None), None, "0 0 1 1", "replicates that agree")


def test_a_run_that_still_trains_is_waited_for():
    waits = run("preset", 4, None, waits=True)
    ask(PRESET, [waits, run("preset", 2, None)], None, "", "the end of 1 run")
    ask(PRESET, [waits, run("preset", 2, 20)], False)


@pytest.mark.parametrize(
    ("claim", "arm", "than"),
    [
        (CLOSER_SCALED, "preset", "not scaled"),
        (CLOSER_PAD, "pad", "preset"),
        (CLOSER_BLOCK, "one block", "preset"),
        (CLOSER_SIZE, "100 entities", "preset"),
    ],
)
def test_four_loops_are_closer_to_two_in_one_arm(claim, arm, than):
    def arms(of_arm, of_than):
        return [
            made
            for name, (two, four) in ((arm, of_arm), (than, of_than))
            for made in cell(name, 2, 4 * [two]) + cell(name, 4, 4 * [four])
        ]

    ask(claim, arms((60, 80), (60, 150)), True, "4 0 0 4")
    ask(claim, arms((60, 150), (60, 80)), False, "0 4 0 4")
    ask(claim, arms((60, None), (60, 80)), None, "0 0 4 4", "replicates")
    assert "not known" in study.ratio_text(study.cells(arms((60, None), (60, 80))), arm)


def test_every_trial_names_its_arm_and_no_searched_graph_is_compared():
    for preset in ("cpu", "cpu_long"):
        base = configs.load(f"{ROOT}/{study.CONFIG}:{preset}")
        runs = [
            fake_runs.of(configs.override(base, trial), [], [], state="pending")
            for trial in study.sweep(preset)
        ]
        arms = study.by_arm(runs)
        assert sum(map(len, arms.values())) == len(runs)
        graphs = {run.config.task.seed for run in runs}
        assert (graphs == set(study.SEARCHED_ON)) == (preset == "cpu")
        assert bool(study.cells(runs)) == (preset == "cpu_long")
    assert list(arms) == list(study.ARMS)


def test_the_table_and_the_figure_have_every_arm():
    runs = cell("preset", 2, [60, 80]) + cell("preset", 4, [150, None])
    runs += cell("pad", 4, [None])
    runs.append(run("phi 7.2", 4, None, until=-1))  # was never evaluated
    shown = verdicts.columns(study.table(runs))
    assert shown["arm"] == ["preset", "preset", "pad"]
    assert shown["n/N"] == ["2/2", "1/2", "0/1"]
    assert shown["R"] == ["2", "4", "4"]
    printed = verdicts.printed(study.table(runs))
    assert "preset 2.12" in printed  # (150 + 20) / (60 + 20)
    drawn = study.figures(runs)["times"]
    assert drawn.axes
    with pytest.raises(ValueError, match="No run yet"):
        study.figures([])
    np.testing.assert_allclose(
        study.log_ratios(study.cells(runs), "preset")[0, 0], np.log(170 / 80)
    )
