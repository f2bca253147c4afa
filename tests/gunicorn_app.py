"""A small application for the tests of config/gunicorn.conf.py: who serves, and what was counted."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from flask import Flask, Response, jsonify

from app.observability import Metrics
from app.observability.flask_metrics import install

metrics = Metrics()
app = Flask(__name__)
install(app, metrics)


@app.get("/who")
def who() -> Response:
    logging.getLogger("app").info("asked")
    return jsonify(slot=os.environ["CONFIG_SERVER_WORKER_SLOT"], pid=os.getpid())


@app.get("/metrics")
def scrape() -> tuple[bytes, dict[str, str]]:
    body, content_type = metrics.render()
    return body, {"Content-Type": content_type}


@app.get("/files")
def files() -> Response:
    return jsonify(sorted(path.name for path in Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).iterdir()))
