"""Tasks and oracles of installed packages, and what is refused."""

import pytest

from rdt_jax import config as configs
from rdt_jax import tasks
from tests import packages
from tests.conftest import ROOT


def test_an_installed_task_is_one_of_all(install):
    assert dict(tasks.TASKS) == dict(tasks.BUILT_IN)
    install()
    assert list(tasks.TASKS) == [*tasks.BUILT_IN, "toy"]
    built_in = [name for name in tasks.BUILT_IN if name != "rows"]  # It has none.
    assert list(tasks.ORACLES) == [*built_in, "toy"]
    assert len(tasks.table_of("toy", 0, {"size": 5}).tokens) == 25
    config = configs.load(f"{ROOT}/configs/modular.py:smoke").unlock()
    config.task.name, config.task.kwargs = "toy", {"size": 5}
    assert tasks.problems(config) == []
    assert len(tasks.make_table(config).tokens) == 25
    config.task.kwargs = {"sise": 5}
    assert "task.kwargs.sise is no argument" in tasks.problems(config)[0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "modular = toys_module:toy",
            "Packages rdt_jax and toys both offer rdt_jax.tasks 'modular'; rename one",
        ),
        ("check = toys_module:toy", "not check or export, got 'check'"),
        ("Toy = toys_module:toy", "lower case with underscores, .* got 'Toy'"),
        (
            "toy = toys_module:gone",
            "AttributeError: module 'toys_module' has no attribute 'gone'. Package "
            "toys offers rdt_jax.tasks 'toy' as toys_module:gone, which must be a func",
        ),
        ("toy = toys_module:base", "must be a function, got a module"),
        ("toy = nowhere_module:toy", "nowhere_module.py: ModuleNotFoundError: No modu"),
    ],
)
def test_an_entry_point_is_refused(install, line, message):
    install(entry_points=f"[rdt_jax.tasks]\n{line}\n")
    with pytest.raises(ValueError, match=message):
        tasks.lookup("modular")
    # What a run says of it, before anything is compiled.
    config = configs.load(f"{ROOT}/configs/modular.py:smoke")
    (problem,) = tasks.problems(config)
    assert problem.startswith("task.name: ") and "Package" in problem


def test_two_packages_with_one_name(install):
    install()
    install(entry_points="[rdt_jax.tasks]\ntoy = kits_module:toy\n", package="kits")
    with pytest.raises(ValueError, match="Packages kits and toys both offer"):
        tasks.lookup("toy")


@pytest.mark.parametrize(
    "module", ["1 / 0", "raise KeyError", "import sys; sys.exit()"]
)
def test_a_module_that_breaks_is_named(install, module):
    path = install(source=f"\n{module}\n")
    with pytest.raises(ValueError, match=rf"^{path} line 2: .* Package toys offers"):
        tasks.lookup("toy")


def test_an_unknown_attribute_is_no_table():
    with pytest.raises(AttributeError, match="has no attribute 'TASK'"):
        tasks.TASK  # noqa: B018


def test_a_task_of_a_package_may_yield_rows(install):
    function = (
        "from rdt_jax.tasks import Row\n\ndef toy(size: int = 20):\n"
        "    for n in range(size):\n        yield Row(f'n{n}', f'v{n % 3}')\n"
    )
    install(function, "[rdt_jax.tasks]\ntoy = toys_module:toy\n")
    table = tasks.table_of("toy", 0, {"heldout": 0.25})
    assert table.certificate.rows == {"train": 15, "id": 5, "train_epoch": 15}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            "1 / 0",
            "toys_module.py line 35: ZeroDivisionError: .* toy_oracle must return",
        ),
        ("'0'", "toys_module.py: toy_oracle must return the words of an answer"),
    ],
)
def test_the_oracle_of_a_package_may_stand_beside_its_task(install, answer, message):
    alone = "[rdt_jax.tasks]\ntoy = toys_module:toy\n"
    of = "\ndef toy_oracle(question):\n    return "
    install(packages.TOY + of + "question[:1]", alone)
    table = tasks.table_of("toy", 0, {"size": 5})
    assert tasks.ORACLES["toy"](table, [0, 24]) == [["0"], ["4"]]
    install(packages.TOY + of + answer, alone)
    with pytest.raises(ValueError, match=message):
        tasks.ORACLES["toy"](table, [0, 24])


def test_every_oracle_has_its_task():
    assert set(tasks.ORACLES) <= set(tasks.TASKS)
