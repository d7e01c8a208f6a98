#!lua
-- Opens a drop: writes its terms and the counters of its sizes. Opening again
-- with the same terms changes nothing.
--
-- KEYS[1] drop hash
-- ARGV[1] drop id
-- ARGV[2] start, Unix ms
-- ARGV[3] end, Unix ms; 0: open end
-- ARGV[4] hold, ms
-- ARGV[5] limit per customer; 0: none
-- ARGV[6] 1 if the drop is sold by size, 0 if it has one pool
-- ARGV[7] sequence number of the first hold
-- ARGV[8] events channel
-- ARGV[9…] for each size: name, total, sold so far
--
-- Returns 1 opened, 2 was open with the same terms, -1 was open with others.
local drop, events = KEYS[1], ARGV[8]

local terms = { ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6] }
local names, event = {}, {}
-- A hold raises the version twice at most, when it begins and when it ends. At
-- three a sequence number, a drop that is opened again, its ids above all earlier
-- ones, has versions above all earlier ones too: who watches it never sees them
-- go back.
local version = 3 * ARGV[7] - 2
local fields = {
  'state', 'open', 'start', ARGV[2], 'end', ARGV[3], 'hold', ARGV[4],
  'limit', ARGV[5], 'sized', ARGV[6], 'version', version, 'seq', ARGV[7] - 1,
}
for i = 9, #ARGV, 3 do
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
redis.call('PUBLISH', events, cjson.encode({ d = tonumber(ARGV[1]), v = version, t = now, r = 'opened', s = event }))
return 1
