"""A Flask service that follows its configuration: flask --app flask_app run"""

import os
from pathlib import Path

from flask import Flask

from config_client import SyncConfigClient


def create_app() -> Flask:
    app = Flask(__name__)
    token = Path(os.environ["CONFIG_CLIENT_TOKEN_FILE"])
    client = SyncConfigClient(os.environ["CONFIG_CLIENT_URL"], os.environ["SERVICE"], "production", token)
    client.start_listening()  # with gunicorn: in each worker, not before the fork
    app.extensions["config_client"] = client

    @app.get("/pool")
    def pool() -> str:
        return str(client["db.pool"])

    return app
