import pytest

from rdt_jax.analysis import claims
from tests import fake_runs


def runs(*loops_and_seeds):
    return [
        fake_runs.make(jumps={"train": 0}, until=-1, loops=loops, seed=seed)
        for loops, seed in loops_and_seeds
    ]


def judge(**values):
    given = {
        "source": "A and B (2020)",
        "expected": "2 of 3",
        "measured": "1 of 3",
        "holds": False,
        "runs": runs((2, 0), (2, 1)),
        "test": "count of runs",
    }
    return claims.judge("More is better.", **given | values)


def test_seeds_are_counted_where_they_are_fewest():
    assert claims.fewest_seeds([]) == 0
    assert claims.fewest_seeds(runs((2, 0), (2, 5))) == 2
    assert claims.fewest_seeds(runs((2, 0), (2, 5), (4, 1))) == 1
    assert claims.fewest_seeds(runs((2, 0), (2, 0))) == 1  # Of two workdirs.
    first, second = runs((2, 0), (2, 5))
    assert claims.fewest_seeds([first, fake_runs.lost(second)]) == 1
    assert claims.fewest_seeds([fake_runs.lost(first)]) == 0


def test_replicates_are_pairs_of_graph_and_seed():
    def grid(loops, *pairs):
        options = {"jumps": {"train": 0}, "until": -1, "loops": loops}
        return [fake_runs.make(**options, task__seed=g, seed=s) for g, s in pairs]

    pairs = [(0, 0), (0, 1), (1, 0), (1, 1)]
    claim = judge(runs=grid(2, *pairs))
    assert (claim.seeds, claim.graphs) == (4, 2)
    claim = judge(runs=grid(2, *pairs) + grid(4, (0, 0), (0, 1), (0, 2)))
    assert (claim.seeds, claim.graphs) == (3, 1)
    # Of every other config, one seed for each graph.
    claim = judge(runs=grid(2, *pairs) + grid(4, (0, 0), (5, 1)))
    assert (claim.seeds, claim.graphs) == (2, 2)
    first, *others = grid(2, (0, 0), (1, 0), (1, 1))
    claim = judge(runs=[fake_runs.lost(first), *others])
    assert (claim.seeds, claim.graphs) == (2, 1)
    assert (judge(runs=[]).seeds, judge(runs=[]).graphs) == (0, 0)


def test_a_verdict_stands_if_its_p_does_after_holm():
    def of(p_value, holds=True, **options):
        return judge(test="sign test", p_value=p_value, holds=holds, **options)

    given = [
        of(0.01),
        judge(holds=True),
        of(0.02, False),
        of(0.04),
    ]
    assert claims.after_holm([]) == []
    found = claims.after_holm(given)
    assert [each.adjusted_p for each in found] == [0.03, None, 0.04, 0.04]
    assert [each.holds for each in found] == [True, True, False, True]
    found = claims.after_holm([*given, of(0.5, False), of(0.9, missing=["2 runs"])])
    assert [each.holds for each in found] == [True, True, None, None, None, None]
    assert found[0].adjusted_p == 0.05  # At the level is not above it.
    assert found[2].measured == (
        "1 of 3; missing: more runs (p = 0.08 after Holm over 5, above 0.05)."
    )
    assert found[-1].measured == "1 of 3; missing: 2 runs."  # It was open before.


@pytest.mark.parametrize("wrong", [{"p_value": 1.5}, {"test": ""}])
def test_a_p_value_is_a_chance_and_has_a_test(wrong):
    with pytest.raises(ValueError, match="must be in .* name of its test, got "):
        judge(**wrong)


def test_a_claim_is_untested_while_anything_is_missing():
    assert judge().holds is False
    assert judge(holds=True).holds is True
    waiting = judge(missing=["the end of 2 runs", "seeds"])
    assert waiting.holds is None
    assert waiting.measured == "1 of 3; missing: the end of 2 runs, seeds."
    assert waiting.seeds == 2
