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
  keep_us  so do those of the last so many microseconds, by the IDs that `append.lua` gives. An entry that somebody
           else has named by milliseconds is thousands of years younger, and stays
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
local function keep_from(id)
  if is_before(id, first_to_stay) then first_to_stay = id end
end

for _, group in ipairs(groups) do
  keep_from(value_of(group, 'last-delivered-id'))
  local smallest_pending = call('XPENDING', stream, value_of(group, 'name'))[2]
  if smallest_pending then keep_from(smallest_pending) end
end

if keep_us > 0 then
  local now = call('TIME')
  local from_us = now[1] * 1e6 + now[2] - keep_us
  if from_us <= 0 then return {0, 0} end
  keep_from(string.format('%.0f-%.0f', math.floor(from_us / 1e6), from_us % 1e6))
end

if keep > 0 then
  local spare = length - keep
  if spare <= 0 then return {0, 0} end
  -- A stream does not say which entry is its n-th; so those that may go are read, a page of them at a time.
  local front = call('XRANGE', stream, '-', '+', 'COUNT', math.min(spare, page) + 1)
  local behind = front[#front][1]
  local more = is_before(behind, first_to_stay) and spare > page
  keep_from(behind)
  return {call('XTRIM', stream, 'MINID', '=', first_to_stay), more and 1 or 0}
end

-- Whole nodes of the stream first, as many as a page has; the exact way knows no limit, and ends within a node.
local removed = call('XTRIM', stream, 'MINID', '~', first_to_stay, 'LIMIT', page)
if removed > 0 then return {removed, 1} end
return {call('XTRIM', stream, 'MINID', '=', first_to_stay), 0}
