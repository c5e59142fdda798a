--[[
trim_seen.lua: trim a stream to a length, and tell what of it a group had not read, or had in hand.

   removed                        | stays
   acknowledged  in hand  unread  | unread ...

It is one step on the server, so that what is told is what was so when it was removed.

ARGV: stream, group, '~' or '=', length, most entries that are told of

Answer: how many entries were removed; those of them that the group had not read; and those that a consumer of it had,
and had not acknowledged; each as XRANGE has it. Without the group none is told of.
]]

local call, stream, group, how, length, most = redis.call, ARGV[1], ARGV[2], ARGV[3], ARGV[4] + 0, ARGV[5] + 0

local spare = call('XLEN', stream) - length
if spare <= 0 then return {0, {}, {}} end

local last
for _, found in ipairs(call('XINFO', 'GROUPS', stream)) do
  local said = {}
  for i = 1, #found, 2 do said[found[i]] = found[i + 1] end
  if said['name'] == group then last = said['last-delivered-id'] end
end

local unread, in_hand = {}, {}
if last then
  unread = call('XRANGE', stream, '(' .. last, '+', 'COUNT', math.min(spare, most))
  for _, pending in ipairs(call('XPENDING', stream, group, '-', '+', math.min(spare, most))) do
    in_hand[#in_hand + 1] = call('XRANGE', stream, pending[1], pending[1])[1]
  end
end

local removed = call('XTRIM', stream, 'MAXLEN', how, length)

-- What is removed is removed from the front: behind the first entry that is still there none is gone.
local function gone_of(entries)
  local gone = {}
  for i, entry in ipairs(entries) do
    if #call('XRANGE', stream, entry[1], entry[1]) > 0 then break end
    gone[i] = entry
  end
  return gone
end

return {removed, gone_of(unread), gone_of(in_hand)}
