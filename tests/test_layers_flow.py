"""The shape of the code: imports flow one way, nothing inherits, nothing is needed."""

import ast
import re
import subprocess
import sys

import pytest

from tests.conftest import LONG, ROOT

LAYERS = (
    "borrowed",
    "machine",
    "wording",
    "devices",
    "registry",
    "user_code",
    "events",
    "schema",
    "config",
    "named",
    "tasks",
    "data",
    "models",
    "sharding",
    "store",
    "training",
    "profile",
    "sweep",
    "analysis",
    "figures",
    "report",
    "python",
    "cli",
    "__main__",
)
PACKAGE = ROOT / "rdt_jax"
FILES = sorted(
    path.relative_to(PACKAGE).as_posix()
    for path in PACKAGE.rglob("*.py")
    if path != PACKAGE / "__init__.py"
)
BASES = {"nn.Module", "NamedTuple", "Protocol", "TypedDict"}
EXCEPTIONS = {
    # A refusal like those of a lease, which a worker tells apart: it had begun.
    "store/leases.py": ["BlockingIOError"],
    # What the command turns a user's mistake into on its way to exit code 2.
    "cli/exits.py": ["Exception"],
    # tfds takes nothing else for a builder.
    "data/tfds_builders.py": [
        "tfds.core.BuilderConfig",
        "tfds.core.GeneratorBasedBuilder",
    ],
}
WITHOUT_JAX = (
    "machine",
    "wording",
    "registry",
    "user_code",
    "events",
    "config",
    "tasks",
)


def _layer(file: str) -> str:
    return file.partition("/")[0].removesuffix(".py")


def _imports(source: str) -> list[str]:
    """Dotted names of all that a file imports, wherever it does so."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names += [f"{module}.{alias.name}" for alias in node.names]
    return names


def _wrong_imports(file: str, source: str) -> list[str]:
    allowed = LAYERS[: LAYERS.index(_layer(file)) + 1]
    wrong = []
    for name in _imports(source):
        top, _, rest = name.partition(".")
        if top in ("configs", "experiments", "tests") or name.startswith("."):
            wrong.append(name)
        elif top == "rdt_jax" and rest.partition(".")[0] not in (
            *allowed,
            "__version__",
        ):
            wrong.append(name)
        elif top in ("jax", "flax", "optax") and _layer(file) in WITHOUT_JAX:
            wrong.append(name)
    return wrong


def _wrong_bases(source: str) -> list[str]:
    bases = [
        ast.unparse(base)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef)
        for base in node.bases
    ]
    return [base for base in bases if base not in BASES]


def test_there_is_something_to_look_at():
    assert {_layer(file) for file in FILES} >= {"config", "tasks", "models", "training"}


@pytest.mark.parametrize("file", FILES)
def test_imports_flow_one_way(file):
    assert _layer(file) in LAYERS, "A new layer needs its place in the order."
    assert _wrong_imports(file, (PACKAGE / file).read_text()) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("tasks/base.py", "from rdt_jax import models"),
        ("tasks/base.py", "from rdt_jax.models import layers"),
        ("tasks/base.py", "import rdt_jax.data.batches"),
        ("registry.py", "from rdt_jax import config"),
        ("models/loop.py", "def late():\n    from rdt_jax.training import pack"),
        ("training/run.py", "from rdt_jax import cli"),
        ("training/run.py", "from configs import base"),
        ("models/loop.py", "from . import layers"),
        ("tasks/modular.py", "import jax.numpy as jnp"),
        ("tasks/modular.py", "from jax import numpy"),
    ],
)
def test_a_planted_import_is_seen(file, line):
    good = "import numpy\nfrom rdt_jax import registry\n"
    assert _wrong_imports(file, good) == []
    assert len(_wrong_imports(file, good + line)) == 1


@pytest.mark.parametrize("file", FILES)
def test_nothing_inherits(file):
    allowed = EXCEPTIONS.get(file, [])
    assert _wrong_bases((PACKAGE / file).read_text()) == allowed


def test_a_planted_base_class_is_seen():
    good = "class A(nn.Module): pass\nclass B(NamedTuple): pass\nclass C: pass\n"
    assert _wrong_bases(good) == []
    planted = good + "class D(C): pass\nclass E(ValueError): pass\n"
    assert _wrong_bases(planted) == ["C", "ValueError"]


LONGEST = 80  # lines of a function


def _long_functions(source: str) -> list[str]:
    return [
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno >= LONGEST
    ]


def test_no_function_is_long():
    found = {file: _long_functions((PACKAGE / file).read_text()) for file in FILES}
    assert {file: names for file, names in found.items() if names} == {}


def test_a_planted_long_function_is_seen():
    function = lambda lines: "class A:\n  def f(self):\n" + (lines - 1) * "    g()\n"
    assert _long_functions(function(LONGEST)) == []
    assert _long_functions(function(LONGEST + 1)) == ["f"]


PROBE = """
import importlib, sys

class Blocked:
    names = {"tensorflow", "torch", "ray", "pytest"}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

sys.meta_path.insert(0, Blocked())
first = [m for m in sys.argv[1:] if m.split(".")[1] in ("registry", "config", "tasks")]
for module in first:
    importlib.import_module(module)
print("jax" in sys.modules)
for module in sys.argv[1:]:
    importlib.import_module(module)
print(len(Blocked.names & set(sys.modules)), len(sys.argv) - 1)
"""


def test_every_module_imports_without_any_extra():
    modules = [
        "rdt_jax."
        + file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for file in FILES
        if file != "__main__.py"  # Importing it runs the command.
    ]
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *modules],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["False", "0", str(len(modules))]


# Tests use what a user may use.

OURS = ("rdt_jax", "configs", "experiments", "tests")
OF_TUPLES = {"_asdict", "_fields", "_make", "_replace"}  # Of every NamedTuple.


def _is_private(name: str) -> bool:
    return re.fullmatch(r"_[A-Za-z]\w*", name) is not None and name not in OF_TUPLES


def _private_names(source: str) -> list[str]:
    """Private names of our modules that a file imports, reads or replaces."""
    nodes = list(ast.walk(ast.parse(source)))
    modules, found = set(), []
    for node in nodes:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            base = node.module if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                name = f"{base}.{alias.name}".lstrip(".")
                if name.partition(".")[0] in OURS:
                    top = alias.name if base else alias.name.partition(".")[0]
                    modules.add(alias.asname or top)
                    found += [n for n in name.split(".") if _is_private(n)]
    for node in nodes:
        if isinstance(node, ast.Attribute) and _is_private(node.attr):
            if ast.unparse(node.value).partition(".")[0] in modules:
                found.append(node.attr)
        if isinstance(node, ast.Call) and len(node.args) >= 2:
            owner, name = map(ast.unparse, node.args[:2])  # As `setattr` has them.
            if owner.partition(".")[0] in modules and name[0] == "'":
                found += [n for n in [name.strip("'")] if _is_private(n)]
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if re.fullmatch(rf"({'|'.join(OURS)})(\.\w+)+", node.value):
                found += [n for n in node.value.split(".") if _is_private(n)]
    return found


def test_no_test_uses_a_private_name_of_ours():
    found = {
        str(path): names
        for path in (ROOT / "tests").rglob("*.py")
        if (names := _private_names(path.read_text()))
    }
    assert found == {}


@pytest.mark.parametrize(
    "line",
    [
        "from rdt_jax.tasks import _rows",
        "from rdt_jax.tasks._rows import decode",
        "import rdt_jax.tasks; rdt_jax.tasks._rows.decode()",
        "base._split(3)",
        "names.check._Hidden.run()",
        "monkeypatch.setattr(base, '_SECONDS', 0)",
        "monkeypatch.setattr(names.check, '_SECONDS', 0)",
        "monkeypatch.setattr('rdt_jax.tasks.base._SECONDS', 0)",
    ],
)
def test_a_planted_private_name_is_seen(line):
    good = (
        "import numpy\nfrom rdt_jax.tasks import base, check as names\n"
        "base.Table()._replace(a=names.of({})); numpy._private(); self._mine = {}\n"
        "monkeypatch.setattr(numpy, '_x', 0); base.get(tokens, '_x')\n"
    )
    assert _private_names(good) == []
    assert len(_private_names(good + line)) == 1


def test_the_files_that_come_first_are_there():
    assert [name for name in LONG if not (ROOT / "tests" / name).exists()] == []
