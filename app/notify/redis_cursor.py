"""The cursor that all workers and hosts share, in Redis: each change is one script, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from app.cache import RedisLink
from app.model import SecretPath
from app.notify.cursor import Cursor, LabelHead, Rev, dump_known, load_known, secret_path
from app.secrets import Known

# KEYS: cursor, labels, secrets. The hashes are read and written together, hence one hash tag.
_SEED = """
local epoch, seq = redis.call('HGET', KEYS[1], 'epoch') or '', redis.call('HGET', KEYS[1], 'seq') or ''
if epoch ~= ARGV[1] or seq ~= ARGV[2] then return 0 end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
redis.call('HSET', KEYS[1], 'epoch', ARGV[3], 'seq', ARGV[4], 'default', ARGV[5])
for label, head in pairs(cjson.decode(ARGV[6])) do redis.call('HSET', KEYS[2], label, head) end
for path, known in pairs(cjson.decode(ARGV[7])) do redis.call('HSET', KEYS[3], path, known) end
redis.call('PUBLISH', ARGV[8], cjson.encode({v = 1, epoch = ARGV[3], seq = tonumber(ARGV[4])}))
return 1
"""

# ARGV: epoch, label, seq of the label as read, new head's JSON with a seq of "@seq", new commit or '', channel.
_ANNOUNCE = """
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end
local standing = redis.call('HGET', KEYS[2], ARGV[2])
local seq, commit = 0, ''
if standing then
  local head = cjson.decode(standing)
  seq = head.seq
  if head.head ~= cjson.null then commit = head.head end
end
if seq ~= tonumber(ARGV[3]) then
  if standing and commit == ARGV[5] then return 1 end
  return 0
end
local next = redis.call('HINCRBY', KEYS[1], 'seq', 1)
local written = string.gsub(ARGV[4], '"@seq"', string.format('%d', next), 1)
redis.call('HSET', KEYS[2], ARGV[2], written)
redis.call('PUBLISH', ARGV[6], cjson.encode({v = 1, epoch = ARGV[1], seq = next}))
return 1
"""

# ARGV: epoch, path, version as JSON.
_ADOPT = """
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return ARGV[3] end
redis.call('HSETNX', KEYS[3], ARGV[2], ARGV[3])
return redis.call('HGET', KEYS[3], ARGV[2])
"""

# ARGV: epoch, path, version as read, new version, channel.
_ROTATE = """
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end
if redis.call('HGET', KEYS[3], ARGV[2]) ~= ARGV[3] then return 0 end
redis.call('HSET', KEYS[3], ARGV[2], ARGV[4])
local next = redis.call('HINCRBY', KEYS[1], 'seq', 1)
redis.call('PUBLISH', ARGV[5], cjson.encode({v = 1, epoch = ARGV[1], seq = next}))
return 1
"""


def channel_of(link: RedisLink, repository: str) -> str:
    """Where moves of this repository's cursor are published."""
    return link.key(f"{repository}:bus")


class RedisCursorStore:
    """See CursorStore. `repository` separates the labels of one configuration repository from another's."""

    def __init__(self, link: RedisLink, repository: str) -> None:
        self._link = link
        self._keys = [link.key(f"{repository}:{name}") for name in ("cursor", "labels", "secrets")]
        self.channel = channel_of(link, repository)
        self._last: Cursor | None = None

    def read(self) -> Cursor | None:
        """Costs one small read while nothing moved; else a transaction, so that rev and content belong together."""
        head = self._link.call(lambda client: cast("list[bytes | None]", client.hmget(self._keys[0], "epoch", "seq")))
        if head[0] is None or head[1] is None:
            self._last = None
        elif self._last is None or self._last.rev != Rev(head[0].decode(), int(head[1])):
            self._last = self._read_all()
        return self._last

    def seed(self, before: Cursor | None, after: Cursor) -> bool:
        labels = {name: json.dumps(head.as_json()) for name, head in after.labels.items()}
        secrets = {str(path): dump_known(known) for path, known in after.secrets.items()}
        expected = (before.rev.epoch, str(before.rev.seq)) if before else ("", "")
        rev = (after.rev.epoch, str(after.rev.seq), after.default_label)
        return self._did(_SEED, *expected, *rev, json.dumps(labels), json.dumps(secrets), self.channel)

    def announce(self, before: Cursor, label: str, head: LabelHead) -> bool:
        standing = before.labels.get(label)
        written = json.dumps({**head.as_json(), "seq": "@seq"})
        seq = str(standing.seq if standing else 0)
        return self._did(_ANNOUNCE, before.rev.epoch, label, seq, written, head.commit or "", self.channel)

    def adopt(self, epoch: str, path: SecretPath, found: Known) -> Known:
        return load_known(self._run(_ADOPT, epoch, str(path), dump_known(found)))

    def in_use(self) -> Mapping[SecretPath, Known]:
        found = self._link.call(lambda client: cast("dict[bytes, bytes]", client.hgetall(self._keys[2])))
        return {secret_path(path.decode()): load_known(known) for path, known in found.items()}

    def rotate(self, epoch: str, path: SecretPath, before: Known, after: Known) -> bool:
        return self._did(_ROTATE, epoch, str(path), dump_known(before), dump_known(after), self.channel)

    def _did(self, script: str, *arguments: str) -> bool:
        return bool(self._run(script, *arguments))

    def _run(self, script: str, *arguments: str) -> Any:
        return self._link.call(lambda client: client.eval(script, len(self._keys), *self._keys, *arguments))

    def _read_all(self) -> Cursor | None:
        def everything(client: Any) -> list[dict[bytes, bytes]]:
            pipeline = client.pipeline(transaction=True)
            for key in self._keys:
                pipeline.hgetall(key)
            return cast("list[dict[bytes, bytes]]", pipeline.execute())

        cursor, labels, secrets = self._link.call(everything)
        if b"epoch" not in cursor or b"seq" not in cursor:
            return None
        return Cursor(
            Rev(cursor[b"epoch"].decode(), int(cursor[b"seq"])),
            cursor.get(b"default", b"").decode(),
            {name.decode(): LabelHead.from_json(json.loads(head)) for name, head in labels.items()},
            {secret_path(path.decode()): load_known(known) for path, known in secrets.items()},
        )
