import json
import os

import pytest

from rdt_jax import config as configs
from rdt_jax.training import records

FILES = {"metrics.jsonl", "events.jsonl", "timing.jsonl"}
FOLDERS = {"analysis", "figures", "tensorboard", "transitions"}


@pytest.fixture
def folder(tmp_path, toy):
    folder = tmp_path / configs.run_id(toy())
    records.create(folder, toy())
    return folder


def fill(folder, steps=(0, 4, 8)):
    for name in FILES:
        for step in steps:
            records.append(folder / name, {"step": step, "name": name})


def test_all_files_exist_from_the_first_second(folder, toy):
    names = {path.name for path in folder.iterdir()}
    assert names == FILES | FOLDERS | {"config.json", "status.json", "environment.json"}
    assert all((folder / name).read_bytes() == b"" for name in FILES)
    assert all((folder / name).is_dir() for name in FOLDERS)
    assert configs.read_run(folder) == toy()
    assert records.read_status(folder) == {
        "state": "pending", "reason": None, "step": 0, "pack": None, "lane": None,
    }  # fmt: skip
    assert records.read_json(folder / "environment.json") == {}


def test_creating_again_keeps_what_is_there(folder, toy):
    fill(folder)
    records.write_json(folder / "status.json", {"state": "running", "step": 8})
    before = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    records.create(folder, toy())
    assert before == {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def test_a_creation_cut_short_is_completed(folder, toy):
    for name in ("config.json", "events.jsonl", "status.json"):  # Written last.
        (folder / name).unlink()
    records.create(folder, toy())
    test_all_files_exist_from_the_first_second(folder, toy)


def test_a_folder_of_another_config_is_refused(folder, tmp_path, toy):
    other = toy({"seed": 1})
    moved = tmp_path / configs.run_id(other)
    folder.rename(moved)
    with pytest.raises(ValueError, match="hashes to .* edited or moved"):
        records.create(moved, other)


def test_an_edited_config_is_refused(folder, toy):
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"num_steps": 56', '"num_steps": 57'))
    with pytest.raises(ValueError, match="A changed config is another run"):
        records.create(folder, toy())


def test_rows_come_back_as_written(folder):
    rows = [
        {"step": 0, "id/loss@2": 0.1 + 0.2, "none": None, "word": "ünïcode\u2028x"},
        {"step": 4, "id/loss@2": 5e-324, "large": 2**63},
    ]
    for row in rows:
        records.append(folder / "metrics.jsonl", row)
    assert records.read_rows(folder / "metrics.jsonl") == rows


def test_a_torn_last_line_is_no_row(folder):
    fill(folder)
    path = folder / "metrics.jsonl"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        rows = records.read_rows(path)
        assert [row["step"] for row in rows] == [0, 4, 8][: whole[:length].count(b"\n")]


def test_a_damaged_line_elsewhere_is_an_error_that_says_where(folder):
    fill(folder)
    path = folder / "events.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + '{"step": 4, "na\n' + lines[2])
    with pytest.raises(ValueError, match=r"events\.jsonl line 2 is damaged"):
        records.read_rows(path)
    with pytest.raises(ValueError, match=r"events\.jsonl line 2 is damaged"):
        records.truncate(folder, 8)
    path.write_bytes(lines[0].encode() + b"\xff\xfe\n" + lines[2].encode())
    with pytest.raises(ValueError, match=r"events\.jsonl line 2 is damaged"):
        records.read_rows(path)


@pytest.mark.parametrize("step", [-1, 0, 3, 4, 8, 100])
def test_truncation_drops_later_rows_and_keeps_the_bytes_of_others(folder, step):
    fill(folder)
    expected = {
        name: b"".join(
            line
            for line in (folder / name).read_bytes().splitlines(keepends=True)
            if json.loads(line)["step"] <= step
        )
        for name in FILES
    }
    for name in FILES:  # Torn by the kill that made the truncation necessary.
        with (folder / name).open("a") as file:
            file.write('{"step": 12, "na')
    records.truncate(folder, step)
    assert {name: (folder / name).read_bytes() for name in FILES} == expected


def test_truncation_does_not_round_numbers(folder):
    row = {"step": 4, "id/loss@2": 2.8598392009735107, "a": 1e-7, "b": 0.1, "c": None}
    records.append(folder / "metrics.jsonl", row)
    before = (folder / "metrics.jsonl").read_bytes()
    records.truncate(folder, 4)
    assert (folder / "metrics.jsonl").read_bytes() == before


def test_a_reader_sees_the_old_or_the_new_file_whole(folder):
    path, opened = folder / "status.json", folder / "opened"
    records.write_json(path, {"state": "running", "step": 4})
    os.link(path, opened)  # What a reader who opened it before still reads.
    records.write_json(path, {"state": "done"})
    assert records.read_json(opened) == {"state": "running", "step": 4}
    assert records.read_json(path) == {"state": "done"}


def test_a_failed_write_keeps_the_old_file(folder, monkeypatch):
    path = folder / "status.json"
    before = path.read_bytes()
    with pytest.raises(TypeError, match="not JSON serializable"):
        records.write_json(path, {"state": object()})
    assert path.read_bytes() == before

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(path), "replace", full)
    with pytest.raises(OSError, match="No space left"):
        records.write_json(path, {"state": "done"})
    assert path.read_bytes() == before


def test_appending_to_a_full_disk_is_an_error(tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        records.append(tmp_path / "metrics.jsonl", {"step": 0})


def test_a_run_without_a_status_is_pending(folder):
    (folder / "status.json").unlink()
    assert records.read_status(folder)["state"] == "pending"
