"""`rdt compare` on runs that were never trained."""

from rdt_jax import cli
from tests import fake_runs
from tests.fake_runs import write_planned


def _staged(loops, oods, **options):
    return [
        fake_runs.staged(loops, ood, seed=s, **options) for s, ood in enumerate(oods)
    ]


def test_two_sweeps_stand_side_by_side(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    write_planned(
        tmp_path, "one", [*_staged(1, [None, None]), *_staged(2, [90, None, 100])]
    )
    write_planned(tmp_path, "two", _staged(2, [120, 130, None], model__width=64))
    assert cli.main(["compare", "one", "two", f"--workdir={tmp_path}"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "num_loops=2 memorized 40 3/3 40 3/3 0.50 1" in out
    assert "ood_generalized 120 2/3 150 2/3 0.72 1" in out
    assert "Only in one: num_loops=1." in out
    assert "They differ in model.width: 32 and 64." in out
    assert "Seeds per cell: 3 and 3. With so few no p before the adjustment is" in out
    assert "below 0.1." in out


def test_a_lost_run_is_named_and_fails(tmp_path, command):
    first = _staged(2, [90, 100])
    write_planned(tmp_path, "one", first)
    write_planned(tmp_path, "two", _staged(2, [90, 100], model__width=64))
    (tmp_path / first[0].run_id).rename(tmp_path / "elsewhere")
    captured = command(
        ["compare", f"{tmp_path}/sweeps/one", "two", f"--workdir={tmp_path}"], 1
    )
    assert "1 of 2 planned runs missing" in captured.err
    assert "... 1/2" in " ".join(captured.out.split())


def test_what_is_no_sweep_is_refused(tmp_path, command):
    write_planned(tmp_path, "one", _staged(2, [90]))
    assert "No sweep 'three': expected its folder, or a name in" in (
        command(["compare", "one", "three", f"--workdir={tmp_path}"], 2).err
    )
