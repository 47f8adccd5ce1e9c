"""The Lua scripts that Redis and Valkey run for us, one per operation.

The rules are those of `sessile.rules`; here they are over the hash of a session:

    \\!v  version: microseconds since 1970, always rising
    \\!c  created, in milliseconds; \\!b  what MAX counts from, where that is later
    \\!i  idle timeout in seconds; \\!a  absolute deadline in milliseconds; absent where none
    \\!s  last seen in milliseconds, where that is later than the version
    \\!u  user; \\!q  requests answered: token and version, separated by spaces
    \\!t  in an alias, the key that it stands for; \\!r  in a tombstone
    all other fields are leaves of the document

A user's index is a hash of the keys with the moments of their creation. ARGV[1] is the prefix of
indexes, or empty where they live on other nodes (a cluster); then the engine keeps them. What
always holds: the clock is the server's; a script that answers an error has changed nothing; a
leaf that isn't touched is never parsed or written. Written for Lua 5.1 and Redis 5: no number
above 2^53 but as text, no table passed to cjson.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha1

__all__ = ["CREATE", "END", "END_ALL", "LIST", "LOAD", "ROTATE", "SAVE", "TOUCH", "Script"]


@dataclass(frozen=True, slots=True)
class Script:
    """A script and the digest by which the server knows it."""

    name: str
    text: str
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", sha1(self.text.encode()).hexdigest())


BASE = r"""
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now = math.floor(now_us / 1000)

local function text(number) return string.format('%.0f', number) end

local function is_meta(name) return string.sub(name, 1, 2) == '\\!' end

-- All fields of a hash; none if the key is absent or of another type.
local function read(key)
  local reply = redis.pcall('HGETALL', key)
  local fields = {}
  if reply.err then return fields end
  for i = 1, #reply, 2 do fields[reply[i]] = reply[i + 1] end
  return fields
end

-- The key that a key stands for, and its fields. An alias opens no session that changed hands.
local function resolve(key)
  local f = read(key)
  for _ = 1, 4 do
    local target = f['\\!t']
    if not target then break end
    local owner = f['\\!u'] or ''
    key, f = target, read(target)
    if f['\\!v'] and (f['\\!u'] or '') ~= owner then return key, {['\\!r'] = '1'} end
  end
  return key, f
end

-- When the session ends if it's seen now for the last time, or nil.
local function ending(f)
  local ends = f['\\!i'] and now + f['\\!i'] * 1000
  local absolute = f['\\!a'] and tonumber(f['\\!a'])
  if absolute and (not ends or absolute < ends) then return absolute end
  return ends
end

-- An index outlives the sessions in it, but not for ever.
local function index_lasts(index, left, f)
  if left == -1 then return end
  local ends = ending(f)
  if not ends then
    redis.call('PERSIST', index)
  elseif left < ends - now or left < 0 then
    redis.call('PEXPIREAT', index, text(math.max(ends, now) + 60000 + (f['\\!i'] or 0) * 1000))
  end
end

-- Re-arms the time to live. `seen`: the version doesn't tell that the session was seen now.
local function slide(key, f, prefix, seen)
  local ends = ending(f)
  if seen then redis.call('HSET', key, '\\!s', text(now)) end
  if ends then redis.call('PEXPIREAT', key, text(ends)) else redis.call('PERSIST', key) end
  if f['\\!u'] and prefix ~= '' then
    local index = prefix .. f['\\!u']
    index_lasts(index, redis.call('PTTL', index), f)
  end
end
"""

LOAD = Script(
    "load",
    BASE
    + r"""
-- KEYS[1]; ARGV: prefix, '1' to slide. Answers now and HGETALL; or nil, or 'ROTATED'.
local key, f = KEYS[1], {}
local reply
for hop = 0, 4 do
  reply = redis.pcall('HGETALL', key)
  if reply.err or #reply == 0 then return false end
  local owner = f['\\!u'] or ''
  f = {}
  for i = 1, #reply, 2 do
    if is_meta(reply[i]) then f[reply[i]] = reply[i + 1] end
  end
  if f['\\!r'] then return 'ROTATED' end
  if f['\\!v'] then
    if hop > 0 and (f['\\!u'] or '') ~= owner then return 'ROTATED' end
    break
  end
  key = f['\\!t']
  if not key then return false end
end
if not f['\\!v'] then return false end
if ARGV[2] == '1' and f['\\!i'] then
  slide(key, f, ARGV[1], true)
  reply[#reply + 1] = '\\!s'
  reply[#reply + 1] = text(now)
end
return {now, reply}
""",
)

TOUCH = Script(
    "touch",
    BASE
    + r"""
-- KEYS[1]; ARGV: prefix. Answers 1 or 0.
local key, f = resolve(KEYS[1])
if not f['\\!v'] then return 0 end
slide(key, f, ARGV[1], true)
return 1
""",
)

INDEX = r"""
-- The user's live sessions, oldest first: {key, created, version}. Forgets the others.
local function sessions(index, user)
  local found = {}
  for _, key in ipairs(redis.call('HKEYS', index)) do
    local m = redis.pcall('HMGET', key, '\\!v', '\\!c', '\\!u')
    if not m.err and m[1] and m[3] == user then
      found[#found + 1] = {key, tonumber(m[2]), tonumber(m[1])}
    else
      redis.call('HDEL', index, key)
    end
  end
  table.sort(found, function(a, b)
    if a[2] ~= b[2] then return a[2] < b[2] end
    return a[3] < b[3]
  end)
  return found
end

local function unindex(prefix, user, key)
  if user and user ~= '' and prefix ~= '' then redis.call('HDEL', prefix .. user, key) end
end

local function end_session(prefix, user, key)
  redis.call('DEL', key)
  unindex(prefix, user, key)
end
"""

END = Script(
    "end",
    BASE
    + INDEX
    + r"""
-- KEYS: sessions; ARGV: prefix, and '=name' to end sessions of that user only, with a key that is
-- to be left. Answers how many it ended, how many keys were left behind by a rotation, then the
-- user and the key of each it ended.
local reply = {0, 0}
for _, old in ipairs(KEYS) do
  local key, f = resolve(old)
  if f['\\!v'] and ARGV[2] and (ARGV[2] ~= '=' .. (f['\\!u'] or '') or key == ARGV[3]) then
    key = old
  elseif f['\\!v'] then
    end_session(ARGV[1], f['\\!u'], key)
    reply[1] = reply[1] + 1
    reply[#reply + 1] = f['\\!u'] or ''
    reply[#reply + 1] = key
  elseif f['\\!r'] or key ~= old then
    reply[2] = reply[2] + 1
  end
  if key ~= old then redis.call('DEL', old) end
end
return reply
""",
)

FORGET = Script(
    "forget",
    r"""
-- KEYS: index of a cluster; ARGV: session, since when it's there, and whether to remove it. Answers
-- 0 and does nothing if that isn't so any more: somebody may be about to make the session anew.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
if ARGV[3] == '1' then redis.call('HDEL', KEYS[1], ARGV[1]) end
return 1
""",
)

LIST = Script(
    "list",
    BASE
    + INDEX
    + r"""
-- ARGV: prefix, user, names. Answers for each session {key, created, last seen, values}.
local index = ARGV[1] .. ARGV[2]
local reply = {}
for _, row in ipairs(sessions(index, ARGV[2])) do
  local values = redis.call('HMGET', row[1], '\\!s', unpack(ARGV, 3))
  local seen = math.max(math.floor(row[3] / 1000), tonumber(values[1] or 0))
  table.insert(reply, 1, {row[1], row[2], seen, {unpack(values, 2, #ARGV - 1)}})
end
return reply
""",
)

END_ALL = Script(
    "end_all",
    BASE
    + INDEX
    + r"""
-- ARGV: prefix, user, key that stays or ''. Answers how many it ended.
local stays = ARGV[3] ~= '' and resolve(ARGV[3])
local count = 0
for _, row in ipairs(sessions(ARGV[1] .. ARGV[2], ARGV[2])) do
  if row[1] ~= stays then
    end_session(ARGV[1], ARGV[2], row[1])
    count = count + 1
  end
end
return count
""",
)

MERGE = r"""
local function write(key, f, dirty)
  local sets, dels = {}, {}
  for name in pairs(dirty) do
    if f[name] then
      sets[#sets + 1] = name
      sets[#sets + 1] = f[name]
    else
      dels[#dels + 1] = name
    end
  end
  for i = 1, #sets, 2000 do
    redis.call('HSET', key, unpack(sets, i, math.min(i + 1999, #sets)))
  end
  for i = 1, #dels, 2000 do
    redis.call('HDEL', key, unpack(dels, i, math.min(i + 1999, #dels)))
  end
end

-- The elements of a list as texts, from what stands between its brackets; nil if that's no JSON.
local function elements(inner)
  local found, depth, start, at = {}, 0, 1, 1
  while true do
    at = string.find(inner, '[%[%]{}",]', at)
    if not at then break end
    local c = string.sub(inner, at, at)
    if c == '"' then
      repeat
        at = string.find(inner, '["\\]', at + 1)
        if not at then return nil end
        local escape = string.sub(inner, at, at) == '\\'
        if escape then at = at + 1 end
      until not escape
    elseif c == '[' or c == '{' then
      depth = depth + 1
    elseif c ~= ',' then
      depth = depth - 1
    elseif depth == 0 then
      found[#found + 1] = string.sub(inner, start, at - 1)
      start = at + 1
    end
    at = at + 1
  end
  found[#found + 1] = string.sub(inner, start)
  return found
end

-- A leaf is a JSON text, and perhaps a space and an order stamp.
local function split(leaf)
  local stamp = string.match(leaf, ' [0-9a-z]+$') or ''
  return string.sub(leaf, 1, #leaf - #stamp), stamp
end

local function pushed(leaf, value, trim)
  local list, stamp = split(leaf)
  local inner = string.match(list, '^%[%s*(.-)%s*%]$')
  if not inner then return nil, 'is not a list, nothing can be appended to it' end
  inner = inner == '' and value or inner .. ',' .. value
  if trim ~= '' then
    local all = elements(inner)
    if not all then return nil, 'is not a list, nothing can be appended to it' end
    inner = table.concat(all, ',', math.max(1, #all - trim + 1))
  end
  return '[' .. inner .. ']' .. stamp
end

-- The sum of two whole numbers, as text; doubles where they are exact, else by the server.
local function whole_sum(key, a, b)
  local sum = a + b
  local exact = 2 ^ 53
  if math.abs(a) < exact and math.abs(b) < exact and math.abs(sum) < exact then
    return text(sum)
  end
  redis.call('HSET', key, '\\!n', a)
  local reply = redis.pcall('HINCRBY', key, '\\!n', b)
  local total = redis.call('HGET', key, '\\!n')
  redis.call('HDEL', key, '\\!n')
  if type(reply) == 'table' and reply.err then return nil end
  return total
end

local function increased(key, leaf, by)
  local number, stamp = split(leaf)
  local float = string.match(number, '^%-?%d+%.?%d*[eE]?[+-]?%d*$')
  if not float or not tonumber(number) then
    return nil, 'is not a number, nothing can be added to it'
  end
  if string.match(number, '^%-?%d+$') and string.match(by, '^%-?%d+$') then
    local sum = whole_sum(key, number, by)
    if not sum then return nil, 'would become too large a number' end
    return sum .. stamp
  end
  local sum = number + by
  if sum - sum ~= 0 then return nil, 'would become too large a number' end
  for digits = 15, 17 do
    local shown = string.format('%.' .. digits .. 'g', sum)
    if tonumber(shown) == sum then
      if not string.find(shown, '[.e]') then shown = shown .. '.0' end
      return shown .. stamp
    end
  end
end

-- ARGV is read from left to right: single words, and lists that begin with their length.
local at = 0

local function word()
  at = at + 1
  return ARGV[at]
end

local function words(width)
  local count = tonumber(word())
  local first = at + 1
  at = at + count * width
  return first, at, count > 0
end

-- Reads a patch from ARGV and merges it. Answers whether there was one; or nil, what is wrong.
local function merge(key, f, dirty)
  local under
  local function note(name)
    local dot = string.find(name, '.', 1, true)
    while dot do
      local above = string.sub(name, 1, dot - 1)
      under[above] = under[above] or {}
      table.insert(under[above], name)
      dot = string.find(name, '.', dot + 1, true)
    end
  end
  local function below(name)
    if not under then
      under = {}
      for other in pairs(f) do
        if not is_meta(other) then note(other) end
      end
    end
    return under[name] or {}
  end
  local function drop(name)
    if f[name] then f[name], dirty[name] = nil, true end
  end
  local function is_marker(value)
    return value == '{}' or string.sub(value, 1, 3) == '{} '
  end
  local function put(name, value)
    local above = {}
    local dot = string.find(name, '.', 1, true)
    while dot do
      local other = string.sub(name, 1, dot - 1)
      if f[other] and not is_marker(f[other]) then above[#above + 1] = other end
      dot = string.find(name, '.', dot + 1, true)
    end
    if is_marker(value) then
      -- It takes nothing away.
      if above[1] or (f[name] and not is_marker(f[name])) then return end
    else
      for _, other in ipairs(below(name)) do drop(other) end
      for _, other in ipairs(above) do drop(other) end
    end
    if under and not f[name] then note(name) end
    f[name], dirty[name] = value, true
  end
  local some = false
  local first, last, any = words(1)
  some = some or any
  for i = first, last do
    if ARGV[i] == '' then
      local all = {}
      for name in pairs(f) do
        if not is_meta(name) then all[#all + 1] = name end
      end
      for _, name in ipairs(all) do drop(name) end
    else
      for _, other in ipairs(below(ARGV[i])) do drop(other) end
      drop(ARGV[i])
    end
  end
  first, last, any = words(1)
  some = some or any
  for i = first, last do drop(ARGV[i]) end
  first, last, any = words(2)
  some = some or any
  for i = first, last, 2 do put(ARGV[i], ARGV[i + 1]) end
  first, last, any = words(2)
  some = some or any
  for i = first, last, 2 do
    local taken = f[ARGV[i]]
    for _, other in ipairs(below(ARGV[i])) do taken = taken or f[other] end
    if not taken then put(ARGV[i], ARGV[i + 1]) end
  end
  first, last, any = words(2)
  some = some or any
  for i = first, last, 2 do
    local sum, problem = increased(key, f[ARGV[i]] or '0', ARGV[i + 1])
    if not sum then return nil, ARGV[i] .. ' ' .. problem end
    put(ARGV[i], sum)
  end
  first, last, any = words(3)
  some = some or any
  for i = first, last, 3 do
    local list, problem = pushed(f[ARGV[i]] or '[]', ARGV[i + 1], ARGV[i + 2])
    if not list then return nil, ARGV[i] .. ' ' .. problem end
    put(ARGV[i], list)
  end
  return some
end

local function set_meta(f, dirty, name, value)
  if f[name] ~= value then f[name], dirty[name] = value, true end
end

-- IDLE, MAX and EXAT: '' leaves what there is, 0 takes it away.
local function live(f, dirty, idle, max, exat)
  if idle ~= '' then set_meta(f, dirty, '\\!i', idle ~= '0' and idle or nil) end
  if exat ~= '' then
    set_meta(f, dirty, '\\!a', exat ~= '0' and exat or nil)
  elseif max == '0' then
    set_meta(f, dirty, '\\!a', nil)
  elseif max ~= '' then
    set_meta(f, dirty, '\\!a', text((f['\\!b'] or f['\\!c']) + max * 1000))
  end
end

-- The version that this very request was answered with before, or nil.
local function answered(f, token)
  if token == '' or not f['\\!q'] then return nil end
  for known, version in string.gmatch(f['\\!q'], '(%x+) (%d+)') do
    if known == token and version / 1000 + 60000 > now then return tonumber(version) end
  end
end

local function advance(f, dirty, token)
  local version = text(math.max(now_us, (f['\\!v'] or 0) + 1))
  set_meta(f, dirty, '\\!v', version)
  set_meta(f, dirty, '\\!s', nil)
  local kept = {}
  for known, at in string.gmatch(f['\\!q'] or '', '(%x+) (%d+)') do
    if at / 1000 + 60000 > now then kept[#kept + 1] = known .. ' ' .. at end
  end
  if token ~= '' then kept[#kept + 1] = token .. ' ' .. version end
  local answers = kept[1] and table.concat(kept, ' ', math.max(1, #kept - 15)) or nil
  set_meta(f, dirty, '\\!q', answers)
end

local function join(prefix, key, f)
  if prefix == '' or not f['\\!u'] then return end
  local index = prefix .. f['\\!u']
  local left = redis.call('PTTL', index)
  redis.call('HSET', index, key, f['\\!c'])
  index_lasts(index, left, f)
end

-- Ends the user's oldest sessions, so that with one more there are `limit`. Looks at some entries
-- in any case, so that an index doesn't fill up with sessions that expired.
local function make_room(prefix, user, limit)
  if prefix == '' or user == '' then return end
  local index = prefix .. user
  if limit == '' then
    local some = redis.call('HSCAN', index, 0, 'COUNT', 32)[2]
    for i = 1, math.min(#some, 64), 2 do
      if redis.call('EXISTS', some[i]) == 0 then redis.call('HDEL', index, some[i]) end
    end
    return
  end
  local there = sessions(index, user)
  for i = 1, #there - math.max(limit, 1) + 1 do end_session(prefix, user, there[i][1]) end
end

local function create(prefix, key, user, life, limit, token)
  local f, dirty = {}, {}
  local first, last = words(2)
  for i = first, last, 2 do f[ARGV[i]], dirty[ARGV[i]] = ARGV[i + 1], true end
  set_meta(f, dirty, '\\!c', text(now))
  if #user > 1 then set_meta(f, dirty, '\\!u', string.sub(user, 2)) end
  live(f, dirty, life[1], life[2], life[3])
  advance(f, dirty, token)
  make_room(prefix, f['\\!u'] or '', limit)
  join(prefix, key, f)
  write(key, f, dirty)
  slide(key, f, '', false)
  return tonumber(f['\\!v'])
end
"""

CREATE = Script(
    "create",
    BASE
    + INDEX
    + MERGE
    + r"""
-- KEYS[1]; ARGV: prefix, idle, max, exat, user, limit, token, fields. A user is '' or '=name'.
-- Answers the version, or nil if the key exists.
local prefix, life, user, limit, token = word(), {word(), word(), word()}, word(), word(), word()
if redis.call('EXISTS', KEYS[1]) == 1 then
  return answered(read(KEYS[1]), token) or false
end
return create(prefix, KEYS[1], user, life, limit, token)
""",
)

SAVE = Script(
    "save",
    BASE
    + INDEX
    + MERGE
    + r"""
-- KEYS[1]; ARGV: prefix, idle, max, exat, user, token, expected version or '', the key that a
-- cluster's engine has put into the index or '', patch. Answers the version, or nil; USER with the
-- key if the user changes and it's another than that: an alias may lead elsewhere by now.
local prefix, life, user, token = word(), {word(), word(), word()}, word(), word()
local expected, indexed = word(), word()
local key, f = resolve(KEYS[1])
if not f['\\!v'] then return false end
local before = f['\\!u'] or ''
local again = answered(f, token)
if again then return again end
if expected ~= '' and expected ~= f['\\!v'] then return redis.error_reply('CONFLICT changed') end
local dirty = {}
local changed, problem = merge(key, f, dirty)
if problem then return redis.error_reply('REFUSED ' .. problem) end
local owner = user == '' and before or string.sub(user, 2)
if owner ~= before and owner ~= '' and prefix == '' and indexed ~= key then
  return redis.error_reply('USER ' .. key)
end
if owner ~= before then
  set_meta(f, dirty, '\\!u', owner ~= '' and owner or nil)
  unindex(prefix, before, key)
  changed = true
end
live(f, dirty, life[1], life[2], life[3])
if changed then advance(f, dirty, token) end
if owner ~= before then join(prefix, key, f) end
write(key, f, dirty)
slide(key, f, prefix, not changed)
return tonumber(f['\\!v'])
""",
)

ROTATE = Script(
    "rotate",
    BASE
    + INDEX
    + MERGE
    + r"""
-- KEYS: old, new; ARGV: prefix, idle, max, exat, user, token, expected, limit, grace, hard,
-- '1' if it may create and then fields, else '0'; patch. In a cluster the engine must know the
-- user to index the new key first: '' or '=name' after hard, refused with USER if that's wrong.
-- Answers the version and the user before, or nil.
local prefix, life, user, token = word(), {word(), word(), word()}, word(), word()
local expected, limit, grace, hard, assumed = word(), word(), tonumber(word()), word(), word()
local old, new = KEYS[1], KEYS[2]
if redis.call('EXISTS', new) == 1 then
  local again = answered(read(new), token)
  return again and {again, ''} or false
end
local f = read(old)
if f['\\!t'] then
  local _, target = resolve(old)
  if target['\\!v'] then return false end
end
local fallback = word() == '1'
if not f['\\!v'] then
  if not fallback then return false end
  return {create(prefix, new, user, life, limit, token), ''}
end
if fallback then words(2) end
if expected ~= '' and expected ~= f['\\!v'] then return redis.error_reply('CONFLICT changed') end
local before = f['\\!u'] or ''
if assumed ~= '' and assumed ~= '=' .. before then return redis.error_reply('USER ' .. before) end
local dirty = {}
local _, problem = merge(old, f, dirty)
if problem then return redis.error_reply('REFUSED ' .. problem) end
local owner = user == '' and before or string.sub(user, 2)
if owner ~= '' and owner ~= before then
  set_meta(f, dirty, '\\!c', text(now))
  set_meta(f, dirty, '\\!b', nil)
else
  set_meta(f, dirty, '\\!b', text(now))
end
set_meta(f, dirty, '\\!u', owner ~= '' and owner or nil)
live(f, dirty, life[1], life[2], life[3])
advance(f, dirty, token)
unindex(prefix, before, old)
make_room(prefix, owner, limit)
join(prefix, new, f)
redis.call('RENAME', old, new)
write(new, f, dirty)
slide(new, f, prefix, false)
if hard == '1' or grace <= 0 or (user ~= '' and (owner ~= '' or before ~= '')) then
  redis.call('HSET', old, '\\!r', '1')
  redis.call('PEXPIRE', old, 60000)
else
  redis.call('HSET', old, '\\!t', new)
  if owner ~= '' then redis.call('HSET', old, '\\!u', owner) end
  redis.call('PEXPIRE', old, text(grace * 1000))
end
return {tonumber(f['\\!v']), before}
""",
)
