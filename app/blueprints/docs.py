"""/openapi.json and the page for people at /docs."""

from __future__ import annotations

from flask import Blueprint


def blueprint() -> Blueprint:
    return Blueprint("docs", __name__)
