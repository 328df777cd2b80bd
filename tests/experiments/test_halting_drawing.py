import numpy as np
import pytest

from experiments.halting import drawing as halting
from experiments.halting import study
from rdt_jax.analysis import halting as analysis
from tests import fake_depth
from tests.experiments.verdicts import texts

WORDS = {"title": "Loops: knowledge depth", "notes": ("One seed.",)}


def test_loops_stand_above_accuracy():
    found = fake_depth.stopped(
        {"kl": lambda k: 2, "kl_entropy": lambda k: k}, lambda k, r: float(r >= k)
    )
    shown = [analysis.published(found, rule) for rule in ("kl", "kl_entropy")]
    panels = [
        halting.Panel("R = 5", found, shown, learned, stage)
        for learned, stage in ((4, 5), (None, 2))
    ]
    figure = halting.by_hops(panels, **WORDS)
    loops, other, accuracy, _ = figure.axes
    assert [list(line.get_ydata())[:2] for line in loops.lines[:2]] == [[2, 2], [2, 3]]
    assert list(accuracy.lines[1].get_ydata()) == [1.0] * 8
    assert [line.get_xdata()[0] for line in loops.lines[2:]] == [4, 5]
    assert [line.get_xdata()[0] for line in accuracy.lines[2:]] == [4, 5]
    assert [line.get_xdata()[0] for line in other.lines[2:]] == [2]
    learned, trained = (line.get_linestyle() for line in loops.lines[2:])
    assert learned != trained
    labels = texts(figure.legends[0])
    assert labels == ["KL", "KL and entropy", "hops learned", "hops trained"]


def pareto(rules, accuracy, front):
    cloud = halting.Cloud(
        "R = 5",
        rule=np.array(rules),
        flops=np.array([1e6, 2e6, 3e6]),
        accuracy=np.array(accuracy),
        front=np.array(front),
    )
    return halting.pareto([cloud], **WORDS)


def test_the_front_goes_through_its_settings():
    figure = pareto(["fixed", "kl", "fixed"], [0.2, 0.9, 0.8], [0, 1])
    front, fixed, kl = figure.axes[0].lines
    assert list(front.get_ydata()) == [0.2, 0.9]
    assert list(fixed.get_ydata()) == [0.2, 0.8]
    assert list(kl.get_xdata()) == [2e6]
    assert figure.axes[0].get_xscale() == "log"


def test_accuracies_near_1_have_room_and_rules_are_explained():
    figure = pareto(["fixed", "state", "confidence"], [0.0, 0.9, 1.0], [0, 1, 2])
    figure.draw_without_rendering()
    (panel,) = figure.axes
    place = lambda value: panel.transData.transform((1e6, value))[1]
    low, high = (panel.transAxes.transform((0, at))[1] for at in (0, 1))
    assert low < place(0) < place(0.9) < place(1) < high
    assert 0.25 < (place(1) - place(0.9)) / (high - low) < 0.5
    labels = [label.get_text() for label in panel.get_yticklabels()]
    assert labels == ["0", "0.5", "0.8", "0.9", "0.95", "0.99", "1"]
    notes = " ".join(texts(figure))
    assert "by state once the state at its answers hardly moves" in notes
    assert "by confidence once one answer is probable" in notes
    assert "KL" not in notes


def test_the_study_says_what_was_trained_and_whose_run_is_drawn(keep):
    """Where a stage was passed no more hops had been trained than were learned."""
    found = fake_depth.stopped(
        {"kl": lambda k: 2, "kl_entropy": lambda k: k}, lambda k, r: float(r >= k)
    )
    members = [keep(fake_depth.run(2 + s, 5, seed=s), found) for s in range(3)]
    made = study.figures(members)
    loops = made["by_hops"].axes[0]
    assert [line.get_xdata()[0] for line in loops.lines[3:]] == [3]
    labels = texts(made["by_hops"].legends[0])
    assert labels[-1] == "hops learned"
    for figure in made.values():
        notes = " ".join(texts(figure))
        assert "the median run of 3 seeds by hops learned." in notes
    notes = " ".join(texts(study.figures(members[:2])["pareto"]))
    assert "2 seeds by hops learned, of the middle two the higher." in notes
    alone = study.figures(members[:1])["by_hops"]
    assert "One seed." in texts(alone)
    none = keep(fake_depth.make(passed={}, loops=5), found)
    loops = study.figures([none])["by_hops"].axes[0]
    assert [line.get_xdata()[0] for line in loops.lines[3:]] == [2]


@pytest.mark.parametrize("draw", [halting.by_hops, halting.pareto])
def test_nothing_to_draw_is_refused(draw):
    with pytest.raises(ValueError, match="At least one run is drawn, got none"):
        draw([], **WORDS)
