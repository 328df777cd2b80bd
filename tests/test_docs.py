"""The pages: short lines, and names of files that there are."""

import re
import shlex

import pytest

from rdt_jax import cli
from rdt_jax.training import exported
from tests.conftest import ROOT

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
# Where a name on a page is looked up, beside its own folder.
PLACES = [ROOT, ROOT / "rdt_jax"]
PLACES += [path for path in (ROOT / "rdt_jax").iterdir() if path.is_dir()]
# Of other repositories, or made by the reader.
ELSEWHERE = {
    "train_systematicity.py",
    "train_extrapolation.py",
    "parity.py",
    "parity_config.py",
    "rdt_jax/tasks/parity.py",
    "configs/parity.py",
    "study.py",
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_lines_are_short_and_names_are_true(page):
    text = page.read_text()
    wide = ("paper_figures", "scorecard")  # tables with links or sentences
    is_cell = lambda line: page.stem in wide and line.startswith("| ")
    lines = [line for line in text.splitlines() if not is_cell(line)]
    long = [line for line in lines if len(line) > 100]
    assert not long
    named = set(re.findall(r"`([\w/]+\.py)\b[^`]*`", text)) - ELSEWHERE
    gone = [n for n in named if not any((place / n).exists() for place in PLACES)]
    assert not gone, "no such files"
    for target, _, anchor in re.findall(r"\]\(((?!http)[^)#]*)(#([^)]*))?\)", text):
        path = page.parent / target if target else page
        assert path.exists(), target
        headings = re.findall(r"^#+ (.*)$", path.read_text(), re.M) if anchor else []
        slug = lambda heading: re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        assert not anchor or anchor in map(slug, headings), f"{target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_is_one(page):
    for block in re.findall(r"^```\w*\n(.*?)^```$", page.read_text(), re.M | re.S):
        for line in block.replace("\\\n", "").splitlines():
            if re.match(r"rdt \w", line):
                _, *words = shlex.split(line.removesuffix("&"), comments=True)
                assert cli.parse(words).verb


def test_the_architecture_is_short():
    page = (ROOT / "docs" / "architecture.md").read_text()
    assert len(page.split()) <= 1_500
    assert re.findall(r"^(\d+)\. ", page, re.M) == [str(n) for n in range(1, 13)]


def test_the_model_of_the_page_answers_as_it_says(monkeypatch, tmp_path):
    page = (ROOT / "docs" / "models.md").read_text()
    block, exports = re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)
    monkeypatch.chdir(ROOT)
    names = {}
    exec(block, names)
    of = [names[name] for name in ("params", "run_config", "table")]
    exported.write(tmp_path / "OUT", *of, {})
    monkeypatch.chdir(tmp_path)
    exec(exports, names)
    assert (names["again"].logits == names["outputs"].logits).all()
    outputs, model = names["outputs"], names["model"]
    assert outputs.logits.shape == (3, 1, model.vocab_size)
    assert outputs.states.shape == (8, 3, model.max_length, model.width)
