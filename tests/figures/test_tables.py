import re

import pytest

from rdt_jax.figures import tables
from tests import fake_depth, fake_runs
from tests.figures.drawn import lines_of


def run(loops, ood, seed=0, decay=0.1, **options):
    jumps = {"train": 20, "id": 40, "ood": ood}
    return fake_runs.make(jumps=jumps, loops=loops, decay=decay, seed=seed, **options)


def render(members, width=100):
    return lines_of(tables.updates_to_phases(members), width=width)


def prose(lines):
    return " ".join(" ".join(lines).split())


def row(lines, *begin):
    pattern = r"\s*" + r"\s+".join(map(re.escape, begin)) + r"\s"
    (index,) = [i for i, line in enumerate(lines) if re.match(pattern, line)]
    return lines[index].split(), lines[index + 1].strip()


def test_one_seed_has_one_number_per_entry():
    lines = render([run(1, None), run(2, 150, top={"ood": 0.8})])
    entries, _ = row(lines, "1", "0.1")
    assert entries == ["1", "0.1", "40", "60", ">", "230", "0.00"]
    entries, _ = row(lines, "2", "0.1")
    assert entries == ["2", "0.1", "40", "60", "170", "0.80"]
    assert "One seed." in prose(lines)
    assert not any(" - " in line for line in lines)


def test_several_seeds_have_median_count_and_range():
    lines = render([run(2, 60), run(2, 150, 1), run(2, None, 2), run(4, 70)])
    entries, below = row(lines, "2", "0.1")
    assert entries[2:] == ["40", "3/3", "60", "3/3", "170", "2/3", "1.00"]
    assert re.split(r"\s{2,}", below) == [
        "40-40",
        "60-60",
        "80 - >230",
        "0.00-1.00",
    ]
    assert "Median over 3 seeds; below it first-last; n/N" in prose(lines)


def test_depth_has_a_column_always_and_a_phase_where_it_is_awaited():
    jumps = {"train": 20, "id": 40, "depth": 90}
    make = lambda **keys: fake_runs.make(
        jumps=jumps, loops=2, top={"depth": 0.7}, recurrence__eval_loops=(8,), **keys
    )
    lines = render([make()])
    assert "depth (R)" in prose(lines)
    assert "ID at the end: share that is right then. depth (R) at the" in prose(lines)
    assert row(lines, "2", "0.1")[0][2:] == ["40", "60", "1.00", "0.70"]
    lines = render([make(phases__depth_generalized=0.6, phases__depth_loops=8)])
    assert "depth (8 loops) >= 0.60" in prose(lines)
    assert row(lines, "2", "0.1")[0][2:] == ["40", "60", "110", "1.00", "0.70"]
    assert max(map(len, render([make()], width=80))) <= 80


def test_a_range_that_never_began_is_left_out():
    lines = render([run(1, None, seed) for seed in (0, 1)])
    entries, below = row(lines, "1", "0.1")
    assert entries[-4:] == [">", "230", "0/2", "0.00"]
    assert re.split(r"\s{2,}", below) == ["40-40", "60-60", "0.00-0.00"]


def test_title_and_caption_say_what_was_measured():
    text = prose(render([run(2, 150, phases__ood_generalized=0.75)]))
    assert "Updates to each phase: knowledge composition" in text
    assert "train >= 0.99" in text and "ID >= 0.95" in text and "OOD >= 0.75" in text
    assert "Budget 230 optimizer updates" in text
    assert "training loop count R" in text
    assert "A run ends once all phases have completed." in text
    going_on = run(2, 150, stop_after_phases=False)
    assert "A run ends once" not in prose(render([going_on]))


def test_broken_and_unfinished_runs_are_named():
    lines = render(
        [
            run(1, None, until=90, state="failed", reason="nan"),
            run(2, None, until=90, state="running", reason=None),
        ]
    )
    assert "Loss not finite at R = 1, decay 0.1: 1 of 1 run." in prose(lines)
    assert "... marks 1 of 2 runs, not yet finished." in prose(lines)
    entries, _ = row(lines, "2", "0.1")
    assert entries[2:] == ["40", "60", "...", "..."]


def add_mixed(fake, id_ood=0.25, ood_id=0.5):
    for row in fake.metrics:
        row[f"mixed/accuracy@{fake.num_loops}[pattern=id-ood]"] = id_ood
        row[f"mixed/accuracy@{fake.num_loops}[pattern=ood-id]"] = ood_id
    return fake


def test_mixed_patterns_stand_beside_ood():
    lines = render([add_mixed(run(2, 150)), run(4, 60)])
    assert row(lines, "2", "0.1")[0][-2:] == ["1.00", "0.25/0.50"]
    assert row(lines, "4", "0.1")[0][-2:] == ["1.00", "-/-"]


def test_the_caption_explains_the_columns_shown_and_no_other():
    both = prose(render([add_mixed(run(2, 150)), run(4, 60)]))
    assert "mixed at the end: where only the first hop/only the second" in both
    alone = prose(render([run(2, 150)]))
    assert "OOD at the end: share that is right then." in alone
    assert "R: how often a pass runs the same layers; decay: weight decay." in alone
    assert "OOD >= 0.50: updates until 0.50 of the combinations of parts never" in alone
    assert not any(word in alone for word in ("mixed", "ID-OOD", "L:"))


def test_loops_and_blocks_are_one_column_of_models():
    members = [
        run(loops, 150, decay=decay, model__core_blocks=blocks)
        for loops, blocks in ((1, 2), (1, 4), (2, 2))
        for decay in (0.03, 0.1)
    ]
    lines = render(members, width=80)
    assert lines[2].split()[:4] == ["R", "x", "L", "decay"]
    assert row(lines, "1", "x", "4", "0.03")[0][4:] == ["40", "60", "170", "1.00"]
    assert lines[4:12].count("") == 2  # between the models
    assert "L: number of these layers (blocks)" in prose(lines)


@pytest.mark.parametrize("width", [80, 100])
def test_the_longest_entries_fit(width):
    members = [
        run(loops, 60 + 50 * seed, seed, decay=0.03)
        for loops in (1, 16)
        for seed in range(3)
    ]
    for member in members:
        for event in member.events:
            event["step"] = event["step"] * 310  # such as 12.4k
        add_mixed(member)
    lines = render(members, width)
    assert "24.8k-55.8k" in prose(lines)
    assert max(map(len, lines)) <= width
    assert not any(re.search(r"\d-(\s|$)", line) for line in lines)  # broken entry
    assert not any("…" in line for line in lines)


def test_a_sweep_has_a_column_for_each_of_its_own_axes():
    members = [
        run(2, 150, seed, model__width=width, optimizer__name=name)
        for width in (16, 32)
        for name in ("adamw", "muon")
        for seed in (0, 1)
    ]
    lines = render([*members, run(2, 60, 2, model__width=32, optimizer__name="muon")])
    assert lines[2].split()[:2] == ["width", "optimizer"]
    assert row(lines, "16", "adamw")[0][2:] == [
        "40", "2/2", "60", "2/2", "170", "2/2", "1.00",
    ]  # fmt: skip
    assert row(lines, "32", "muon")[0][6:8] == ["170", "3/3"]
    assert "at the training loop count R = 2." in prose(lines)
    assert "width: model.width; optimizer: optimizer.name." in prose(lines)
    assert lines[4:13].count("") == 1  # between the widths
    graphs = [
        run(2, 150, seed, task__seed=graph) for seed in (0, 1) for graph in (3, 4)
    ]
    assert "Median over 4 runs: 2 graphs x 2 seeds; below" in prose(render(graphs))


def test_axes_that_are_too_wide_share_a_column_and_no_cell_is_left_out():
    members = [
        run(loops, 150, seed, decay, model__width=width, optimizer__name=name)
        for loops in (1, 2, 4, 8, 16)
        for decay in (0.03, 0.1, 0.3)
        for width in (16, 32)
        for name in ("adamw", "muon")
        for seed in (0, 1)
    ]
    lines = render(members, width=80)
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)
    assert sum("2/2" in line for line in lines) == 60
    text = prose(lines)
    assert text.count("R = 16,") == 12 and text.count("optimizer adamw") == 30


def test_a_sweep_over_phases_shows_each_and_who_lacks_it():
    texts = ("half: id >= 0.5", "half: id >= 0.9, two: id[hops=2]@8 >= 0.9")
    jumps = {"train": 20, "id": 40, "id[hops=2]@8": 90}
    keys = {"recurrence__eval_loops": (8,)}
    members = [
        fake_runs.make(jumps=jumps, phases__further=text, **keys) for text in texts
    ]
    lines = render(members, width=80)
    assert max(map(len, lines)) <= 80
    words = " ".join(lines).split()
    assert [words.count(part) for part in ("half", "two", "general-")] == [1, 1, 1]
    assert {"hops=", "(8", "loops)"} <= set(words)
    text = prose(lines)
    assert "at the training loop count R = 2 (or as named)." in text
    one, other = (i for i, line in enumerate(lines) if "40 " in line)
    assert lines[one].split()[-5:-1] == ["40", "60", "60", "-"]
    assert lines[other].split()[-5:-1] == ["40", "60", "60", "110"]
    alone = [
        fake_runs.make(jumps=jumps, phases__further=t)
        for t in ("a: id[b=2] >= 1", "a: id[b=2] >= .5")
    ]
    assert "[b=2]" in "".join("".join(render(alone)).split())


def test_a_failed_cell_is_named_by_its_axes():
    broken = {"until": 90, "state": "failed", "reason": "nan"}
    members = [run(2, 90, model__width=16), run(2, None, model__width=32, **broken)]
    assert "Loss not finite at width 32: 1 of 1 run." in prose(render(members))


def test_no_runs():
    with pytest.raises(ValueError, match="got no run"):
        tables.updates_to_phases([])


def test_a_curriculum_has_a_column_of_the_hops_learned():
    passed = [{2: 500, 3: 900}, {2: 500}, {2: 500, 3: 700, 4: 900}]
    members = [
        *(fake_depth.make(passed=p, loops=4, seed=i) for i, p in enumerate(passed)),
        fake_depth.make(passed={}, loops=1),
    ]
    lines = render(members)
    assert lines[1].endswith(" hops") and lines[2].endswith(" learned")
    entries, below = row(lines, "4", "0.1")
    assert entries[-1] == "3" and below.endswith("2 - 4")
    assert row(lines, "1", "0.1")[0][-1] == "0"
    assert "hops learned: those of the last stage that a run has passed." in prose(
        lines
    )
    waiting = fake_depth.make(passed={2: 500}, loops=2, state="running", reason=None)
    assert row(render([waiting]), "2", "0.1")[0][-1] == "..."
