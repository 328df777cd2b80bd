"""A copy of a workdir in a bucket for readers, which is kept and brought up to date.

    folder = bucket_copy.refresh("gs://bucket/runs", exits.tell)
    runs.read_runs(folder, ...)

A file is brought again only when its store tells something else of it than before. What
is computed from the copy stays in it. Nothing is uploaded.
"""

import hashlib
import os
import pathlib
import re
from collections.abc import Callable

from rdt_jax.store import files
from rdt_jax.store.bucket import Bucket, stays_inside

_MARKS = ".marks.json"  # File of the copy -> what its store told of it.
# What only those who train read: checkpoints, leases, logs, tables.
_UNREAD = re.compile(
    r"(packs|state|tables)/|sweeps/[^/]+/(state|logs)/|.*/tensorboard/"
)
_PARAMETERS = re.compile(r"[^/]+/transitions/")


def refresh(
    url: str, log: Callable[[str], None], with_parameters: bool = False
) -> pathlib.Path:
    """Brings what readers need of a workdir in a bucket here; returns the folder.

    `with_parameters` says whether the parameters that runs keep are needed, too.
    ValueError if the bucket cannot be opened, or has nothing at this address;
    ConnectionError if the store does not answer for long.
    """
    url = url.rstrip("/")
    bucket = Bucket.connect(url, _folder(url), log=log)
    marks = {
        name: mark
        for name, mark in bucket.marks().items()
        if stays_inside(name)
        and not _UNREAD.match(name)
        and (with_parameters or not _PARAMETERS.match(name))
    }
    if not marks:
        raise ValueError(f"The workdir {url} has no runs.")
    path = bucket.workdir / _MARKS
    before = files.read_json(path) if path.exists() else {}
    # Files that a reader leaves out now are no news of those that it took before.
    gone = [n for n in before if n not in marks and not _PARAMETERS.match(n)]
    for name in gone:
        (bucket.workdir / name).unlink(missing_ok=True)
        del before[name]
    changed = [name for name, mark in marks.items() if before.get(name) != mark]
    try:
        for name in sorted(changed, key=_is_late):
            bucket.pull(name)
            before[name] = marks[name]
    finally:
        files.write_json(path, before)
    return bucket.workdir


def _is_late(name: str) -> bool:
    """Says whether a file tells of others, which are to be there before it."""
    return name.endswith(("status.json", "manifest.json"))


def _folder(url: str) -> pathlib.Path:
    caches = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    name = hashlib.sha256(url.encode()).hexdigest()[:16]
    return pathlib.Path(caches, "rdt_jax", "buckets", name)
