"""The scripts by which the shared cursor changes: each one whole or not at all, and published in the same step.

KEYS are the hashes cursor, labels, secrets. What is damaged or of another schema counts as absent here exactly as it
does for who reads it (redis_cursor.py), so that the next announcement mends it instead of failing for ever.
"""

from __future__ import annotations

_CURSOR = """
local function standing_rev()
  local found = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'default')
  local epoch, seq, default = found[1] or '', found[2] or '', found[3] or ''
  if string.find(epoch, '^[0-9a-z-]+$') and string.find(seq, '^%d+$') and #seq < 16 and default ~= '' then
    return epoch, seq
  end
  return '', ''
end
"""

_LABEL = """
local kinds = {branch = true, tag = true, commit = true}
local function label_of(text)
  local ok, head = pcall(cjson.decode, text or '')
  if not ok or type(head) ~= 'table' or head.v ~= 1 or type(head.seq) ~= 'number' then return nil end
  if not kinds[head.kind] or type(head.at) ~= 'string' or type(head.former) ~= 'table' then return nil end
  if head.head == cjson.null then head.head = '' end
  if type(head.head) ~= 'string' or not string.find(head.head, '^[0-9a-f]*$') then return nil end
  if #head.head ~= 0 and #head.head ~= 40 then return nil end
  return head
end
"""

_KNOWN = """
local function is_known(text)
  local ok, known = pcall(cjson.decode, text or '')
  return ok and type(known) == 'table' and type(known[1]) == 'number' and type(known[2]) == 'string'
    and type(known[3]) == 'boolean'
end
"""

# ARGV: epoch and seq as read ('' for nothing), new epoch, seq, default label, labels and secrets as JSON, channel.
SEED = (
    _CURSOR
    + """
local epoch, seq = standing_rev()
if epoch ~= ARGV[1] or seq ~= ARGV[2] then return 0 end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
redis.call('HSET', KEYS[1], 'epoch', ARGV[3], 'seq', ARGV[4], 'default', ARGV[5])
for label, head in pairs(cjson.decode(ARGV[6])) do redis.call('HSET', KEYS[2], label, head) end
for path, known in pairs(cjson.decode(ARGV[7])) do redis.call('HSET', KEYS[3], path, known) end
redis.call('PUBLISH', ARGV[8], cjson.encode({v = 1, epoch = ARGV[3], seq = tonumber(ARGV[4])}))
return 1
"""
)

# ARGV: epoch, label, seq of the label as read, new head's JSON with a seq of "@seq", new commit or '', channel, id of
# the request behind it or ''.
ANNOUNCE = (
    _CURSOR
    + _LABEL
    + """
if standing_rev() ~= ARGV[1] then return 0 end
local head = label_of(redis.call('HGET', KEYS[2], ARGV[2]))
if (head and head.seq or 0) ~= tonumber(ARGV[3]) then
  if head and head.head == ARGV[5] then return 1 end
  return 0
end
local next = redis.call('HINCRBY', KEYS[1], 'seq', 1)
local written = string.gsub(ARGV[4], '"@seq"', string.format('%d', next), 1)
redis.call('HSET', KEYS[2], ARGV[2], written)
redis.call('PUBLISH', ARGV[6], cjson.encode({v = 1, epoch = ARGV[1], seq = next, request = ARGV[7]}))
return 1
"""
)

# ARGV: epoch, path, version as JSON. Moves nothing: an adopted version is the one that everybody would read anyway.
ADOPT = (
    _CURSOR
    + _KNOWN
    + """
if standing_rev() ~= ARGV[1] then return ARGV[3] end
local standing = redis.call('HGET', KEYS[3], ARGV[2])
if is_known(standing) then return standing end
redis.call('HSET', KEYS[3], ARGV[2], ARGV[3])
return ARGV[3]
"""
)

# ARGV: epoch, path, version as read, new version, channel.
ROTATE = (
    _CURSOR
    + """
if standing_rev() ~= ARGV[1] then return 0 end
if redis.call('HGET', KEYS[3], ARGV[2]) ~= ARGV[3] then return 0 end
redis.call('HSET', KEYS[3], ARGV[2], ARGV[4])
local next = redis.call('HINCRBY', KEYS[1], 'seq', 1)
redis.call('PUBLISH', ARGV[5], cjson.encode({v = 1, epoch = ARGV[1], seq = next}))
return 1
"""
)
