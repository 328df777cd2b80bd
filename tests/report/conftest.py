"""A sweep of fake runs, its page, and a browser without a network to open it in."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable
from typing import Any

import pytest

from rdt_jax.analysis import runs as run_folders
from rdt_jax.report import data, rendering
from rdt_jax.sweep import spec
from tests import fake_runs
from tests.report import chromium

LOOPS, DECAYS, SEEDS = (1, 2, 4), (0.03, 0.1), (0, 1, 2)
EVALUATED = (1, 2, 4, 8)


@dataclasses.dataclass(frozen=True)
class Reported:
    """A sweep on the disk, and what a report says of it.

    Attributes:
      members: its runs, as the run folders say.
      data: what the page is made of.
      path: file of the page.
    """

    members: list[run_folders.Run]
    data: dict[str, Any]
    path: pathlib.Path

    def written(self, **changes: Any) -> "Reported":
        """Returns it with changes to its first sweep, the page written beside."""
        sweep = self.data["sweeps"][0] | changes
        changed = self.data | {"sweeps": [sweep, *self.data["sweeps"][1:]]}
        return write(self.members, changed, self.path.with_name("changed.html"))


def write(
    members: list[run_folders.Run], made: dict[str, Any], path: pathlib.Path
) -> Reported:
    """Writes the page of some data."""
    path.write_text(rendering.render(made), encoding="utf-8")
    return Reported(members, json.loads(json.dumps(made)), path)


@pytest.fixture(scope="session")
def reported(tmp_path_factory) -> Reported:
    """3 loop counts, 2 decays and 3 seeds; one loop never learns OOD."""
    workdir = tmp_path_factory.mktemp("report")
    made = []
    for loops in LOOPS:
        for place, decay in enumerate(DECAYS):
            for seed in SEEDS:
                ood = None if loops == 1 else 60 + 20 * place + 10 * seed + 10 * loops
                run = fake_runs.staged(
                    loops, ood, seed=seed, decay=decay, train=20 + 10 * place
                )
                made.append(fake_runs.measured_at(run, EVALUATED))
    plan = fake_runs.write_planned(workdir, "depth", made)
    members = run_folders.read_runs(workdir, spec.configs_of(plan.trials))
    return write(members, data.of_sweeps([(workdir, plan)]), workdir / "report.html")


@pytest.fixture(scope="session")
def browser():
    """A Chromium of this machine."""
    from playwright import sync_api  # Of the extra that only these tests need.

    found = chromium.path()
    if not found:
        pytest.fail(chromium.MISSING, pytrace=False)
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=found, args=list(chromium.FLAGS)
        )
        yield started
        started.close()


@pytest.fixture
def visit(browser) -> Callable[..., Any]:
    """Returns a function that opens a page from its file, with the network off.

    It fails if a script of the page fails, the policy is violated, or anything but the
    file is asked for.
    """
    said: list[str] = []
    contexts = []

    def opened(path: pathlib.Path, choice: str = "", **options: Any) -> Any:
        options = {"viewport": {"width": 1100, "height": 900}} | options
        contexts.append(browser.new_context(offline=True, **options))
        page = contexts[-1].new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda message: said.append(message.text))
        page.on("request", functools.partial(_note, said, path.as_uri()))
        page.goto(f"{path.as_uri()}#{choice}")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not said


def _note(said: list[str], own: str, request: Any) -> None:
    if not request.url.startswith((own, "data:", "blob:")):
        said.append(f"asked for {request.url}")
