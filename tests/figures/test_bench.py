"""The tables of `rdt bench`, as they are printed."""

from rdt_jax.figures import bench as drawing
from rdt_jax.profile.bench import Measured, Row, Verdict
from rdt_jax.profile.bench_cases import Bound
from tests.figures.drawn import words_of


def test_the_tables_say_what_was_measured_and_what_had_to_come_out():
    ours = Row("rdt_jax", 50.04, 40, 60.2, 2.5e10, 0.256, 0.3, 3.21, 7_475_568, 1, 2.5)
    theirs = Row("PyTorch", 20, 19, 21, 1e10, 0.1, ratio=1.0)
    bounds = [
        Verdict(Bound("ratio", at_least=2, aim=3), 2.5, True),
        Verdict(Bound("share of peak", at_least=0.7), 0.256, False),
        Verdict(Bound("growth", at_most=1.3), None, None),
    ]
    lines = words_of(
        *drawing.tables({"small": Measured([ours, theirs], {}, bounds, 12)})
    )
    assert "rdt_jax 50 40-60.2 25 26% 3.21 7.48 2.5x" in lines
    assert "small" in lines
    assert "PyTorch 20 19-21 10 10%" in lines
    assert "small ratio 2.5 >= 2, aim 3 yes" in lines
    assert "small share of peak 0.256 >= 0.7 no" in lines
    assert "small growth <= 1.3 not measured" in lines
    assert not any("--torch-python" in line for line in lines)


def test_without_pytorch_the_table_says_how_to_compare():
    lines = words_of(
        *drawing.tables({"small": Measured([Row("rdt_jax", 50)], {}, [], 1)})
    )
    assert any("--torch-python=PYTHON" in line for line in lines)
