"""The subject of a verb: a study, a config or a sweep, and the plan that it makes.

    rdt figures experiments/depth_by_decay --preset=cpu   # a folder with study.py
    rdt sweep configs/modular.py:cpu --loops=1,2 --seeds=3
    rdt sweep modular:cpu --loops=1,2,4                   # a config of the repository
    rdt sweep --task=reverse.py:reverse --loops=1,2,4     # a function of your own
    rdt figures runs/sweeps/modular-cpu-num_loops         # a sweep, by its folder

`add` declares the options, and `plan` reads them.
"""

import argparse
import os
import pathlib
from typing import Any, NamedTuple

from rdt_jax import config as configs
from rdt_jax.cli import exits
from rdt_jax.cli import options as shared
from rdt_jax.sweep import axes, spec
from rdt_jax.sweep import plan as plans
from rdt_jax.sweep.plan import StoredPlan
from rdt_jax.tasks import presets

METAVAR = "STUDY|FILE.py:PRESET|WORKDIR/sweeps/NAME"
STUDY, CONFIG, SWEEP, TASK = "study", "config", "sweep", "task"

# Options of `add_axes`, by the names of their arguments.
ASKED = ("over", "random", "trials", "seeds", "name")
_SHORT = {"--loops": "recurrence.num_loops", "--weight-decay": "optimizer.weight_decay"}


class Subject(NamedTuple):
    """What a verb is about."""

    kind: str  # STUDY, CONFIG, SWEEP or TASK
    text: str  # as given: a folder, a config with its preset, or a task
    workdir: Any  # folder, or address of a bucket, of the runs

    @property
    def folder(self) -> pathlib.Path:
        """The folder of the study or of the sweep."""
        return pathlib.Path(self.text)


def add(parser: argparse.ArgumentParser, also: str = "") -> None:
    """Adds the subject, or what the verb takes `also`, --preset and --workdir."""
    parser.add_argument(
        "subject",
        nargs="?",
        metavar="|".join(filter(None, [METAVAR, also])),
        help="a folder with study.py; a config and its preset, of the repository also "
        "by name (modular:cpu); or the folder of a sweep",
    )
    shared.add_task(parser)
    parser.add_argument("--preset", help="of a study or a task; default: cpu")
    shared.add_workdir(parser, buckets=True, default=None)


def add_axes(parser: argparse.ArgumentParser) -> None:
    """Adds what a sweep without a study varies, which `plan` reads."""
    group = parser.add_argument_group("of a sweep of FILE.py:PRESET")
    group.add_argument(
        "--over",
        action="append",
        default=[],
        metavar="KEY=V1,V2,..",
        help="values of a config key; several times: all combinations. Semicolons "
        "separate the values of a key that is a tuple",
    )
    for flag, key in _SHORT.items():
        group.add_argument(
            flag,
            dest="over",
            action="append",
            type=f"{key}={{}}".format,
            metavar="V1,V2,..",
            help=f"short for --over {key}=V1,V2,..",
        )
    group.add_argument(
        "--seeds", type=int, metavar="N", help="seeds 0 to N-1; default: the config's"
    )
    group.add_argument(
        "--random",
        action="append",
        default=[],
        metavar="'KEY=log(a,b)'",
        help="values of a config key that are drawn, also lin(a,b), int(a,b)",
    )
    group.add_argument(
        "--trials", type=int, metavar="N", help="with --random: how many are drawn"
    )
    group.add_argument(
        "--name",
        help="of the sweep; default: config, preset and axes, which extends it",
    )


def read(options: argparse.Namespace) -> Subject:
    """Returns the subject, and sets `options.workdir` to that of its runs.

    ValueError if there is no such subject, or --workdir is another than its sweep's.
    """
    text, workdir = options.subject, options.workdir
    if (text is None) == (options.task is None):
        raise ValueError(
            f"Give {METAVAR} or --task, one of them, got {text or 'none'}."
        )
    own = pathlib.Path("runs") if workdir is None else workdir
    kind = kind_of(options)
    if kind == SWEEP:
        is_url = shared.is_url(text)
        text = text.rstrip("/") if is_url else os.path.abspath(text)
        parent, _, name = text.rpartition("/sweeps/")
        if not parent or "/" in name:
            raise ValueError(
                f"A sweep's folder is WORKDIR/sweeps/NAME, got {options.subject!r}."
            )
        is_whole = is_url or os.path.isabs(options.subject)
        own = parent if is_whole else os.path.relpath(parent)
        own = own if is_url else pathlib.Path(own)
        place = str if is_url or shared.is_url(workdir) else os.path.realpath
        if workdir is not None and place(workdir) != place(own):
            raise ValueError(
                f"--workdir must be {own}, that of {options.subject}, or be left out, "
                f"got {workdir}."
            )
    options.workdir = own
    if not kind:
        raise ValueError(
            f"No study {text!r} (a folder with study.py), no config (FILE.py:PRESET) "
            f"and no sweep (WORKDIR/sweeps/NAME) of that name; {_hint(text, own)}"
        )
    return Subject(kind, options.task or text, own)


def kind_of(options: argparse.Namespace) -> str:
    """Returns STUDY, CONFIG, SWEEP or TASK; empty if the subject is none of them."""
    if options.task is not None:
        return TASK
    text = options.subject or ""
    config, _, preset = text.rpartition(":")
    if shared.is_url(text) or pathlib.Path(text, "plan.json").is_file():
        return SWEEP
    if pathlib.Path(text, "study.py").is_file():
        return STUDY
    is_config = config.endswith(".py") or (config and "/" not in config)
    return CONFIG if is_config and preset and "/" not in preset else ""


def folder_of(options: argparse.Namespace) -> str:
    """Returns the folder, or the address in a bucket, of the sweep of the subject.

    ValueError if there is no such subject; exits.Mistake as `plan`.
    """
    if kind_of(options) == SWEEP:
        return read(options).text
    made = plan(options)
    return f"{options.workdir}/sweeps/{made.name}"


def _hint(text: str, workdir: Any) -> str:
    """Says what somebody may have meant who named no subject."""
    path, named = pathlib.Path(text), configs.named_configs()
    beside = sorted(path.parent.glob("*/study.py"))
    files = beside or sorted(shared.ROOT.glob("experiments/*/study.py"))
    studies = {file.parent.name: os.path.relpath(file.parent) for file in files}
    sweep = f"{workdir}/sweeps/{text}"
    if os.path.isdir(sweep) or path.name in studies:
        return f"did you mean {studies.get(path.name, sweep)}?"
    if text.endswith(".py") and path.is_file():
        return f"a config has a preset: one of {', '.join(configs.preset_names(path))}."
    if path.stem in named:
        return f"did you mean {path.stem}:cpu?"
    if sweeps := sorted(str(p.parent) for p in path.parent.glob("*/plan.json")):
        return f"choose from {', '.join(sweeps)}."
    choices = filter(None, (", ".join(studies), f"{', '.join(named)} with :PRESET"))
    return f"choose from {'; '.join(choices)}."


def plan(
    options: argparse.Namespace,
    workdir: pathlib.Path | None = None,
    copy: pathlib.Path | None = None,
) -> spec.Plan:
    """Returns the plan of the subject, and sets `options.workdir` to that of its runs.

    A sweep without a study has the trials that were asked for before, too. The runs
    are about to train in `workdir`, on a disk, unless it is None; `copy` is that of a
    workdir in a bucket. exits.Mistake if the subject, or what is asked of it, is wrong.
    """
    from rdt_jax.training import validation

    with exits.mistakes():
        subject = read(options)
        where = copy or options.workdir
        if subject.kind == SWEEP:
            made = _of_sweep(options, where / "sweeps" / subject.folder.name)
        elif subject.kind == STUDY:
            what = f"the study {subject.text}, which says what it sweeps"
            refuse(options, ASKED, what)
            preset, check = options.preset or "cpu", validation.check
            made = spec.make_plan(
                subject.folder, preset, options.overrides, check, exits.tell
            )
        else:
            made = _of_config(options, subject, where)
        if not shared.is_url(where):
            made = with_stored(options, where, made)
    shared.tell_plan(made, options.overrides, workdir)
    return made


def with_stored(
    options: argparse.Namespace, workdir: pathlib.Path, asked: spec.Plan
) -> spec.Plan:
    """Returns a plan with the trials that its sweep in a workdir has already.

    ValueError if that is another sweep, of which only the name is the same.
    """
    whole = plans.with_stored(workdir / "sweeps" / asked.name, asked)
    asks_budget = any(w.startswith("--config.num_steps=") for w in options.overrides)
    largest = max(trial.budget for trial in whole.trials)
    if asks_budget and largest > max(trial.budget for trial in asked.trials):
        exits.tell(
            f"{whole.name} keeps num_steps = {largest}, the largest that was asked."
        )
    return whole


def _of_config(
    options: argparse.Namespace, subject: Subject, workdir: Any
) -> spec.Plan:
    """Returns the plan that a config makes of the options, or of its only sweep.

    The second if nothing is asked of it by a verb that trains nothing.
    """
    from rdt_jax.training import validation

    if subject.kind == TASK:
        preset = options.preset or "cpu"
        name = f"{subject.text.rpartition(':')[2]}-{preset}"
        named = spec.Named(presets.config_of(subject.text, preset), name, preset)
    else:
        refuse(options, ("preset",), f"{subject.text}, which names one")
        named = spec.Named.load(subject.text)
    changes = configs.parse_overrides(named.config, options.overrides)
    base = configs.override(named.config, changes)
    over, draws = _axes(options, base)
    made = spec.plan_of_config(
        named,
        over,
        getattr(options, "seeds", None),
        check=validation.check,
        draws=draws,
        changes=changes,
        name=getattr(options, "name", None),
        log=exits.tell,
    )
    looks = not hasattr(options, "over") or options.status or options.stop
    if looks and not _given(options, ASKED) and not shared.is_url(workdir):
        return _only_sweep(workdir, made)
    return made


def _only_sweep(workdir: pathlib.Path, made: spec.Plan) -> spec.Plan:
    """Returns the plan of the only sweep of a config in a workdir; ValueError."""
    sweeps = [
        stored
        for path in sorted(workdir.glob("sweeps/*/plan.json"))
        if (stored := plans.read(path.parent)).study == ""
        and not plans.differing(stored, made)
    ]
    if len(sweeps) == 1:
        return sweeps[0].as_plan()
    if not sweeps:
        return made
    folders = ", ".join(str(stored.path.parent) for stored in sweeps)
    raise ValueError(
        f"{workdir} has several sweeps of this config: give one, {folders}."
    )


def _of_sweep(options: argparse.Namespace, folder: pathlib.Path) -> spec.Plan:
    """Returns the stored plan of a sweep, with what else is asked of it."""
    from rdt_jax.training import validation

    refuse(options, ("preset", "name"), f"{folder}, which has its own")
    stored = plans.read(folder)
    if stored.study != "":
        what = f"{folder}, a sweep of the study {stored.study or 'of its name'}"
        refuse(options, ASKED, what)
        if options.overrides:
            raise ValueError(f"{options.overrides[0]} does not go with {what}.")
        study = study_of(stored)
        if study is None:
            exits.tell(
                f"the study of {folder} is not here: nothing is judged, and its table "
                "and figures are those of any sweep."
            )
        return stored.as_plan(study or spec.NO_STUDY)
    first, made = stored.trials[0], stored.as_plan()
    over, draws = _axes(options, first.config)
    seeds = getattr(options, "seeds", None)
    if over or draws or seeds is not None:
        made = spec.extend(
            made, over, seeds, check=validation.check, draws=draws, log=exits.tell
        )
    changes = configs.parse_overrides(first.config, options.overrides)
    budget = changes.pop("num_steps", None)
    if changes or (budget is not None and not first.has_budget):
        key = next(iter(changes), "num_steps")
        raise ValueError(
            f"--config.{key} makes other runs than those of {folder}: that is another "
            "sweep, of its config."
        )
    if budget is not None:
        first = spec.Trial.of(first.config, {"num_steps": budget})
        validation.check(first.config)
        made = made._replace(trials=spec.merge(made.trials, [first]))
    return made


def study_of(stored: StoredPlan) -> Any:
    """Returns the module of the study of a sweep; None if there is none here."""
    sweep = stored.path.parent.name
    folders = [stored.study_file.parent] if stored.study_file else []
    for file in sorted(shared.ROOT.glob("experiments/*/study.py"), reverse=True):
        study = file.parent.name  # Which its name begins with, before version 0.2.
        if stored.study in (study, None) and sweep.startswith(f"{study}-"):
            folders.append(file.parent)
    here = [folder for folder in folders if (folder / "study.py").is_file()]
    return spec.read_study(here[0]) if here else None


def _axes(
    options: argparse.Namespace, base: Any
) -> tuple[dict[str, list[Any]], list[spec.Overrides]]:
    """Returns the values of the axes that are asked for, and those that are drawn."""
    over, random = (
        [text.partition("=")[::2] for text in getattr(options, name, ())]
        for name in ("over", "random")
    )
    keys = [key for key, _ in (*over, *random)]
    keys += ["seed"] if getattr(options, "seeds", None) is not None else []
    if repeated := [key for key in dict.fromkeys(keys) if keys.count(key) > 1]:
        raise ValueError(
            f"Two axes set {', '.join(repeated)}; give it all its values at once."
        )
    trials = getattr(options, "trials", None)
    if bool(random) != (trials is not None):
        raise ValueError("--random needs --trials=N, and --trials needs --random.")
    values = {key: axes.read(base, key, text) for key, text in over}
    draws = [] if trials is None else axes.draw(base, dict(random), trials)
    return values, draws


def _given(options: argparse.Namespace, names: tuple[str, ...]) -> list[str]:
    """Returns the flags of options that are given."""
    values = {name: getattr(options, name, None) for name in names}
    return [f"--{name}" for name, value in values.items() if value not in (None, [])]


def refuse(options: argparse.Namespace, names: tuple[str, ...], what: str) -> None:
    """Raises ValueError if an option is given that does not go with a subject."""
    if flags := _given(options, names):
        raise ValueError(f"{', '.join(flags)} does not go with {what}.")
