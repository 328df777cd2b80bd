"""Answers loop by loop, against passes of so many loops and plain greedy decoding."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.analysis import asking
from rdt_jax.models import presets, recurrent
from rdt_jax.tasks import rows
from tests.conftest import ROOT

LOOPS = 3
SMALL = {
    "nary_addition": {
        "num_digits": 1, "max_operands": 3, "max_train_operands": 2,
        "train_per_count": 60, "heldout_per_count": 20,
    },
    "knowledge_depth": {},
}  # fmt: skip


def load(name, **overrides):
    """Returns config, table, model and random parameters whose answers differ."""
    config = configs.load(f"{ROOT}/configs/{name}.py:smoke")
    sizes = {"model.width": 8, "model.num_heads": 2, "model.core_blocks": 1}
    kwargs = {f"task.kwargs.{key}": value for key, value in SMALL.get(name, {}).items()}
    more = {key.replace("__", "."): value for key, value in overrides.items()}
    config = configs.override(config, sizes | kwargs | more)
    table = tasks.make_table(config)
    model = presets.model_config(config, table)
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda key: recurrent.init(key, model), jax.random.key(0))
    draw = lambda leaf: rng.normal(size=leaf.shape).astype(np.float32)
    return config, table, model, jax.tree.map(draw, shapes)


@functools.partial(jax.jit, static_argnames="model")
def _log_probs(params, tokens, positions, loops, *, model):
    """Reads rows after a pass of so many loops, [B, A, V]."""
    logits = recurrent.apply(
        params, tokens, positions, model, num_loops=loops, max_loops=LOOPS
    ).logits
    return jax.nn.log_softmax(logits)


@pytest.mark.parametrize("name", ["knowledge_composition", "huginn", "universal"])
@pytest.mark.parametrize("answer_at", ["last", "pad"])
def test_a_loop_answers_as_a_pass_of_so_many_loops(name, answer_at):
    config, table, model, params = load(name, task__kwargs__answer_at=answer_at)
    row = int(table.rows_of("id")[3] if answer_at == "last" else 0)
    words, target = rows.decode(table, row)
    asked = asking.ask(params, config, table, words, LOOPS)
    assert asked.question == tuple(words) and asked.target == tuple(target)
    assert asked.row == row and asked.split == ("id" if row else "train")
    assert [answer.loops for answer in asked.answers] == [1, 2, 3]
    for answer in asked.answers:
        ((log,),) = _log_probs(
            params,
            table.tokens[[row]],
            table.answer_positions[[row]],
            answer.loops,
            model=model,
        )
        log = np.asarray(log)
        best = np.argsort(-log)[:3]
        assert answer.words == (table.vocab[best[0]],) and answer.ended
        assert answer.right == (best[0] == table.targets[row, 0])
        assert answer.probability == pytest.approx(np.exp(log.max()), rel=1e-5)
        assert answer.choices[0] == tuple(
            (table.vocab[t], pytest.approx(np.exp(log[t]), rel=1e-5)) for t in best
        )


def _greedy(params, model, question, loops, most, end):
    """Decodes word by word, on rows without padding."""
    answer, log_prob = [], 0.0
    while len(answer) < most and end not in answer:
        tokens = np.array([[*question, *answer]], np.int32)
        last = np.array([[tokens.size - 1]], np.int32)
        ((log,),) = _log_probs(params, tokens, last, loops, model=model)
        answer.append(int(log.argmax()))
        log_prob += float(log.max())
    return answer, log_prob


def test_answers_of_several_words_are_decoded_greedily_at_each_loop():
    config, table, model, params = load("nary_addition")
    end = table.vocab.index("<end>")
    seen = set()
    for row in range(0, 60, 3):
        words, _ = rows.decode(table, row)
        question = table.tokens[row, : table.answer_positions[row, 0] + 1]
        asked = asking.ask(params, config, table, words, LOOPS)
        for answer in asked.answers:
            tokens, log_prob = _greedy(params, model, question, answer.loops, 3, end)
            expected = [table.vocab[token] for token in tokens if token != end]
            assert answer.words == tuple(expected)
            assert answer.ended == (end in tokens)
            assert answer.probability == pytest.approx(np.exp(log_prob), rel=1e-4)
            assert len(answer.choices) == len(tokens)
            seen.add((answer.ended, len(answer.words)))
    assert seen >= {(True, 0), (True, 1), (False, 3)}


def test_a_question_that_the_table_lacks_is_laid_out_as_its_rows_are():
    config, table, _, params = load("knowledge_depth")  # Read at <a>, which is added.
    entities = [word for word in table.vocab if word.startswith("entity")]
    known = {tuple(rows.decode(table, row)[0]) for row in range(len(table.tokens))}
    words = next(
        (head, relation, "relation_0")
        for head in entities
        for relation in ("relation_0", "relation_1")
        if (head, relation, "relation_0") not in known
    )
    asked = asking.ask(params, config, table, " ".join(words), 1)
    assert (asked.question, asked.row, asked.split, asked.target) == (
        words, None, None, None,
    )  # fmt: skip
    assert asked.answers[0].right is None
    # The same words, as a row that the table has.
    token = table.vocab.index
    row = int(np.flatnonzero(table.tags["hops"] == 2)[0])
    tokens = table.tokens.copy()
    tokens[row, :4] = [*map(token, words), token("<a>")]
    other = dataclasses.replace(table, tokens=tokens)
    same = asking.ask(params, config, other, words, 1)
    assert same.row == row and same.answers[0].choices == asked.answers[0].choices


def test_the_mark_at_which_all_rows_are_read_may_be_left_out():
    config, table, _, params = load("nary_addition")
    words, _ = rows.decode(table, 7)
    assert words[-1] == "="
    asked = asking.ask(params, config, table, words[:-1], 1)
    assert asked == asking.ask(params, config, table, words, 1) and asked.row == 7


def test_what_is_read_at_a_pad_in_the_table_is_read_there():
    config, table, _, params = load(
        "knowledge_composition", task__kwargs__answer_at="pad"
    )
    row, another = np.flatnonzero(table.tags["hops"] == 1)[:2].tolist()
    words, _ = rows.decode(table, row)
    known = asking.ask(params, config, table, words, 2)
    tokens = table.tokens.copy()
    tokens[row] = tokens[another]
    without = dataclasses.replace(table, tokens=tokens)
    asked = asking.ask(params, config, without, words, 2)
    assert asked.row is None
    assert asked.answers[1].choices == known.answers[1].choices
    with pytest.raises(
        ValueError, match=r"at most 3 words \(the answer is read there\)"
    ):
        asking.ask(params, config, table, 4 * words[:1])


@pytest.mark.parametrize("places", [[0, 2], [3, 1]])  # Of `9 + 1 = 1 0`.
def test_answers_that_are_not_fed_back_are_read_at_once(places):
    config, table, model, params = load("nary_addition")
    row = int((table.targets >= 0).sum(axis=1).argmax())  # Two digits and the end.
    positions, targets = table.answer_positions.copy(), table.targets.copy()
    positions[row], targets[row] = [*places, 0], [*table.tokens[row, 4:6], -1]
    other = dataclasses.replace(table, answer_positions=positions, targets=targets)
    words = rows.decode(other, row)[0]
    (answer,) = asking.ask(params, config, other, words, 1).answers
    (log,) = _log_probs(
        params, other.tokens[[row]], other.answer_positions[[row], :2], 1, model=model
    )
    assert answer.words == tuple(table.vocab[t] for t in log.argmax(-1))
    assert answer.probability == pytest.approx(np.exp(log.max(-1).sum()), rel=1e-5)
    with pytest.raises(
        ValueError, match="'1 [+] 1 [+] 1.*' is not in the table, whose"
    ):
        asking.ask(params, config, other, "1 + 1 + 1")


@pytest.mark.parametrize(
    ("words", "loops", "message"),
    [
        ("", 1, "A question must have words; choose from entity_0, entity_1"),
        ("entity_0 <pad>", 1, "<pad> is a word of the layout, which is added"),
        ("entiti_3 entity_1", 1, "'entiti_3'; did you mean entity_"),
        (
            "walk",
            1,
            "Unknown word 'walk'; choose from entity_0, .*, [.][.], as in 'entity_.*'",
        ),
        (3 * "entity_0 ", 0, r"loops must be .* in \[1, 1,000\], got 0"),
        (3 * "entity_0 ", 9, "9 loops need model.step_embedding = sinusoidal"),
        (9 * "entity_0 ", 1, r"at most 3 words \(model.position=learned\), got 9"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused(words, loops, message):
    config, table, _, params = load(
        "gated", model__step_table=8, model__position="learned"
    )
    with pytest.raises(ValueError, match=message):
        asking.ask(params, config, table, words, loops)
