"""The streams of a worker: who follows what, told over WebSocket or SSE, by a few threads for all of them.

Law: no stream has a thread. A session decides what its client is told and knows no socket; a carrier moves bytes and
knows no configuration; the loop gives turns and knows neither. A turn never waits for a client.
"""

from app.streams.carrier import Carrier
from app.streams.codec import Codec, EventStreamCodec, WebSocketCodec
from app.streams.looks import Looks
from app.streams.loop import StreamLoop
from app.streams.policy import Listener, StreamLimits, StreamPolicy
from app.streams.session import Close, StreamSession, topic_code
from app.streams.sockets import Socket

__all__ = [
    "Carrier",
    "Close",
    "Codec",
    "EventStreamCodec",
    "Listener",
    "Looks",
    "Socket",
    "StreamLimits",
    "StreamLoop",
    "StreamPolicy",
    "StreamSession",
    "WebSocketCodec",
    "topic_code",
]
