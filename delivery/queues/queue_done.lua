-- Forgets batches that have left the queue: their entries are acknowledged and deleted.
-- KEYS: work (stream), known (set). ARGV: group, then entry and number (16 digits) of each.
for i = 2, #ARGV, 2 do
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[i])
  redis.call('XDEL', KEYS[1], ARGV[i])
  redis.call('SREM', KEYS[2], ARGV[i + 1])
end
return (#ARGV - 1) / 2
