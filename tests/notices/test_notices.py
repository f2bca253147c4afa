"""What a server tells others: a push, a commit that is held back, a change and a rollback; never a value."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from devstack.issuer import LocalIssuer
from devstack.valkey import Valkey
from tests.changes.conftest import FILES, Admin, by_key
from tests.notices.receiver import SECRET, Delivery, Receiver
from tests.serving import BRISK, serving, serving_origin
from tests.support import eventually
from tests.valkeys import valkey

__all__ = ["valkey"]

VALUE = "a-value-that-nobody-is-told"


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver(lambda number: 500 if number == 0 else 204) as running:
        yield running


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory, issuer: LocalIssuer, receiver: Receiver) -> Iterator[Admin]:
    settings: dict[str, Any] = {
        "git_write": True,
        "envs": ("prod", "dev"),
        "notice_urls": (receiver.url,),
        "notice_secret": SECRET,
        "timings": replace(BRISK, notice_retries=(0.05, 0.1)),
    }
    files = {**FILES, ".config-server/schemas/pay.json": '{"properties":{"db":{"properties":{"pool":{"maximum":50}}}}}'}
    with serving(tmp_path_factory.mktemp("notices"), issuer, files, **settings) as running:
        yield Admin(running)


def delivered(receiver: Receiver, kind: str, **data: Any) -> Delivery:
    def matching() -> list[Delivery]:
        return [each for each in receiver.of(kind) if data.items() <= each.notice["data"].items()]

    return eventually(matching)[-1]


def test_a_push_is_told_with_the_names_of_its_files(admin: Admin, receiver: Receiver) -> None:
    before = admin.head
    commit = admin.serving.push({"shop.yml": f"items: [{VALUE}]\n"}, f"a message with {VALUE}")
    told = delivered(receiver, "label.moved", commit=commit).notice["data"]
    assert told == {
        "label": "main",
        "commit": commit,
        "former": before,
        "rev": told["rev"],
        "files": ["shop.yml"],
        "files_total": 1,
    }


def test_a_change_and_a_rollback_are_told_by_whom_and_which_keys(admin: Admin, receiver: Receiver) -> None:
    before = admin.head
    changed = admin.change(by_key("pay.yml", db__url=VALUE), message=f"because of {VALUE}").json()["commit"]
    told = delivered(receiver, "config.change", commit=changed).notice["data"]
    assert (told["subject"], told["label"], told["keys"]) == ("ada@example.org", "main", ["pay.yml: db.url"])

    order = {"to": before, "service": "pay"}
    plan = admin.post("rollback", order).json()["plan"]
    back = admin.post("rollback", {**order, "confirm": plan["id"]}).json()["commit"]
    assert delivered(receiver, "config.rollback", commit=back).notice["data"]["keys"] == ["pay.yml"]
    delivered(receiver, "label.moved", commit=back)


def test_a_dry_run_and_a_refusal_are_not_told(admin: Admin, receiver: Receiver) -> None:
    known = {each.notice["id"] for each in receiver.of("config.change")}
    assert admin.change(by_key("pay-prod.yml", db__pool=999)).status_code == 422
    assert admin.post("rollback", {"to": admin.head, "service": "pay"}).status_code in (200, 400)
    commit = admin.serving.push({"shop.yml": "items: [end]\n"})
    delivered(receiver, "label.moved", commit=commit)
    assert not [each for each in receiver.deliveries if each.notice["type"].endswith(".begun")]
    assert {each.notice["id"] for each in receiver.of("config.change")} == known


def test_a_commit_that_is_held_back_is_told_once_by_target(admin: Admin, receiver: Receiver) -> None:
    admin.serving.config("pay/prod")
    commit = admin.serving.push({"pay-prod.yml": "db:\n  pool: 999\n"})
    admin.serving.config("pay/prod")
    told = delivered(receiver, "target.held_back", commit=commit).notice["data"]
    assert {name: told[name] for name in ("service", "env", "label", "reason")} == {
        "service": "pay",
        "env": "prod",
        "label": "main",
        "reason": "invalid",
    }
    mended = admin.serving.push({"pay-prod.yml": "db:\n  pool: 9\n"})
    delivered(receiver, "label.moved", commit=mended)
    of_this = [each for each in receiver.of("target.held_back") if each.notice["data"]["commit"] == commit]
    assert len({each.notice["data"]["env"] for each in of_this}) == len(of_this)


def test_holds_and_branches_that_come_and_go_are_told(admin: Admin, receiver: Receiver) -> None:
    head = admin.head
    assert admin.post("hold", {"commit": head, "seconds": 60, "reason": VALUE}).status_code == 200
    delivered(receiver, "label.hold", commit=head)
    assert admin.post("hold/release", {}).status_code == 200
    delivered(receiver, "label.release", commit=head)
    admin.origin.branch("short")
    admin.serving.refresh()
    assert "former" not in delivered(receiver, "label.moved", label="short").notice["data"]
    admin.origin.branch("main")


def test_everything_is_signed_and_nothing_tells_a_value(admin: Admin, receiver: Receiver) -> None:
    commit = admin.serving.push({"shop.yml": f"items: [told, {VALUE}]\n"}, VALUE)
    delivered(receiver, "label.moved", commit=commit)
    assert all(each.is_proven for each in receiver.deliveries)
    assert not [each for each in receiver.deliveries if VALUE.encode() in each.body]
    first, second = receiver.deliveries[:2]
    assert first.notice["id"] == second.notice["id"]  # refused at first, and sent again
    text = admin.serving.ask("/metrics", token=admin.serving.token("config:view")).text
    assert 'config_server_notices_total{outcome="delivered"}' in text


@pytest.mark.slow
def test_of_all_hosts_one_tells(tmp_path: Path, issuer: LocalIssuer, valkey: Valkey) -> None:
    key = tmp_path / "key"
    key.write_text("k" * 40)
    secret = tmp_path / "secret"
    secret.write_text(f"{SECRET}\n")
    with Receiver() as receiver, ExitStack() as closing:
        shared: dict[str, Any] = {"redis_url": valkey.url, "key_file": key, "namespace": tmp_path.name}
        shared |= {"notice_urls": (receiver.url,), "notice_secret_file": secret}
        first = closing.enter_context(serving(tmp_path / "a", issuer, {"pay.yml": "n: 0\n"}, **shared))
        second = closing.enter_context(serving_origin(tmp_path / "b", issuer, first.origin, **shared))
        commits = []
        for number in range(1, 4):
            commits.append(first.push({"pay.yml": f"n: {number}\n"}))
            second.refresh()
            eventually(lambda: commits[-1] in {each.notice["data"]["commit"] for each in receiver.deliveries})
        assert [each.notice["data"]["commit"] for each in receiver.of("label.moved")] == commits
        assert all(each.is_proven for each in receiver.deliveries)
