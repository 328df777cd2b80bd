"""Oracles of tasks split by depth, by hand; test_oracles.py has whole tables."""

import functools

import pytest

from rdt_jax.tasks import oracles_by_depth as by

ARITHMETIC = functools.partial(by.reduce_arithmetic, 5)
EQUATIONS = functools.partial(by.solve_equations, 5)


@pytest.mark.parametrize(
    ("oracle", "question", "answer"),
    [
        (ARITHMETIC, "( 3 * ( 4 - 1 ) ) =", "4"),
        (ARITHMETIC, "( ( 0 - 1 ) * ( 1 + 1 ) ) =", "3"),
        (ARITHMETIC, "( 1 + ) =", "?"),
        (by.reduce_formula, "( ( not T ) xor ( F or T ) ) =", "T"),
        (by.reduce_formula, "( ( T xor T ) or ( T and F ) ) =", "F"),
        (by.reduce_formula, "( not F ) =", "T"),
        (by.reduce_lists, "[MED 9 0 4 7 ] =", "5"),
        (by.reduce_lists, "[MED 3 8 3 ] =", "3"),
        (by.reduce_lists, "[SUM_MOD 9 [MAX 0 9 4 ] [MIN 9 9 8 ] ] =", "6"),
        (by.match_brackets, "( ) [ ( ) ] ?", "yes"),
        (by.match_brackets, "( [ ) ] ?", "no"),
        (by.match_brackets, "( ) ) ?", "no"),
        (by.match_brackets, "( ( ) ?", "no"),
        (EQUATIONS, "x1 = x0 * x2 - x0 ; x2 = x0 ; x0 = 4 ; ? x1", "2"),
        (EQUATIONS, "x1 = x0 - x2 * x0 ; x2 = 3 ; x0 = 2 ; ? x1", "3"),
        (EQUATIONS, "x1 = x0 ; x0 = x1 ; ? x1", "?"),
        (by.reach, "a > b c > b c > d b > e ? a e", "yes"),
        (by.reach, "a > b c > b c > d b > e ? a d", "no"),
        (by.step_towards, "a > b a > c c > d d > e b > f ? a e", "c"),
        (by.step_towards, "a > b b > c ? a d", "?"),
        (by.step_towards, "a > b a > c b > d c > d ? a d", "?"),
        (by.count_generations, "a parent b b parent c ? a c +2", "yes"),
        (by.count_generations, "a parent b b parent c ? a c -2", "no"),
        (by.count_generations, "b parent a b parent c ? a c +0", "yes"),
        (by.count_generations, "d parent c b child c a child b ? a d -3", "yes"),
        (by.count_generations, "a parent b c parent d ? a d +2", "?"),
        (by.compare_items, "b < a b > c ? a c", "yes"),
        (by.compare_items, "b < a b > c ? c a", "no"),
        (by.compare_items, "b < a c < a ? b c", "?"),
    ],
)
def test_by_hand(oracle, question, answer):
    assert oracle(question.split()) == [answer]
