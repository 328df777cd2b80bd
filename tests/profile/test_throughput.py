"""What a process of `rdt bench` answers."""

import json

import pytest

from rdt_jax import config as configs
from rdt_jax.models import cost, presets
from rdt_jax.profile import memory, throughput


def order(config, lanes=1):
    pack = [configs.override(config, {"seed": seed}) for seed in range(lanes)]
    as_dicts = [json.loads(configs.to_json(config)) for config in pack]
    return json.dumps({"pack": as_dicts, "exact": False, "devices": 1})


@pytest.mark.exhaustive
def test_a_pack_is_compiled_once_however_often_it_is_asked(tiny_config, tiny_table):
    answers = []
    questions = [order(tiny_config, lanes=2), "pilot 0.01", "dispatch 1", "dispatch 3"]
    throughput.serve(questions, lambda value: answers.append(json.dumps(value)))
    facts, pilot, *dispatches = map(json.loads, answers)
    model = presets.model_config(tiny_config, tiny_table)
    needed = cost.passes(model, num_loops=2, length=3, num_answers=1)
    assert facts["needed_flops"] == 13 * (needed.forward + needed.backward)
    assert facts["executed_flops"] > facts["needed_flops"]
    assert facts["parameters"] == sum(cost.parameters(model).values())
    assert (facts["lanes"], facts["batch_size"], facts["length"]) == (2, 13, 3)
    assert facts["compile_seconds"] > 0 and facts["temporary_bytes"] > 0
    predicted, compiled = facts["predicted_bytes"], facts["temporary_bytes"]
    assert memory.misprediction(predicted, compiled) is None
    assert pilot["updates"] >= 1
    assert all(answer["seconds"] > 0 for answer in dispatches)
    assert [answer["compilations"] for answer in dispatches] == [1, 1]


def test_a_question_that_nobody_knows_is_an_error(tiny_config, monkeypatch):
    monkeypatch.setattr(throughput, "compile_pack", lambda *_: throughput)
    monkeypatch.setattr(throughput, "facts", throughput.Facts(*[1] * 11), raising=False)
    with pytest.raises(ValueError, match="Unknown question 'hello'; choose from"):
        throughput.serve([order(tiny_config), "hello 1"], lambda value: None)


def test_a_dispatch_gets_as_many_updates_as_last_so_long():
    asked = []
    dispatch = lambda n: asked.append(n) or 0.02 * n
    assert throughput.updates_lasting(2.0, dispatch) == 100
    assert asked == [1, 1, 5]
    assert throughput.updates_lasting(0.001, dispatch) == 1


def test_the_peak_is_the_rate_of_the_best_product(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: next(clock))
    assert throughput.matmul_peak([(2, 3, 5), (4, 3, 5), (3, 3, 5)]) == 120
