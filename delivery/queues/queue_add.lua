-- Puts batches where they stand, unless they are known already: each batch has one number for all its time here.
-- KEYS: work (stream), known (set), scopes (set), whole (mark). ARGV: group, then member, scope, turn or '', due (ms) of
-- each batch. A member is the batch's number in 16 digits, ':' and how many recipients it has.
-- Answer: how many were new, and 1 where the stream was not there: nothing was, or something was lost.
local base = string.sub(KEYS[1], 1, -6)
local added, lost = 0, 1 - redis.call('EXISTS', KEYS[1])
if lost == 1 then
  redis.call('DEL', KEYS[2], KEYS[4])
  redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
end
for i = 2, #ARGV, 4 do
  if redis.call('SADD', KEYS[2], string.sub(ARGV[i], 1, 16)) == 1 then
    redis.call('SADD', KEYS[3], ARGV[i + 1])
    if ARGV[i + 2] ~= '' then
      redis.call('ZADD', base .. ':fresh:' .. ARGV[i + 1], ARGV[i + 2], ARGV[i])
    else
      redis.call('ZADD', base .. ':waited:' .. ARGV[i + 1], ARGV[i + 3], ARGV[i])
    end
    added = added + 1
  end
end
return {added, lost}
