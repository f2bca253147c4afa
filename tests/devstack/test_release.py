"""What keeps a release from being made. Building and installing is `make release`: it takes a minute and a registry."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.version import VERSION
from devstack.origin import git
from devstack.release import distributions, objections
from devstack.server import ROOT


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that is ready to be 1.2.3."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "version.py").write_text('VERSION = "1.2.3"\n')
    (tmp_path / "client" / "config_client").mkdir(parents=True)
    (tmp_path / "client" / "config_client" / "version.py").write_text('__version__ = "1.2.3"\n')
    (tmp_path / "docs" / "CHANGELOG.md").write_text("# Changelog\n\n## 1.2.3 - 2026-01-01\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "ready")
    return tmp_path


def test_what_is_ready_is_released(project: Path) -> None:
    assert list(objections(project, "1.2.3")) == []


def test_everything_that_is_missing_is_told(project: Path) -> None:
    (project / "new").touch()
    git(project, "tag", "v1.2.4")
    assert list(objections(project, "1.2.4")) == [
        "there is something that is not committed",
        "v1.2.4 is there already",
        "app/version.py says 1.2.3",
        "client/config_client/version.py says 1.2.3",
        "docs/CHANGELOG.md has no section 1.2.4",
    ]


@pytest.mark.parametrize("version", ["", "1.2", "v1.2.3", "1.2.3; rm -rf", "--help"])
def test_a_version_has_three_numbers(project: Path, version: str) -> None:
    assert list(objections(project, version)) == [f"{version!r} is not a version like 1.2.3"]


def test_server_and_client_are_distributions() -> None:
    assert distributions(ROOT) == [".", "client"]


def test_image_and_manifests_bear_the_version_of_the_server() -> None:
    """What `make release` does not look at, as it is no part of a distribution."""
    named = r'(?:config-server:|newTag: "|image\.version=")(\d+\.\d+\.\d+)'
    for name in (
        "Dockerfile",
        "config/compose/compose.yaml",
        "config/kubernetes/kustomization.yaml",
        "docs/deployment.md",
    ):
        found = re.findall(named, (ROOT / name).read_text())
        assert set(found) == {VERSION}, name
