"""Watches one topic over WebSocket and prints what arrives: a client of cfg.v1 in its simplest form.

python -m devstack.watch ws://127.0.0.1:8000/v1/stream SERVICE/ENV[/LABEL] TOKEN-FILE
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol


def opened(url: str, token: str) -> ClientConnection:
    """A connection that speaks cfg.v1. Raises InvalidStatus, OSError."""
    headers = {"Authorization": f"Bearer {token}"}
    return connect(url, subprotocols=[Subprotocol("cfg.v1")], additional_headers=headers, proxy=None, compression=None)


def frames(connection: ClientConnection, topic: str) -> Iterator[dict[str, Any]]:
    """Subscribe, and yield every frame."""
    connection.send(json.dumps({"type": "subscribe", "topics": [{"name": topic}], "accept": ["put"]}))
    for message in connection:
        yield json.loads(message)


def told(frame: Mapping[str, Any], *, first: bool) -> str:
    """A line about one frame; of a change, the new values too, but for the `first`, which brings all of them."""
    kind = frame["type"]
    if kind != "change":
        rest = {name: value for name, value in frame.items() if name != "type"}
        return f"{kind} {json.dumps(rest, ensure_ascii=False)}"
    line = f"change {frame['topic']} {frame['op']} version {frame['version'][:12]}"
    if first or frame["op"] != "put":
        return line
    values = (f"\n    {key} = {_value(frame['doc'], key)}" for key in frame["keys"])
    return line + "".join(values)


def _value(document: Any, key: str) -> str:
    """The value at a plain dotted key, as JSON; what is written otherwise, or gone, is not shown."""
    for name in key.split("."):
        if not isinstance(document, dict) or name not in document:
            return "(removed, or see the document)"
        document = document[name]
    return json.dumps(document, ensure_ascii=False)


def main(url: str, topic: str, token_file: str) -> int:
    first = True
    try:
        with opened(url, Path(token_file).read_text().strip()) as connection:
            for frame in frames(connection, topic):
                print(f"{datetime.now():%H:%M:%S.%f}"[:-3], told(frame, first=first), flush=True)
                first = first and frame["type"] != "change"
    except KeyboardInterrupt:
        return 0
    except (ConnectionClosed, InvalidStatus, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
