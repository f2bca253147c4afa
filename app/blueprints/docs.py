"""/openapi.json, and the same document as a page for people at /docs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, abort, current_app, make_response, render_template, request
from markupsafe import Markup, escape

from app.blueprints.openapi import document

ASSETS = Path(__file__).parent / "assets"
_FILES = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}
#: Nothing from elsewhere, nothing inline, in nobody's frame.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def blueprint() -> Blueprint:
    routes = Blueprint("docs", __name__, template_folder="assets")

    @cache
    def made() -> dict[str, Any]:
        """Made at the first look: by then every route of the application is registered."""
        return document(current_app.url_map)

    @cache
    def page_text() -> str:
        return render_template("page.html", document=made(), operations=list(_operations(made())))

    def openapi() -> Response:
        return _revalidated(Response(json.dumps(made()), mimetype="application/json"))

    def page() -> Response:
        response = Response(page_text(), mimetype="text/html")
        response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        return _revalidated(response)

    def asset(name: str) -> Response:
        if name not in _FILES:
            abort(404)
        return _revalidated(Response((ASSETS / name).read_bytes(), mimetype=_FILES[name]))

    routes.get("/openapi.json")(openapi)
    routes.get("/docs")(page)
    routes.get("/docs/<name>")(asset)
    routes.add_app_template_filter(prose)
    routes.add_app_template_filter(kind_of)
    routes.add_app_template_filter(anchor)
    routes.add_app_template_filter(sample)
    return routes


def prose(text: str) -> Markup:
    """The little Markdown of our descriptions (paragraphs, lists, `code`) as HTML, everything else escaped."""
    return Markup("").join(_block(block.split("\n")) for block in text.split("\n\n"))


def kind_of(schema: dict[str, Any]) -> Markup:
    """A schema in a few words, with links to the named ones."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return Markup('<a href="#schema-{0}">{0}</a>').format(name)
    if schema.get("type") == "array":
        return Markup("list of ") + kind_of(schema["items"])
    if isinstance(schema.get("additionalProperties"), dict):
        return Markup("map of ") + kind_of(schema["additionalProperties"])
    kinds = schema.get("type", "anything")
    return escape(" or ".join(kinds) if isinstance(kinds, list) else kinds)


def anchor(operation_id: str) -> str:
    return operation_id.replace(".", "-")


def sample(example: object) -> str:
    """An example as it would come, JSON with room to read it."""
    return example if isinstance(example, str) else json.dumps(example, indent=2)


def _block(lines: list[str]) -> Markup:
    if lines[0].startswith("- "):
        items = Markup("").join(Markup("<li>") + _inline(line[2:]) + Markup("</li>") for line in lines)
        return Markup("<ul>") + items + Markup("</ul>")
    return Markup("<p>") + _inline(" ".join(lines)) + Markup("</p>")


def _inline(text: str) -> Markup:
    pieces = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if number % 2 else escape(piece) for number, piece in enumerate(pieces)
    )


def _operations(made: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every operation with its path, method and parameters spelt out, in the order of the document's tags."""
    parameters = made["components"]["parameters"]
    found = [
        {**operation, "path": path, "method": method.upper(), "parameters": _resolved(operation, parameters)}
        for path, methods in made["paths"].items()
        for method, operation in methods.items()
    ]
    for tag in made["tags"]:
        yield from (operation for operation in found if operation["tags"] == [tag["name"]])


def _resolved(operation: dict[str, Any], components: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        components[parameter["$ref"].rpartition("/")[2]] if "$ref" in parameter else parameter
        for parameter in operation["parameters"]
    ]


def _revalidated(response: Response) -> Response:
    """Public, and asked again each time: a new release shows at once."""
    response.headers["Cache-Control"] = "no-cache"
    response.add_etag()
    return make_response(response.make_conditional(request))
