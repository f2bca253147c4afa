"""Whatever clients say and whatever moves, in any order: who is not woken holds exactly what the engine says."""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from app.engine import ReadRequest
from app.errors import ConfigServerError, NotFound, Unauthenticated
from app.model import Principal, View
from app.notify.wire import Frame, Subscribe
from app.streams import Close, StreamSession, topic_code
from devstack.bao import Bao
from tests.notify.model import Doc, Model
from tests.notify.stage import Conversation, Stage, ada
from tests.protocol import validated

R, M = View.RESOLVED, View.MASKED
#: What a token of this name may see, service by service.
TOKENS: Mapping[str, tuple[str, Mapping[str, View]]] = {
    "all": ("config:read:*/*", {"pay": R, "shop": R, "ill": R}),
    "masked": ("config:view", {"pay": M, "shop": M, "ill": M}),
    "mixed": ("config:read:pay config:view:shop", {"pay": R, "shop": M}),
    "pay": ("config:read:pay", {"pay": R}),
    "nothing": ("openid", {}),
    "brief": ("config:read:*/*", {"pay": R, "shop": R, "ill": R}),
}
BRIEF = 0.4  # seconds
NAMES = ["pay/prod", "pay/prod/main", "pay/dev", "shop/prod/main", "ill/prod", "pay/prod/feature", "shop/prod/feature"]
WRONG = {"pay/prod/nowhere": "unknown-label", "pay": "bad-topic", "p ay/prod": "bad-topic", "pay/prod/..": "bad-topic"}
FILES = ["application.yml", "pay.yml", "pay-prod.properties", "pay-dev.yml", "shop.yml", "ill.yml"]
FILLING = "".join(f"key{number}: stays\n" for number in range(12))
PLAIN = [f"{FILLING}n: {number}\n" for number in range(3)]
CONTENTS = [*PLAIN, f"# a comment\n{PLAIN[0]}", f"{FILLING}n: {{a: 1}}\n", f"{FILLING}list: [1, 2]\n", None]
BROKEN = "n: [\n"
BAD_FRAMES: list[str | bytes] = ["{", "[]", '{"type":"explode"}', b"{}", '{"type":"subscribe","topics":[]}']

slots = st.integers(0, 2)
some_token = st.sampled_from(["all", "all", "masked", "masked", "mixed", "pay"])
names = st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True)


@dataclass
class Client:
    """A conversation and what its client makes of it. `ended` is the code that it was closed with."""

    talk: Conversation
    model: Model
    token: str
    principal: Principal
    patches: bool = False
    topics: Sequence[str] = ()
    ended: int | None = None

    def view(self, topic: str) -> View | None:
        return TOKENS[self.token][1].get(topic.partition("/")[0])

    @property
    def expired(self) -> bool:
        return self.principal.expires_at <= time.time()


class Conversations(RuleBasedStateMachine):
    """Three clients of one worker, over a repository with two branches and a Vault."""

    bao: Bao

    def __init__(self) -> None:
        super().__init__()
        self.clients: dict[int, Client] = {}
        self.tokens: dict[str, Principal] = {}
        self.numbers = count(1)
        self.commits: dict[str, list[str]] = {"main": []}
        self.closing = ExitStack()
        directory = Path(self.closing.enter_context(tempfile.TemporaryDirectory()))
        vault: dict[str, Any] = {"vault_addr": self.bao.address, "vault_mounts": {"kv": ("secret", 2)}}
        vault |= {"vault_role_id": self.bao.role_id, "vault_secret_id": self.bao.secret_id()}
        self.stage = self.closing.enter_context(Stage(directory, **vault))

    @initialize()
    def begin(self) -> None:
        self.rotate()
        files = {"application.yml": "shared: 1\n", "pay.yml": PLAIN[0], "shop.yml": PLAIN[0], "ill.yml": BROKEN}
        self.commits["main"].append(self.stage.push({**files, "pay-prod.properties": None}))
        self.stage.origin.branch("feature")
        self.commits["feature"] = [self.stage.push({"shop.yml": PLAIN[1]})]
        for slot in (0, 1):
            self.connect(slot, "all", patches=True, topics=NAMES[1:], heartbeat=60.0, resume=False)
        self.listen(2, "masked", NAMES[1:])

    def teardown(self) -> None:
        """The worker ends: everybody is told so, and nothing else."""
        services = self.stage.services
        services.drain(at_once=True)
        for client in self.clients.values():
            if client.ended is None:
                self.turn(client, close=1012)
        self.closing.close()

    # --- what moves

    @rule(
        branch=st.sampled_from(["main", "main", "feature"]),
        files=st.dictionaries(st.sampled_from(FILES), st.sampled_from([*CONTENTS, BROKEN]), min_size=1, max_size=3),
        pull=st.sampled_from([True, True, False]),
    )
    def commit(self, branch: str, files: dict[str, str | None], pull: bool) -> None:
        """New content, some that was there before, a comment, nothing, or what nobody can read."""
        origin = self.stage.origin
        origin.branch(branch)
        present = {name: text for name, text in files.items() if text is not None or (origin.work / name).exists()}
        self.commits.setdefault(branch, []).append(origin.write(present))
        if pull:
            self.stage.pull()

    @rule(service=st.sampled_from(["pay", "shop"]))
    def refer_to_a_secret(self, service: str) -> None:
        self.stage.origin.branch("main")
        text = f"{FILLING}secret: ${{vault:kv/services/{service}/prod/machine#password}}\n"
        self.commits["main"].append(self.stage.push({f"{service}.yml": text}))

    @rule()
    def rotate(self) -> None:
        """A new version in Vault, which the watch finds if it is in use."""
        for service in ("pay", "shop"):
            self.bao.put(f"services/{service}/prod/machine", {"password": f"p{next(self.numbers)}"})
        self.stage.services.secret_watch.tick()
        self.stage.services.installer.follow()

    @rule(back=st.integers(1, 3))
    def force(self, back: int) -> None:
        made = self.commits[self.stage.origin.current_branch]
        self.stage.origin.force(made[-min(back, len(made))])
        self.stage.pull()

    @precondition(lambda self: "feature" in self.commits)
    @rule(seen=st.booleans(), again=st.booleans())
    def delete_the_branch(self, seen: bool, again: bool) -> None:
        """And make it again as it was, whether or not somebody has seen that it was gone."""
        origin, made = self.stage.origin, self.commits.pop("feature")
        origin.branch("main")
        origin.delete_branch("feature")
        self.stage.pull()
        if seen:
            self.take_turns([*self.clients])
        if again:
            origin.branch("feature")
            origin.force(made[-1])
            self.commits["feature"] = made
            self.stage.pull()

    @rule()
    def pull(self) -> None:
        self.stage.pull()

    # --- what clients do

    @rule(
        slot=slots,
        token=some_token,
        patches=st.booleans(),
        topics=names,
        heartbeat=st.sampled_from([60.0, 60.0, 0.01]),
        resume=st.booleans(),
    )
    def connect(self, slot: int, token: str, patches: bool, topics: list[str], heartbeat: float, resume: bool) -> None:
        """Anew, or again with what is held: with the etags of what this token sees as the former one did."""
        former = self.left(slot)
        principal = self.tokens[self.token(token)]
        talk = self.conversation(principal, heartbeat)
        client = self.clients[slot] = Client(talk, Model(), token, principal, patches)
        self.turn(client)
        self.follow(client, topics, former.model.held if former is not None and resume else {})

    @rule(slot=slots, token=st.sampled_from(["all", "masked"]), topics=names)
    def listen(self, slot: int, token: str, topics: list[str]) -> None:
        """By an event stream, whose topics come with the request."""
        self.left(slot)
        self.events(slot, token, topics, "")

    @rule(slot=slots)
    def listen_again(self, slot: int) -> None:
        """With the id of the last event: everything is told, or nothing if that is what is held."""
        former = self.clients.get(slot)
        if former is None or former.model.last_id is None:
            return
        self.left(slot)
        held, topics = former.model.held, former.topics
        now = {full(name): self.said(former, full(name)) for name in topics if not self.refusal(former, name)}
        etags = {topic: doc.etag if isinstance(doc, Doc) else None for topic, doc in now.items()}
        same = former.model.followed == etags.keys() and etags == {topic: doc.etag for topic, doc in held.items()}
        digest = former.model.last_id.partition(";")[2]
        told = self.events(slot, former.token, topics, digest, held if same else {})
        if same:
            assert [frame for frame in told if frame.get("op") in {"put", "patch"}] == []

    @rule(slot=slots, topics=names, claims=st.sampled_from(["held", "nothing", "nonsense"]))
    def subscribe(self, slot: int, topics: list[str], claims: str) -> None:
        """To more, or again."""
        if client := self.speaker(slot):
            self.follow(client, topics, client.model.held if claims == "held" else {}, nonsense=claims == "nonsense")

    @rule(slot=slots, name=st.sampled_from([*WRONG]))
    def subscribe_to_nothing(self, slot: int, name: str) -> None:
        if client := self.speaker(slot):
            forbidden = WRONG[name] == "unknown-label" and client.view(name) is None
            code = "forbidden" if forbidden else WRONG[name]
            self.say(client, {"type": "subscribe", "topics": [{"name": name}], **accept(client)}, [(code, name)])

    @rule(slot=slots, topics=names)
    def unsubscribe(self, slot: int, topics: list[str]) -> None:
        if client := self.speaker(slot):
            for name in topics:
                client.model.leave(full(name))
            self.say(client, {"type": "unsubscribe", "topics": topics})

    @rule(slot=slots)
    def acknowledge(self, slot: int) -> None:
        client = self.speaker(slot)
        if client is None or not client.model.held:
            return
        topic, doc = sorted(client.model.held.items())[0]
        said = {"rev": client.model.rev, "topic": topic, "etag": doc.etag, "status": "applied"}
        self.say(client, {"type": "ack", **said})
        presence = self.stage.services.presence
        presence.flush()
        if client.ended is None:
            (record,) = [each for each in presence.all() if each["id"] == client.talk.id]
            assert record["acks"][topic]["etag"] == doc.etag

    @rule(slot=slots, token=st.one_of(some_token, st.just("bad")))
    def authenticate(self, slot: int, token: str) -> None:
        client = self.speaker(slot)
        if client is None:
            return
        text = self.token(token)
        refusals: list[tuple[str, str | None]] = [("unauthenticated", None)] if token == "bad" else []
        close = 4403 if token == "other" else None
        if token in TOKENS:
            client.token, client.principal = token, self.tokens[text]
            followed = sorted(client.model.followed)
            lost = [topic for topic in followed if client.view(topic) is None]
            refusals = [("forbidden", topic) for topic in lost]
            close = 4403 if lost and lost == followed else None
            for topic in lost:
                client.model.leave(topic)
        self.say(client, {"type": "auth", "token": text}, refusals, close=close)

    @rule(slot=slots, how=st.sampled_from(["babbles", "is revoked", "has a brief token", "is another", "loses all"]))
    def end(self, slot: int, how: str) -> None:
        """What a client does that ends its stream, or what is done to it."""
        client = self.clients.get(slot) if how == "is revoked" else self.speaker(slot)
        if client is None or client.ended is not None:
            return
        match how:
            case "babbles":
                frame = BAD_FRAMES[next(self.numbers) % len(BAD_FRAMES)]
                self.turn(client, [frame], [("bad-frame", None)], close=4400)
            case "is revoked":
                self.revoke(client)
            case "has a brief token":
                self.authenticate(slot, "brief")
                if client.ended is None:  # else the machine was busy for as long as the token lived
                    while not client.expired:
                        time.sleep(0.02)  # the time itself is the matter
                    assert client.talk.session.due_at() <= time.monotonic() + 0.05
                    self.turn(client, close=4401)
            case "is another":
                self.authenticate(slot, "other")
            case "loses all":
                self.authenticate(slot, "nothing")

    def revoke(self, client: Client) -> None:
        assert client.principal.token_id is not None
        issuer, until = client.principal.issuer, time.time() + 60
        self.stage.services.revocations.revoke("jti", issuer, client.principal.token_id, until)
        assert client.talk.woken.is_set()
        self.turn(client, close=4401)

    @rule(slots=st.lists(slots, min_size=1, max_size=3, unique=True))
    def take_turns(self, slots: list[int]) -> None:
        for slot in slots:
            client = self.clients.get(slot)
            if client is not None and client.ended is None:
                self.turn(client)

    # --- what must be

    @invariant()
    def who_is_not_woken_holds_what_the_engine_says(self) -> None:
        living = [client for client in self.clients.values() if client.ended is None]
        for client in living:
            if not client.talk.woken.is_set():
                self.check(client)
        followed = {target.topic for target in self.stage.services.notifier.targets()}
        assert followed == {topic for client in living for topic in client.model.followed}

    def check(self, client: Client) -> None:
        model = client.model
        assert {target.topic for target in client.talk.session.targets} == model.followed
        for topic in model.followed:
            match self.said(client, topic):
                case Doc() as doc:
                    assert topic in model.held
                    assert without_commits(model.held[topic]) == without_commits(doc)
                case "gone":
                    assert topic not in model.held
                case code:
                    assert model.errors.get(topic) == code

    def said(self, client: Client, topic: str) -> Doc | str:
        """What the engine answers to a reader with this client's token: a document, or the code of a failure."""
        service, env, label = topic.split("/", 2)
        view = client.view(topic)
        assert view is not None
        try:
            answer = self.stage.services.engine.read(ReadRequest(client.principal, view, service, (env,), label))
        except NotFound:
            return "gone"
        except ConfigServerError as failure:
            return topic_code(failure)
        assert answer.body is not None
        body = json.loads(answer.body)
        return Doc(body["etag"], body["config"], tuple(body.get("stale", ())))

    # --- how it is done

    def turn(
        self,
        client: Client,
        messages: Sequence[str | bytes] = (),
        refusals: Sequence[tuple[str, str | None]] = (),
        *,
        close: int | None = None,
    ) -> list[dict[str, Any]]:
        """Let it say what is to be said. Besides its topics there are these refusals, and at last this close."""
        called, due_at = bool(messages) or client.talk.woken.is_set(), client.talk.session.due_at()
        expired = client.expired
        client.talk.woken.clear()
        items = list(client.talk.session.turn(messages))
        assert called or due_at <= time.monotonic() or items == [], "nobody called"
        if items and isinstance(items[-1], Close):
            client.ended = items.pop().code  # type: ignore[union-attr]
            client.talk.leave()
        frames = [(validated(item.text), item.id) for item in items if isinstance(item, Frame)]
        assert len(frames) == len(items), "nothing follows a close"
        told = [frame for frame, _ in frames]
        self.check_the_end(client, told, close, expired)
        client.model.take(frames)
        errors = Counter((frame["code"], frame.get("topic")) for frame in told if frame["type"] == "error")
        assert errors >= Counter(refusals)
        assert all(topic in client.model.followed for _, topic in errors - Counter(refusals))
        assert client.patches or all(frame.get("op") != "patch" for frame in told)
        assert client.token == "brief" or all(frame["type"] != "auth_expiring" for frame in told)
        return told

    def check_the_end(self, client: Client, told: list[dict[str, Any]], close: int | None, expired: bool) -> None:
        if close is None and client.ended == 4401:
            assert client.expired
        else:
            assert client.ended == (close if close is not None else 4401 if expired else None)
        goodbyes = [frame["code"] for frame in told if frame["type"] == "goodbye"]
        assert goodbyes == ([] if client.ended in {None, 4400} else [client.ended])
        assert not goodbyes or told[-1]["type"] == "goodbye"

    def say(
        self,
        client: Client,
        command: dict[str, Any],
        refusals: Sequence[tuple[str, str | None]] = (),
        *,
        close: int | None = None,
    ) -> None:
        text = json.dumps(command)
        validated(text)
        self.turn(client, [text], refusals, close=close)

    def follow(self, client: Client, topics: Sequence[str], held: Mapping[str, Doc], *, nonsense: bool = False) -> None:
        """Subscribe, and claim what of it is `held`, in whichever view."""
        wanted: list[dict[str, str]] = []
        refusals = []
        for name in topics:
            code = self.refusal(client, name)
            claimed = held.get(full(name))
            etag = "0" * 32 if nonsense else claimed.etag if claimed else None
            wanted.append({"name": name, **({"etag": etag} if etag else {})})
            if code:
                refusals.append((code, name))
            else:
                client.model.follow(full(name), claimed)
        self.say(client, {"type": "subscribe", "topics": wanted, **accept(client)}, refusals)

    def events(
        self, slot: int, token: str, topics: Sequence[str], digest: str, held: Mapping[str, Doc] | None = None
    ) -> list[dict[str, Any]]:
        principal = self.tokens[self.token(token)]
        talk = self.conversation(principal, 60.0)
        client = self.clients[slot] = Client(talk, Model(), token, principal, topics=topics)
        opening = (Subscribe(dict.fromkeys(topics), digest=digest),)
        talk.session = StreamSession(talk.policy, talk.listener, talk.subscriber, opening=opening, tells_digest=True)
        refusals = [(code, name) for name in topics if (code := self.refusal(client, name))]
        for name in topics:
            if not self.refusal(client, name):
                client.model.follow(full(name), (held or {}).get(full(name)))
        return self.turn(client, (), refusals)

    def refusal(self, client: Client, name: str) -> str | None:
        if client.view(name) is None:
            return "forbidden"
        return None if full(name).split("/", 2)[2] in self.stage.services.engine.world.heads else "unknown-label"

    def conversation(self, principal: Principal, heartbeat: float) -> Conversation:
        limits = replace(self.stage.services.stream_limits, inbound=10_000)
        policy = replace(self.stage.services.streams, heartbeat=heartbeat, verify=self.verify, limits=limits)
        return Conversation(policy, principal)

    def token(self, name: str) -> str:
        """A new token of this name."""
        text = f"{name}{next(self.numbers)}"
        if name != "bad":
            scope = TOKENS[name][0] if name in TOKENS else "config:read:*/*"
            lifetime = BRIEF if name == "brief" else 3600
            subject = "bob" if name == "other" else "ada"
            self.tokens[text] = ada(scope, lifetime, token_id=text, subject=subject)
        return text

    def verify(self, token: str) -> Principal:
        if token not in self.tokens:
            raise Unauthenticated("the token is malformed")
        return self.tokens[token]

    def speaker(self, slot: int) -> Client | None:
        """The client of a WebSocket, if it lives: of an event stream nothing is heard."""
        client = self.clients.get(slot)
        return client if client is not None and client.ended is None and not client.topics else None

    def left(self, slot: int) -> Client | None:
        """The one that was there, which goes without a word."""
        client = self.clients.pop(slot, None)
        if client is not None and client.ended is None:
            client.talk.leave()
        return client


def full(name: str) -> str:
    return name if name.count("/") > 1 else f"{name}/main"


def without_commits(doc: Doc) -> Doc:
    """Which commit a stale document holds back is, as the head, not told while nothing moves that matters to it."""
    return replace(doc, stale=tuple({**stale, "commit": None} for stale in doc.stale))


def accept(client: Client) -> dict[str, list[str]]:
    return {"accept": ["put", "patch"]} if client.patches else {}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_whatever_is_said_and_moves_clients_hold_what_the_engine_says(bao: Bao) -> None:
    class Machine(Conversations):
        pass

    Machine.bao = bao
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=20,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
