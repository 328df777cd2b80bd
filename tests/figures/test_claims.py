import types

from rdt_jax.analysis.claims import Claim
from rdt_jax.analysis.scorecard import JudgedSweep, Scorecard
from rdt_jax.figures import claims as drawing
from rdt_jax.figures import study as studies
from tests.figures.drawn import words_of


def claim(holds, **options):
    given = {
        "text": "More is better.", "source": "A (2020)", "expected": "2 of 3",
        "measured": "1 of 3.", "holds": holds, "seeds": 4, "graphs": 2,
        "test": "count of runs", "preset": "cpu",
    }  # fmt: skip
    return Claim(**given | options)


SCORES = {
    "one": [claim(True), claim(None)],
    "two": [claim(False, text="a | b\nc", seeds=1)],
}


def test_verdicts_are_counted():
    assert drawing.count(SCORES) == (
        "3 claims: 1 holds, 1 fails, 1 not tested at this preset."
    )
    assert drawing.count({}).startswith("0 claims: 0 holds")


def test_a_claim_in_words():
    assert drawing.text(claim(False)) == (
        "FAILS: More is better. (A (2020))\n  expected: 2 of 3.\n  measured: 1 of 3.\n"
        "  judged by: count of runs; 4 seeds, 2 graphs."
    )
    tested = claim(True, test="sign test", p_value=0.004, adjusted_p=0.0123, graphs=1)
    assert drawing.text(tested).endswith(
        "judged by: sign test, p = 0.004 (0.012 after Holm); 4 seeds, 1 graph."
    )
    untested = drawing.text(claim(None))
    assert untested.startswith("NOT TESTED AT THIS PRESET: More is")
    assert drawing.text(claim(True)).startswith("HOLDS: ")


def test_the_claims_of_a_study_account_for_each_other():
    given = [claim(True, p_value=p, adjusted_p=None) for p in (0.03, 0.01, None)]
    study = types.SimpleNamespace(__file__="study.py", claims=lambda runs: given)
    found = studies.claims(study, [])
    assert [each.adjusted_p for each in found] == [0.03, 0.02, None]
    given.append(claim(False, p_value=0.3))
    assert [each.holds for each in studies.claims(study, [])] == [
        None,
        True,
        True,
        None,
    ]


def test_the_table_has_a_line_per_claim():
    table = drawing.table(SCORES)
    columns = {column.header: list(column.cells) for column in table.columns}
    assert columns["study"] == ["one", "one", "two"]
    assert columns["verdict"] == ["holds", "not tested", "fails"]
    assert columns["seeds"] == ["4", "4", "1"]
    assert columns["graphs"] == ["2", "2", "2"]
    assert "3 claims: 1 holds" in " ".join(words_of(table))


def test_markdown_says_all_and_keeps_its_columns():
    lines = drawing.markdown(SCORES).splitlines()
    assert "## one" in lines and "## two" in lines
    rows = [line for line in lines if line.startswith("| ") and "---" not in line]
    assert rows[1] == (
        "| holds | More is better. | A (2020) | 2 of 3 | 1 of 3. | 4 | 2 "
        "| count of runs |  | cpu |"
    )
    assert "a \\| b c" in rows[-1]


def page(*sweeps, not_run=()):
    card = Scorecard(sweeps=sweeps, not_run=not_run)
    text = drawing.page(card, "card.json")
    lines = [line for line in text.splitlines() if not line.startswith("|")]
    assert max(map(len, lines)) <= 100
    return " ".join(lines), text


def judged(study, preset, *claims):
    return JudgedSweep(f"{study}-{preset}", study, f"../{study}.md", 4, 1, 2500, claims)


def test_the_page_counts_the_largest_sweep_of_each_study():
    first = judged("one", "long", claim(True), claim(None), claim(None, p_value=0.5))
    small = judged("one", "cpu", claim(False, p_value=0.01))
    words, text = page(
        first, small, judged("two", "cpu", claim(False)), not_run=["six"]
    )
    assert "**4 claims: 1 holds, 1 fails, 2 not tested at this preset.**" in words
    assert "Not run yet: six." in words and "[card.json](card.json)" in words
    assert "2 verdicts by counting runs" in words
    assert "0 verdicts by a statistical test." in words and "Tested are" not in words
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## one-long", "## two-cpu", "## one-cpu (smaller, not counted)",
    ]  # fmt: skip
    assert "4 runs, 1 of them not finished; 2,500 updates. [README](../one.md)" in words


def test_the_page_says_how_many_false_verdicts_to_expect():
    tested = {"test": "sign test", "p_value": 0.001, "adjusted_p": 0.0123}
    first = judged("one", "cpu", claim(True, **tested), claim(False, **tested))
    second = judged("two", "cpu", claim(True, **tested), claim(True))
    words, text = page(first, second)
    assert "1 verdict by counting runs" in words
    assert "3 verdicts by a statistical test. " in words
    assert "Tested are: one (2), two (1)." in words
    assert "of 2 studies at most 0.1 are to be expected to have one." in words
    assert "| sign test | 0.012 | cpu |" in text


def test_the_page_of_nothing():
    words, _ = page(not_run=["six", "ten"])
    assert "**0 claims: " in words and "Not run yet: six, ten." in words
