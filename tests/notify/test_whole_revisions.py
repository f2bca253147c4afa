"""A revision is told as one, also by a stream that looks between its installing and its marks."""

from __future__ import annotations

from app.engine.world import world_of
from app.model import Target
from tests.notify.stage import Stage

PAY, SHOP = Target("pay", ("prod",), "main"), Target("shop", ("prod",), "main")


def test_a_revision_is_told_whole_even_when_it_is_installed_between_a_mark_and_the_look(stage: Stage) -> None:
    client = stage.connect()
    client.subscribe("pay/prod", "shop/prod")
    stage.push({"pay.yml": "n: 2\n"})  # marks pay; the stream has not had its turn yet
    stage.origin.write({"pay.yml": "n: 3\n", "shop.yml": "n: 3\n"})
    stage.services.puller.tick()
    announced = stage.services.cursor.read()
    assert announced is not None
    engine = stage.services.engine
    engine.swap(world_of(announced, ()))  # as the installer does, before it marks anybody
    told = client.due()
    engine.notifier.wake([PAY, SHOP])
    told += client.due()
    assert [frame.get("topic", frame["type"]) for frame in told] == [PAY.topic, SHOP.topic, "sync"]
