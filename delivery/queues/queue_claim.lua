-- Takes batches in the order of service until there are recipients enough: those whose holder's lease has ended, then
-- what waited for a time that has come, then what is new, by its turn. What is taken goes through the stream, whose
-- consumer group remembers who has it since when.
-- KEYS: work (stream), known (set), scopes (set), whole (a mark that nothing was lost since it was set).
-- ARGV: group, consumer, now (ms), recipients, most batches, lease (ms) or '' to leave ended leases alone, idle (ms) to
-- begin with, paused scopes...
-- Answer: 1 where the mark was there, 0 where nothing was there at all, 2 where only the mark was missing; then entry,
-- member, scope, turn, due of each.
local base = string.sub(KEYS[1], 1, -6)
local group, consumer, now = ARGV[1], ARGV[2], tonumber(ARGV[3])
local room, most = tonumber(ARGV[4]), tonumber(ARGV[5])
local answer = {redis.call('EXISTS', KEYS[4]) == 1 and 1 or 2}
if redis.call('EXISTS', KEYS[1]) == 0 then
  -- a stream stays when it is empty: without it something was lost, and what was in it alone must not pass for known
  redis.call('DEL', KEYS[2], KEYS[4])
  answer[1] = 0
end
if answer[1] ~= 1 then
  redis.pcall('XGROUP', 'CREATE', KEYS[1], group, '0', 'MKSTREAM')
end

local entries = {}
local function give(entry, fields)
  local found = {}
  for i = 1, #fields, 2 do
    found[fields[i]] = fields[i + 1]
  end
  for _, value in ipairs({entry, found.b, found.s, found.t, found.d}) do
    answer[#answer + 1] = value
  end
  entries[#entries + 1] = entry
  return found.b
end

local function size(member)
  return tonumber(string.sub(member, 18))
end

if ARGV[6] ~= '' then
  local found = redis.call('XAUTOCLAIM', KEYS[1], group, consumer, ARGV[6], '0-0', 'COUNT', most)
  for _, entry in ipairs(found[2]) do
    if entry then
      most = most - 1
      room = room - size(give(entry[1], entry[2]))
    end
  end
end

local paused = {}
for i = 8, #ARGV do
  paused[ARGV[i]] = true
end
local open = {}
for _, scope in ipairs(redis.call('SMEMBERS', KEYS[3])) do
  if not paused[scope] then
    open[#open + 1] = scope
  end
end

-- The next ones of a scope, a few at a time where there are several: each call costs as much as many scopes to compare.
local function read(kind, scope)
  local count = #open == 1 and most or math.min(most, 16)
  local found = redis.call('ZRANGE', base .. kind .. scope, 0, count - 1, 'WITHSCORES')
  return {members = found, next = 1, score = tonumber(found[2])}
end

local picked = 0
local function take(kind, limit)
  local runs = {}
  for _, scope in ipairs(open) do
    runs[scope] = room > 0 and most > 0 and read(kind, scope) or nil
  end
  while room > 0 and most > 0 do
    local best, from
    for _, scope in ipairs(open) do
      local run = runs[scope]
      if run.score and (not limit or run.score <= limit) and (not best or run.score < best.score) then
        best, from = run, scope
      end
    end
    if not best then
      return
    end
    local member, score = best.members[best.next], best.members[best.next + 1]
    redis.call('ZREM', base .. kind .. from, member)
    redis.call('XADD', KEYS[1], '*', 'b', member, 's', from, 't', limit and '' or score, 'd', limit and score or '0')
    room, most, picked = room - size(member), most - 1, picked + 1
    best.next = best.next + 2
    best.score = tonumber(best.members[best.next + 1])
    if not best.score and most > 0 then
      runs[from] = read(kind, from)
    end
  end
end
take(':waited:', now)
take(':fresh:', nil)

if picked > 0 then
  local read = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', picked, 'STREAMS', KEYS[1], '>')
  for _, entry in ipairs(read[1][2]) do
    give(entry[1], entry[2])
  end
  for _, scope in ipairs(open) do
    if redis.call('EXISTS', base .. ':waited:' .. scope, base .. ':fresh:' .. scope) == 0 then
      redis.call('SREM', KEYS[3], scope)
    end
  end
end
if ARGV[7] ~= '0' and #entries > 0 then
  -- a shorter lease than the group's: it began so much earlier
  local words = {'XCLAIM', KEYS[1], group, consumer, '0'}
  for _, entry in ipairs(entries) do
    words[#words + 1] = entry
  end
  for _, word in ipairs({'IDLE', ARGV[7], 'JUSTID'}) do
    words[#words + 1] = word
  end
  redis.call(unpack(words))
end
return answer
