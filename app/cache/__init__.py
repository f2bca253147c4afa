"""Caches can be unused, never wrong: keys name content, so nothing here is ever invalidated, only forgotten."""

from app.cache.local import LocalCache
from app.cache.redis_link import RedisLink
from app.cache.shared import NoSharedCache, RedisSharedCache, SharedCache

__all__ = ["LocalCache", "NoSharedCache", "RedisLink", "RedisSharedCache", "SharedCache"]
