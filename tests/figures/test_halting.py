import numpy as np
import pytest

from rdt_jax.analysis import halting as analysis
from rdt_jax.figures import halting
from tests import fake_depth

WORDS = {"title": "Loops: knowledge depth", "notes": ("One seed.",)}


def test_loops_stand_above_accuracy():
    found = fake_depth.stopped(
        {"kl": lambda k: 2, "kl_entropy": lambda k: k}, lambda k, r: float(r >= k)
    )
    shown = [analysis.published(found, rule) for rule in ("kl", "kl_entropy")]
    panels = [halting.Panel("R = 5", found, shown, learned) for learned in (4, None)]
    figure = halting.by_hops(panels, **WORDS)
    loops, other, accuracy, _ = figure.axes
    assert [list(line.get_ydata())[:2] for line in loops.lines[:2]] == [[2, 2], [2, 3]]
    assert list(accuracy.lines[1].get_ydata()) == [1.0] * 8
    assert loops.lines[2].get_xdata()[0] == 4
    assert len(other.lines) == 2
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["KL", "KL and entropy", "hops learned"]


def test_the_front_goes_through_its_settings():
    cloud = halting.Cloud(
        "R = 5",
        rule=np.array(["fixed", "kl", "fixed"]),
        flops=np.array([1e6, 2e6, 3e6]),
        accuracy=np.array([0.2, 0.9, 0.8]),
        front=np.array([0, 1]),
    )
    figure = halting.pareto([cloud], **WORDS)
    front, fixed, kl = figure.axes[0].lines
    assert list(front.get_ydata()) == [0.2, 0.9]
    assert list(fixed.get_ydata()) == [0.2, 0.8]
    assert list(kl.get_xdata()) == [2e6]
    assert figure.axes[0].get_xscale() == "log"


@pytest.mark.parametrize("draw", [halting.by_hops, halting.pareto])
def test_nothing_to_draw_is_refused(draw):
    with pytest.raises(ValueError, match="At least one run is drawn, got none"):
        draw([], **WORDS)
