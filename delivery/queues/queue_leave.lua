-- Ends the leases of a worker that leaves: what it took and did not finish is taken over at the next look.
-- KEYS: work (stream). ARGV: group, consumer, idle (ms) after which entries are taken over.
local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1], '-', '+', '5000', ARGV[2])
if pending.err or #pending == 0 then
  return 0
end
local words = {'XCLAIM', KEYS[1], ARGV[1], ARGV[2], '0'}
for _, entry in ipairs(pending) do
  words[#words + 1] = entry[1]
end
for _, word in ipairs({'IDLE', ARGV[3], 'JUSTID'}) do
  words[#words + 1] = word
end
return #redis.call(unpack(words))
