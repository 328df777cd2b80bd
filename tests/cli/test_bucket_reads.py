"""Verbs that read a workdir in a bucket: they read a copy that is kept here."""

import fsspec
import pytest

from rdt_jax import cli
from tests.fake_runs import staged, write_planned

SWEEP = "depth_by_decay-smoke"


@pytest.fixture
def url(bucket_url, tmp_path, monkeypatch):
    """The address of a workdir with a sweep of two runs."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    write_planned(tmp_path / "disk", SWEEP, [staged(1, None), staged(2, 150)])
    fs, root = fsspec.core.url_to_fs(bucket_url)
    for path in (tmp_path / "disk").rglob("*"):
        if path.is_file():
            name = path.relative_to(tmp_path / "disk")
            fs.pipe_file(f"{root}/runs/{name}", path.read_bytes())
    return f"{bucket_url}/runs"


@pytest.mark.parametrize(
    "words",
    [
        ["figures", "{url}/sweeps/" + SWEEP],
        ["figures", "{root}/experiments/depth_by_decay", "--preset=smoke",
         "--workdir={url}"],
    ],
)  # fmt: skip
def test_the_figures_are_drawn_from_the_copy(url, root, tmp_path, command, words):
    out = command([word.format(url=url, root=root) for word in words]).out
    assert "Updates to each phase" in out
    drawn = [line.strip() for line in out.splitlines() if line.endswith(".png")]
    assert drawn and all(line.startswith(str(tmp_path / "cache")) for line in drawn)
    assert cli.main([word.format(url=url, root=root) for word in words]) == 0


def test_claims_are_judged_on_the_copy(url, command):
    assert "6 claims: 2 holds" in command(["claims", f"--workdir={url}/"]).out


def test_runs_are_listed_compared_and_looked_up_in_the_copy(url, command):
    sweep = f"{url}/sweeps/{SWEEP}"
    for words in (
        ["runs", sweep],
        ["runs", "--workdir", url],
        ["compare"] + [sweep] * 2,
    ):
        assert "num_loops=2" in command(words).out
    assert cli.main(["claims", sweep]) == 0
    run_id = staged(2, 150).run_id
    for words in (
        ["ask", f"{url}/{run_id}", "a b"],
        ["ask", f"{sweep}/num_loops=2", "a b"],
        ["analyze", f"{url}/{run_id}", "--what=weights"],
        ["analyze", run_id[:8], f"--workdir={url}", "--what=weights"],
    ):
        assert "no parameters" in command(words, 2).err.replace("such ", "")


def test_a_question_may_look_like_an_address(url, capsys):
    assert cli.main(["ask", f"{url}/{staged(2, 150).run_id}", "x://y"]) == 2
    assert "no parameters" in capsys.readouterr().err


def test_a_mistake_names_the_bucket_and_not_the_copy(url, tmp_path, capsys, command):
    error = command(["figures", f"{url}/sweeps/none"], 2).err
    assert f"{url}/sweeps/none" in error and str(tmp_path / "cache") not in error
    assert cli.main(["claims", f"--workdir={url}/elsewhere"]) == 2
    assert f"The workdir {url}/elsewhere has no runs." in capsys.readouterr().err


def test_training_alone_does_not_go_to_a_bucket(url, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["train", "--config=modular:smoke", f"--workdir={url}"])
    assert end.value.code == 2
    assert "`rdt sweep` and `rdt worker` train" in capsys.readouterr().err
