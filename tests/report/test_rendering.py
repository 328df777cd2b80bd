"""The page as a file, without a browser: its data, its policy, and what it may load."""

import base64
import hashlib
import json
import pathlib
import re

import pytest

from rdt_jax.report import charts, rendering

SCRIPT = re.compile(r'<script type="module">(.*?)</script>', re.S)
HOSTILE = "</script><script>hacked</script><!--"


def element(html, kind, name):
    return re.search(rf'<{kind}[^>]* id="{name}">(.*?)</{kind}>', html, re.S)[1]


def test_the_data_stand_in_the_page_once_and_unchanged(reported):
    html = reported.path.read_text(encoding="utf-8")
    found = json.loads(element(html, "script", "data"))
    for sweep in found["sweeps"]:
        assert len(sweep.pop("styles")) == len(sweep["cells"])
    assert found == reported.data
    first = reported.data["sweeps"][0]["runs"][0]
    curve = json.dumps(first["curves"]["accuracy"]["id"], separators=(",", ":"))
    steps = json.dumps(first["steps"], separators=(",", ":"))
    assert html.count(f'"steps":{steps}') == 18 and curve in html


def test_the_policy_allows_what_is_in_the_page_by_its_hash(reported):
    html = reported.path.read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)[1]
    rules = dict(
        rule.strip().split(" ", 1) for rule in policy.replace("&#39;", "'").split(";")
    )
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    assert rules["base-uri"] == rules["form-action"] == "'none'"
    scripts = SCRIPT.findall(html)
    assert rules["script-src"].split() == list(map(_hash, scripts))
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.S)
    assert rules["style-src"].split() == [_hash(style)]
    assert "unsafe" not in policy


def _hash(text):
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def test_nothing_is_loaded_from_elsewhere(reported):
    html = reported.path.read_text(encoding="utf-8")
    markup = SCRIPT.sub("", re.sub(r"<script type=\"application.*?</script>", "", html))
    assert not re.search(r"\bsrc=|@import|url\((?!#)", markup)
    assert set(re.findall(r'<link [^>]*href="([^"]*)"', markup)) == {"data:,"}


def test_words_that_look_like_markup_stay_words(reported):
    sweep = reported.data["sweeps"][0] | {"name": HOSTILE, "task": HOSTILE}
    html = rendering.render(reported.data | {"sweeps": [sweep], "title": HOSTILE})
    assert "<script>hacked" not in html and "<!--" not in html
    assert json.loads(element(html, "script", "data"))["title"] == HOSTILE


def test_a_number_that_is_not_finite_is_refused(reported):
    with pytest.raises(ValueError, match="Out of range float"):
        rendering.render(reported.data | {"refresh": float("nan")})


def test_every_control_is_known_to_the_script():
    folder = pathlib.Path(rendering.__file__).parent
    page, script = ((folder / f"page.{kind}").read_text() for kind in ("html", "js"))
    for key in set(re.findall(r'data-key="(\w+)"', page)) - {"filter"}:
        assert f'"{key}"' in script or f" {key}:" in script, key


def test_colors_are_those_of_the_figures(reported):
    sweep = reported.data["sweeps"][0]
    found = rendering.cell_styles(sweep)
    one, two = found[0], found[2]
    assert one == {"color": "#222222", "dash": "-"}  # figures.palette.of_loops
    assert found[1] == one | {"dash": "--"}  # the same loop count, another decay
    assert two["color"] != one["color"] == found[1]["color"]
    no_loops = {**sweep, "axes": [{"key": "model.width", "values": ["1", "2"]}]}
    assert len({each["color"] for each in rendering.cell_styles(no_loops)}) == 6


def test_specs_are_written_by_altair_and_hold_no_data():
    for name, spec in charts.specs().items():
        assert "datasets" not in spec and "vega-lite/v6" in spec["$schema"], name


def test_scripts_of_charts_are_kept_where_this_user_alone_writes(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    rendering.bundle.cache_clear()
    made = rendering.bundle()
    (kept,) = (tmp_path / "rdt_jax" / "report").iterdir()
    assert kept.read_text(encoding="utf-8") == made
    monkeypatch.setattr("vl_convert.javascript_bundle", lambda snippet: "made again")
    rendering.bundle.cache_clear()
    assert rendering.bundle() == made
    kept.parent.chmod(0o777)
    rendering.bundle.cache_clear()
    assert rendering.bundle() == "made again"
    rendering.bundle.cache_clear()
