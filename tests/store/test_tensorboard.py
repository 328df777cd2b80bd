"""What TensorBoard reads of a run, and that a run does not depend on it."""

import os
import time

import pytest
from tensorboardX.proto import event_pb2

from rdt_jax import config as configs
from rdt_jax.store import run_folder, tensorboard


def events(path):
    """Reads the events of a file, by the format of TFRecord."""
    content, found = path.read_bytes(), []
    while content:
        length = int.from_bytes(content[:8], "little")
        found.append(event_pb2.Event.FromString(content[12 : 12 + length]))
        content = content[16 + length :]
    return found


def files(folder):
    return sorted(folder.iterdir())  # As TensorBoard reads them.


def test_numbers_come_back_and_a_later_file_replaces_what_is_behind_it(tmp_path):
    for start in (1, 5):
        each = tensorboard.Writer(tmp_path / "tensorboard", start, pytest.fail)
        each.add(start + 3, {"id/loss@2": 0.5, "model/weight_norm": float("nan")})
        each.close()
    for start, path in zip((1, 5), files(tmp_path / "tensorboard"), strict=True):
        version, session, *rest = events(path)
        assert version.file_version == "brain.Event:2"
        assert session.session_log.status == event_pb2.SessionLog.START
        assert session.step == start
        values = {e.summary.value[0].tag: e.summary.value[0].simple_value for e in rest}
        assert [e.step for e in rest] == [start + 3] * 2
        assert values["id/loss_2"] == 0.5
        assert values.keys() == {"id/loss_2", "model/weight_norm"}


def test_a_clock_that_steps_back_stops_nothing(tmp_path, monkeypatch):
    """By a month and more, while a file is written and between two."""
    now = 1.9e9
    monkeypatch.setattr(time, "time", lambda: now)
    for start in range(3):
        each = tensorboard.Writer(tmp_path, start, pytest.fail)
        for step in range(30):  # More than a queue of tensorboardX takes.
            now -= 1e6
            each.add(step, {"x": 0.0})
        each.close()
    assert [events(path)[1].step for path in files(tmp_path)] == [0, 1, 2]
    assert {len(events(path)) for path in files(tmp_path)} == {32}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (os.rmdir(folder), folder.write_text("")),
        lambda folder: (os.rmdir(folder), folder.symlink_to("/proc/nowhere")),
    ],
)
def test_a_folder_that_cannot_be_written_stops_no_run(train, toy, tmp_path, spoil):
    config = toy({"num_steps": 8, "checkpoint_every_steps": 8})
    folder = tmp_path / configs.run_id(config)
    run_folder.create(folder, config)
    spoil(folder / "tensorboard")
    told = []
    (status,) = train([config], tmp_path, log=told.append)
    assert status["state"] == "done"
    assert len(told) == 1
    assert f"{folder}/tensorboard gets no more numbers for TensorBoard" in told[0]


def test_a_full_disk_stops_no_run(tmp_path, monkeypatch):
    told = []
    each = tensorboard.Writer(tmp_path, 0, told.append)

    def no_space(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    each.add(0, {"x": 0.0})
    each.add(4, {"x": 0.0})
    each.close()
    assert len(told) == 1 and "No space left on device" in told[0]
