"""tests/no_skips.py in a pytest of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from devstack.server import ROOT

pytestmark = pytest.mark.slow

SKIPS = "import pytest\n\ndef test_one():\n    pytest.skip('not today')\n"
SKIPS_WHOLE = "import pytest\n\npytest.skip('nothing here', allow_module_level=True)\n"
SKIPS_IN_FIXTURE = (
    "import pytest\n\n@pytest.fixture\ndef absent():\n    pytest.skip('not there')\n\ndef test_one(absent): ...\n"
)
EXPECTED_TO_FAIL = "import pytest\n\n@pytest.mark.xfail\ndef test_one():\n    assert False\n"


def outcome(directory: Path, module: str, ci: str) -> tuple[int, str]:
    (directory / "test_it.py").write_text(module)
    command = [sys.executable, "-m", "pytest", "-p", "tests.no_skips", "-p", "no:cacheprovider", "--rootdir", "."]
    env = {**os.environ, "CI": ci, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run([*command, "test_it.py"], cwd=directory, env=env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


@pytest.mark.parametrize("module", [SKIPS, SKIPS_WHOLE, SKIPS_IN_FIXTURE])
def test_a_skipped_test_is_a_failure_with_ci_and_its_reason_is_told(tmp_path: Path, module: str) -> None:
    code, said = outcome(tmp_path, module, "true")
    assert code in {1, 2}, said
    assert "skipped, which CI=true does not allow" in said


@pytest.mark.parametrize(("module", "ci"), [(SKIPS, ""), (EXPECTED_TO_FAIL, "true")])
def test_a_skip_on_a_desk_and_an_expected_failure_are_none(tmp_path: Path, module: str, ci: str) -> None:
    code, said = outcome(tmp_path, module, ci)
    assert code == 0, said
