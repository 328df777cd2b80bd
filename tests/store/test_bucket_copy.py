"""A kept copy for readers: what has changed is brought, and nothing else."""

import fsspec
import pytest

from rdt_jax.store import bucket_copy
from rdt_jax.store.bucket import Bucket

RUN = {
    "0a/config.json": b"{}",
    "0a/metrics.jsonl": b"1",
    "0a/status.json": b"{}",
    "0a/transitions/final/manifest.json": b"{}",
    "0a/tensorboard/events": b"..",
    "packs/p/runs.json": b"[]",
    "state/p.1.json": b"{}",
    "sweeps/s/plan.json": b"{}",
    "sweeps/s/state/packs.json": b"[]",
}
READ = {"0a/config.json", "0a/metrics.jsonl", "0a/status.json", "sweeps/s/plan.json"}


@pytest.fixture
def store(bucket_url, tmp_path, monkeypatch):
    """Returns what writes a file to the bucket; the copies are in a fresh folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fs, root = fsspec.core.url_to_fs(bucket_url)
    write = lambda name, content: fs.pipe_file(f"{root}/{name}", content)
    for name, content in RUN.items():
        write(name, content)
    return write


def files_of(folder):
    paths = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    return {name for name in paths if not name.startswith(".")}


def test_what_readers_need_comes_and_parameters_if_they_are_asked_for(
    store, bucket_url
):
    folder = bucket_copy.refresh(bucket_url, print)
    assert files_of(folder) == READ
    with_parameters = bucket_copy.refresh(bucket_url, print, with_parameters=True)
    assert with_parameters == folder
    assert files_of(folder) == READ | {"0a/transitions/final/manifest.json"}
    bucket_copy.refresh(bucket_url + "/", print)  # It is not removed by who needs less.
    assert files_of(folder) == READ | {"0a/transitions/final/manifest.json"}


def test_only_what_has_changed_comes_again(store, bucket_url, monkeypatch):
    folder = bucket_copy.refresh(bucket_url, print)
    (folder / "0a" / "analysis.npz").write_bytes(b"computed here")
    pulled = []
    pull = Bucket.pull
    monkeypatch.setattr(
        Bucket, "pull", lambda self, name: pulled.append(name) or pull(self, name)
    )
    bucket_copy.refresh(bucket_url, print)
    assert pulled == []
    store("0a/status.json", b"[]")
    store("0a/metrics.jsonl", b"2")  # Of the same size.
    bucket_copy.refresh(bucket_url, print)
    assert pulled == ["0a/metrics.jsonl", "0a/status.json"]  # The status tells of it.
    assert (folder / "0a" / "metrics.jsonl").read_bytes() == b"2"
    assert (folder / "0a" / "analysis.npz").exists()


def test_what_is_gone_goes(store, bucket_url):
    folder = bucket_copy.refresh(bucket_url, print)
    fs, root = fsspec.core.url_to_fs(bucket_url)
    fs.rm_file(f"{root}/sweeps/s/plan.json")
    bucket_copy.refresh(bucket_url, print)
    assert files_of(folder) == READ - {"sweeps/s/plan.json"}


def test_what_came_counts_though_the_rest_did_not(store, bucket_url, monkeypatch):
    def pull(self, name):
        if name == "0a/status.json":
            raise ConnectionError("an outage")
        whole(self, name)

    whole = Bucket.pull
    monkeypatch.setattr(Bucket, "pull", pull)
    with pytest.raises(ConnectionError):
        bucket_copy.refresh(bucket_url, print)
    pulled = []
    monkeypatch.setattr(
        Bucket, "pull", lambda self, name: pulled.append(name) or whole(self, name)
    )
    bucket_copy.refresh(bucket_url, print)
    assert pulled == ["0a/status.json"]


def test_an_empty_place_is_told(store, bucket_url):
    with pytest.raises(ValueError, match="has no runs"):
        bucket_copy.refresh(f"{bucket_url}/elsewhere", print)
