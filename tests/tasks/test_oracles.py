"""The oracles work answers out by themselves; the battery compares them."""

import ast
import dataclasses
import inspect

import numpy as np
import pytest

from rdt_jax import tasks
from rdt_jax.tasks import cogs, dag, dyck, expressions, graphs, logic, oracles, rows
from tests.tasks.examples import EXAMPLES

OF_FILES = {"rows"}  # Whose answers are the user's.
BUILT_IN = sorted(set(tasks.BUILT_IN) - OF_FILES)


def test_every_task_has_an_oracle():
    assert set(tasks.ORACLES) == set(BUILT_IN)


@pytest.mark.parametrize("name", BUILT_IN)
def test_an_oracle_does_not_copy_the_answers(name):
    table = tasks.TASKS[name](seed=3, **EXAMPLES[name][0])
    # Facts are answers of the shortest rows; what is asked of them is another row.
    row = int(np.argmax((table.tokens != 0).sum(axis=1)))
    tokens, targets = table.tokens.copy(), table.targets.copy()
    targets[row, 0] = 1 if targets[row, 0] != 1 else 2
    if targets.shape[1] > 1:  # It is fed back as well.
        tokens[row, table.answer_positions[row, 1]] = targets[row, 0]
    wrong = dataclasses.replace(table, tokens=tokens, targets=targets)
    (answer,) = tasks.ORACLES[name](table, [row])
    assert tasks.ORACLES[name](wrong, [row])[0][:1] == answer[:1]
    assert rows.decode(wrong, row)[1] != answer


def _uses(source: str, name: str) -> set[str]:
    """Returns all names of a file that a name of it is made with, itself included."""
    made = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign):
            made |= {ast.unparse(target): node for target in node.targets}
        elif isinstance(node, ast.AnnAssign):
            made[ast.unparse(node.target)] = node
        else:
            made[getattr(node, "name", None)] = node
    found, new = set(), {name}
    while new:
        found |= new
        read = [n for name in new for n in ast.walk(made[name])]
        new = {n.id for n in read if isinstance(n, ast.Name)} & set(made) - found
    return found


@pytest.mark.parametrize("name", BUILT_IN)
def test_an_oracle_shares_no_code_with_its_task(name):
    source = inspect.getsource(inspect.getmodule(tasks.BUILT_IN[name]))
    assert _uses(source, name) & _uses(source, f"{name}_oracle") == set()


def test_shared_code_is_seen():
    source = "A: int = 1\ndef f(): return A\ndef g(): return f()\ng_oracle = f\n"
    assert _uses(source, "g") & _uses(source, "g_oracle") == {"A", "f"}


class _Words:
    """Of a table, what oracles look at."""

    vocab = (*"01234", "helped", "help", "claimed", "claim", "cooked", "cook")


@pytest.mark.parametrize(
    ("oracle", "question", "answer"),
    [
        (expressions.arithmetic_expression_oracle, "( 3 * ( 4 - 1 ) ) =", "4"),
        (expressions.arithmetic_expression_oracle, "( ( 0 - 1 ) * ( 1 + 1 ) ) =", "3"),
        (expressions.arithmetic_expression_oracle, "( 1 + ) =", "?"),
        (expressions.boolean_expression_oracle, "( ( not T ) xor ( F or T ) ) =", "T"),
        (
            expressions.boolean_expression_oracle,
            "( ( T xor T ) or ( T and F ) ) =",
            "F",
        ),
        (expressions.boolean_expression_oracle, "( not F ) =", "T"),
        (expressions.listops_oracle, "[MED 9 0 4 7 ] =", "5"),
        (expressions.listops_oracle, "[MED 3 8 3 ] =", "3"),
        (expressions.listops_oracle, "[SUM_MOD 9 [MAX 0 9 4 ] [MIN 9 9 8 ] ] =", "6"),
        (dyck.dyck_oracle, "( ) [ ( ) ] ?", "yes"),
        (dyck.dyck_oracle, "( [ ) ] ?", "no"),
        (dyck.dyck_oracle, "( ) ) ?", "no"),
        (dyck.dyck_oracle, "( ( ) ?", "no"),
        (dag.dag_arithmetic_oracle, "x1 = x0 * x2 - x0 ; x2 = x0 ; x0 = 4 ; ? x1", "2"),
        (dag.dag_arithmetic_oracle, "x1 = x0 - x2 * x0 ; x2 = 3 ; x0 = 2 ; ? x1", "3"),
        (dag.dag_arithmetic_oracle, "x1 = x0 ; x0 = x1 ; ? x1", "?"),
        (graphs.graph_reachability_oracle, "a > b c > b c > d b > e ? a e", "yes"),
        (graphs.graph_reachability_oracle, "a > b c > b c > d b > e ? a d", "no"),
        (graphs.graph_next_step_oracle, "a > b a > c c > d d > e b > f ? a e", "c"),
        (graphs.graph_next_step_oracle, "a > b b > c ? a d", "?"),
        (graphs.graph_next_step_oracle, "a > b a > c b > d c > d ? a d", "?"),
        (logic.kinship_oracle, "a parent b b parent c ? a c +2", "yes"),
        (logic.kinship_oracle, "a parent b b parent c ? a c -2", "no"),
        (logic.kinship_oracle, "b child a b parent c ? a c +2", "yes"),
        (logic.kinship_oracle, "b parent a b parent c ? a c +2", "no"),  # Siblings.
        (logic.kinship_oracle, "b parent a b parent c ? a c +0", "yes"),
        (logic.kinship_oracle, "c child b a child b ? c a +0", "yes"),
        (logic.kinship_oracle, "d parent c b child c a child b ? a d -3", "yes"),
        (logic.kinship_oracle, "a parent b c parent d ? a d +2", "?"),
        (logic.transitive_inference_oracle, "b < a b > c ? a c", "yes"),
        (logic.transitive_inference_oracle, "b < a b > c ? c a", "no"),
        (logic.transitive_inference_oracle, "b < a c < a ? b c", "?"),
        (cogs.cogs_oracle, "Anna help Bruno", "?"),
        (cogs.cogs_oracle, "helped Bruno Anna", "?"),
        (cogs.cogs_oracle, "the cat helped that Anna", "?"),
        (cogs.cogs_oracle, "Anna claimed that", "?"),
        (cogs.cogs_oracle, "Anna claimed that the cat Bruno", "?"),
        (cogs.cogs_oracle, "a cat on helped Anna", "?"),
        (cogs.cogs_oracle, "a pear was cook by Anna", "?"),
    ],
)
def test_by_hand(oracle, question, answer):
    more = [_Words] * (len(inspect.signature(oracle).parameters) - 1)
    worked_out = oracle(question.split(), *more)
    assert worked_out == [answer] or (
        answer == oracles.UNKNOWN and answer in worked_out
    )
