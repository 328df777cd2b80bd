"""A workdir in a bucket of S3, as an emulator on the loopback has it."""

import concurrent.futures
import pathlib
import random
import subprocess
import sys
import time

import pytest

from rdt_jax import cli
from rdt_jax.store.bucket import Bucket
from rdt_jax.store.bucket_sync import InBucket
from tests.chaos import bucket

pytestmark = pytest.mark.exhaustive
ROOT = pathlib.Path(__file__).parents[2]
STUDY = "experiments/depth_by_decay"


@pytest.fixture(scope="module")
def served():
    with pytest.MonkeyPatch.context() as patch, bucket.serve(patch.setenv) as found:
        yield found


def test_a_claim_has_one_winner_of_twelve(served, tmp_path):
    def create(number):
        copy = Bucket.connect(f"{served.url}/claims", tmp_path / str(number))
        try:
            with InBucket(copy).create("pack.1.json", b"%d" % number):
                return True
        except FileExistsError:
            return False

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(create, range(12))) == 1


@pytest.mark.parametrize(
    ("url", "variables", "said"),
    [
        ("s3://none/runs", {}, "bucket does not exist (FileNotFoundError)"),
        (None, {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "Could not connect to the"),
        (None, {"AWS_ACCESS_KEY_ID": "other"}, "(PermissionError)"),
        (None, {"AWS_ACCESS_KEY_ID": None}, "Unable to locate credentials"),
    ],
)
def test_a_store_that_cannot_be_opened_is_a_mistake(
    served, tmp_path, monkeypatch, capsys, url, variables, said
):
    import s3fs

    monkeypatch.setenv("HOME", str(tmp_path))  # No credentials of the user's own.
    for name, value in variables.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
    url = url or f"{served.url}/runs"
    for command in (
        ["sweep", f"{ROOT}/{STUDY}", "--preset=smoke", f"--workdir={url}"],
        ["worker", f"{url}/sweeps/depth_by_decay-smoke"],
    ):
        s3fs.S3FileSystem.clear_instance_cache()
        assert cli.main(command) == 2
        message = capsys.readouterr().err
        assert message.count("\n") == 1 and said in message, message
        assert message.startswith(f"rdt: The workdir {url} cannot be opened: ")
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_sweep_outlives_its_store_and_stops_for_who_asks_elsewhere(served, tmp_path):
    sweep = [
        *(sys.executable, "-m", "rdt_jax", "sweep", STUDY, "--preset=smoke"),
        *(f"--workdir={served.url}/stopped", "--config.num_steps=1000000"),
    ]
    log = tmp_path / "log"
    with log.open("w") as file:
        driver = subprocess.Popen(
            [*sweep, "--workers=1"], cwd=ROOT, stdout=file, stderr=file
        )
    try:
        copy = Bucket.connect(f"{served.url}/stopped", tmp_path / "copy")
        while not copy.names_in("state"):  # A worker has claimed.
            assert driver.poll() is None, log.read_text()
            time.sleep(0.5)
        with served.outage("away"):
            time.sleep(25)
            assert driver.poll() is None, log.read_text()
            assert log.read_text().count("each worker asks for 10 minutes, with") == 1
        assert subprocess.run([*sweep, "--stop"], cwd=ROOT).returncode == 0
        assert driver.wait(300) == 0, log.read_text()
    finally:
        driver.kill()
    said = log.read_text()
    assert "trials are unfinished; `rdt sweep` goes on" in said
    assert "does not answer: Could not connect" in said and "Traceback" not in said
    (name,) = copy.names_in("sweeps")
    assert copy.names_in(f"sweeps/{name}/logs")


def test_two_workers_killed_and_without_their_store_end_as_one_left_alone(
    served, tmp_path
):
    alone = bucket.leave_alone(tmp_path / "alone")
    seed = time.time_ns() % 10**6
    chance = random.Random(seed)
    done, difference = bucket.disturb(alone, served, chance, tmp_path / "disturbed")
    assert difference is None, f"Seed {seed}: {difference}"


@pytest.mark.parametrize("extra", ["s3", "gcs"])
def test_an_extra_resolves_with_the_pins(extra):
    """Asks the package index, as setting up does."""
    command = (sys.executable, "-m", "pip", "install", "--dry-run", "--quiet")
    pins = ("-c", "constraints.txt", f".[{extra}]")
    done = subprocess.run([*command, *pins], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
