import jax
import jax.numpy as jnp
import pytest

from rdt_jax.profile import hlo

WIDTH, ROWS = 48, 32


def _gradient(num_loops: int, unroll: int):
    """Compiles the gradient of a loop of products."""

    def loss(weights, state):
        step = lambda state, _: (jnp.tanh(state @ weights), None)
        state, _ = jax.lax.scan(step, state, None, length=num_loops, unroll=unroll)
        return (state**2).sum()

    shapes = (jnp.ones((WIDTH, WIDTH)), jnp.ones((ROWS, WIDTH)))
    return jax.jit(jax.grad(loss)).lower(*shapes).compile()


@pytest.mark.parametrize("num_loops", [1, 3])
def test_bytes_of_a_program_without_loops_are_those_that_xla_counts(num_loops):
    compiled = _gradient(num_loops, unroll=num_loops)
    expected = compiled.cost_analysis()["bytes accessed"]
    assert hlo.traffic(compiled.as_text()).bytes == pytest.approx(expected, rel=1e-3)


def test_a_loop_counts_as_often_as_it_runs():
    three, five, nine = (
        hlo.traffic(_gradient(n, unroll=1).as_text()).bytes for n in (3, 5, 9)
    )
    assert nine - five == pytest.approx(2 * (five - three), rel=0.02)
    assert five - three > 2 * 4 * WIDTH * WIDTH  # Each loop reads the weights.


PROGRAM = """HloModule planted, is_scheduled=true

%add (x.1: f32[], y.1: f32[]) -> f32[] {
  %x.1 = f32[] parameter(0)
  %y.1 = f32[] parameter(1)
  ROOT %sum = f32[] add(%x.1, %y.1)
}

%body (p: (s32[], f32[8,16])) -> (s32[], f32[8,16]) {
  %p = (s32[], f32[8,16]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %x = f32[8,16]{1,0} get-tuple-element(%p), index=1
  %all-reduce.1 = f32[8,16]{1,0} all-reduce(%x), to_apply=%add
  ROOT %next = (s32[], f32[8,16]{1,0}) tuple(%i, %all-reduce.1)
}

%condition (q: (s32[], f32[8,16])) -> pred[] {
  %bound = s32[] constant(5)
  %q = (s32[], f32[8,16]{1,0}) parameter(0)
  %j = s32[] get-tuple-element(%q), index=0
  ROOT %less = pred[] compare(%j, %bound), direction=LT
}

%cheap (a: f32[8,16]) -> f32[8,16] {
  %a = f32[8,16]{1,0} parameter(0)
  ROOT %negate = f32[8,16]{1,0} negate(%a)
}

%dear (b: f32[8,16]) -> f32[8,16] {
  %b = f32[8,16]{1,0} parameter(0)
  %once = f32[8,16]{1,0} negate(%b)
  ROOT %twice = f32[8,16]{1,0} negate(%once)
}

%sliced (whole: bf16[64,16], at: s32[]) -> bf16[1,16] {
  %whole = bf16[64,16]{1,0} parameter(0)
  %at = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %row = bf16[1,16]{1,0} dynamic-slice(%whole, %at, %zero), sizes={1,16}
}

ENTRY %main (w: f32[8,16], big: bf16[64,16], k: s32[], flag: pred[]) -> f32[8,16] {
  %w = f32[8,16]{1,0} parameter(0)
  %big = bf16[64,16]{1,0} parameter(1)
  %k = s32[] parameter(2)
  %flag = pred[] parameter(3)
  %start = (s32[], f32[8,16]{1,0}) tuple(%k, %w)
  %while.1 = (s32[], f32[8,16]{1,0}) while(%start), condition=%condition, body=%body
  %y = f32[8,16]{1,0} get-tuple-element(%while.1), index=1
  %chosen = f32[8,16]{1,0} conditional(%flag, %y, %y), true_computation=%dear, false_computation=%cheap
  %fast = f32[8,16]{1,0:T(8,128)S(1)} negate(%chosen)
  %fusion.1 = bf16[1,16]{1,0} fusion(%big, %k), kind=kLoop, calls=%sliced
  ROOT %out = f32[8,16]{1,0} negate(%fast)
}
"""  # noqa: E501


def test_a_planted_program_is_counted_as_by_hand():
    array, row, index = 8 * 16 * 4, 16 * 2, 4
    found = hlo.traffic(PROGRAM)
    assert found.collectives == {"all-reduce": 5}
    assert found.collective_bytes == 5 * array
    reductions = 5 * 2 * array
    branch = 2 * array  # the cheap one
    one_side_on_the_chip = array + array  # %fast reads memory, %out writes it
    assert found.bytes == reductions + branch + one_side_on_the_chip + 2 * row + index


def test_a_text_without_an_entry_is_refused():
    with pytest.raises(ValueError, match="has an ENTRY"):
        hlo.traffic("HloModule nothing")
