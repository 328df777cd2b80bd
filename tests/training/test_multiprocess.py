"""Where the coordinator of several processes listens; what a follower does."""

import functools
import types

import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils

from rdt_jax import borrowed
from rdt_jax.training import hyper, multiprocess
from rdt_jax.training.pack import Pack
from tests.training import bits


@pytest.mark.parametrize(
    ("address", "process", "listens_at"),
    [
        ("127.0.0.1:8476", 0, "127.0.0.1:8476"),
        ("127.0.0.1:8476", 1, None),  # It connects.
        ("no-such-host.invalid:8476", 0, None),  # Others know this host by that name.
        (None, None, None),
    ],
)
def test_the_coordinator_listens_at_its_address_alone(
    monkeypatch, address, process, listens_at
):
    told = {}
    state = types.SimpleNamespace(
        coordinator_address="x:1", process_id=0, num_processes=2
    )
    monkeypatch.setattr(jax.distributed, "initialize", lambda *a, **k: told.update(k))
    monkeypatch.setattr(borrowed, "distributed_state", lambda: state)
    multiprocess.join(address, 2, process)
    assert told["coordinator_bind_address"] == listens_at


METHODS = (
    *("init", "train", "observe", "start_window", "begin_stage", "take"),
    *("to_host", "from_host"),
)


@pytest.fixture
def messages(monkeypatch):
    """What processes tell each other, by name; this one leads, and follows later."""
    messages = {}
    monkeypatch.setattr(multiprocess, "tell", messages.__setitem__)
    monkeypatch.setattr(multiprocess, "hear", messages.__getitem__)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(multihost_utils, "broadcast_one_to_all", lambda state: state)
    return messages


@pytest.fixture
def calls(monkeypatch):
    """The calls of packs, which here compute nothing: a state is the call's number."""
    calls = []

    def record(pack, *arguments, name, **named):
        calls.append((name, arguments, named))
        return np.int32(len(calls))

    for name in METHODS:
        method = functools.partialmethod(record, name=name)
        monkeypatch.setattr(Pack, name, method)
    return calls


@pytest.mark.parametrize("num_lanes", [1, 3])
def test_a_follower_makes_each_call_of_the_leader(
    messages, calls, toy, table, num_lanes
):
    configs = [toy({"seed": seed}) for seed in range(num_lanes)]
    lanes, stage = hyper.make_lanes(configs), np.arange(num_lanes, dtype=np.int32)
    with multiprocess.lead(None) as build:
        pack = build(configs, table)
        state = pack.init(lanes._replace(seed=lanes.seed + 7))
        state = pack.train(state, lanes, 5, length=2)
        pack.observe(state)
        state = pack.begin_stage(state, lanes, stage)
        pack.to_host(state)
        state = pack.start_window(pack.take(state, stage[:1]))
        zeros = lambda x: np.zeros(x.shape, x.dtype)
        state = pack.from_host(jax.tree.map(zeros, pack.local.shapes(lanes)))
        pack.train(state, lanes, 6)
    made = calls.copy()
    calls.clear()
    multiprocess.follow(None)
    names = [name for name, *_ in made]
    assert set(names) == set(METHODS) and names == [name for name, *_ in calls]
    for (_, *expected), (name, *actual) in zip(made, calls, strict=True):
        assert jax.tree.structure(actual) == jax.tree.structure(expected), name
        bits.assert_same(actual, expected)


def test_a_follower_refuses_what_no_pack_does(messages, calls, toy, table):
    with multiprocess.lead(None) as build:
        build([toy()], table).init(hyper.make_lanes([toy()]))
    messages["message/2"] = messages["message/2"].replace('"init"', '"dance"')
    with pytest.raises(ValueError, match="asks for 'dance', which no pack does"):
        multiprocess.follow(None)
