"""The run folder of a checkpoint from elsewhere: what readers of runs find in it."""

import functools

import jax
import numpy as np
import pytest

from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.analysis import runs
from rdt_jax.models import import_ltg, presets, recurrent
from rdt_jax.store import checkpoint, files, run_folder
from rdt_jax.training import imported, validation
from rdt_jax.training.run import train
from tests.conftest import ROOT
from tests.golden import FOLDER
from tests.tasks import ltg_folders

WORDS = 25  # Of the example folder, padding included.


@pytest.fixture
def write(tmp_path):
    """Writes a run of the golden weights, with `WORDS` rows in the embedding."""
    with np.load(FOLDER / "gpt2.npz") as file:
        weights = {k.partition("/")[2]: file[k] for k in file if "weights/" in k}
    for name in ("token_embedding.weight", "lm_head.weight"):
        weights[name] = np.resize(weights[name], (WORDS, 12))
    source = tmp_path / "checkpoint.pt"

    def write(overrides=None, *, content=b"1", num_loops=3, step=20, keep=5):
        source.write_bytes(content)
        table = weights["position_embedding.weight"][:keep]
        cut = weights | {"position_embedding.weight": table}
        return imported.write_run(
            tmp_path / "out",
            configs.load(f"{ROOT}/configs/ltg_folder.py:paper_code"),
            overrides or {},
            import_ltg.convert(cut, 3, "none"),
            num_loops=num_loops,
            step=step,
            source=source,
        )

    return write


def _path():
    return {"task.kwargs.path": ltg_folders.example("systematicity")}


def _load(folder, step, shapes):
    pin = folder / "transitions" / f"final-after-{step}"
    return checkpoint.load(pin, lambda extra: checkpoint.shapes_of(shapes))


def test_with_its_data_it_is_a_run_like_any_other(write):
    folder = write(_path() | {"batch_size": 16})
    run = runs.read_run(folder)
    assert (run.outcome, run.metrics, run.last_step) == ("over", [], None)
    assert run.status["reason"] in run_folder.REASONS and run.status["step"] == 20
    validation.check(run.config)
    table = tasks.make_table(run.config)
    model = presets.model_config(run.config, table)
    init = functools.partial(recurrent.init, config=model)
    params, extra = _load(folder, 20, jax.eval_shape(init, jax.random.key(0)))
    assert extra["max_length"] == table.tokens.shape[1] == len(params["position"]) == 3
    assert extra["vocab_size"] == len(table.vocab) == WORDS
    with np.load(FOLDER / "gpt2.npz") as file:
        expected = file["weights/position_embedding.weight"][:3]
        np.testing.assert_array_equal(params["position"], expected)
    assert files.read_json(folder / "environment.json")["segments"][0]["versions"]
    # Nothing is left to train.
    (status,) = train([run.config], folder.parent)
    assert status["reason"] == "imported"


def _multi_hop_weights(position):
    with np.load(FOLDER / "gpt2.npz") as file:
        weights = {k.partition("/")[2]: file[k] for k in file if "weights/" in k}
        if position != "learned":
            del weights["position_embedding.weight"]
        if position == "sinusoidal":
            weights["pe"] = file["pe"]
    return weights


@pytest.mark.parametrize("injection", ["none", "add"])
@pytest.mark.parametrize("position", ["learned", "sinusoidal", "none"])
def test_many_hops_are_answered_as_by_the_released_code(tmp_path, position, injection):
    source = tmp_path / "checkpoint.pt"
    source.write_bytes(b"1")
    folder = imported.write_run(
        tmp_path / "out",
        configs.load(f"{ROOT}/configs/ltg_folder.py:paper_code"),
        {"task.kwargs.path": ltg_folders.example("extrapolation")},
        import_ltg.convert(_multi_hop_weights(position), 3, injection),
        num_loops=3,
        step=20,
        source=source,
    )
    config = configs.read_run(folder)
    assert config.model.injection == injection
    table = tasks.make_table(config)
    model = presets.model_config(config, table)
    init = functools.partial(recurrent.init, config=model)
    params, _ = _load(folder, 20, jax.eval_shape(init, jax.random.key(0)))
    run = jax.jit(
        lambda tokens, answers: recurrent.answer(
            params, tokens, answers, model, num_loops=3
        )
    )
    logits = jax.device_get(run(table.tokens, table.answer_positions)[0])[:, 0]
    with np.load(FOLDER / "gpt2.npz") as file:
        rows, theirs = (
            file["many_hops/tokens"],
            file[f"many_hops/{position}/{injection}"],
        )
    width = min(rows.shape[1], table.tokens.shape[1])
    index = {tuple(row[:width]): at for at, row in enumerate(table.tokens)}
    ours = logits[[index[tuple(row[:width])] for row in rows]]
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_without_its_data_it_keeps_all_positions(write):
    folder = write(step=0)
    config = configs.read_run(folder)
    assert config.task.kwargs.path is None and config.task.kwargs.answer_at == "pad"
    assert config.model.dtype == "float32" and config.recurrence.num_loops == 3
    extra = files.read_json(folder / "transitions/final-after-0/extra.json")
    assert (extra["max_length"], extra["vocab_size"]) == (5, WORDS)


def test_the_same_checkpoint_may_be_imported_again_but_no_other(write):
    folder = write()
    assert write() == folder
    with pytest.raises(ValueError, match="holds another checkpoint with the same"):
        write(content=b"2")
    assert write(content=b"2", step=40) != folder


def test_a_trained_run_is_not_replaced(write):
    folder = write()
    (folder / "transitions/final-after-20/extra.json").unlink()
    with pytest.raises(ValueError, match="holds a run that was trained"):
        write()


@pytest.mark.parametrize(
    ("overrides", "options", "message"),
    [
        ({"model.width": 9}, {}, "model.width is 12 by the checkpoint"),
        ({"recurrence.num_loops": 2}, {}, "recurrence.num_loops is 3 by the"),
        ({"model.halting": "act"}, {}, "model.halting is 'none' by the checkpoint"),
        ({"model.branch_scale": "depth"}, {}, "model.branch_scale is 'none' by the"),
        ({"model.injection": "add"}, {}, "model.injection is 'none' by the checkp"),
        ({"model.readout": "untied"}, {}, "model.readout is 'tied' by the checkpoint"),
        ({"model.prelude_blocks": 1}, {}, "model.prelude_blocks is 0 by the checkp"),
        ({"model.head_width": 5}, {}, "model.head_width is None by the checkpoint"),
        ({}, {"num_loops": 0}, "--num-loops must be at least 1, got 0"),
        ({}, {"step": -1}, "--step must be at least 0, got -1"),
        ({"task.kwargs.path": "nowhere"}, {}, "must be a released data folder"),
        (_path(), {"keep": 2}, "row_length must be none or at least 3, .* got 2"),
        (
            _path() | {"task.kwargs.answer_at": "last"},
            {"keep": 2},
            "rows of at most 2 tokens, the checkpoint's .* got 3",
        ),
        (
            {"task.kwargs.path": ltg_folders.example("extrapolation")},
            {},
            f"must have the {WORDS} words of the checkpoint",
        ),
    ],
)
def test_what_does_not_fit_is_refused(write, tmp_path, overrides, options, message):
    with pytest.raises(ValueError, match=message):
        write(overrides, **options)
    assert not (tmp_path / "out").exists()
