"""Which runs a statement about a stage is about, and what is not known of them."""

import pytest

from rdt_jax.analysis import stages
from rdt_jax.analysis.stages import Sample
from tests import fake_runs

PASSED, FINAL = "ood_generalized-after-90", "final"
WAITING = {"until": 50, "state": "running", "reason": None}


def run(seed, ood, **options):
    jumps = {"train": 20, "id": 40, "ood": ood}
    return fake_runs.make(jumps=jumps, seed=seed, **options)


@pytest.fixture
def kept(monkeypatch):
    """Run id -> its checkpoints; of each the lens is stored, and is its name."""
    names: dict[str, list[str]] = {}

    def of_kind(run, kind):
        found = names.get(run.run_id, [])
        return [name for name in found if kind in (name, name.rpartition("-")[0])]

    monkeypatch.setattr(stages.stored, "of_kind", of_kind)
    monkeypatch.setattr(
        stages.stored, "load", lambda run, what, name: name if what == "lens" else None
    )
    return names


def test_a_sample_knows_the_runs_that_it_does_not_see(kept):
    seen, lost, later = run(0, 60), run(1, 60), run(2, None, **WAITING)
    never, broken = run(3, None), run(4, None, state="failed", reason="nan")
    kept[seen.run_id] = [PASSED, FINAL]
    # The end of a run that came further than its checkpoints say is not the stage.
    kept[lost.run_id] = kept[never.run_id] = [FINAL]
    found = stages.sample([seen, lost, later, never, broken], "lens", "end")
    assert [(s.run, s.result) for s in found.seen] == [(seen, PASSED)]
    assert (found.due, found.awaited) == ([seen, lost], [later])
    assert found.unknown == 2
    assert stages.sample([seen], "patching", "end").unknown == 1


def test_a_stage_is_come_to_with_its_event(kept):
    one = run(0, None)
    kept[one.run_id] = ["memorized-after-40", "id_generalized-after-60", FINAL]
    results = {
        stage: [s.result for s in stages.sample([one], "lens", stage).seen]
        for stage in stages.STAGES
    }
    assert results["memorized"] == ["memorized-after-40"]
    assert results["id"] == ["id_generalized-after-60"]
    assert results["end"] == []


def test_a_part_of_a_sample_leaves_out_runs_everywhere(kept):
    members = [run(seed, 60) for seed in range(2)]
    members += [run(seed, None, **WAITING) for seed in range(2, 4)]
    kept.update({each.run_id: [PASSED] for each in members})
    found = stages.sample(members, "lens", "end")
    odd = stages.of_runs(found, lambda each: each.config.seed % 2 == 1)
    assert [s.run for s in odd.seen] == odd.due == [members[1]]
    assert odd.awaited == [members[3]]


def test_what_was_measured_is_counted_where_it_is_not_all():
    seen = [stages.Seen(run(0, 60), PASSED, None)]
    whole = Sample("lens", seen, [run(0, 60)], [])
    assert stages.note(whole) == ""
    part = Sample("lens", seen, [run(0, 60), run(1, 60)], [run(2, None)])
    assert stages.note(part) == "; 1 of 3 runs measured"
    assert stages.note(whole, part) == "; 2 of 4 runs measured"


def test_a_verdict_waits_for_analyses_and_for_runs():
    one = run(0, 60)
    seen = [stages.Seen(one, PASSED, None)]
    assert stages.missing(Sample("lens", seen, [one], []), "a run") == []
    assert stages.missing(Sample("lens", [], [], []), "a run") == ["a run"]
    assert stages.missing(Sample("lens", seen, 3 * [one], [one]), "", "alone") == [
        "the lens of 2 runs alone",
        "the end of 1 run alone",
    ]
