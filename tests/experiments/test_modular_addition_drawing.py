"""What is drawn is what was given: every run, the law, the snapshots."""

import numpy as np
import pytest

from experiments.modular_addition import drawing as modular
from experiments.modular_addition.cells import Inside
from rdt_jax import config as configs
from rdt_jax.analysis import fourier, laws
from tests import fake_runs
from tests.experiments.verdicts import texts

BASE = configs.load(f"{fake_runs.ROOT}/configs/modular.py:smoke")
# Weight decay -> updates at which train and id accuracy jump.
JUMPS = {0.5: ((20, 180), (30, None), (20, None)), 1.0: ((20, 60), (40, 130))}
LAW = laws.PowerLaw(1.0, 0.8, 1.2, 100.0, 5, 2)
NOTE = "The power law is drawn up to the budget."


def made(loops=1, decay=1.0, seed=0, train=20, id=60):
    return fake_runs.make(
        jumps={"train": train, "id": id}, loops=loops, decay=decay, seed=seed, base=BASE
    )


def draw(is_log=True):
    runs = {
        decay: [
            made(decay=decay, seed=seed, train=train, id=id)
            for seed, (train, id) in enumerate(jumps)
        ]
        for decay, jumps in JUMPS.items()
    }
    return modular.times_by_value(runs, "weight decay", is_log=is_log)


def dots(figure, marker):
    return sorted(
        float(y)
        for line in figure.axes[0].lines
        if line.get_marker() == marker
        for y in line.get_ydata()
    )


@pytest.mark.parametrize("is_log", [True, False])
def test_every_run_is_a_dot_or_a_triangle_beyond_the_budget(is_log):
    figure = draw(is_log=is_log)
    (panel,) = figure.axes
    assert dots(figure, "o") == [40, 40, 40, 50, 60, 80, 150, 200]
    late, same = dots(figure, "^")
    assert 230 < late == same < panel.get_ylim()[1]
    (count, budget) = (text for text in panel.texts)
    assert (count.get_text(), count.xy[1]) == ("2", late)
    assert (budget.get_text(), budget.xy[1]) == ("budget\n230", 230)
    assert max(panel.get_yticks()) <= 230
    # A median that is censored has no bar.
    assert dots(figure, "_") == [40, 50, 115]
    assert figure.axes[0].get_xscale() == ("log" if is_log else "linear")


def dashed(figure):
    return [each for each in figure.axes[0].lines if each.get_linestyle() == "--"]


@pytest.mark.parametrize(("scale", "first"), [(100.0, 0.5), (150.0, 150 / 230)])
def test_a_law_is_a_line_through_its_scale_up_to_the_budget(monkeypatch, scale, first):
    monkeypatch.setattr(laws, "fit_power", lambda *_: LAW._replace(scale=scale))
    figure = draw()
    x, y = dashed(figure)[0].get_data()
    np.testing.assert_allclose(x * y, scale)
    (claimed,) = [each for each in figure.axes[0].lines if each.get_linestyle() == ":"]
    np.testing.assert_allclose(np.prod(claimed.get_data(), axis=0), scale)
    assert "1 / decay ** 1.00 (95 %: 0.80 to 1.20)" in texts(figure)[0]
    assert (x[0], x[-1]) == pytest.approx((first, 1.0), rel=0.01)
    assert y.max() <= fake_runs.BUDGET
    assert (NOTE in texts(figure)) is (scale > 115)


def test_a_law_without_a_scale_is_no_line(monkeypatch):
    monkeypatch.setattr(laws, "fit_power", lambda *_: LAW._replace(scale=np.nan))
    assert not dashed(draw())


def progress(keys=2, steps=(0, 10, 100, 1000)):
    """Returns measures in which every number is another one."""
    count, groups, waves = len(steps), len(fourier.GROUPS), 5
    rng = np.random.default_rng(0)
    make = lambda *shape: rng.uniform(1, 9, shape)
    return fourier.Progress(
        step=np.array(steps),
        head_similarity=make(count),
        entropy_spread=make(count),
        is_key=np.arange(waves) < keys,
        share=make(count, 2, waves),
        embedding_share=make(count, waves),
        gini=make(count, 2),
        embedding_gini=make(count),
        loss=make(count, 2, groups),
        restricted_loss=make(count, 2, groups),
        excluded_loss=make(count, 2, groups),
        excluded_by_frequency=make(count, 2, waves),
        accuracy=make(count, 2, groups),
        sum_squared_weights=make(count),
    )


def test_all_rows_are_those_after_the_last_loop():
    found = progress()
    figure = modular.progress([Inside(made(loops=2), found, 10, None)])
    accuracy, loss, gini, weights = figure.axes
    curve = lambda panel, index: panel.lines[index].get_ydata().tolist()
    is_curve = lambda line: line.get_marker() == "."
    train, id_, *images = map(fourier.GROUPS.index, fourier.GROUPS[1:])
    # Step 0 is not on a logarithmic axis; the first line marks when it memorized.
    expected = {
        accuracy: tuple(found.accuracy[1:, 1, [train, id_, *images]].T),
        loss: (
            found.loss[1:, 1, train],
            found.loss[1:, 1, id_],
            found.restricted_loss[1:, 1, id_],
            found.excluded_loss[1:, 1, train],
        ),
        gini: (found.embedding_gini[1:], found.gini[1:, 1]),
        weights: (found.sum_squared_weights[1:],),
    }
    for panel, values in expected.items():
        drawn = [line.get_ydata() for line in panel.lines if is_curve(line)]
        np.testing.assert_array_equal(drawn, values)
        assert panel.lines[0].get_xdata() == [10, 10]
        assert curve(panel, 1) == values[0].tolist()
    assert loss.get_yscale() == "log"
    # Outside of the panel, where no line is crossed.
    (keys,) = gini.texts
    assert keys.get_text() == "k = 1, 2"
    assert keys.get_position()[1] > 1 and keys.get_verticalalignment() == "bottom"
    styles = [line.get_linestyle() for line in accuracy.lines if is_curve(line)]
    assert styles == ["-", "-", "--", ":"]
    (note,) = [note for note in texts(figure) if "mirror" in note]
    assert "dashed, those whose mirror image (b, a) is trained; dotted," in note
    labels = texts(figure.legends[0])
    assert labels[-2:] == ["Gini: embedding", "Gini: logits"]


def test_a_run_without_keys_says_so_and_columns_are_runs():
    followed = [
        Inside(made(loops), progress(keys), None, None)
        for loops, keys in ((1, 2), (2, 0))
    ]
    figure = modular.progress(followed)
    assert len(figure.axes) == 8
    assert texts(figure)[0].startswith("Key frequencies at the end: 2 at R = 1 (ID ")
    titles = [panel.get_title() for panel in figure.axes[:2]]
    assert titles == ["R = 1 (no loop)", "R = 2 loops"]
    assert texts(figure.axes[5]) == ["no key frequency"]
    for left, right in zip(figure.axes[::2], figure.axes[1::2], strict=True):
        assert left.get_ylim() == right.get_ylim()
