import contextlib
import json
import os
import platform
import subprocess

import pytest

from rdt_jax import config as configs
from rdt_jax.store import files, records, run_folder
from tests import fake_runs

FILES = {"metrics.jsonl", "events.jsonl", "timing.jsonl"}
FOLDERS = {"analysis", "figures", "tensorboard", "transitions"}


@pytest.fixture
def folder(tmp_path, toy):
    folder = tmp_path / configs.run_id(toy())
    run_folder.create(folder, toy())
    return folder


def fill(folder, steps=(0, 4, 8)):
    for name in FILES:
        for step in steps:
            records.append(folder / name, fake_runs.row(name, step, more=3))


def test_all_files_exist_from_the_first_second(folder, toy):
    names = {path.name for path in folder.iterdir()}
    assert names == FILES | FOLDERS | {"config.json", "status.json", "environment.json"}
    assert all((folder / name).read_bytes() == b"" for name in FILES)
    assert all((folder / name).is_dir() for name in FOLDERS)
    assert configs.read_run(folder) == toy()
    assert run_folder.read_status(folder) == {
        "state": "pending", "reason": None, "step": 0, "pack": None, "lane": None,
    }  # fmt: skip
    assert files.read_json(folder / "environment.json") == {}


def test_creating_again_keeps_what_is_there(folder, toy):
    fill(folder)
    files.write_json(
        folder / "status.json", run_folder.read_status(folder) | {"step": 8}
    )
    before = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    run_folder.create(folder, toy())
    assert before == {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def test_a_creation_cut_short_is_completed(folder, toy):
    for name in ("config.json", "events.jsonl", "status.json"):  # Written last.
        (folder / name).unlink()
    run_folder.create(folder, toy())
    test_all_files_exist_from_the_first_second(folder, toy)


def test_a_folder_of_another_config_is_refused(folder, tmp_path, toy):
    other = toy({"seed": 1})
    moved = tmp_path / configs.run_id(other)
    folder.rename(moved)
    with pytest.raises(ValueError, match="hashes to .* edited or moved"):
        run_folder.create(moved, other)


def test_an_edited_config_is_refused(folder, toy):
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"batch_size": 13', '"batch_size": 14'))
    with pytest.raises(ValueError, match="A changed config is another run"):
        run_folder.create(folder, toy())


def test_rows_come_back_as_written(folder):
    rows = [
        {"step": 0, "id/loss@2": 0.1 + 0.2, "none": None, "word": "ünïcode\u2028x"},
        {"step": 4, "id/loss@2": 5e-324, "large": 2**63},
    ]
    for row in rows:
        records.append(folder / "timing.jsonl", row)
    assert records.read_rows(folder / "timing.jsonl") == rows


def test_a_torn_last_line_is_no_row(folder):
    fill(folder)
    path = folder / "metrics.jsonl"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        rows = records.read_rows(path)
        assert [row["step"] for row in rows] == [0, 4, 8][: whole[:length].count(b"\n")]


@pytest.mark.parametrize(
    "last",
    [b'{"step": 8, "na', b'{"step": 8, "na\n', b"\0\0\0", b"\xff\n", b"8\n", b"\n"],
)
def test_a_damaged_last_line_is_repaired(folder, last):
    fill(folder, (0, 4))
    path = folder / "metrics.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + last)
    records.check(folder)
    assert [row["step"] for row in records.read_rows(path)] == [0, 4]
    records.truncate(folder, 8)
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "line", [b'{"step": 4, "na\n', b'{"step": 4, "n\xff": 1}\n', b"4\n", b"{}\n", b"\n"]
)
@pytest.mark.parametrize("last", [b'{"step": 8}\n', b'{"st'])
def test_a_damaged_line_before_another_is_an_error(folder, line, last):
    fill(folder, (0,))
    for name in FILES:
        path = folder / name
        whole = path.read_bytes()
        path.write_bytes(whole + line + last)
        with pytest.raises(
            ValueError, match=rf"{name} line 2 is damaged: .*copy, or rem"
        ):
            records.check(folder)
        with pytest.raises(ValueError, match=rf"{name} line 2 is damaged"):
            records.truncate(folder, 8)
        assert path.read_bytes() == whole + line + last
        path.write_bytes(whole)
    records.check(folder)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["{}", "{}"], "line 2 is damaged: step 4 follows step 4"),
        (["{}", '{"step": 0}'], "line 2 is damaged: step 0 follows step 4"),
        (['{"a": NaN, "b": 1}'], "line 1 is damaged: a is NaN"),
        (['{"id/accuracy@2": null}'], "line 1 is damaged: id/accuracy@2 must be a num"),
        (
            ['{"a": 1}', '{"step": 8, "a": "x"}'],
            "line 2 is damaged: a must be a number",
        ),
        (['{"id/accuracy@2[hops=3]": 7.0}'], r"line 1 .* must be in \[0, 1\], got 7"),
        (["{}", '{"step": 60}'], "line 2 .* step 60 is beyond the budget of 56"),
    ],
)
def test_a_row_that_was_never_written_so_is_an_error_even_at_the_end(
    folder, rows, message
):
    path = folder / "metrics.jsonl"
    merged = [{"step": 4} | json.loads(row) for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in merged))
    with pytest.raises(ValueError, match=rf"^{path} {message}"):
        records.check(folder)


def test_events_have_all_their_keys_and_may_share_a_step(folder):
    path = folder / "events.jsonl"
    for occurrence in (1, 2):
        records.append(path, fake_runs.row(path.name, 4, occurrence=occurrence))
    assert len(records.read_rows(path)) == 2
    records.append(path, {"step": 4, "event": "memorized"})
    with pytest.raises(ValueError, match="line 3 is damaged: it has no completed"):
        records.read_rows(path)


def test_a_file_of_rows_that_is_missing_is_named(folder):
    (folder / "metrics.jsonl").unlink()
    with pytest.raises(ValueError, match=rf"^{folder}/metrics\.jsonl is missing\."):
        records.check(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "Expecting value"),
        ('{"state": "do', "Unterminated string"),
        ("[]", "it must hold a dict, got a list"),
        ("[" * 10_000, "maximum recursion depth"),
        ("{}", "it has no state, reason, step, pack, lane"),
        ({"state": "finished"}, "state cannot be 'finished'"),
        ({"reason": ["nan"]}, r"reason cannot be \['nan'\]"),
        ({"step": -1}, "step cannot be -1"),
        ({"pack": "../victim"}, "pack cannot be '../victim'"),
        ({"num_steps": 0}, "num_steps cannot be 0"),
        ({"accuracy": {"id": None}}, "accuracy cannot be {'id': None}"),
    ],
)
def test_a_damaged_status_is_named(folder, content, message):
    path = folder / "status.json"
    if isinstance(content, dict):
        content = json.dumps(run_folder.read_status(folder) | content)
    path.write_text(content)
    with pytest.raises(ValueError, match=rf"^{path} is damaged: {message}"):
        run_folder.read_status(folder)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "it is the line before once more"),
        ({"event": "graduated"}, "event cannot be 'graduated'"),
        ({"kind": "begun"}, "kind cannot be 'begun'"),
        ({"onset": 8}, "onset cannot be 8 at step 4"),
        ({"completed": 9999}, "completed cannot be 9999 at step 4"),
        ({"step": 60}, "step 60 is beyond the budget of 56"),
    ],
)
def test_an_event_that_cannot_have_been_is_damage(folder, fields, message):
    path = folder / "events.jsonl"
    event = fake_runs.row(path.name, 4)
    for each in (event, event | fields):
        records.append(path, each)
    with pytest.raises(ValueError, match=rf"^{path} line 2 is damaged: {message}"):
        records.check(folder)


@pytest.mark.parametrize("name", ["half", "hop_learned", "late"])
def test_an_event_is_one_that_the_config_declares(toy, tmp_path, name):
    config = toy({"phases.further": "half: id >= 0.5"})
    folder = tmp_path / configs.run_id(config)
    run_folder.create(folder, config)
    row = fake_runs.row("events.jsonl", 4, event=name)
    records.append(folder / "events.jsonl", row)
    refused = pytest.raises(ValueError, match="line 1 is damaged: event cannot be 'la")
    with refused if name == "late" else contextlib.nullcontext():
        records.check(folder)


@pytest.fixture(params=["proof", "none"])
def done(folder, request):
    """A run that is over; with the proof of its status, or as it was without one."""
    fill(folder, (0, 52))
    records.append(folder / "metrics.jsonl", {"step": 56, "id/accuracy@2": 0.5})
    place = {"pack": "0123456789ab", "lane": 3}
    files.write_json(folder / "environment.json", place | {"segments": [{"step": 0}]})
    status = {"state": "done", "reason": "budget", "step": 56} | place
    proof = {"records": records.proof(folder)} if request.param == "proof" else {}
    files.write_json(folder / "status.json", status | proof)
    records.check(folder)
    return folder


@pytest.mark.parametrize(
    ("name", "change", "unproven"),
    [
        ("metrics.jsonl", lambda text: "", True),
        ("metrics.jsonl", lambda text: text.rpartition("{")[0], True),
        ("metrics.jsonl", lambda text: text[:-5], True),
        ("metrics.jsonl", lambda text: text[:-1], True),
        ("metrics.jsonl", lambda text: text + "\n", True),
        ("metrics.jsonl", lambda text: text + '{"st', True),
        ("metrics.jsonl", lambda text: text.replace("0.5", "0.6"), False),
        (
            "metrics.jsonl",
            lambda text: text.replace(', "id/accuracy@2": 0.5', ""),
            False,
        ),
        ("metrics.jsonl", lambda text: text.partition("\n")[2], False),
        ("events.jsonl", lambda text: "", False),
        ("events.jsonl", lambda text: "{}\n", True),
        ("events.jsonl", lambda text: text + "3\n", True),
        ("events.jsonl", lambda text: text[:-5], True),
        ("events.jsonl", lambda text: text.rpartition("{")[0], False),
        ("events.jsonl", lambda text: text.replace("0.95", "0.9"), False),
        ("environment.json", lambda text: "{}", False),
        ("environment.json", lambda text: text.replace(": 3", ": 4"), False),
        ("status.json", lambda text: text.replace('p": 56', 'p": 52'), True),
        ("status.json", lambda text: text.replace('p": 56', 'p": 3000'), True),
    ],
)
def test_a_run_that_is_over_says_what_it_was_or_is_damaged(
    done, name, change, unproven
):
    path, proven = done / name, "records" in run_folder.read_status(done)
    text = path.read_text()
    assert change(text) != text
    path.write_text(change(text))
    if not (proven or unproven):
        records.check(done)  # An earlier version did not say.
        return
    told = "status.json" if name == "status.json" else f"{path}"
    rest = rf".* remove {done} and {done.parent}/packs/0123456789ab to train it again"
    with pytest.raises(ValueError, match=told + rest):
        records.check(done)
    assert records.planned_status(done, in_full=True)["state"] == "unreadable"


def test_a_run_that_was_over_can_go_on(done):
    run_folder.reopen(done)
    assert run_folder.read_status(done)["state"] == "preempted"
    records.truncate(done, 52)
    records.check(done)


def test_an_imported_run_has_no_rows(done):
    fields = {"reason": "imported", "step": 9000}
    status = {k: v for k, v in run_folder.read_status(done).items() if k != "records"}
    files.write_json(done / "status.json", status | fields)
    for name in FILES:
        (done / name).write_text("")
    records.check(done)


def test_rows_that_were_there_are_missed(folder):
    fill(folder)
    counted = records.count(folder)
    assert counted == {"metrics.jsonl": 3, "events.jsonl": 3}
    assert records.missing(folder, 8, counted) is None
    fill(folder, (12,))  # After they were counted.
    assert records.missing(folder, 8, counted) is None
    path = folder / "events.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]) + lines[2][:9])
    assert records.missing(folder, 8, counted) == (
        f"{path} had 3 rows up to it, and has 2"
    )
    assert records.missing(folder, 4, {"events.jsonl": 2}) is None
    assert records.missing(folder, -1, {"events.jsonl": 1}) == (
        f"{path} had 1 row up to it, and has 0"
    )


def write_pin(path, name=None):
    """Makes a pin; with `name`, a copy of it under another name."""
    event, _, step = (name or path.name).split("-")
    path.mkdir(parents=True)
    (path / "manifest.json").write_text("{}")
    files.write_json(path / "extra.json", {"event": event, "step": int(step)})


def test_truncation_leaves_what_others_put_into_a_run(folder, tmp_path):
    transitions, pin = folder / "transitions", "hop_learned_3-before-8"
    away = tmp_path / "away" / "memorized-after-12"
    for path in (transitions / pin, transitions / "final-after-16", away):
        write_pin(path)
    for name in ("memorized-before-0-backup", "best-after-20", "final-after-99"):
        write_pin(transitions / name, pin)
    (transitions / "memorized-after-12").symlink_to(away)
    (transitions / "memorized-after-16.tmp").symlink_to(away)
    (transitions / "my-at-5.tmp").mkdir()
    (transitions / "my-at-5.tmp" / "n.txt").write_text("of somebody else")
    for name in ("my-notes", "x.tmp", "notes-5", "memorized-after-20"):
        (transitions / name).mkdir()
    names = (".DS_Store", "notes-after-9", "a-after-9.tmp")
    others = [transitions / name for name in names]
    node = platform.node()
    others += [
        folder / ".x.tmp",
        folder / f".x.{node}.y.tmp",
        folder / f"x.{node}.1.tmp",
    ]
    for path in others:
        path.write_text("of somebody else")
    removed = {transitions / pin, transitions / "final-after-16"}
    expected = {*folder.rglob("*"), away} - {
        path for gone in removed for path in (gone, *gone.rglob("*"))
    }
    assert run_folder.pins(folder) == dict(zip(sorted(removed), (16, 8), strict=True))
    records.truncate(folder, 4)
    assert {*folder.rglob("*"), away} == expected
    assert len(list(away.iterdir())) == 2


def test_a_removal_that_was_cut_short_is_finished(folder, monkeypatch):
    pin = folder / "transitions" / "memorized-after-8"
    write_pin(pin)

    def killed(path, **named):
        if path.exists():
            (path / "manifest.json").unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(records.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            records.truncate(folder, 4)
    records.truncate(folder, 4)
    assert not list(pin.parent.iterdir())


def test_a_link_to_other_transitions_is_refused(folder, tmp_path):
    (folder / "transitions").rename(tmp_path / "away")
    (folder / "transitions").symlink_to(tmp_path / "away")
    with pytest.raises(ValueError, match="transitions is a link"):
        records.check(folder)


def test_truncation_removes_what_killed_writers_left(folder):
    with subprocess.Popen(["sleep", "60"]) as alive, subprocess.Popen("true") as dead:
        dead.wait()
        writers = [dead.pid, os.getpid(), alive.pid, 1]
        left = [folder / f".status.json.{platform.node()}.{pid}.tmp" for pid in writers]
        elsewhere = folder / f".status.json.elsewhere.{dead.pid}.tmp"
        for path in (*left, elsewhere):
            path.write_text('{"sta')
        (folder / "transitions" / "memorized-after-8.tmp" / "state").mkdir(parents=True)
        for pin in ("memorized-after-4", "id_generalized-after-8"):
            write_pin(folder / "transitions" / pin)
        records.truncate(folder, 4)
        alive.kill()
    # Those of living processes, or of another machine's, may still be renamed.
    assert set(folder.glob(".*")) == {*left[2:], elsewhere}
    pins = [path.name for path in (folder / "transitions").iterdir()]
    assert pins == ["memorized-after-4"]


def test_rows_are_on_the_disk_before_they_replace_others(folder, monkeypatch):
    fill(folder)
    synced, at_replace = [], []
    replace, sync = type(folder).replace, os.fsync

    def fsync(descriptor):
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        sync(descriptor)

    def replace_and_look(self, target):
        at_replace.append(str(self) in synced)
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(type(folder), "replace", replace_and_look)
    records.truncate(folder, 4)
    assert at_replace == [True] * len(FILES)
    files.write_json(folder / "status.json", run_folder.read_status(folder))
    assert at_replace == [True] * (len(FILES) + 1)


def test_a_second_creator_leaves_the_config_file_of_the_first(folder, toy, monkeypatch):
    """Its lock would be lost with it."""
    path = folder / "config.json"
    before = path.stat().st_ino
    exists = type(folder).exists
    # As seen by a process that looked just before the first one wrote it.
    unseen = lambda self: self != path and exists(self)
    monkeypatch.setattr(type(folder), "exists", unseen)
    run_folder.create(folder, toy())
    assert path.stat().st_ino == before
    assert not list(folder.glob(".*"))


def test_a_file_system_without_links_will_do(tmp_path, toy, monkeypatch):
    def link(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    folder = tmp_path / configs.run_id(toy())
    run_folder.create(folder, toy())
    assert configs.read_run(folder) == toy()
    assert not list(folder.glob(".*"))


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


def test_a_reader_sees_the_old_or_the_new_file_whole(folder):
    path, opened = folder / "status.json", folder / "opened"
    files.write_json(path, {"state": "running", "step": 4})
    os.link(path, opened)  # What a reader who opened it before still reads.
    files.write_json(path, {"state": "done"})
    assert files.read_json(opened) == {"state": "running", "step": 4}
    assert files.read_json(path) == {"state": "done"}


def test_a_failed_write_keeps_the_old_file(folder, monkeypatch):
    path = folder / "status.json"
    before = path.read_bytes()
    with pytest.raises(TypeError, match="not JSON serializable"):
        files.write_json(path, {"state": object()})
    assert path.read_bytes() == before

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(path), "replace", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_json(path, {"state": "done"})
    assert path.read_bytes() == before


def test_appending_to_a_full_disk_is_an_error(tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        records.append(tmp_path / "metrics.jsonl", {"step": 0})


def test_a_run_without_a_status_is_pending(folder):
    (folder / "status.json").unlink()
    assert run_folder.read_status(folder)["state"] == "pending"
