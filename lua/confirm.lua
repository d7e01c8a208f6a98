#!lua flags=no-writes
-- Says in which epoch a server has these ledger entries, in one step: what was
-- read from a server that has been replaced since must not pass for work of
-- the epoch after it. An id alone proves nothing, since another server's clock
-- may have given the same to another entry.
--
-- KEYS[1] meta hash of the partition
-- KEYS[2] ledger stream of the partition
-- ARGV[1…] for each entry: id, first record (empty: it has none)
--
-- Returns {epoch, here, here, …}: the epoch admitted on this very server (0:
-- none is), and for each entry 1 if it is in the ledger, else 0.
local meta, ledger = KEYS[1], KEYS[2]

local server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local m = redis.call('HMGET', meta, 'epoch', 'server')
local reply = { m[2] == server and tonumber(m[1]) or 0 }
for i = 1, #ARGV, 2 do
  local found = redis.call('XRANGE', ledger, ARGV[i], ARGV[i])
  local here = found[1] and ARGV[i + 1] == '' and 1 or 0
  if found[1] then
    local fields = found[1][2]
    for f = 1, #fields, 2 do
      if fields[f] == '1' and fields[f + 1] == ARGV[i + 1] then here = 1 end
    end
  end
  reply[#reply + 1] = here
end
return reply
