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


def test_a_claim_is_untested_while_anything_is_missing():
    assert judge().holds is False
    assert judge(holds=True).holds is True
    waiting = judge(missing=["the end of 2 runs", "seeds"])
    assert waiting.holds is None
    assert waiting.measured == "1 of 3; missing: the end of 2 runs, seeds."
    assert waiting.seeds == 2
