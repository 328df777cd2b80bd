"""What each task says of arguments that it refuses: refused.txt, to the letter.

A line of that file is `KEY=VALUE ... -> MESSAGE`, below the name of the task: what is
changed of its first example, and the message without `task.kwargs.` in front. FOLDER
stands for the folder of the example.
"""

import ast
import re

import pytest

from rdt_jax import tasks
from tests.conftest import ROOT
from tests.tasks import examples


def _cases():
    name = ""
    for line in (ROOT / "tests" / "tasks" / "refused.txt").read_text().splitlines():
        if not line.startswith(" "):
            name = line
            continue
        changes, _, message = line.strip().partition(" -> ")
        pairs = re.findall(r"(\w+)=('[^']*'|\S+)", changes)
        kwargs = {key: ast.literal_eval(value) for key, value in pairs}
        yield pytest.param(name, kwargs, message, id=f"{name} {changes}")


@pytest.mark.parametrize(("name", "changes", "message"), list(_cases()))
def test_arguments_are_refused(name, changes, message):
    example = examples.EXAMPLES[name][0]
    message = message.replace("FOLDER", str(example.get("path")))
    with pytest.raises(ValueError) as raised:
        tasks.TASKS[name](seed=3, **example | changes)
    assert str(raised.value) == f"task.kwargs.{message}"
