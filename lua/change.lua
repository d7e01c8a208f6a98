#!lua flags=allow-oom
-- Changes the terms of a drop, also while it sells: its state, its times, its limit,
-- the stock of its sizes. All of it or nothing. Each change bears a number and is
-- decided once: the number and what came of it stay with the drop, also where it was
-- refused, so that a change that is sent again is neither made twice nor decided
-- in another way. Beside the number stays a mark of the change: where Postgres has lost a
-- change that was decided here, the next one bears its number and is not taken for it.
--
-- KEYS[1] meta hash of the partition
-- KEYS[2] drop hash
-- ARGV[1] token: the epoch the caller was admitted in, or a rebuild's claim
-- ARGV[2] drop id
-- ARGV[3] events channel
-- ARGV[4] number of the change
-- ARGV[5] 1 where it was decided before and is put back by a rebuild: nothing is
--         checked, available may fall below zero (level.lua comes after)
-- ARGV[6] 1 where it may only be made before the start
-- ARGV[7] state: open, paused or ended; empty here and below: as it is
-- ARGV[8] start, Unix ms
-- ARGV[9] end, Unix ms; 0: open end
-- ARGV[10] limit per customer
-- ARGV[11] mark of the change
-- ARGV[12…] for each size whose stock changes: name, total
--
-- Returns {outcome, known, now, version, state, start, end, limit, size, total, size,
-- total, …}: the outcome, 1 if it was known before, and the drop as it is then, all
-- sizes; {outcome} alone where there is no such drop. The error HFFENCED says that nothing was done.
local MADE, NO_DROP, ENDED, STARTED, NOT_ENOUGH = 1, -1, -2, -3, -4
local UNKNOWN_SIZE, BAD_TIMES, UNCOUNTED, OVERTAKEN, CORRUPT = -5, -6, -7, -8, -9

local meta, drop = KEYS[1], KEYS[2]
local token, id, events, number, force, early = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5] == '1', ARGV[6] == '1'
local state, starts, ends, limit = ARGV[7], ARGV[8], ARGV[9], ARGV[10]
local mark = number .. ':' .. ARGV[11]
local SIZES = 12

-- The fence: epoch.lua says what it is.
local server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local m = redis.call('HMGET', meta, 'epoch', 'server', 'claim')
if not (token == m[1] and server == m[2]) and token ~= server .. ':' .. (m[3] or '') then
  return redis.error_reply('HFFENCED ' .. meta)
end

local d = redis.call('HMGET', drop, 'state', 'start', 'end', 'limit', 'version', 'sizes', 'change', 'outcome', 'mark')
if not d[1] then return { NO_DROP } end
local last = tonumber(d[7] or 0)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local names, fields = cjson.decode(d[6]), {}
for _, size in ipairs(names) do
  local n = #fields
  fields[n + 1], fields[n + 2], fields[n + 3], fields[n + 4] = 't:' .. size, 'a:' .. size, 'h:' .. size, 's:' .. size
end
local c = redis.call('HMGET', drop, unpack(fields))
local pools, taken = {}, 0
for i, size in ipairs(names) do
  local n = 4 * i - 4
  local pool = { total = tonumber(c[n + 1]), available = tonumber(c[n + 2]), held = tonumber(c[n + 3]), sold = tonumber(c[n + 4]) }
  pools[size] = pool
  taken = taken + pool.held + pool.sold
end

local version = tonumber(d[5])
local function reply(outcome, known)
  local r = { outcome, known, now, version, d[1], d[2], d[3], d[4] }
  for _, size in ipairs(names) do
    r[#r + 1] = size
    r[#r + 1] = pools[size].total
  end
  return r
end

if not force then
  -- A mark of another number is of before a version that had none.
  if tonumber(number) == last and string.find(d[9] or '', number .. ':', 1, true) == 1 and d[9] ~= mark then
    return reply(OVERTAKEN, 1)
  end
  if tonumber(number) == last then return reply(tonumber(d[8]), 1) end
  if tonumber(number) < last then return reply(OVERTAKEN, 1) end
end

local changes, event, wrong = {}, {}, nil
for i = SIZES, #ARGV, 2 do
  local size, total = ARGV[i], tonumber(ARGV[i + 1])
  local pool = pools[size]
  if not pool then
    wrong = wrong or UNKNOWN_SIZE
  elseif not force and pool.available + pool.held + pool.sold ~= pool.total then
    -- Of these sizes alone: what does not add up can still be paused and ended. A
    -- decision like others, or no later change would have its turn.
    wrong = wrong or CORRUPT
  else
    local available = total - pool.held - pool.sold
    if available < 0 then wrong = wrong or NOT_ENOUGH end
    local n = #changes
    changes[n + 1], changes[n + 2], changes[n + 3], changes[n + 4] = 't:' .. size, total, 'a:' .. size, available
    event[size] = { available, pool.held, pool.sold }
  end
end

local old_start, old_end = tonumber(d[2]), tonumber(d[3])
local new_start, new_end = tonumber(starts) or old_start, tonumber(ends) or old_end
if d[1] == 'ended' or (old_end > 0 and now >= old_end) then
  wrong = ENDED -- which is final
elseif (early or starts ~= '') and now >= old_start then
  wrong = STARTED
elseif new_end > 0 and (new_end <= new_start or (ends ~= '' and new_end <= now)) then
  wrong = BAD_TIMES
elseif limit ~= '' and tonumber(d[4]) == 0 and tonumber(limit) > 0 and taken > 0 then
  wrong = UNCOUNTED -- without a limit nobody counts who has how many
end

-- All checks are done: from here on only writes.
if wrong and not force then
  redis.call('HSET', drop, 'change', number, 'outcome', wrong, 'mark', mark)
  return reply(wrong, 0)
end
if state ~= '' then d[1] = state end
if starts ~= '' then d[2] = starts end
if ends ~= '' then d[3] = ends end
if limit ~= '' then d[4] = limit end
for i = 1, #changes, 4 do pools[string.sub(changes[i], 3)].total = changes[i + 1] end
version = version + 1
redis.call('HSET', drop, 'change', number, 'outcome', MADE, 'mark', mark, 'version', version,
  'state', d[1], 'start', d[2], 'end', d[3], 'limit', d[4], unpack(changes))
redis.call('PUBLISH', events, cjson.encode({
  d = tonumber(id), v = version, t = now, r = 'changed', s = event, a = d[1],
}))
return reply(MADE, 0)
