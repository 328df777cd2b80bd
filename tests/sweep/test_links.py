import pytest

from rdt_jax import config as configs
from rdt_jax.sweep import links, spec

IDS = ("a" * 12, "b" * 12, "c" * 12)


def _trials(*overrides):
    return [
        spec.Trial(run_id, values, {})
        for run_id, values in zip(IDS, overrides, strict=False)
    ]


def _labels(*overrides):
    return list(links.labels(_trials(*overrides)).values())


def test_a_label_says_what_sets_a_trial_apart():
    assert _labels(
        {"recurrence.num_loops": 2, "optimizer.weight_decay": 0.1, "seed": 0}
    ) == ["num_loops=2,weight_decay=0.1,seed=0"]


def test_keys_of_one_ending_get_longer_names():
    names = configs.short_names(["seed", "task.seed", "a.b.c", "d.b.c", "model.dtype"])
    assert names == {
        "seed": "seed",
        "task.seed": "task.seed",
        "a.b.c": "a.b.c",
        "d.b.c": "d.b.c",
        "dtype": "model.dtype",
    }
    assert configs.short_names(["x.a.c", "y.b.c"]) == {"a.c": "x.a.c", "b.c": "y.b.c"}


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("/data/my table: 1.json", "path=_data_my_table_1.json"),
        (None, "path=none"),
        (True, "path=true"),
        ((1, 2), "path=1,2"),
        ("wörter", "path=wörter"),
        (1e-05, "path=1e-05"),
    ],
)
def test_a_label_is_a_safe_name(value, label):
    found = _labels({"task.kwargs.path": value})[0]
    assert found == label


def test_labels_are_of_one_trial_each_and_short():
    same = _labels({"x": "a/b"}, {"x": "a b"})
    assert same == [f"x=a_b,{IDS[0]}", f"x=a_b,{IDS[1]}"]
    assert _labels({}) == [IDS[0]]
    long = _labels({"x": "ä" * 300}, {"x": "ä" * 301})
    assert len(set(long)) == 2 and all(len(name.encode()) < 200 for name in long)


def _names(place):
    return sorted(path.name for path in place.iterdir())


def test_the_runs_of_a_sweep_are_linked_by_their_labels(tmp_path):
    folder = tmp_path / "sweeps" / "depth-cpu"
    folder.mkdir(parents=True)
    for run_id in IDS:
        (tmp_path / run_id).mkdir()
    first = _trials({"num_loops": 1, "seed": 0}, {"num_loops": 2, "seed": 0})
    links.write(folder, first, log=pytest.fail)
    place = folder / "runs"
    assert _names(place) == ["num_loops=1,seed=0", "num_loops=2,seed=0"]
    tmp_path.rename(moved := tmp_path.with_name(f"{tmp_path.name} moved"))
    place = moved / "sweeps" / "depth-cpu" / "runs"
    assert (place / "num_loops=2,seed=0").resolve() == (moved / IDS[1]).resolve()
    inode = (place / "num_loops=2,seed=0").lstat().st_ino
    # One trial is dropped, one stays, one is new.
    later = [first[1], spec.Trial(IDS[2], {"num_loops": 4, "seed": 0}, {})]
    (place / "notes.txt").touch()
    links.write(place.parent, later, log=pytest.fail)
    assert _names(place) == [
        "notes.txt", "num_loops=1,seed=0", "num_loops=2,seed=0", "num_loops=4,seed=0"
    ]  # fmt: skip
    assert (place / "num_loops=2,seed=0").lstat().st_ino == inode
    # Labels follow the plan: the same runs get a longer one, another run gets theirs.
    renamed = [
        spec.Trial(IDS[1], {"num_loops": 1, "seed": 0}, {}),
        spec.Trial(IDS[2], {"num_loops": 4, "width": 8, "seed": 0}, {}),
    ]
    links.write(place.parent, renamed, log=pytest.fail)
    assert _names(place) == [
        "notes.txt", "num_loops=1,seed=0", "num_loops=4,width=8,seed=0"
    ]  # fmt: skip
    assert (place / "num_loops=1,seed=0").readlink().name == IDS[1]


def test_links_that_cannot_be_made_are_reported_once(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError("no links here")

    monkeypatch.setattr("os.symlink", refuse)
    said = []
    links.write(tmp_path, _trials({"seed": 0}, {"seed": 1}), said.append)
    assert len(said) == 1 and "no links here" in said[0]
