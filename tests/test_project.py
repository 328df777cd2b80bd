"""What a stranger looks for: license, version, how to cite, how to contribute."""

import re
import tomllib

import rdt_jax
from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_license_is_told_alike_everywhere():
    lines = (ROOT / "LICENSE").read_text().splitlines()
    assert len(lines) == 3
    assert lines[0] == f"SPDX-License-Identifier: {PROJECT['license']}"
    assert "rdt_jax authors" in lines[1]
    assert PROJECT["license-files"] == ["LICENSE"]
    assert f"license: {PROJECT['license']}\n" in (ROOT / "CITATION.cff").read_text()
    assert PROJECT["license"] in (ROOT / "README.md").read_text()


def test_the_version_is_told_alike_everywhere():
    version = rdt_jax.__version__
    assert PROJECT["version"] == version
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert newest and newest[1] == version


def test_the_package_is_typed_where_it_is_installed():
    assert (ROOT / "rdt_jax" / "py.typed").exists()
    text = (ROOT / "pyproject.toml").read_text()
    assert (
        "py.typed"
        in tomllib.loads(text)["tool"]["setuptools"]["package-data"]["rdt_jax"]
    )
