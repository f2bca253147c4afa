"""A FastAPI service that follows its configuration: uvicorn fastapi_app:app"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI

from config_client import Change, ConfigClient


@dataclass
class Db:
    pool: int
    host: str = "localhost"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    token = Path(os.environ["CONFIG_CLIENT_TOKEN_FILE"])
    async with ConfigClient(os.environ["CONFIG_CLIENT_URL"], os.environ["SERVICE"], "production", token) as client:
        await client.fetch_initial_config()
        app.state.db = client.bind("db", Db)

        @client.on_change("db.pool")
        async def resize(change: Change) -> None:
            if change.new["db.pool"] > 100:
                raise ValueError("this database takes a hundred connections")

        await client.start_listening()
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/pool")
async def pool() -> int:
    size: int = app.state.db.pool
    return size
