"""Ten questions of a table, and what is stored of their answers."""

import numpy as np

from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.analysis import answers, asking
from rdt_jax.tasks import rows
from tests.analysis.test_asking import load


def test_answers_are_those_of_asking_after_every_loop_that_is_evaluated():
    more = {"recurrence__num_loops": 2, "recurrence__eval_loops": (3, 40)}
    config, table, _, params = load("knowledge_composition", **more)
    found = answers.measure(params, config, table)
    assert found.answer.shape == found.probability.shape == (10, 3)
    for index, row in enumerate(found.row.tolist()):
        words, target = rows.decode(table, row)
        assert found.question[index] == " ".join(words)
        assert found.target[index] == " ".join(target)
        assert found.split[index] == tasks.SPLITS[table.split[row]]
        asked = asking.ask(params, config, table, words, 3)
        for loop, answer in enumerate(asked.answers):
            assert found.answer[index, loop] == " ".join(answer.words)
            assert found.right[index, loop] == answer.right
            assert found.probability[index, loop] == answer.probability
    counts = answers.summarize(found)
    assert [*counts] == [f"right after {n}" for n in ("1 loop", "2 loops", "3 loops")]
    assert counts["right after 3 loops"] == found.right[:, 2].sum()


def test_questions_are_of_all_splits_and_the_same_for_all_models():
    config, table, *_ = load("knowledge_composition")
    chosen = answers.sample(table, 10)
    assert np.unique(chosen).size == 10
    splits = [tasks.SPLITS[table.split[row]] for row in chosen]
    assert splits == ["train"] * 3 + ["id"] * 3 + ["ood"] * 2 + ["mixed"] * 2
    other = configs.override(config, {"model.width": 16, "seed": 3})
    np.testing.assert_array_equal(answers.sample(tasks.make_table(other), 10), chosen)
    few = answers.sample(table, 10_000)
    used = np.flatnonzero(table.split != tasks.SPLITS.index("unused"))
    np.testing.assert_array_equal(np.sort(few), used)


def test_answers_of_several_words_and_text_are_stored(tmp_path):
    config, table, _, params = load("nary_addition")
    found = answers.measure(params, config, table, num_questions=4)
    path = tmp_path / "answers.npz"
    np.savez(path, allow_pickle=False, **found._asdict())
    with np.load(path, allow_pickle=False) as read:
        for name, values in found._asdict().items():
            np.testing.assert_array_equal(read[name], values)
    assert any(" " in target for target in found.target)
