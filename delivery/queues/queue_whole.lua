-- Marks that everything which the database has is here, and lets go of consumers that ended long ago.
-- KEYS: work (stream), known (set), scopes (set), whole (the mark).
-- ARGV: group, longest idle time (ms) of a consumer that holds nothing.
-- Answer: 1, or 0 where something turned out to be missing: then nothing is known here, and it has to be brought again.
local base = string.sub(KEYS[1], 1, -6)
redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
local places = redis.call('XLEN', KEYS[1])
for _, scope in ipairs(redis.call('SMEMBERS', KEYS[3])) do
  places = places + redis.call('ZCARD', base .. ':fresh:' .. scope) + redis.call('ZCARD', base .. ':waited:' .. scope)
end
if redis.call('SCARD', KEYS[2]) > places then
  redis.call('DEL', KEYS[2], KEYS[4])
  return 0
end
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local facts = {}
  for i = 1, #consumer, 2 do
    facts[consumer[i]] = consumer[i + 1]
  end
  if facts.pending == 0 and facts.idle > tonumber(ARGV[2]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], facts.name)
  end
end
redis.call('SET', KEYS[4], '1')
return 1
