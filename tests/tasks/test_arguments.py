"""Reading `KEY=VALUE`, checking against signatures, the arguments of presets."""

import pytest

from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.tasks import arguments
from tests.conftest import ROOT


def _task(
    *,
    seed: int,
    count: int,
    share: float,
    word: str = "none",
    most: int | None = None,
    path: str | None = None,
    exact: bool = False,
    sizes: tuple[int, ...] = (1, 2),
):
    return seed, count, share, word, most, path, exact, sizes


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("count=7", 7),
        ("count=1_000", 1000),
        ("share=0.5", 0.5),
        ("share=2", 2.0),
        pytest.param(f"share=1{'0' * 400}", float("inf"), id="a share of 10**400"),
        ("word=none", "none"),
        ("word=12", "12"),
        ("word=a=b", "a=b"),
        ("most=none", None),
        ("most=3", 3),
        ("path=None", None),
        ("path=a/b", "a/b"),
        ("exact=TRUE", True),
        ("exact=False", False),
        ("sizes=(4, 5)", (4, 5)),
        ("seed=3", 3),
        ("count=many", "many"),  # Reported by `problems`, with the type.
    ],
)
def test_a_setting_is_read_by_the_type_of_its_argument(setting, value):
    (parsed,) = arguments.parse(_task, [setting]).items()
    assert parsed == (setting.partition("=")[0], value)
    assert type(parsed[1]) is type(value)


def test_the_last_setting_of_a_key_counts():
    assert arguments.parse(_task, ["count=1", "count=2"]) == {"count": 2}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("count", "--set takes KEY=VALUE, got 'count'"),
        ("number=1", "Unknown argument 'number'; choose from seed, count, share, word"),
    ],
)
def test_a_setting_is_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        arguments.parse(_task, [setting])


def test_problems_are_found_all_at_once():
    wrong = {"count": 1.5, "exact": 1, "sizes": [1], "most": "x", "size": 3}
    assert arguments.problems(_task, wrong) == [
        "task.kwargs.size is no argument of the task; choose from count, share, word, "
        "most, path, exact, sizes.",
        "task.kwargs.count must be int, got 1.5.",
        "task.kwargs.share is missing.",
        "task.kwargs.most must be int or NoneType, got 'x'.",
        "task.kwargs.exact must be bool, got 1.",
        "task.kwargs.sizes must be tuple, got [1].",
    ]
    good = {"count": 1, "share": 1, "sizes": (1,), "most": None}
    assert arguments.problems(_task, good) == []


def test_annotations_may_be_strings():
    def task(*, seed: "int", count: "int | None"):
        return seed, count

    assert arguments.problems(task, {"count": None}) == []
    assert arguments.problems(task, {"count": "x"}) != []


def test_a_function_without_a_seed_is_no_task():
    (problem,) = arguments.problems(lambda *, size: size, {"size": 1})
    assert "must take a keyword argument `seed`" in problem


@pytest.mark.parametrize("argument", ["size", "size: list", "size: [3]", "*size"])
def test_arguments_have_a_type_that_a_config_can_hold(argument):
    made = {}
    exec(f"def task({argument}, seed=0): return size", made)
    (problem,) = arguments.problems(made["task"], {"size": 6})
    assert "such as `size: int`" in problem and f"got `{argument}`" in problem


def test_an_annotation_that_means_nothing_is_named():
    def task(*, seed: "int", size: "Size"):  # noqa: F821
        return seed, size

    with pytest.raises(ValueError, match=f"^{__file__}: NameError: name 'Size' is not"):
        arguments.problems(task, {"size": 3})


def test_the_defaults_are_those_of_the_signature():
    expected = {"seed": 0, "word": "none", "most": None, "path": None}
    assert arguments.defaults(_task) == expected | {"exact": False, "sizes": (1, 2)}


def test_the_arguments_of_presets():
    presets = arguments.of_presets("modular")
    assert set(presets) == set(configs.preset_names(ROOT / "configs/modular.py"))
    section = configs.load(f"{ROOT}/configs/modular.py:paper").task
    assert presets["paper"] == {"seed": 0} | section.kwargs.to_dict()
    assert presets["paper"]["modulus"] == 97
    assert arguments.of_presets("nothing") == {}


# The `task` section of a config.


def test_a_good_section_has_no_problems(tiny_config):
    assert tasks.problems(tiny_config) == []


@pytest.mark.parametrize(
    ("kwargs", "problem"),
    [
        ({"phy": 1.0}, r"task.kwargs.phy is no argument of the task; choose from num_"),
        ({"phi": None}, "task.kwargs.phi is missing."),
        ({"phi": "7"}, "task.kwargs.phi must be float, got '7'."),
        ({"phi": float("nan")}, "task.kwargs.phi must be finite, got nan."),
        ({"phi": 1e300}, "task.kwargs.phi must be 0 or from 1.18e-38 to 3.4e+38 in "),
        ({"num_entities": 7.0}, "task.kwargs.num_entities must be int, got 7.0."),
        ({"max_heldout": 1.5}, "max_heldout must be int or NoneType, got 1.5."),
        ({"atomic_repeats": True}, "atomic_repeats must be int, got True."),
    ],
)
def test_arguments_are_checked_against_the_signature(kwargs, problem):
    config = configs.load(f"{ROOT}/configs/knowledge_composition.py:smoke").unlock()
    section = config.task.kwargs.to_dict() | kwargs
    if section["phi"] is None:
        del section["phi"]
    config.task.kwargs = section
    (found,) = tasks.problems(config)
    assert problem in found


def test_an_int_will_do_for_a_float(tiny_config):
    config = configs.override(tiny_config, {}).unlock()
    config.task.kwargs = config.task.kwargs.to_dict() | {"phi": 2}
    assert tasks.problems(config) == []
