"""What the client's README promises: its recipes run, its examples are the files, its package installs."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from devstack.server import ROOT
from tests.client.support import ENVIRONMENT, Shop
from tests.support import eventually

CLIENT = ROOT / "client"
README = (CLIENT / "README.md").read_text()


@pytest.fixture
def service(shop: Shop, tmp_path: Path) -> Iterator[str]:
    """A service whose surroundings are those of the recipes."""
    name = shop.new_service("db: {pool: 5}\n")
    token = tmp_path / "token"
    token.write_text(shop.token(name))
    given = {"CONFIG_CLIENT_URL": shop.url, "CONFIG_CLIENT_TOKEN_FILE": str(token), "SERVICE": name}
    os.environ.update(given)
    yield name
    for variable in given:
        del os.environ[variable]


def recipe(name: str) -> dict[str, Any]:
    """The file of a recipe, run; it stands in the README as it is, but for its docstring."""
    text = (CLIENT / "examples" / name).read_text()
    assert text.partition('"""\n\n')[2].strip() in README
    namespace: dict[str, Any] = {"__name__": name.removesuffix(".py")}
    exec(compile(text, name, "exec", dont_inherit=True), namespace)
    return namespace


def test_the_recipe_for_fastapi_follows_changes(shop: Shop, service: str) -> None:
    made = recipe("fastapi_app.py")
    app: FastAPI = made["app"]

    async def main() -> None:
        async with app.router.lifespan_context(app):
            assert await made["pool"]() == 5
            await asyncio.to_thread(shop.change, service, "db: {pool: 9}\n")
            async with asyncio.timeout(60):
                while await made["pool"]() != 9:
                    await asyncio.sleep(0.02)

    asyncio.run(main())


def test_the_recipe_for_flask_follows_changes(shop: Shop, service: str) -> None:
    app = recipe("flask_app.py")["create_app"]()
    client = app.test_client()
    assert client.get("/pool").text == "5"
    shop.change(service, "db: {pool: 9}\n")
    eventually(lambda: client.get("/pool").text == "9")
    app.extensions["config_client"].close()


def test_every_example_of_the_readme_is_python_that_compiles() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert len(blocks) > 5
    for block in blocks:
        wrapped = (
            "async def example():\n" + textwrap.indent(block, "    ")
            if re.search(r"\b(await|async for)\b", block)
            else block
        )
        compile(wrapped, "README.md", "exec")


def test_every_command_of_the_readme_is_one(shop: Shop) -> None:
    named = set(re.findall(r"^configctl (?:--\S+ \S+ )*([a-z][a-z-]*)", README, re.MULTILINE))
    command = [sys.executable, "-c", "from config_client.cli import main; main()", "--help"]
    told = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout
    there = set(re.findall(r"^  ([a-z-]+) ", told.partition("Commands:")[2], re.MULTILINE))
    assert named
    assert named <= there
    assert there <= set(re.findall(r"`([a-z-]+)", README)) | named


def test_the_library_needs_nothing_of_the_server_and_loads_no_network_before_it_is_used() -> None:
    code = "import sys, config_client; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert not {"app", "httpx", "websockets", "click", "rich", "flask"} & set(done.stdout.split())
    sources = "".join(file.read_text() for file in (CLIENT / "config_client").rglob("*.py"))
    assert not re.findall(r"^\s*(?:from|import) (?:app|tests|devstack)\b", sources, re.MULTILINE)


@pytest.mark.slow
def test_the_package_holds_all_modules_its_types_and_the_program(tmp_path: Path) -> None:
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet"]
    source = tmp_path / "source"
    shutil.copytree(CLIENT, source, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(source)]
    subprocess.run(pip, check=True, capture_output=True)
    packed = {str(file.relative_to(target)) for file in (target / "config_client").rglob("*") if file.is_file()}
    ours = {str(file.relative_to(CLIENT)) for file in (CLIENT / "config_client").rglob("*.py")}
    assert ours | {"config_client/py.typed"} <= packed
    env = {**ENVIRONMENT, "PYTHONPATH": str(target)}
    told = subprocess.run([str(target / "bin" / "configctl"), "--version"], env=env, capture_output=True, check=True)
    assert b"0.1.0" in told.stdout
