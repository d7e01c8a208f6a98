#!lua flags=allow-oom
-- Opens a drop: writes its terms and the counters of its sizes. Opening again
-- with the same terms changes nothing.
--
-- KEYS[1] meta hash of the partition
-- KEYS[2] drop hash
-- ARGV[1] token: the epoch the caller was admitted in, or a rebuild's claim
-- ARGV[2] drop id
-- ARGV[3] start, Unix ms
-- ARGV[4] end, Unix ms; 0: open end
-- ARGV[5] hold, ms
-- ARGV[6] limit per customer; 0: none
-- ARGV[7] 1 if the drop is sold by size, 0 if it has one pool
-- ARGV[8] sequence number of the first hold
-- ARGV[9] events channel; empty: nobody is told
-- ARGV[10] state: open, paused or ended
-- ARGV[11] number of the newest change that the terms include; 0: none
-- ARGV[12] 1 if a unit is held only for who has passed a challenge
-- ARGV[13…] for each size: name, total, sold so far
--
-- Returns 1 opened, 2 was open with the same terms, -1 was open with others.
-- The error HFFENCED says that nothing was done.
local meta, drop = KEYS[1], KEYS[2]
local token, id, starts, ends, hold, limit, sized = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local first, events, state, change, challenge = ARGV[8], ARGV[9], ARGV[10], ARGV[11], ARGV[12] == '1'
local SIZES = 13

-- The fence: epoch.lua says what it is.
local server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local m = redis.call('HMGET', meta, 'epoch', 'server', 'claim')
if not (token == m[1] and server == m[2]) and token ~= server .. ':' .. (m[3] or '') then
  return redis.error_reply('HFFENCED ' .. meta)
end

local terms = { starts, ends, hold, limit, sized }
local names, event = {}, {}
-- A hold raises the version twice at most, when it begins and when it ends. At
-- three a sequence number, a drop that is opened again, its ids above all earlier
-- ones, has versions above all earlier ones too: who watches it never sees them
-- go back. (Changes raise it too; a rebuild skips ids by tens of thousands.)
local version = 3 * first - 2
local fields = {
  'state', state, 'start', starts, 'end', ends, 'hold', hold,
  'limit', limit, 'sized', sized, 'version', version, 'seq', first - 1,
  'change', change, 'outcome', 1,
}
for i = SIZES, #ARGV, 3 do
  local size, total, sold = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  if sold > total then return redis.error_reply('HFCORRUPT sold ' .. sold .. ' of ' .. total) end
  names[#names + 1] = size
  terms[#terms + 1] = size
  terms[#terms + 1] = total
  event[size] = { total - sold, 0, sold }
  local n = #fields
  fields[n + 1], fields[n + 2] = 't:' .. size, total
  fields[n + 3], fields[n + 4] = 'a:' .. size, total - sold
  fields[n + 5], fields[n + 6] = 'h:' .. size, 0
  fields[n + 7], fields[n + 8] = 's:' .. size, sold
end
if challenge then
  terms[#terms + 1] = 'challenge'
  fields[#fields + 1], fields[#fields + 2] = 'challenge', '1'
end
terms = redis.sha1hex(cjson.encode(terms))

local known = redis.call('HGET', drop, 'terms')
if known then
  return known == terms and 2 or -1
end

local n = #fields
fields[n + 1], fields[n + 2] = 'terms', terms
fields[n + 3], fields[n + 4] = 'sizes', cjson.encode(names)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', drop, unpack(fields))
if events ~= '' then
  redis.call('PUBLISH', events, cjson.encode({ d = tonumber(id), v = version, t = now, r = 'opened', s = event }))
end
return 1
