--[[ Entities from the cache, each whole, in one step on the server.

ARGV:
  namespace, topic, name of the list field or '', cursor or '', number of ids a page, id, ...
    with a cursor:     a page of all ids of the topic, beginning at that cursor ('0' is the start)
    without a cursor:  the ids given

Answer: {next cursor ('0' after the last page), {id, {field, value, ...}, {item, ...}}, ...}
An id without an entity is left out.
]]

local ns, topic, list_field, cursor = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local ids = {}
if cursor == '' then
  ids = {unpack(ARGV, 6)}
else
  local page = redis.call('SSCAN', ns .. '{' .. topic .. '}_ids', cursor, 'COUNT', ARGV[5])
  cursor, ids = page[1], page[2]
end

local answer = {cursor}
for _, id in ipairs(ids) do
  local fields = redis.call('HGETALL', ns .. '{' .. topic .. '}_entity:' .. id)
  if #fields > 0 then
    local items = {}
    if list_field ~= '' then
      items = redis.call('LRANGE', ns .. '{' .. topic .. '}_' .. list_field .. ':' .. id, 0, -1)
    end
    answer[#answer + 1] = {id, fields, items}
  end
end
return answer
