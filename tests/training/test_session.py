"""Packs that shrink, exact packs, runs that belong to another pack."""

import dataclasses
import json
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
import pytest

from rdt_jax import config as configs
from rdt_jax.store import files, packs, records, run_folder
from rdt_jax.training import hyper, session
from rdt_jax.training.pack import build as build_pack
from tests.training import bits
from tests.training.test_run import NAN
from tests.training.test_run_interrupted import stop_at_call


@pytest.fixture(scope="module")
def pack(toy):
    """Two of four lanes break before their second evaluation."""
    return [
        toy({"seed": 1}), toy({"seed": 2}),
        toy({"seed": 1, **NAN}), toy({"seed": 2, **NAN}),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def shrunk(train, pack, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("shrunk")
    train(pack, workdir)
    return workdir


def folders(workdir, configs_of_runs):
    return [workdir / configs.run_id(config) for config in configs_of_runs]


def test_a_pack_goes_on_with_its_unfinished_half(shrunk, pack):
    statuses = [run_folder.read_status(folder) for folder in folders(shrunk, pack)]
    assert [s["reason"] for s in statuses] == ["budget", "budget", "nan", "nan"]
    steps = sorted(s["step"] for s in statuses[2:])
    at = -(-steps[-1] // 4) * 4  # The evaluation that found the second one broken.
    for folder in folders(shrunk, pack):
        environment = files.read_json(folder / "environment.json")
        assert environment["shapes"] == [[0, 4], [at, 2]]
        assert environment["lanes"] == 4
    checkpoint = shrunk / "packs" / bits.pack_name(pack) / "checkpoints" / "56"
    tree, extra = bits.read_checkpoint(checkpoint)
    assert tree["state"]["params"]["embedding"].shape[0] == 2
    assert tree["ring"]["embedding"].shape[:2] == (9, 2)
    ids = sorted(map(configs.run_id, pack))
    assert [ids[i] for i in extra["members"]] == sorted(map(configs.run_id, pack[:2]))


@pytest.mark.parametrize("calls", [(1, 2), (3, 1, 4)])
def test_a_stopped_pack_shrinks_as_if_it_had_not_been(
    train, pack, tmp_path, shrunk, calls
):
    for number in calls:
        train(pack, tmp_path, should_stop=stop_at_call(number))
    train(pack, tmp_path, log=pytest.fail)
    bits.assert_same_runs(tmp_path, shrunk)


def test_a_pack_that_was_killed_after_it_shrank_is_small(train, pack, tmp_path, shrunk):
    """Its checkpoint is one of the smaller pack, even if nothing came after it."""
    folder = folders(tmp_path, pack)[0]

    def die_once_small():
        if len(files.read_json(folder / "environment.json")["shapes"]) > 1:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        train(pack, tmp_path, should_stop=die_once_small)
    train(pack, tmp_path, log=pytest.fail)
    bits.assert_same_runs(tmp_path, shrunk)


class Take(NamedTuple):
    """A pack that can do nothing but take lanes."""

    take: Callable = lambda state, index: jax.tree.map(lambda x: x[index], state)
    padded_lanes: Callable = lambda lanes: lanes

    @property
    def local(self):
        return self


def test_a_pack_shrinks_again_and_again(pack, toy):
    """Lanes are known by their place in the first pack, arrays by that in the last."""
    five = [*pack, toy({"seed": 9})]
    numbers = np.arange(5)
    now = session.Session(
        configs=five,
        awaited=None,
        make_pack=lambda configs: Take(),
        pack=Take(),
        lane_params=hyper.make_lanes(five),
        state={"x": numbers},
        ring=[{"x": numbers}],
        step=0,
        progress=session.Progress(
            evaluated=0,
            ring_steps=[0],
            members=list(range(5)),
            shapes=[[0, 5]],
            lanes=[{"final": None} for _ in range(5)],
        ),
    )

    def after(at, over, members, shapes):
        nonlocal now
        lanes = [{"final": {} if index in over else None} for index in range(5)]
        progress = dataclasses.replace(now.progress, lanes=lanes)
        now = dataclasses.replace(now, step=at, progress=progress).shrunk()
        assert now.progress.members == members
        assert now.progress.shapes == shapes
        assert now.state["x"].tolist() == members
        assert now.ring[0]["x"].tolist() == members
        assert now.params_at(0, members[-1])["x"] == members[-1]
        seeds = [five[index].seed for index in members]
        assert now.lane_params.seed.tolist() == seeds
        assert now.num_running == 5 - len(over)

    after(4, {0, 3}, [0, 1, 2, 3, 4], [[0, 5]])
    after(8, {0, 3, 4}, [1, 2], [[0, 5], [8, 2]])
    after(12, {0, 2, 3, 4}, [1], [[0, 5], [8, 2], [12, 1]])
    after(16, {0, 1, 2, 3, 4}, [1], [[0, 5], [8, 2], [12, 1]])


def test_exact_lanes_are_solo_runs_bit_for_bit(train, pack, tmp_path, undisturbed, toy):
    pack = [*pack[1:], toy()]  # Three of four train; then two break.
    train(pack, tmp_path, exact=True)
    exact, solo = (folders(w, [toy()])[0] for w in (tmp_path, undisturbed))
    for name in ("metrics.jsonl", "events.jsonl"):
        assert (exact / name).read_bytes() == (solo / name).read_bytes()
    pinned = sorted(path.name for path in (solo / "transitions").iterdir())
    assert pinned == sorted(path.name for path in (exact / "transitions").iterdir())
    for name in pinned:
        bits.assert_same_checkpoint(
            exact / "transitions" / name, solo / "transitions" / name
        )
    environment = files.read_json(exact / "environment.json")
    assert environment["segments"][-1]["exact"] is True
    assert len(environment["shapes"]) == 2


@pytest.mark.exhaustive
def test_one_program_for_each_shape_of_a_pack(pack, tmp_path, build, train):
    built = []

    def count(pack, table, exact=False):
        built.append(len(pack))
        return build_pack(pack, table, exact)

    train(pack[1:3], tmp_path, build=count)
    assert built == [2, 1]


def test_a_budget_of_pins_keeps_the_first_ones(train, toy, tmp_path, undisturbed):
    train([toy()], tmp_path, max_pins=2)
    folder, free = (folders(w, [toy()])[0] for w in (tmp_path, undisturbed))
    told, all_told = (records.read_rows(f / "events.jsonl") for f in (folder, free))
    pins = lambda rows: [
        (i, side) for i, row in enumerate(rows) for side in ("before", "after")
        if row[side] is not None
    ]  # fmt: skip
    assert len(pins(all_told)) > 2
    assert pins(told) == pins(all_told)[:2]
    names = {path.name for path in (folder / "transitions").iterdir()}
    assert len(names) == 3
    assert "final-after-56" in names
    bits.assert_same_checkpoint(
        folder / "transitions" / "final-after-56",
        free / "transitions" / "final-after-56",
    )


def test_the_parameters_at_the_end_are_kept_of_every_finite_run(shrunk, pack):
    for folder, broken in zip(
        folders(shrunk, pack), (False, False, True, True), strict=True
    ):
        names = [path.name for path in (folder / "transitions").glob("final-*")]
        assert names == ([] if broken else ["final-after-56"])


def test_a_run_that_began_in_a_pack_goes_on_in_no_other(train, toy, tmp_path):
    pack = [toy({"seed": seed}) for seed in (1, 2)]
    train(pack, tmp_path, should_stop=stop_at_call(3))
    folder = folders(tmp_path, pack)[0]
    before = (folder / "metrics.jsonl").read_bytes()
    for other in ([pack[0]], [pack[0], toy({"seed": 3})]):
        with pytest.raises(ValueError, match="began in pack .* with 2 runs and is at"):
            train(other, tmp_path)
    assert (folder / "metrics.jsonl").read_bytes() == before
    status = run_folder.read_status(folder)
    assert packs.began_in(tmp_path, status) == sorted(map(configs.run_id, pack))
    train(pack, tmp_path)
    assert run_folder.read_status(folder)["state"] == "done"


def test_a_run_without_a_checkpoint_may_go_anywhere(train, toy, tmp_path):
    def die():
        raise KeyboardInterrupt  # Before the first checkpoint.

    pack = [toy({"seed": seed}) for seed in (1, 2)]
    with pytest.raises(KeyboardInterrupt):
        train(pack, tmp_path, should_stop=die)
    assert run_folder.read_status(folders(tmp_path, pack)[0])["pack"] == bits.pack_name(
        pack
    )
    train([pack[0]], tmp_path)
    assert run_folder.read_status(folders(tmp_path, pack)[0])["state"] == "done"


def test_what_a_checkpoint_says_is_json(shrunk, pack):
    path = shrunk / "packs" / bits.pack_name(pack) / "checkpoints" / "56" / "extra.json"
    extra = json.loads(path.read_text())
    assert set(extra) == {
        "evaluated", "ring_steps", "members", "shapes", "lanes", "lines",
    }  # fmt: skip
    progress = session.Progress.from_json(extra)
    assert all(lane["final"] for lane in progress.lanes)
    assert vars(progress) | {"lines": extra["lines"]} == extra
    assert len(extra["lanes"]) == 4


def test_lanes_are_taken_whole(build, toy, table):
    pack = [toy({"seed": seed}) for seed in (1, 2, 3)]
    program = build(pack, table)
    lanes = hyper.make_lanes(pack)
    state = bits.copy(program.train(program.init(lanes), lanes, 2))
    taken = program.take(state, np.array([2, 0]))
    for one, other in zip(jax.tree.leaves(taken), jax.tree.leaves(state), strict=True):
        bits.assert_same(one, other[[2, 0]] if other.ndim else other)
