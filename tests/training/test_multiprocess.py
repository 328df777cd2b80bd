"""Where the coordinator of several processes listens."""

import types

import jax
import pytest

from rdt_jax import borrowed
from rdt_jax.training import multiprocess


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
