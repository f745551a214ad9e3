-- Puts batches that were taken and cannot be had back to where they stand.
-- KEYS: work (stream), known (set), scopes (set). ARGV: group, then entry, member, scope, turn or '', due of each.
local base = string.sub(KEYS[1], 1, -6)
for i = 2, #ARGV, 5 do
  -- not when another consumer took it over meanwhile, or it is settled: then there is nothing of it to put back
  if redis.call('XACK', KEYS[1], ARGV[1], ARGV[i]) == 1 then
    redis.call('XDEL', KEYS[1], ARGV[i])
    redis.call('SADD', KEYS[2], string.sub(ARGV[i + 1], 1, 16))
    redis.call('SADD', KEYS[3], ARGV[i + 2])
    if ARGV[i + 3] ~= '' then
      redis.call('ZADD', base .. ':fresh:' .. ARGV[i + 2], ARGV[i + 3], ARGV[i + 1])
    else
      redis.call('ZADD', base .. ':waited:' .. ARGV[i + 2], ARGV[i + 4], ARGV[i + 1])
    end
  end
end
return (#ARGV - 1) / 5
