import json
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint
import pytest

from rdt_jax.store import checkpoint
from rdt_jax.training import hyper, optimizers
from rdt_jax.training.pack import TrainState
from tests.training import bits

EXTRA = {"evaluated": 8, "ring_steps": [0, 4, 8], "lanes": [{"final": None}]}


@pytest.fixture(scope="module")
def state(toy, tiny_table):
    """A state of two lanes with the optimizer's own containers and awkward numbers."""
    rng = np.random.default_rng(1)
    awkward = np.array([[-0.0, np.nan, np.inf, 1e-45, 3.4e38]] * 2, np.float32)
    params = {
        "core": [{"kernel": rng.normal(size=(2, 3, 5)).astype(np.float32)}],
        "coda": [],
        "embedding": awkward,
    }
    params = jax.tree.map(jnp.asarray, params)
    lanes = hyper.make_lanes([toy(), toy({"seed": 1})])
    spec = hyper.make_spec([toy()], tiny_table)
    opt_state = jax.vmap(lambda h, p: optimizers.make(spec, h).init(p))(
        lanes.hyper, params
    )
    counted = jax.tree.map(lambda x: x if x.dtype == jnp.float32 else x + 7, opt_state)
    return TrainState(
        step=jnp.int32(2**31 - 1),
        params=params,
        opt_state=counted,
        loss_sum=jnp.array([np.nan, 1.5]),
        gradient_norm=jnp.array([0.0, 2.5]),
        update_ratio=jnp.array([0.25, 1e-3]),
        finite_steps=jnp.array([3, 8], jnp.int32),
        stage=jnp.array([0, 2], jnp.int32),
        stage_start=jnp.array([0, 5], jnp.int32),
    )


@pytest.fixture(scope="module")
def saved(state, tmp_path_factory):
    """One checkpoint; tests damage copies of it."""
    path = tmp_path_factory.mktemp("saved") / "8"
    checkpoint.save(path, state, EXTRA)
    return path


@pytest.fixture
def folder(saved, tmp_path):
    """Checkpoints of two steps."""
    for number in (4, 8):
        shutil.copytree(saved, tmp_path / "checkpoints" / str(number))
    return tmp_path / "checkpoints"


def load_newest(folder, state):
    reports = []
    abstract = lambda extra: checkpoint.shapes_of(state)
    return checkpoint.load_newest(folder, abstract, reports.append), reports


def test_a_round_trip_keeps_every_bit_and_every_container(saved, state):
    loaded, extra = checkpoint.load(saved, lambda _: checkpoint.shapes_of(state))
    assert jax.tree.structure(loaded) == jax.tree.structure(state)
    bits.assert_same(loaded, state)
    assert extra == EXTRA
    bits.assert_same(bits.read_checkpoint(saved)[0]["params"], state.params)


def test_the_shape_to_fill_may_depend_on_the_extra_value(tmp_path):
    ring = [{"w": np.full(3, i, np.float32)} for i in range(2)]
    checkpoint.save(tmp_path / "1", {"ring": ring}, {"ring_steps": [5, 6]})
    one = {"w": np.zeros(3, np.float32)}
    loaded, _ = checkpoint.load(
        tmp_path / "1",
        lambda extra: checkpoint.shapes_of(
            {"ring": [one for _ in extra["ring_steps"]]}
        ),
    )
    bits.assert_same(loaded, {"ring": ring})


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_every_flipped_bit_is_noticed(saved, tmp_path):
    rng = np.random.default_rng(2)
    copy = shutil.copytree(saved, tmp_path / "8")
    assert checkpoint.damage(copy) is None
    manifest = copy / "manifest.json"
    everywhere = [path for path in files(copy) if path.stat().st_size]
    assert len(everywhere) > 7
    # Ten bits of the whole, one of each file, ten of the manifest.
    sizes = np.array([path.stat().st_size for path in everywhere])
    weighted = rng.choice(len(sizes), size=10, p=sizes / sizes.sum())
    for path in [*(everywhere[i] for i in weighted), *everywhere, *[manifest] * 10]:
        whole = bytearray(path.read_bytes())
        broken = whole.copy()
        broken[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        path.write_bytes(broken)
        assert checkpoint.damage(copy) is not None, path
        with pytest.raises(ValueError, match="8 is damaged"):
            checkpoint.load(copy, lambda _: None)
        path.write_bytes(whole)
    assert checkpoint.damage(copy) is None


def test_every_truncation_and_removal_is_noticed(saved, tmp_path):
    rng = np.random.default_rng(3)
    copy = shutil.copytree(saved, tmp_path / "8")
    for path in [path for path in files(copy) if path.stat().st_size]:
        whole = path.read_bytes()
        for length in (0, int(rng.integers(len(whole))), len(whole) - 1):
            path.write_bytes(whole[:length])
            assert checkpoint.damage(copy) is not None, (path, length)
        path.unlink()
        assert checkpoint.damage(copy) is not None, path
        path.write_bytes(whole)
    assert checkpoint.damage(copy) is None


@pytest.mark.parametrize(
    "name", [".DS_Store", "extra.json~", "state/.nfs0001", "state/manifest.json",
             "state/0/x"],
)  # fmt: skip
def test_files_of_others_in_a_checkpoint_do_not_matter(saved, state, tmp_path, name):
    copy = shutil.copytree(saved, tmp_path / "8")
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_bytes(b"\0 of somebody else")
    (loaded, extra), reports = load_newest(tmp_path, state)
    bits.assert_same(loaded, state)
    assert (extra, reports) == (EXTRA, [])


def test_only_folders_that_are_named_by_a_step_are_touched(folder, state, tmp_path):
    """Neither what others put beside them nor what links lead to."""
    away = shutil.copytree(folder / "8", tmp_path / "away" / "16")
    (folder / "16").symlink_to(away)
    (folder / "20.tmp").symlink_to(away)
    names = ("notes", "8-backup", "notes.tmp", "012", "8.tmp.old", "\u00b2")
    for name in names:
        shutil.copytree(folder / "8", folder / name)
    for name in (".DS_Store", "x.tmp", "24"):
        (folder / name).write_bytes(b"of somebody else")
    for name in ("7", "20250101", "5.tmp"):  # Of others, with a step's name.
        (folder / name).mkdir()
        (folder / name / "n.txt").write_bytes(b"of somebody else")
    assert checkpoint.steps_in(folder) == [4, 8]
    of_others = lambda path: path.relative_to(folder).parts[0] not in ("4", "8")
    before = {path: path.read_bytes() for path in files(folder) if of_others(path)}
    assert load_newest(folder, state)[0][1] == EXTRA
    for at in (12, 28):
        checkpoint.save_rotating(folder, at, {"x": np.arange(3)}, {})
    assert all(path.read_bytes() == content for path, content in before.items())
    assert {
        *names,
        ".DS_Store",
        "x.tmp",
        "24",
        "16",
        "20.tmp",
        "12",
        "28",
        "7",
        "20250101",
        "5.tmp",
    } == {path.name for path in folder.iterdir()}
    assert checkpoint.damage(away) is None


def test_a_link_in_the_place_of_a_checkpoint_is_replaced_itself(saved, tmp_path):
    away = shutil.copytree(saved, tmp_path / "away")
    for name in ("final-after-8", "final-after-8.tmp"):
        (tmp_path / name).symlink_to(away)
    checkpoint.save(tmp_path / "final-after-8", {"x": np.arange(3)}, {})
    assert not (tmp_path / "final-after-8").is_symlink()
    assert json.loads((tmp_path / "final-after-8" / "extra.json").read_text()) == {}
    assert checkpoint.damage(away) is None


def test_damage_names_the_file(saved, tmp_path):
    copy = shutil.copytree(saved, tmp_path / "8")
    (copy / "extra.json").write_text("{}")
    message = r"8 is damaged: extra\.json differs from the manifest"
    with pytest.raises(ValueError, match=message):
        checkpoint.load(copy, lambda _: None)
    (copy / "manifest.json").unlink()
    with pytest.raises(ValueError, match="its manifest cannot be read"):
        checkpoint.load(copy, lambda _: None)


def test_only_the_newest_two_stay(tmp_path):
    for number in (4, 8, 96, 100):  # As text, 96 would come after 100.
        checkpoint.save_rotating(
            tmp_path, number, {"x": np.arange(3, dtype=np.int32)}, number
        )
        kept = sorted(int(path.name) for path in tmp_path.iterdir())
    assert kept == [96, 100]
    shapes = checkpoint.shapes_of({"x": np.arange(3, dtype=np.int32)})
    assert checkpoint.load_newest(tmp_path, lambda _: shapes, pytest.fail)[1] == 100


def test_a_damaged_newest_is_reported_set_aside_and_replaced(folder, state):
    (folder / "8" / "extra.json").write_text('{"evaluated": 12}')
    (loaded, extra), (report,) = load_newest(folder, state)
    bits.assert_same(loaded, state)
    assert extra == EXTRA
    assert "extra.json differs from the manifest" in report
    assert str(folder / "8") in report
    assert sorted(path.name for path in folder.iterdir()) == ["4", "8.damaged"]
    assert load_newest(folder, state)[1] == []  # Once is enough.


def test_what_was_set_aside_stays_when_the_same_step_is_damaged_again(
    folder, state, saved
):
    for number in range(3):
        (folder / "8" / "manifest.json").write_text(str(number))
        assert len(load_newest(folder, state)[1]) == 1
        shutil.copytree(saved, folder / "8")
    (_, extra), reports = load_newest(folder, state)
    assert (extra, reports) == (EXTRA, [])
    kept = [folder / name for name in ("8.damaged", "8.2.damaged", "8.3.damaged")]
    assert [(path / "manifest.json").read_text() for path in kept] == ["0", "1", "2"]


def test_a_save_cut_short_leaves_nothing_that_counts(folder, state):
    half = shutil.copytree(folder / "8", folder / "12.tmp")
    (half / "manifest.json").unlink()
    assert load_newest(folder, state)[1] == []
    checkpoint.save_rotating(folder, 12, state, {"evaluated": 12})
    assert sorted(path.name for path in folder.iterdir()) == ["12", "8"]
    assert load_newest(folder, state)[0][1] == {"evaluated": 12}


def test_a_byte_between_the_values_of_the_manifest_counts(saved, tmp_path):
    manifest = shutil.copytree(saved, tmp_path / "8") / "manifest.json"
    text = manifest.read_text()
    for changed in (text + "\n", text.replace("\n ", "\n\t", 1), "\n" + text):
        assert json.loads(changed) == json.loads(text)
        manifest.write_text(changed)
        assert "not as it was written" in checkpoint.damage(tmp_path / "8")


@pytest.mark.parametrize(
    "text", ["[]", "3", "null", "[[1, 2]]", "{}", '{"extra.json": 7}']
)
def test_a_manifest_that_is_something_else_is_damage(saved, tmp_path, text):
    copy = shutil.copytree(saved, tmp_path / "8")
    (copy / "manifest.json").write_text(text)
    assert checkpoint.damage(copy) is not None


def test_a_file_that_cannot_be_read_is_damage(folder, state, monkeypatch):
    unreadable, opened = folder / "8" / "extra.json", type(folder).open

    def bad_sector(self, *arguments, **named):
        if self == unreadable:
            raise OSError(5, "Input/output error")
        return opened(self, *arguments, **named)

    monkeypatch.setattr(type(folder), "open", bad_sector)
    (_, extra), (report,) = load_newest(folder, state)
    assert extra == EXTRA
    assert "a file cannot be read ([Errno 5] Input/output error)" in report
    assert (folder / "8.damaged").is_dir()


def test_a_save_that_lacks_only_its_rename_is_finished(folder, state):
    checkpoint.save(folder / "12", state, {"evaluated": 12})
    (folder / "12").rename(folder / "12.tmp")
    (_, extra), reports = load_newest(folder, state)
    assert (extra, reports) == ({"evaluated": 12}, [])
    assert sorted(path.name for path in folder.iterdir()) == ["12", "8"]


@pytest.mark.parametrize("left", ["half", "nothing"])
def test_a_replacement_cut_short_is_finished(folder, state, left):
    checkpoint.save(folder / "12", state, {"evaluated": 12})
    (folder / "12").rename(folder / "8.tmp")
    shutil.rmtree(folder / "8" / "state")
    if left == "nothing":
        shutil.rmtree(folder / "8")
    (_, extra), reports = load_newest(folder, state)
    assert (extra, reports) == ({"evaluated": 12}, [])
    assert sorted(path.name for path in folder.iterdir()) == ["4", "8"]


def test_an_old_one_stays_until_a_newer_one_is_known_to_be_whole(folder, state):
    for number in (2, 12):
        shutil.copytree(folder / "8", folder / str(number))
    shutil.copytree(folder / "8", folder / "16.tmp")
    for broken in ("16.tmp", "12", "8", "4"):
        (folder / broken / "extra.json").write_text("{}")
    (_, extra), reports = load_newest(folder, state)
    assert extra == EXTRA and len(reports) == 3
    assert sorted(path.name for path in folder.iterdir()) == [
        "12.damaged", "2", "4.damaged", "8.damaged",
    ]  # fmt: skip


def test_loading_leaves_only_the_newest_two(folder, state):
    for number in (12, 16):
        shutil.copytree(folder / "8", folder / str(number))
    (folder / "4" / "manifest.json").unlink()  # Its removal was cut short.
    assert load_newest(folder, state)[1] == []
    assert sorted(path.name for path in folder.iterdir()) == ["12", "16"]


def test_every_file_is_on_the_disk_before_the_rename(state, tmp_path, monkeypatch):
    synced, at_rename = [], []
    rename, sync = type(tmp_path).rename, os.fsync

    def fsync(descriptor):
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        sync(descriptor)

    def rename_and_look(self, target):
        at_rename.append((set(synced), {str(p) for p in [self, *self.rglob("*")]}))
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(type(tmp_path), "rename", rename_and_look)
    checkpoint.save(tmp_path / "8", state, EXTRA)
    before, written = at_rename[-1]
    assert any(name.endswith("manifest.json") for name in written)
    assert before >= written
    assert synced[-1] == str(tmp_path)


def full_disk(*_, **__):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("call", [1, 2])
def test_a_failed_write_keeps_what_was_there(folder, state, monkeypatch, call):
    calls, write = [], type(folder).write_text

    def write_text(self, text):
        calls.append(self.name)
        return full_disk() if len(calls) == call else write(self, text)

    monkeypatch.setattr(type(folder), "write_text", write_text)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(folder / "8", state, {"evaluated": 999})
    assert calls == ["extra.json", "manifest.json"][:call]
    assert checkpoint.damage(folder / "8") is None
    assert load_newest(folder, state)[0][1] == EXTRA


def test_a_failed_array_write_keeps_what_was_there(folder, state, monkeypatch):
    monkeypatch.setattr(orbax.checkpoint.Checkpointer, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save_rotating(folder, 8, state, {"evaluated": 12})
    assert checkpoint.damage(folder / "8") is None
    assert load_newest(folder, state)[0][1] == EXTRA


def test_checkpoints_are_read_where_they_are(saved, state, tmp_path, monkeypatch):
    shutil.copytree(saved, tmp_path / "8")
    monkeypatch.chdir(tmp_path)
    relative = type(saved)(os.curdir) / "8"
    loaded, _ = checkpoint.load(relative, lambda _: checkpoint.shapes_of(state))
    bits.assert_same(loaded, state)
