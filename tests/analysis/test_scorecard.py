import dataclasses
import json

import pytest

from rdt_jax.analysis import scorecard
from rdt_jax.analysis.claims import Claim

CLAIM = Claim("More is better.", "A (2020)", "2 of 3", "1 of 3.", True, 4, 2)
TESTED = dataclasses.replace(CLAIM, test="sign test", p_value=0.01, adjusted_p=0.02)


def judged(study, preset="cpu", updates=10, claims=(CLAIM, TESTED)):
    sweep = f"{study}-{preset}"
    return scorecard.JudgedSweep(sweep, study, "", 4, 0, updates, list(claims))


def names(card):
    return [each.sweep for each in card.sweeps]


def test_it_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "card.json"
    assert scorecard.read(path) == scorecard.Scorecard()
    card = scorecard.Scorecard().updated([judged("two"), judged("one")], ["one", "six"])
    path.write_text(card.text())
    assert scorecard.read(path) == card and card.not_run == ["six"]
    assert json.loads(card.text())["sweeps"][0]["claims"][0]["verdict"] == "holds"


def test_sweeps_are_replaced_by_name_and_others_stay():
    given = [judged("one"), judged("one", "long", updates=90), judged("two")]
    card = scorecard.Scorecard(not_run=["two", "six"]).updated(given, ["one", "nine"])
    assert names(card) == ["one-long", "one-cpu", "two-cpu"]
    assert card.not_run == ["nine", "six"]
    again = judged("one", updates=99, claims=[CLAIM])
    after = card.updated([again], ["one", "six"])
    assert names(after) == ["one-cpu", "one-long", "two-cpu"]
    assert after.sweeps[0] == again and after.sweeps[1:] == [given[1], given[2]]
    assert after.updated([again], []) == after


def changed(change):
    content = json.loads(scorecard.Scorecard().updated([judged("one")], []).text())
    change(content)
    return json.dumps(content)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '[{"study": "one", "verdict": "holds"}]',
        '{"sweeps": [], "not_run": [], "more": 1}',
        changed(lambda content: content.pop("not_run")),
        changed(lambda content: content["sweeps"][0].pop("runs")),
        changed(lambda content: content["sweeps"][0].update(updates="10")),
        changed(lambda content: content["sweeps"][0]["claims"][0].update(seeds="4")),
        changed(lambda content: content["sweeps"][0]["claims"][0].update(x=4)),
        changed(lambda content: content["sweeps"][0]["claims"][0].update(holds=False)),
        changed(lambda content: content["sweeps"][0].update(claims={})),
    ],
)
def test_another_file_is_refused(tmp_path, text):
    path = tmp_path / "card.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"card\.json"):
        scorecard.read(path)
