"""What holds of every study of this repository."""

import itertools

import pytest

from rdt_jax import config as configs
from rdt_jax.analysis import scorecard
from rdt_jax.figures import claims
from rdt_jax.figures import study as studies
from rdt_jax.sweep import spec
from rdt_jax.training import validation
from tests import fake_runs
from tests.conftest import ROOT

LOOPS, DECAY = "recurrence.num_loops", "optimizer.weight_decay"
BLOCKS = "model.core_blocks"
NAMES = sorted(path.parent.name for path in ROOT.glob("experiments/*/study.py"))
PRESETS = ("smoke", "cpu", "cpu_long", "paper", "paper_code")


def study_of(name):
    return spec.read_study(ROOT / "experiments" / name)


def presets_of(study):
    with pytest.raises(ValueError, match="Unknown preset 'big'; choose from ") as said:
        study.sweep("big")
    return str(said.value).rpartition("choose from ")[2].rstrip(".").split(", ")


def trials_of(study, preset):
    base = configs.load(f"{ROOT / study.CONFIG}:{preset}")
    return [configs.override(base, trial) for trial in study.sweep(preset)]


def ids_of(study, preset):
    return [configs.run_id(config) for config in trials_of(study, preset)]


@pytest.mark.parametrize("name", NAMES)
def test_presets_are_those_of_configs_and_every_trial_is_a_run_of_its_own(name):
    study = study_of(name)
    presets = presets_of(study)
    assert {"smoke", "cpu"} <= set(presets) <= set(PRESETS)
    for preset in presets:
        ids = ids_of(study, preset)
        assert len(set(ids)) == len(ids)
    is_quick = "modular" in study.CONFIG  # Its tables are small.
    for preset in presets if is_quick else ["smoke"]:
        trials = trials_of(study, preset)
        for config in trials[:: max(1, len(trials) // 20)]:
            validation.check(config)


@pytest.mark.parametrize("name", NAMES)
def test_without_runs_no_claim_is_tested(name):
    found = studies.claims(study_of(name), [])
    assert {(c.holds, c.seeds, c.graphs) for c in found} == {(None, 0, 0)}
    assert all("missing: " in claim.measured and claim.test for claim in found)
    assert all("arXiv" in c.source or "this study" in c.source for c in found)


def test_the_scorecard_is_whole_and_its_page_says_what_it_says():
    """`make scorecard` writes both; what has not been run is named in them."""
    path = ROOT / "docs" / "scorecard.json"
    card = scorecard.read(path)
    page = (ROOT / "docs" / "scorecard.md").read_text()
    assert page == claims.page(card, path.name)
    judged = {sweep.study for sweep in card.sweeps}
    with_claims = {name for name in NAMES if hasattr(study_of(name), "claims")}
    assert with_claims == judged | {*card.not_run}
    for sweep in card.sweeps:
        assert (path.parent / sweep.page).is_file(), sweep
        assert (path.parent / sweep.page).with_name("results.csv").is_file(), sweep


SEEDS, ALL_LOOPS = range(3), (1, 2, 4, 8)


@pytest.mark.parametrize(
    ("name", "preset", "keys", "values"),
    [
        ("depth_by_decay", "smoke", (LOOPS, DECAY, "seed"), ((1, 2), (0.1,), (0,))),
        ("depth_by_decay", "paper", (LOOPS, "seed"), (ALL_LOOPS, SEEDS)),
        ("depth_by_decay", "paper_code", (LOOPS, "seed"), (ALL_LOOPS, SEEDS)),
        ("grokking_stages", "smoke", (LOOPS, "seed"), ((1, 2), (0,))),
        (
            "grokking_stages",
            "cpu",
            (LOOPS, BLOCKS, DECAY, "seed"),
            ((1, 2, 4), (2,), (0.03, 0.1), (0,)),
        ),
        (
            "grokking_stages",
            "cpu_long",
            (LOOPS, BLOCKS, DECAY, "task.seed", "seed"),
            (ALL_LOOPS, (2,), (0.03, 0.1, 0.3), (0, 1), (0, 1)),
        ),
        ("grokking_stages", "paper", (LOOPS, "seed"), ((1, 2, 4), SEEDS)),
    ],
)
def test_a_sweep_is_a_grid(name, preset, keys, values):
    trials = study_of(name).sweep(preset)
    found = [tuple(trial[key] for key in keys) for trial in trials]
    assert sorted(found) == sorted(itertools.product(*values))


@pytest.mark.parametrize(("preset", "count"), [("cpu", 2), ("cpu_long", 12)])
def test_the_headline_has_a_control_of_as_many_operations_as_two_loops(preset, count):
    trials = study_of("depth_by_decay").sweep(preset)
    controls = [trial for trial in trials if trial[BLOCKS] == 4]
    assert len(controls) == count and {trial[LOOPS] for trial in controls} == {1}
    others = [trial for trial in trials if trial[LOOPS] == 2]
    assert [{**trial, LOOPS: 1, BLOCKS: 4} for trial in others] == controls
    assert {trial[BLOCKS] for trial in trials} == {2, 4}


@pytest.mark.parametrize(
    ("name", "other", "preset", "count"),
    [
        ("grokking_stages", "depth_by_decay", "cpu", 6),
        ("grokking_stages", "depth_by_decay", "cpu_long", 48),
        ("mechanism", "depth_by_decay", "cpu", 2),  # 2 x 2 and 1 x 4, of one seed
        ("mechanism", "depth_by_decay", "cpu_long", 20),
        ("halting", "depth_extrapolation", "cpu", 4),
        ("halting", "depth_extrapolation", "cpu_long", 8),
        ("overthinking", "depth_extrapolation", "cpu", 4),
    ],
)
def test_studies_share_runs(name, other, preset, count):
    ours, theirs = (set(ids_of(study_of(each), preset)) for each in (name, other))
    assert len(ours & theirs) == count


def test_a_study_needs_no_more_than_its_runs(tmp_path):
    (tmp_path / "study.py").write_text(
        "CONFIG = 'configs/knowledge_composition.py'\ndef sweep(preset): return [{}]\n"
    )
    study = spec.read_study(tmp_path)
    jumps = {"train": 20, "id": 40, "ood": 90}
    runs = [fake_runs.make(jumps=jumps, loops=loops) for loops in (1, 2)]
    assert studies.table(study, runs).row_count == 2
    assert studies.claims(study, runs) == []
    drawn = ["accuracy", "ood_by_depth", "phase_diagram"]
    assert list(studies.figures(study, runs)) == drawn
    without = fake_runs.make(
        jumps={"train": 20, "id": 40},
        base=configs.load(f"{ROOT}/configs/modular.py:smoke"),
    )
    drawn[1] = "id_by_depth"
    assert list(studies.figures(study, [without])) == drawn
