"""The tables of `rdt cost`, as they are printed."""

from rdt_jax.figures import cost
from rdt_jax.models.cost import Passes
from rdt_jax.profile.estimate import AtLoops, Estimate
from tests.figures.drawn import words_of


def test_the_tables_say_what_was_estimated():
    memory = {"none": 7_200_000, "dots": 950, "full": 999_600}
    at = AtLoops(2, False, Passes(3000, 6000), Passes(4000, 8000), memory)
    drawn = at._replace(loops=3.26, is_drawn=True)
    parameters = {"prelude": 0, "core": 1_234_567, "final_norm": 33}
    lines = words_of(*cost.tables(Estimate(parameters, 10, 3, (at, drawn))))
    assert "core 1,234,567" in lines and "final norm 33" in lines
    assert "all 1,234,600" in lines
    assert not any("prelude" in line for line in lines)
    assert "2 1k 3k 90k 120k 7.2MB 950B 1MB" in lines
    assert "3.26* 1k 3k 90k 120k 7.2MB 950B 1MB" in lines
    assert any("T = 3" in line for line in lines)
