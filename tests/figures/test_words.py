from rdt_jax.figures import words
from tests import fake_runs

OOD = "ood_generalized"


def run(ood, **options):
    return fake_runs.make(jumps={"train": 20, "id": 40, "ood": ood}, **options)


def test_findings_count_runs_and_say_who_may_still_arrive():
    late, waiting = run(None), run(None, until=50, state="running", reason=None)
    cells = {"R = 1": [late, late], "R = 2": [run(90), waiting]}
    said = "0 of 2 runs with R = 1, 1 of 2 with R = 2 (1 unfinished)"
    assert words.reached(cells, OOD) == said
    # The opposite result.
    cells = {"R = 1": [run(90)], "R = 2": [late]}
    assert words.reached(cells, OOD) == "1 of 1 run with R = 1, 0 of 1 with R = 2"
    assert words.reached({"": [late, run(90)]}, OOD) == "1 of 2 runs"
    many = {str(n): [run(90)] for n in range(words.MOST_NAMED + 1)}
    assert words.reached(many, OOD) == "5 of 5 runs"


def test_phases_are_named_by_their_rows_or_by_their_own_name():
    one = run(90, phases__further="half: id >= 0.5")
    assert words.phase_name([one], OOD) == "OOD"
    assert words.phase_name([one], "half") == "half"
