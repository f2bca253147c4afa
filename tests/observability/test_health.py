"""The health report: the worst part, since when, and safe words."""

from __future__ import annotations

from app.errors import SecretsUnavailable
from app.observability import Condition, Health, PartState


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def test_a_server_without_parts_is_ok() -> None:
    assert Health(lambda: True, Clock()).report() == {"status": "ok", "ready": True, "parts": {}}


def test_the_worst_part_gives_the_status_and_readiness_is_its_own() -> None:
    health = Health(lambda: True, Clock())
    health.register("git", lambda: PartState(Condition.OK))
    health.register("bus", lambda: PartState(Condition.DEGRADED, "reconnecting"))
    assert health.report()["status"] == "degraded"
    health.register("vault", lambda: PartState(Condition.DOWN, "sealed"))
    report = health.report()
    assert (report["status"], report["ready"]) == ("down", True)
    assert report["parts"] == {
        "git": {"status": "ok", "since": "2023-11-14T22:13:20Z"},
        "bus": {"status": "degraded", "since": "2023-11-14T22:13:20Z", "detail": "reconnecting"},
        "vault": {"status": "down", "since": "2023-11-14T22:13:20Z", "detail": "sealed"},
    }


def test_since_is_when_the_condition_began_and_not_when_it_was_asked() -> None:
    clock, states = Clock(), [PartState(Condition.OK)]
    health = Health(lambda: True, clock)
    health.register("git", lambda: states[-1])

    def since() -> object:
        parts = health.report()["parts"]
        assert isinstance(parts, dict)
        part = parts["git"]
        assert isinstance(part, dict)
        return part["since"]

    assert since() == "2023-11-14T22:13:20Z"
    clock.now += 60
    assert since() == "2023-11-14T22:13:20Z"
    states.append(PartState(Condition.DOWN))
    assert since() == "2023-11-14T22:14:20Z"
    states.append(PartState(Condition.DOWN, since=clock.now - 30))
    assert since() == "2023-11-14T22:13:50Z"


def test_a_probe_that_fails_is_down_and_tells_nothing_it_should_not() -> None:
    def unavailable() -> PartState:
        raise SecretsUnavailable("Vault is sealed")

    def broken() -> PartState:
        raise RuntimeError("token hvs.CAESIJ1234567890 at /v1/kv/data/pay")

    health = Health(lambda: False, Clock())
    health.register("vault", unavailable)
    health.register("other", broken)
    health.register("loud", lambda: PartState(Condition.OK, "https://u:hunter2@git/x\n" + "y" * 1000))
    report = health.report()
    assert report["ready"] is False
    text = str(report)
    assert "Vault is sealed" in text
    assert "hvs." not in text
    assert "kv/data" not in text
    assert "hunter2" not in text
    assert len(text) < 800
