"""Damages checkpoints: whatever byte it is, it must be noticed; no other file is."""

import functools
import pathlib
import random
import shutil

from rdt_jax.store import checkpoint
from tests.training import bits

KINDS = ("flip", "truncate", "empty", "remove", "add")


def inflict(chance: random.Random, folder: pathlib.Path, kind: str) -> str:
    """Damages one file of a checkpoint folder and says how.

    Half of it falls on any byte alike, half on any file alike, or the small files would
    be left out.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sizes = [path.stat().st_size for path in files]
    if chance.random() < 0.5:
        sizes = [min(size, 1) for size in sizes]
    (path,) = chance.choices(files, weights=sizes)
    content = bytearray(path.read_bytes())
    name = path.relative_to(folder)
    if kind == "flip":
        at, bit = chance.randrange(len(content)), chance.randrange(8)
        content[at] ^= 1 << bit
        path.write_bytes(content)
        return f"bit {bit} of byte {at} of {name} flipped"
    if kind == "truncate":
        length = chance.randrange(len(content))
        path.write_bytes(content[:length])
        return f"{name} cut from {len(content)} to {length} bytes"
    if kind == "empty":
        path.write_bytes(b"")
        return f"{name} emptied"
    if kind == "remove":
        path.unlink()
        return f"{name} removed"
    stray = path.with_name(chance.choice(["stray", ".stray", "manifest.json", "0"]))
    if stray.exists():
        stray = stray.with_name("another")
    stray.write_bytes(content[: chance.randrange(2)])
    return f"{stray.relative_to(folder)} added"


_read = functools.cache(bits.read_checkpoint)


def unnoticed(checkpoints: pathlib.Path, chance: random.Random, kind: str, work):
    """Damages a copy of the newest of two checkpoints, in an empty folder.

    Returns what went wrong, or None if the damage was found and reported, the
    checkpoint set aside and the one before it used instead. A file that was added is no
    damage.
    """
    shutil.copytree(checkpoints, work, dirs_exist_ok=True)
    before, newest = sorted(work.iterdir(), key=lambda path: int(path.name))
    how = inflict(chance, newest, kind)
    is_whole = kind == "add"
    if (checkpoint.damage(newest) is None) != is_whole:
        return f"{how}: {checkpoint.damage(newest) or 'not noticed'}"
    expected, extra = _read(checkpoints / (newest if is_whole else before).name)
    reports: list[str] = []
    shapes = checkpoint.shapes_of(expected)
    found = checkpoint.load_newest(work, lambda _: shapes, reports.append)
    try:
        assert found is not None and found[1] == extra, "another one is used"
        bits.assert_same(found[0], expected)
        if is_whole:
            assert not reports, reports
            return None
        assert len(reports) == 1 and f"{newest} is damaged" in reports[0], reports
        aside = newest.with_name(newest.name + ".damaged")
        assert sorted(work.iterdir()) == sorted([before, aside]), "not set aside"
    except AssertionError as error:
        return f"{how}: {error}"
    return None
