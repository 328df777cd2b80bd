"""Parents of ranks: the first cause is named by all of them, whatever ends after it."""

import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT

RANK = pathlib.Path(__file__).with_name("rank.py")
PARENT = """
import sys
from rdt_jax.cli import supervisor
sys.exit(supervisor.run(sys.argv[1:]))
"""


@pytest.fixture
def start(tmp_path, started):
    """Returns a function that starts a parent for each way in which a rank ends."""

    def start(*ways):
        shared = str(tmp_path / "shared")
        for number, way in enumerate(ways):
            rank = (str(RANK), str(number), str(len(ways)), shared, *way.split())
            started.append(
                subprocess.Popen(
                    [sys.executable, "-c", PARENT, sys.executable, *rank],
                    cwd=ROOT, stderr=subprocess.PIPE, text=True,
                )
            )  # fmt: skip
        return started

    return start


def ends(parents):
    """Returns the exit codes, and what was said, once all have ended."""
    said = [parent.communicate(timeout=40)[1] for parent in parents]
    return [parent.returncode for parent in parents], said


def wait_for_ranks(folder):
    """Waits until all three ranks have joined, so their parents listen to signals."""
    limit = time.monotonic() + 20
    while len(list(folder.glob("joined-*"))) < 3:
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_ranks_that_end_are_well(start):
    codes, said = ends(start("end .3", "end_with_rank_0", "end_with_rank_0 .5"))
    assert codes == [0, 0, 0]
    assert said == ["", "", ""]


@pytest.mark.parametrize(
    ("ways", "named"),
    [
        (("abort .4", "kill .2", "abort .3"), r"rank 1 of 3 .* was killed by SIGKILL"),
        # That of rank 0, which the others find out by failing, one even before it.
        (("kill .8", "exit_3 .2", "abort .8"), r"rank 0 of 3 .* was killed by SIGKILL"),
        (
            ("stay", "stay", "fail .2"),
            r"rank 2 of 3 .* failed: ValueError: a bad table",
        ),
        (("stay", "exit_3 .2", "stay"), r"rank 1 of 3 .* ended with exit code 3"),
    ],
)
def test_the_first_cause_is_named_by_every_parent(start, ways, named):
    codes, said = ends(start(*ways))
    assert codes == [1, 1, 1]
    for words in said:
        assert re.search(named, words)
        assert words.count("\n") == 1


def test_a_mistake_is_told_by_every_parent_with_its_exit_code(start):
    """It comes before what ranks say that end of it."""
    codes, said = ends(start("refuse .5", "abort .3", "stay"))
    assert codes == [2, 2, 2]
    for words in said:
        assert re.search(r"rank 0 of 3 .* refuses: --mesh is too large\. All", words)
        assert words.count("\n") == 1 and "goes on" not in words


@pytest.mark.parametrize("gone", [0, 2])
def test_a_parent_that_is_gone_is_named_by_the_others(start, tmp_path, gone):
    parents = start("stay", "stay", "stay")
    wait_for_ranks(tmp_path)
    time.sleep(0.3)  # They get to know each other.
    parents[gone].kill()
    codes, said = ends([p for number, p in enumerate(parents) if number != gone])
    assert codes == [1, 1]
    for words in said:
        assert f"rank {gone} of 3" in words
        assert "is gone, and so is its parent" in words


@pytest.mark.parametrize("asked", [0, 1])
@pytest.mark.parametrize(
    "ways",
    [
        ("stay", "end_with_rank_0", "end_with_rank_0"),
        ("stop_at_once", "stay", "stay"),  # These would wait for rank 0 in vain.
    ],
)
def test_a_parent_that_is_asked_to_stop_asks_rank_0(start, tmp_path, asked, ways):
    parents = start(*ways)
    wait_for_ranks(tmp_path)
    time.sleep(0.3)  # They get to know each other.
    # Two that come at once are one; stopped, the parent cannot end between them.
    for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGCONT):
        parents[asked].send_signal(number)
    codes, said = ends(parents)
    assert codes == [0, 0, 0]
    assert said == ["", "", ""]


def test_a_rank_that_ends_before_it_joined_gives_its_exit_code():
    ended = subprocess.run(
        [sys.executable, "-c", PARENT, sys.executable, "-c", "raise SystemExit(2)"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (2, "")
