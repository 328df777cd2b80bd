import json
import re

import numpy as np
import pytest
from matplotlib.figure import Figure

from rdt_jax.figures import curves, diagram, numbers
from tests import fake_runs


def figure(
    line=((0, 1), (2, 4)), dots=((5, 6), (7, 8)), image=((1, 2), (3, 4)), title="a",
    bar=3.0, low=0.0, word="w",
):  # fmt: skip
    made = Figure(figsize=(2, 1))
    panel = made.add_subplot()
    panel.plot(*line)
    panel.scatter(*dots, c=[1.0, 2.0])
    panel.fill_between([0, 1], [low, 0], [1, 1])
    panel.imshow(np.array(image, float))
    panel.bar([1], [bar])
    panel.set_title(title)
    panel.text(0, 0, word)
    return made


def of(**options):
    return json.loads(json.dumps(numbers.of(figure(**options))))


def test_equal_figures_have_equal_numbers():
    assert numbers.difference(of(), of()) is None


def test_what_is_no_number_is_null():
    gap = of(line=((0, 1), (np.nan, np.inf)))
    assert gap["panels"][0]["lines"] == [[[0, None], [1, None]]]
    assert "NaN" not in json.dumps(gap) and "Infinity" not in json.dumps(gap)
    assert numbers.difference(gap, gap) is None
    assert "None stored, 2.0 drawn" in (numbers.difference(gap, of()) or "")


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (
            {"line": ((0, 1), (2, 5))},
            r"panels\[0\] lines\[0\]\[1\]\[1\]: 4.0 st",
        ),
        ({"line": ((0, 1, 2), (2, 4, 4))}, r"lines\[0\]: 2 values stored, 3 drawn"),
        ({"dots": ((5, 6), (7, 9))}, r"points\[0\]\[1\]\[1\]: 8"),
        ({"image": ((1, 2), (3, 5))}, r"images\[0\]\[1\]\[1\]: 4"),
        ({"bar": 2.0}, "places"),
        ({"low": 0.5}, "areas"),
        ({"title": "b"}, r"titles\[0\]: 'a' stored, 'b' drawn"),
        ({"word": "v"}, r"texts\[0\]: 'w' stored, 'v' drawn"),
    ],
)
def test_the_first_difference_is_named(change, where):
    found = numbers.difference(of(), of(**change))
    assert found is not None and re.search(where, found)


def test_rounding_is_no_difference_and_missing_values_are_equal():
    moved = {"line": ((0, 1), (2, 4 + 1e-9))}
    assert numbers.difference(of(), of(**moved)) is None
    moved = {"line": ((0, 1), (2, 4 + 1e-4))}
    assert numbers.difference(of(), of(**moved)) is not None
    nothing = {"line": ((0, 1), (2, np.nan))}
    assert numbers.difference(of(**nothing), of(**nothing)) is None
    assert numbers.difference(of(), of(**nothing)) is not None


def test_drawing_on_a_canvas_changes_no_number(tmp_path):
    runs = [
        fake_runs.make(jumps={"train": 20, "id": 40, "ood": ood}, loops=loops)
        for loops, ood in ((1, None), (2, 150))
    ]
    for draw in (curves.accuracy, curves.split_by_axis, diagram.phase_diagram):
        made = draw(runs)
        before = numbers.of(made)
        made.savefig(tmp_path / "a.png")
        assert numbers.difference(before, numbers.of(made)) is None
