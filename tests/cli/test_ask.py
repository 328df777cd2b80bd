"""`rdt ask` and `rdt export`: what is printed, prompted for, written and refused."""

import io
import re
import sys

import fsspec
import jax
import numpy as np
import prompt_toolkit
import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from rdt_jax import cli, tasks
from rdt_jax import config as configs
from rdt_jax.analysis import asking
from rdt_jax.models import presets, recurrent
from rdt_jax.store import checkpoint, files, run_folder
from rdt_jax.tasks import rows
from rdt_jax.training import exported


@pytest.fixture(scope="module")
def workdir(tiny_config, tmp_path_factory):
    """One run that is done, with parameters before a transition and at the end."""
    workdir = tmp_path_factory.mktemp("runs")
    folder = workdir / configs.run_id(tiny_config)
    run_folder.create(folder, tiny_config)
    for name, seed in (("ood_generalized-before-2", 1), ("final-after-6", 2)):
        event, step = name.split("-")[0], int(name.split("-")[-1])
        extra = {"step": step, "event": event}
        checkpoint.save(
            folder / "transitions" / name, _params(tiny_config, seed), extra
        )
    done = {"state": "done", "reason": "imported", "step": 6}
    files.write_json(folder / "status.json", run_folder.PENDING | done)
    return workdir


def _params(config, seed):
    model = presets.model_config(config, tasks.make_table(config))
    shapes = jax.eval_shape(lambda key: recurrent.init(key, model), jax.random.key(0))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(x.dtype), shapes)


@pytest.fixture
def rdt(workdir, tiny_config, monkeypatch):
    """Returns a function that calls a verb on the run, with lines of input."""

    def rdt(verb, *arguments, lines="", terminal=False):
        stdin = io.StringIO(lines)
        stdin.isatty = lambda: terminal
        monkeypatch.setattr(sys, "stdin", stdin)
        run = configs.run_id(tiny_config)[:6]
        return cli.main([verb, run, *arguments, f"--workdir={workdir}"])

    return rdt


def _answers(text):
    """Returns (loops, answer, probability, right) of each line of a table."""
    return re.findall(r"^ *(\d+)  (\S+) +(\d\.\d{3})  (\S+) ", text, re.M)


def test_words_are_answered_after_each_loop(rdt, tiny_config, tiny_table, capsys):
    row = int(tiny_table.rows_of("ood")[0])
    words, target = rows.decode(tiny_table, row)
    assert rdt("ask", *words, "--loops=3") == 0
    out = capsys.readouterr().out
    assert f"{' '.join(words)} -> {target[0]}" in out
    assert "(ood, hops 2, pattern ood-ood)" in out
    asked = asking.ask(_params(tiny_config, 2), tiny_config, tiny_table, words, 3)
    assert _answers(out) == [
        (
            str(answer.loops),
            answer.words[0],
            f"{answer.probability:.3f}",
            "yes" if answer.right else "no",
        )
        for answer in asked.answers
    ]


def test_the_checkpoint_is_chosen_and_words_may_be_one_argument(
    rdt, tiny_config, tiny_table, capsys
):
    words, _ = rows.decode(tiny_table, 0)
    assert rdt("ask", "--checkpoint=ood_generalized-before", " ".join(words)) == 0
    found = _answers(capsys.readouterr().out)
    asked = asking.ask(_params(tiny_config, 1), tiny_config, tiny_table, words)
    assert len(found) == tiny_config.recurrence.num_loops
    assert found[-1][1] == asked.answers[-1].words[0]


def test_a_pipe_asks_a_question_per_line(rdt, tiny_table, capsys):
    words, _ = rows.decode(tiny_table, 0)
    lines = f"{' '.join(words)}\n\nentity_0 nowhere\n{' '.join(words)}\n"
    assert rdt("ask", lines=lines) == 2
    out, err = capsys.readouterr()
    assert len(_answers(out)) == 4
    assert (
        err.startswith("rdt: line 3: Unknown word 'nowhere'; ") and err.count("\n") == 1
    )
    assert rdt("ask", lines=" ".join(words)) == 0


def test_a_prompt_completes_words_and_ends_with_control_d(rdt, monkeypatch, capsys):
    typed = ["entity_10 relation_0", KeyboardInterrupt(), "", "entity_99", EOFError()]
    completers = []

    class Session(prompt_toolkit.PromptSession):
        def prompt(self):
            completers.append(self.completer)
            line = typed.pop(0)
            if isinstance(line, str):
                return line
            raise line

    monkeypatch.setattr(prompt_toolkit, "PromptSession", Session)
    with create_pipe_input() as pipe:
        with create_app_session(input=pipe, output=DummyOutput()):
            assert rdt("ask", terminal=True) == 0
    out, err = capsys.readouterr()
    assert "Words: entity_0, entity_1, " in out and "Ctrl-D ends" in out
    assert "entity_10 relation_0" in out and len(_answers(out)) == 2
    assert err.startswith("rdt: Unknown word 'entity_99'; did you mean") and not typed
    completions = completers[0].get_completions(
        Document("entity_10 rel"), CompleteEvent(completion_requested=True)
    )
    assert {each.text for each in completions} == {f"relation_{i}" for i in range(5)}


def test_brackets_of_words_are_shown(capsys):
    from rdt_jax.cli import ask

    answer = asking.Answer(1, (), 0.5, False, True, ((("[a]", 0.5), ("[/b]", 0.25)),))
    asked = asking.Asked(("[MED", "]"), 0, "id", ("[bold]",), {}, (answer,))
    ask.show(asked)
    out = capsys.readouterr().out
    assert "[MED ] -> [bold]  (id)" in out and "(no word) .." in out
    assert "[/b] 0.250" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "rdt ask needs WORDS, or questions as lines of its input"),
        (
            ("entity_0", "--checkpoint=memorized-after"),
            "has no parameters 'memorized-a",
        ),
        (("entity_0", "--loops=0"), "loops must be an integer in [1, 1,000], got 0"),
        (("entity_0", "<pad>"), "<pad> is a word of the layout"),
    ],
)
def test_a_mistake_exits_2_with_one_message(rdt, capsys, arguments, message):
    assert rdt("ask", *arguments) == 2
    out, err = capsys.readouterr()
    assert message in err and err.count("\n") == 1 and out == ""


def test_a_run_that_has_kept_nothing_says_when_it_will(
    tiny_config, tmp_path, capsys, command
):
    config = configs.override(tiny_config, {"snapshot_steps": (4,), "seed": 5})
    folder = tmp_path / configs.run_id(config)
    run_folder.create(folder, config)
    assert (
        "no parameters yet (it is pending): it keeps the first at update 4, or at"
        in (command(["ask", str(folder), "entity_0"], 2).err)
    )
    assert cli.main(["ask", "nope", "entity_0", f"--workdir={tmp_path}"]) == 2
    assert "has no run 'nope': expected a folder of a run" in capsys.readouterr().err


def test_export_writes_what_can_be_read_again(rdt, tiny_config, tmp_path, capsys):
    out = tmp_path / "a new" / "x:1"
    assert rdt("export", str(out), "--checkpoint=ood_generalized-before") == 0
    printed = capsys.readouterr().out
    assert f"arrays of update 2 (ood_generalized-before-2) in {out}" in printed
    assert f"rdt import-ltg '{out}/model.safetensors' OUT --num-loops=" in printed
    assert "--num-heads=2 --injection=none" in printed
    found = exported.read(out)
    jax.tree.map(np.testing.assert_array_equal, found.params, _params(tiny_config, 1))
    assert found.metadata["checkpoint"] == "ood_generalized-before-2"
    assert found.metadata["run"] == configs.run_id(tiny_config)
    assert rdt("export", str(out)) == 2
    assert "OUT must not exist or be an empty folder" in capsys.readouterr().err
    for verb, word in (
        ("export", str(out / "config.json")),
        ("export", "gs://bucket/x"),
        ("ask", "--lops=3"),
    ):
        with pytest.raises(SystemExit):
            rdt(verb, word)


def test_a_run_in_a_bucket_is_asked_in_its_copy(
    workdir, bucket_url, tiny_config, tiny_table, tmp_path, monkeypatch, command
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fs, root = fsspec.core.url_to_fs(bucket_url)
    for path in workdir.rglob("*"):
        if path.is_file():
            fs.pipe_file(f"{root}/runs/{path.relative_to(workdir)}", path.read_bytes())
    words, _ = rows.decode(tiny_table, 0)
    run = configs.run_id(tiny_config)
    for arguments in (
        [f"{bucket_url}/runs/{run}"],
        [run[:5], f"--workdir={bucket_url}/runs"],
    ):
        assert len(_answers(command(["ask", *arguments, *words]).out)) == 2
