"""From a session to a later one: train, evaluate, shrink, until every lane is over.

    session = fit.fit(session, hooks=recorder, should_stop=lambda: False)

Nothing here knows of disks or clocks: `Hooks` has both. The host does nothing between
two evaluations but dispatch updates, as many as take some seconds.
"""

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import jax
import numpy as np

from rdt_jax.training import lanes, phases
from rdt_jax.training.session import Session

_DISPATCH_SECONDS = 10.0  # A request to stop waits for at most one dispatch.


class Hooks(Protocol):
    """What `fit` calls while it trains."""

    def timed(self, purpose: str) -> AbstractContextManager[Callable[[], float]]:
        """Returns a context that counts seconds for a purpose, and tells them."""

    def may_end(self, session: Session) -> AbstractContextManager[None]:
        """Returns a context in which the process may end if it would lose nothing."""

    def evaluated(
        self, session: Session, observations: Mapping[int, lanes.Observation]
    ) -> None:
        """Records an evaluation, by lane; the session is as after it."""

    def save(self, session: Session) -> None:
        """Writes the checkpoint of the session."""

    def shrunk(self, session: Session) -> None:
        """Notes that the session has fewer lanes from now on."""

    def progressed(self, session: Session, state: str = "running") -> None:
        """Tells how far the runs are; `state` is that of those that are not over."""


def fit(session: Session, *, hooks: Hooks, should_stop: Callable[[], int]) -> Session:
    """Trains a session until all its lanes are over, or until it is asked to stop.

    If `should_stop`, which is called after every dispatch, returns true, the session is
    saved and its unfinished runs become `preempted`.
    """
    compiled: set[tuple[int, int]] = set()  # (lanes, tokens of a row)
    # A kill may have come between the last checkpoint and what it says of each run.
    hooks.progressed(session)
    while True:
        if session.next_evaluation == session.step:
            session = _evaluate_and_save(session, hooks)
            hooks.progressed(session)
        if not session.num_running:
            return session
        if should_stop():
            hooks.save(session)
            hooks.progressed(session, state="preempted")
            return session
        shape = len(session.progress.members), session.row_length
        if shape not in compiled:
            compiled.add(shape)
            with hooks.timed("compile"), hooks.may_end(session):
                session = session.train(0, session.row_length)
        session = _dispatch(session, hooks)
        hooks.progressed(session)


def _dispatch(session: Session, hooks: Hooks) -> Session:
    """Trains to the next evaluation, or for some seconds if that is sooner."""
    affordable = max(1, int(_DISPATCH_SECONDS * session.rate)) if session.rate else 1
    num_updates = min(session.next_evaluation - session.step, affordable)
    with hooks.timed("train") as seconds:
        session = session.train(num_updates, session.row_length)
    return dataclasses.replace(session, rate=num_updates / seconds())


def _evaluate_and_save(session: Session, hooks: Hooks) -> Session:
    """Evaluates, and saves where a checkpoint is due or a lane has ended."""
    num_running = session.num_running
    with hooks.timed("evaluate"), hooks.may_end(session):
        measured = session.pack.observe(session.state)
    session, observations = _observe(session, measured)
    hooks.evaluated(session, observations)
    if session.is_checkpoint_due or session.num_running != num_running:
        smaller = session.shrunk()
        if smaller is not session:
            hooks.shrunk(smaller)
        session = smaller
        hooks.save(session)
    return session


def _observe(
    session: Session, measured: dict[str, Any]
) -> tuple[Session, dict[int, lanes.Observation]]:
    """Takes in what `Pack.observe` measured of a session.

    Windows and stages of the curriculum begin anew in the session that is returned,
    with the observation of each lane that was not over, by its index.
    """
    before, step = session.progress, session.step
    params = measured.pop("params")
    measured["weight_norm"] = measured["quantities"].pop("weight_norm")
    window = step - max(before.evaluated, 0)
    observations = {
        index: lanes.observe(
            session.awaited,
            before.lanes[index],
            step,
            window,
            jax.tree.map(lambda leaf, i=position: leaf[i], measured),
        )
        for position, index in enumerate(before.members)
        if before.lanes[index]["final"] is None
    }
    progress = dataclasses.replace(
        before,
        evaluated=step,
        ring_steps=[*before.ring_steps, step][-phases.RING :],
        lanes=[
            observations[index].lane if index in observations else lane
            for index, lane in enumerate(before.lanes)
        ],
    )
    state = session.pack.start_window(session.state)
    if session.awaited.stages.values:
        stages = [progress.lanes[index]["stage"] for index in progress.members]
        state = session.pack.begin_stage(
            state, session.lane_params, np.array(stages, np.int32)
        )
    ring = [*session.ring, params][-phases.RING :]
    session = dataclasses.replace(session, state=state, ring=ring, progress=progress)
    return session, observations
