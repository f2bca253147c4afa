"""The documentation's links: every file and heading that a page points to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from app.observability.families import create_families

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "SECURITY.md",
        *(page for room in ("docs", "config", "client") for page in (ROOT / room).rglob("*.md")),
    ]
)


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as Git forges make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text())
    broken = []
    for link in links:
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            broken.append(link)
    assert not broken


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md" or not page.is_file():
            continue
        reached.add(page)
        names = re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text())
        targets = [(page.parent / name).resolve() for name in names]
        waiting += [target / "README.md" if target.is_dir() else target for target in targets]
    assert set(PAGES) == reached


def test_every_dependency_has_its_reason() -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    packages = {re.split(r"[\[=]", line)[0] for line in lines if line and not line.startswith("#")}
    page = (ROOT / "docs" / "adr" / "0002-dependencies.md").read_text()
    assert set(re.findall(r"^\| ([\w-]+) \| .", page, re.MULTILINE)) - {"package"} == packages


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_what_the_map_of_the_house_names_is_there(page: str) -> None:
    """Modules whole, folders, and what is called in the composition root."""
    text = (ROOT / page).read_text()
    named = set(re.findall(r"`((?:app|client|config|devstack|tests)/[\w/]*(?:\.\w+)*)`", text))
    assert len(named) > 8
    assert not [name for name in sorted(named) if not (ROOT / name).exists()]
    root = (ROOT / "app" / "services.py").read_text()
    assert not [name for name in re.findall(r"`Services\.(\w+)`", text) if f"def {name}(" not in root]


def test_every_metric_is_documented_and_no_other() -> None:
    section = (ROOT / "docs" / "operations.md").read_text().partition("## Metrics")[2].partition("## Logs")[0]
    first = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    registry = CollectorRegistry()
    create_families(registry)
    families = [(family.name.removeprefix("config_server_"), family.type) for family in registry.collect()]
    ours = {f"{name}_total" if kind == "counter" else name for name, kind in families}
    by_the_exporter = {"http_request_duration_seconds", "http_request_total"}
    assert {name for cell in first for name in re.findall(r"`(\w+)`", cell)} == ours | by_the_exporter


def test_what_is_said_to_be_shown_by_a_test_names_tests_that_there_are() -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    named = set(re.findall(r"`(tests/[\w/]+\.py)`", page))
    assert len(named) > 30
    assert not [name for name in sorted(named) if not (ROOT / name).is_file()]
