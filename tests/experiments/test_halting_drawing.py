import numpy as np

from experiments.halting import drawing, study
from tests import fake_depth
from tests.experiments.verdicts import texts

FOUND = fake_depth.stopped(
    {"kl": lambda k: 2, "kl_entropy": lambda k: k}, lambda k, r: float(r >= k)
)


def test_loops_stand_above_accuracy():
    runs = [fake_depth.run(4, 5), fake_depth.make(passed={}, loops=5, seed=1)]
    figure = drawing.by_hops(
        runs, [(run, hops, FOUND) for run, hops in zip(runs, (4, None), strict=True)]
    )
    loops, other, accuracy, _ = figure.axes
    drawn = [list(line.get_ydata())[:2] for line in loops.lines[:3]]
    assert drawn == [[5, 5], [2, 2], [2, 3]]
    assert list(accuracy.lines[2].get_ydata()) == [1.0] * 8
    for panel, hops in ((loops, 4), (accuracy, 4), (other, 2)):
        assert [line.get_xdata()[0] for line in panel.lines[3:]] == [hops]
    assert loops.lines[3].get_linestyle() != other.lines[3].get_linestyle()
    assert texts(figure.legends[0]) == [
        "same for all rows", "KL", "KL and entropy", "hops learned", "hops trained",
    ]  # fmt: skip


def pareto(rules, accuracy):
    """Draws settings that cost 1, 2, 3 million and answer such shares of ten rows."""
    shares = np.array(accuracy)
    found = FOUND._replace(
        rule=np.array(rules),
        hops=np.full(10, 2),
        levels=np.array([2]),
        flops=1e6 * np.arange(1, 4)[:, None],
        correct=np.arange(10) < np.round(10 * shares)[:, None],
    )
    run = fake_depth.run(2, 5)
    return drawing.pareto([run], [(run, 2, found)])


def test_the_front_goes_through_its_settings():
    figure = pareto(["fixed", "kl", "fixed"], [0.2, 0.9, 0.8])
    front, fixed, kl = figure.axes[0].lines
    assert list(front.get_ydata()) == [0.2, 0.9]
    assert list(fixed.get_ydata()) == [0.2, 0.8]
    assert list(kl.get_xdata()) == [2e6]
    assert figure.axes[0].get_xscale() == "log"


def test_accuracies_near_1_have_room_and_rules_are_explained():
    figure = pareto(["fixed", "state", "confidence"], [0.0, 0.9, 1.0])
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
    members = [keep(fake_depth.run(2 + s, 5, seed=s), FOUND) for s in range(3)]
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
    none = keep(fake_depth.make(passed={}, loops=5), FOUND)
    loops = study.figures([none])["by_hops"].axes[0]
    assert [line.get_xdata()[0] for line in loops.lines[3:]] == [2]
