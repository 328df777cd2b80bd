"""How a driver keeps workers at work, with workers that only end."""

from typing import NamedTuple

import pytest

from rdt_jax.sweep import driver, ledger


class Planted:
    """Starts workers that end with exit code 1, some after they claimed a pack."""

    def __init__(self, slots, claims, say):
        self.slots, self.claims, self.say = slots, iter(claims), say
        self.started, self.attempts, self.killed = 0, 0, []

    def start(self, index):
        self.started += 1
        self.say(index)
        return Worker(next(self.claims, None), self.killed)


class Worker(NamedTuple):
    has_claimed: bool | None
    killed: list

    def poll(self):
        return 0 if self.has_claimed is None else 1  # None: nothing is left for it.

    def terminate(self):
        pass

    def kill(self):
        self.killed.append(self.has_claimed)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs workers that claim a pack, or not, as the values say; returns them."""

    def run(slots, claims, asked=0, say=lambda index: None, log=lambda message: None):
        planted = Planted(slots, claims, say)
        # All that were started first have claimed before any of them ends.
        on_poll = lambda: setattr(planted, "attempts", sum(claims[: planted.started]))
        for name, value in {
            "open_packs": lambda folder: range(9),
            "trainable_packs": lambda folder: range(9),
            "num_leases": lambda folder: planted.attempts,
            "settle": lambda folder, observer: [],
            "is_stopped": lambda folder: False,
        }.items():
            monkeypatch.setattr(ledger, name, value)
        monkeypatch.setattr(driver, "POLL_SECONDS", 0.0)
        driver.run(
            planted,
            tmp_path,
            stop_requested=lambda: asked,
            on_poll=on_poll,
            log=log,
        )
        return planted

    return run


def test_workers_that_had_claimed_and_are_killed_at_once_are_replaced(run):
    assert run(5, [True] * 5).started == 10


def test_workers_that_end_before_they_claim_anything_end_the_sweep(run):
    with pytest.raises(RuntimeError, match="3 workers in a row ended before they"):
        run(2, [False] * 9)


def test_workers_end_as_they_are_when_they_are_asked_to_stop_twice(run):
    planted = run(2, [True, True], asked=2)
    assert (planted.killed, planted.started) == ([True, True], 2)


def test_what_workers_report_is_reported_once(run, tmp_path):
    log = tmp_path / "state" / "worker-0.log"
    log.parent.mkdir()
    log.write_text("rdt: of an earlier sweep\n")
    said = []

    def say(index):
        with log.open("a") as file:
            file.write(
                "noise of a library\nrdt: a checkpoint is [damaged]\n  its trace\n"
            )

    run(1, [True], 0, say, said.append)
    reported = "Worker 0: a checkpoint is [damaged]"
    assert said == [reported, "Worker 0 ended with exit code 1.", reported]
