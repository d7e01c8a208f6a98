#!lua flags=allow-oom
-- Sets a drop right at the end of a rebuild: held is the number of holds that
-- there are, sold that of the receipts where they were counted, available
-- what is neither; sequence numbers and
-- versions begin above all that may have been told before. Then tells everybody.
--
-- KEYS[1] meta hash of the partition
-- KEYS[2] drop hash
-- ARGV[1] token: the rebuild's claim
-- ARGV[2] drop id
-- ARGV[3] events channel
-- ARGV[4] least value of the newest sequence number; 0: as it is
-- ARGV[5] 1 to write even where units are short: more is sold than there is
-- ARGV[6…] for each size: name, its holds, its receipts (-1: sold is as it is)
--
-- Returns {changed, short, size, short, size, …}: 1 if a counter was wrong, and for
-- each size with more holds and sales than units how many too many. Then nothing is
-- written, unless asked to: holds have to be revoked first. Returns nothing where the drop is unknown.
-- The error HFFENCED says that nothing was done.
local meta, drop = KEYS[1], KEYS[2]
local token, id, events, floor, force = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5] == '1'
local FIRST = 6

-- The fence: epoch.lua says what it is.
local server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local m = redis.call('HMGET', meta, 'epoch', 'server', 'claim')
if not (token == m[1] and server == m[2]) and token ~= server .. ':' .. (m[3] or '') then
  return redis.error_reply('HFFENCED ' .. meta)
end

local d = redis.call('HMGET', drop, 'version', 'seq')
if not d[1] then return {} end
local version, seq = tonumber(d[1]), math.max(tonumber(d[2]), floor)

local changes, event, reply = { 'seq', seq }, {}, { 0 }
for i = FIRST, #ARGV, 3 do
  local size, held, sold = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local c = redis.call('HMGET', drop, 't:' .. size, 'a:' .. size, 'h:' .. size, 's:' .. size)
  if sold < 0 then sold = tonumber(c[4]) end
  local available = tonumber(c[1]) - held - sold
  if available < 0 then
    reply[#reply + 1] = -available
    reply[#reply + 1] = size
  end
  if tonumber(c[2]) ~= available or tonumber(c[3]) ~= held or tonumber(c[4]) ~= sold then reply[1] = 1 end
  local n = #changes
  changes[n + 1], changes[n + 2], changes[n + 3], changes[n + 4] = 'a:' .. size, available, 'h:' .. size, held
  changes[n + 5], changes[n + 6] = 's:' .. size, sold
  event[size] = { available, held, sold }
end
if (#reply > 1 and not force) or (reply[1] == 0 and seq == tonumber(d[2])) then return reply end

-- As open.lua: at three a sequence number versions never go back.
version = math.max(version + 1, seq > tonumber(d[2]) and 3 * seq + 1 or 0)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', drop, 'version', version, unpack(changes))
redis.call('PUBLISH', events, cjson.encode({ d = tonumber(id), v = version, t = now, r = 'rebuilt', s = event }))
return reply
