-- Keeps leases: the time of these entries begins anew.
-- KEYS: work (stream). ARGV: group, consumer, idle (ms) to begin with, entries...
local words = {'XCLAIM', KEYS[1], ARGV[1], ARGV[2], '0'}
for i = 4, #ARGV do
  words[#words + 1] = ARGV[i]
end
for _, word in ipairs({'IDLE', ARGV[3], 'JUSTID'}) do
  words[#words + 1] = word
end
-- without the stream, which was lost, there is nothing to keep
local kept = redis.pcall(unpack(words))
return kept.err and 0 or #kept
