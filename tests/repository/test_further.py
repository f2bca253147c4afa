"""The file that describes further repositories: what it may say, and how it is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.repository import FurtherRepository, GitCredentials, RepositoriesError, load_repositories

GOOD = '[[repository]]\nname = "pay"\nurl = "https://git.example/pay.git"\n'


def read(path: Path, text: str | bytes) -> tuple[FurtherRepository, ...]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_repositories(path)


def test_a_name_and_a_url_are_enough(tmp_path: Path) -> None:
    (found,) = read(tmp_path / "x.toml", GOOD)
    assert found == FurtherRepository(name="pay", url="https://git.example/pay.git", patterns=("pay",))
    assert (found.label, found.search_paths, found.poll_seconds) == ("main", ("",), None)


def test_everything_that_may_be_said_is_read_in_the_order_of_the_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    told = GOOD + (
        f'patterns = ["pay*", "bill/prod*"]\nlabel = "release/1"\nsearch_paths = [".", "config/{{service}}"]\n'
        f'poll_seconds = 5\nusername = "bot"\npassword_file = "{secret}"\n'
        f'[[repository]]\nname = "a"\nurl = "git@git.example:a.git"\n'
        f'ssh_key_file = "{secret}"\nknown_hosts_file = "{secret}"\nca_file = "{secret}"\n'
    )
    first, second = read(tmp_path / "x.toml", told)
    assert (first.patterns, first.label) == (("pay*", "bill/prod*"), "release/1")
    assert (first.search_paths, first.poll_seconds) == (("", "config/{service}"), 5.0)
    assert first.credentials == GitCredentials(username="bot", password_file=secret)
    assert second.credentials == GitCredentials(ssh_key_file=secret, known_hosts_file=secret, ca_file=secret)


WRONG: dict[str, tuple[str | bytes, str]] = {
    "not TOML": ("[[repository", "is not TOML"),
    "not UTF-8": (b"\xff", "is not TOML"),
    "empty": ("", r"must hold \[\[repository\]\]"),
    "no list": ("[repository]\nname='x'", r"must hold \[\[repository\]\]"),
    "another table": (GOOD + "[other]\n", "other: unknown"),
    "unknown key": (GOOD + "brnch = 'x'\n", r"repository 1 \(pay\): brnch: Unknown field"),
    "two of one name": (GOOD + GOOD, "pay: 2 tables have this name"),
    "no name": ("[[repository]]\nurl = '/x'\n", "repository 1: name: Missing"),
    "a name that is a path": (GOOD.replace('"pay"', '"../pay"'), r"name: must match"),
    "a name with a mark": (GOOD.replace('"pay"', '"pay:x"'), "name: must match"),
    "a name with a newline": (GOOD.replace('"pay"', r'"pay\n"'), "repository 1: name: must match"),
    "no URL": ('[[repository]]\nname = "pay"\n', r"repository 1 \(pay\): url: Missing"),
    "a URL that runs commands": (
        GOOD.replace("https://git.example/pay.git", "ext::sh -c x"),
        "url: the repository URL",
    ),
    "a URL that is an option": (GOOD.replace("https://git.example/pay.git", "--upload-pack=x"), "url: the repository"),
    "a password in the URL": (GOOD.replace("git.example", "u:hunter2@git.example"), "must not hold a password"),
    "a bad pattern": (GOOD + 'patterns = ["pay*", "a b"]\n', "patterns: .*'a b' is not a pattern"),
    "no patterns": (GOOD + "patterns = []\n", "patterns: "),
    "a bad search path": (GOOD + 'search_paths = ["../x"]\n', "search_paths: .*leads upwards"),
    "a bad label": (GOOD + 'label = "--output=x"\n', "label: is not a branch"),
    "a bad number": (GOOD + "poll_seconds = 0\n", "poll_seconds: "),
    "a file that is not there": (GOOD + 'password_file = "/nowhere/x"\n', "password_file: no such file"),
    "a user without a password": (GOOD + 'username = "bot"\n', "username needs password_file"),
    "no table": ("repository = [1]", r"repository 1: must be written \[\[repository\]\]"),
    "too many": ("".join(GOOD.replace('"pay"', f'"r{number}"') for number in range(33)), "32 times at most"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_told_with_the_entry_it_is_in(tmp_path: Path, wrong: str) -> None:
    text, reason = WRONG[wrong]
    with pytest.raises(RepositoriesError, match=reason) as refused:
        read(tmp_path / "x.toml", text)
    assert "hunter2" not in str(refused.value)


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    text = GOOD + "one = 1\n" + GOOD.replace('"pay"', '"shop"') + "two = 2\npatterns = ['/']\n"
    with pytest.raises(RepositoriesError) as refused:
        read(tmp_path / "x.toml", text)
    assert len(refused.value.problems) == 3


def test_the_example_of_the_page_about_it_is_good(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "repositories.md"
    (example,) = re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL)
    for name in ("payments-token", "platform-key", "known-hosts"):
        (tmp_path / name).touch()
    found = read(tmp_path / "x.toml", example.replace("/etc/config-server", str(tmp_path)))
    assert [(each.name, each.patterns) for each in found] == [
        ("payments", ("pay*", "billing/prod*")),
        ("platform", ("pay*",)),
    ]
