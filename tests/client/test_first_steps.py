"""The client as a service uses it: the lines of its README, against a running server."""

from __future__ import annotations

import asyncio

from config_client import ConfigClient
from tests.client.support import Shop


def test_two_lines_fetch_a_configuration_and_follow_its_changes(shop: Shop) -> None:
    service = shop.new_service("db: {pool: 5}\n")
    token = shop.token(service)

    async def main() -> None:
        client = ConfigClient(config_server_url=shop.url, service_name=service, env="production", auth_token=token)
        await client.fetch_initial_config()
        await client.start_listening()

        assert client.config == {"log": "info", "db": {"pool": 5}}
        assert client["db.pool"] == 5
        changes = aiter(client.changes())
        told = asyncio.ensure_future(anext(changes))
        async with asyncio.timeout(60):
            await asyncio.to_thread(shop.change, service, "db: {pool: 9}\n")
            change = await told
        assert (change.keys, change.old["db.pool"], change.new["db.pool"]) == (("db.pool",), 5, 9)
        assert client["db.pool"] == 9
        assert client.transport == "websocket"
        assert not client.stale
        await client.close()

    asyncio.run(main())
