--[[
trim.lua: remove from the front of a stream what every group has acknowledged, and nothing else.

   removed                  | stays
   1   2   3   4   5   6    | 7   8   9   10 ...
   all groups have          | a group has 7 pending, or was delivered 7 last, or it is one of those to be kept
   acknowledged these       |

It is one step on the server, so that no group can be made, and no event be delivered, between the question and
the answer. What a group was delivered last stays, though it may have been acknowledged: XTRIM removes what is below
an ID, and the ID behind one that nobody has pending need not exist.

ARGV: stream, keep, keep_us, even_without_group ('1' or '0'), page

  keep     the newest so many entries stay
  keep_us  so do those of the last so many microseconds, by the IDs that `append.lua` gives. Behind an entry that
           somebody else has named by milliseconds these are <milliseconds>-<microseconds>, where one ID cannot say
           what is young: entries are then looked at, from the front
  page     about so many are removed at most, so that one step is a short one

Answer: how many entries were removed; and 1 if there may be more, else 0.
]]

local call, ARGV = redis.call, ARGV
local stream, keep, keep_us, page = ARGV[1], ARGV[2] + 0, ARGV[3] + 0, ARGV[5] + 0

local function is_before(a, b)
  local a_s, a_n = a:match('^(%d+)-(%d+)$')
  local b_s, b_n = b:match('^(%d+)-(%d+)$')
  -- As text, for a number of Lua's has 53 bits and a part of an ID 64; none has leading zeros.
  if a_s == b_s then a_s, b_s = a_n, b_n end
  if #a_s ~= #b_s then return #a_s < #b_s end
  return a_s < b_s
end

local function value_of(flat, name)
  for i = 1, #flat, 2 do
    if flat[i] == name then return flat[i + 1] end
  end
end

local length = call('XLEN', stream)
if length == 0 then return {0, 0} end

local groups = call('XINFO', 'GROUPS', stream)
if #groups == 0 and ARGV[4] ~= '1' then return {0, 0} end

local first_to_stay = value_of(call('XINFO', 'STREAM', stream), 'last-generated-id')
-- Whether IDs were counted on behind a foreign entry. These are so far apart that XTRIM's MINID of Redis 6.2.5 takes
-- them for others, and removes everything.
local counts_on = first_to_stay:match('^%d+') + 0 > 1e11

local function keep_from(id)
  if is_before(id, first_to_stay) then first_to_stay = id end
end

for _, group in ipairs(groups) do
  keep_from(value_of(group, 'last-delivered-id'))
  local smallest_pending = call('XPENDING', stream, value_of(group, 'name'))[2]
  if smallest_pending then keep_from(smallest_pending) end
end

local from_us = 0 -- what is as old as that, or younger, stays
if keep_us > 0 then
  local now = call('TIME')
  from_us = now[1] * 1e6 + now[2] - keep_us
  if from_us <= 0 then return {0, 0} end
  if not counts_on then keep_from(string.format('%.0f-%.0f', math.floor(from_us / 1e6), from_us % 1e6)) end
end

-- When an entry was appended, in microseconds; as `EventId.epoch_s` in events.py.
local function at_us(id)
  local s, n = id:match('^(%d+)-(%d+)$')
  s, n = s + 0, n + 0
  if s <= 1e11 then return s * 1e6 + n end
  return n > 1e11 and n or s * 1e3
end

if keep > 0 or counts_on then
  local spare = length - keep
  if spare <= 0 then return {0, 0} end
  -- A stream does not say which entry is its n-th; so those that may go are read, a page of them at a time, and
  -- the one behind them, which stays.
  local front = call('XRANGE', stream, '-', '+', 'COUNT', math.min(spare, page) + 1)
  local low, high = 1, #front
  while low < high do
    local middle = math.floor((low + high) / 2)
    if is_before(front[middle][1], first_to_stay) then low = middle + 1 else high = middle end
  end
  local gone = low - 1
  if counts_on and keep_us > 0 then
    for i = 1, gone do
      if at_us(front[i][1]) >= from_us then
        gone = i - 1
        break
      end
    end
  end
  local more = gone == #front - 1 and spare > page
  return {call('XTRIM', stream, 'MAXLEN', '=', length - gone), more and 1 or 0}
end

-- Whole nodes of the stream first, as many as a page has; the exact way knows no limit, and ends within a node.
local removed = call('XTRIM', stream, 'MINID', '~', first_to_stay, 'LIMIT', page)
if removed > 0 then return {removed, 1} end
return {call('XTRIM', stream, 'MINID', '=', first_to_stay), 0}
