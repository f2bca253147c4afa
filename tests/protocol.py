"""The contract of the stream: every frame of every test goes through here."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

SCHEMA = Path(__file__).parent.parent / "docs" / "protocol" / "cfg.v1.schema.json"


def validated(frame_text: str | bytes) -> dict[str, Any]:
    """The frame as a dict. Fails when it is none of cfg.v1's, telling which member of which frame is at fault."""
    frame = json.loads(frame_text)
    problems = list(_validator_for(_definition(frame)).iter_errors(frame))
    assert not problems, f"not a frame of cfg.v1: {[f'{e.json_path}: {e.message}' for e in problems]} in {frame}"
    assert isinstance(frame, dict)
    return frame


def _definition(frame: Any) -> str:
    """The narrowest definition that this frame claims to fit, so that the complaint names what is really wrong."""
    if not isinstance(frame, dict):
        return ""
    name = str(frame.get("op") if frame.get("type") == "change" else frame.get("type"))
    return name if name in _schema()["$defs"] else ""


@functools.cache
def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(SCHEMA.read_bytes())
    Draft202012Validator.check_schema(schema)
    return schema


@functools.cache
def _validator_for(definition: str) -> Draft202012Validator:
    """For one frame, or for any with the empty name."""
    whole = _schema()
    part = {"$ref": f"#/$defs/{definition}"} if definition else {"oneOf": whole["oneOf"]}
    return Draft202012Validator({**part, "$schema": whole["$schema"], "$defs": whole["$defs"]})
