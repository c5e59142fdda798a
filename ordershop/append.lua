--[[ The one write path: everything that one append means, in one atomic step on the server.

  1. Known?  a repeated event answers the ID that it got first
  2. Check   do the entities stand as expected? is there stock?       Nothing is written yet.
  3. Write   IDs, stream entries, the entity cache, indexes, stock    Nothing can be refused now.

So there is no moment in which a client can see an event without its entity, half an entity, or stock that
was taken for an order that does not exist.

ARGV:
  namespace, seconds of the dedup window, number of references, number of events,
  a reference each:  topic, id                                   must exist
  an event each:     topic, action, id, event_id, expect, mode, json,
                     number of fields, field, value, ..., number of list items, item, ...
    expect    ''  nothing;  'E'  the entity exists;  a number  it has this version, 0: it does not exist
    mode      '0'  event only;  '1'  event and entity cache;  'S'  these, and stock for an order

Answer:
  an ID for each event, in their order; or
  {'', reason, detail}: refused, and nothing was written.

Known event_ids are the fields of two Hashes, so that memory stays bounded. The younger one also holds the
last ID and its own age: one HMGET reads all that the simplest append must know. When it is a window old, it
takes the place of the elder:

     events:ids:before          events:ids
   |-- looked up ----------|-- looked up, written --|   an event is known for one to two windows

A redis.call costs more than anything else here, a function value a good part of one. What only some events
need is therefore made only for them (`rules`).
]]

local call = redis.call
local ns, n_refs, n_events = ARGV[1], ARGV[3] + 0, ARGV[4] + 0
local now = call('TIME')
local now_s, now_us = now[1] + 0, now[2] + 0
local known_key, before_key = ns .. 'events:ids', ns .. 'events:ids:before'
local LAST, SINCE = '\0last', '\0since'

-- 1. Known? ---------------------------------------------------------------------------------------------

local first_event = 5 + 2 * n_refs
local answer, last, since = {}, nil, nil
local starts, event_ids, plain = nil, nil, n_refs == 0

if n_events == 1 then
  local event_id = ARGV[first_event + 3]
  local state = call('HMGET', known_key, LAST, SINCE, event_id)
  last, since = state[1], state[2]
  local id = state[3] or call('HGET', before_key, event_id)
  if id then return {id} end
else
  starts, event_ids = {}, {}
  local at = first_event
  for i = 1, n_events do
    starts[i], event_ids[i] = at, ARGV[at + 3]
    at = at + 8 + 2 * ARGV[at + 7]
    at = at + 1 + ARGV[at]
  end
  local state = call('HMGET', known_key, LAST, SINCE)
  last, since = state[1], state[2]
  local fresh = n_events
  for from = 1, n_events, 1000 do -- unpack has room for some thousand arguments
    local to = math.min(from + 999, n_events)
    local here = call('HMGET', known_key, unpack(event_ids, from, to))
    local before = call('HMGET', before_key, unpack(event_ids, from, to))
    for i = from, to do
      local id = here[i - from + 1] or before[i - from + 1]
      if id then
        answer[i] = id
        fresh = fresh - 1
      end
    end
  end
  if fresh == 0 then return answer end
end

-- 2. Check ----------------------------------------------------------------------------------------------

-- Everything that an append of customers or products alone can do without.
local function rules()
  local R, planned, by_row = {}, {}, {}

  local function entity_key(topic, id) return ns .. '{' .. topic .. '}_entity:' .. id end
  local function ids_key(topic) return ns .. '{' .. topic .. '}_ids' end
  local function updates_key(topic) return ns .. '{' .. topic .. '}_updates' end
  local function items_key(id) return ns .. '{order}_product_ids:' .. id end
  local function shelf_key(product_id) return ns .. '{inventory}_of_product:' .. product_id end
  local unbilled_key = ns .. '{order}_unbilled'

  local function exists(topic, id) return call('SISMEMBER', ids_key(topic), id) == 1 end
  local function refused(reason, detail) return {'', reason, detail} end

  local function field_of(at, name)
    for f = at + 8, at + 6 + 2 * ARGV[at + 7], 2 do
      if ARGV[f] == name then return ARGV[f + 1] end
    end
  end

  local function items_of(at)
    local count = at + 8 + 2 * ARGV[at + 7]
    return {unpack(ARGV, count + 1, count + ARGV[count])}
  end

  local function count_items(counts, items, sign)
    for _, product_id in ipairs(items) do counts[product_id] = (counts[product_id] or 0) + sign end
  end

  -- What an order changes on the shelves: product_id -> pieces that go back (or, below 0, are taken).
  local function stock_change(at, action, id)
    local change = {}
    if action ~= 'created' then count_items(change, call('LRANGE', items_key(id), 0, -1), 1) end
    if action ~= 'deleted' then count_items(change, items_of(at), -1) end
    return change
  end

  -- Adds to `planned` each row that really changes, with its new amount; answers the product of which there
  -- is not enough. Pieces are taken from the first shelf that has any, and go back to the first. A product
  -- without any shelf has nowhere to put what comes back: its stock went with its inventory.
  local function plan_shelves(change)
    local products = {}
    for product_id, delta in pairs(change) do
      if delta ~= 0 then products[#products + 1] = product_id end
    end
    table.sort(products) -- the order of events must not depend on a hash table
    for _, product_id in ipairs(products) do
      local delta = change[product_id]
      for _, row in ipairs(call('LRANGE', shelf_key(product_id), 0, -1)) do
        if delta == 0 then break end
        local shelf = by_row[row]
        local amount = shelf and shelf.amount or call('HGET', entity_key('inventory', row), 'amount') + 0
        local step = delta < 0 and -math.min(amount, -delta) or delta
        if step ~= 0 then
          if not shelf then
            shelf = {row = row, product_id = product_id}
            by_row[row] = shelf
            planned[#planned + 1] = shelf
          end
          shelf.amount = amount + step
          delta = delta - step
        end
      end
      if delta < 0 then return product_id end
    end
  end

  function R.check_references()
    for i = 1, n_refs do
      local topic, id = ARGV[3 + 2 * i], ARGV[4 + 2 * i]
      if not exists(topic, id) then return refused('unknown', topic .. ' ' .. id) end
    end
  end

  function R.check(at)
    local topic, action, id, expect, mode = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 4], ARGV[at + 5]
    if expect == 'E' then
      if not exists(topic, id) then return refused('unknown', topic .. ' ' .. id) end
    elseif expect ~= '' then
      local version = exists(topic, id) and 1 + (call('HGET', updates_key(topic), id) or 0) or 0
      if version ~= expect + 0 then return refused('version', string.format('%.0f', version)) end
    end
    if topic == 'billing' and mode ~= '0' and action ~= 'deleted' then
      local order_id = field_of(at, 'order_id')
      if not exists('order', order_id) then return refused('unknown', 'order ' .. order_id) end
      local mine = call('HGET', entity_key('billing', id), 'order_id') == order_id
      if not mine and call('SISMEMBER', unbilled_key, order_id) == 0 then return refused('billed', order_id) end
    end
    if mode == 'S' then
      local short = plan_shelves(stock_change(at, action, id))
      if short then return refused('stock', short) end
    end
  end

  -- Lists that are looked up by another entity's id follow the cache in the same step.
  local function index_before(topic, action, id)
    if topic == 'inventory' then
      local product_id = call('HGET', entity_key(topic, id), 'product_id')
      if product_id then call('LREM', shelf_key(product_id), 0, id) end
    elseif topic == 'billing' then
      local order_id = call('HGET', entity_key(topic, id), 'order_id')
      if order_id and exists('order', order_id) then call('SADD', unbilled_key, order_id) end
    elseif topic == 'order' and action == 'deleted' then
      call('SREM', unbilled_key, id)
    end
  end

  local function index_after(at, topic, action, id)
    if topic == 'inventory' then
      call('RPUSH', shelf_key(field_of(at, 'product_id')), id)
    elseif topic == 'billing' then
      call('SREM', unbilled_key, field_of(at, 'order_id'))
    elseif topic == 'order' and action == 'created' then
      call('SADD', unbilled_key, id)
    end
  end

  function R.project(at)
    local topic, action, id = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    if action == 'deleted' then
      index_before(topic, action, id)
      call('SREM', ids_key(topic), id)
      call('DEL', entity_key(topic, id))
      if topic == 'order' then call('DEL', items_key(id)) end
      call('HDEL', updates_key(topic), id)
      return
    end
    if action == 'created' then
      call('SADD', ids_key(topic), id)
    else
      -- An update of what was deleted, or never was, changes nothing, here as in a replay.
      if not exists(topic, id) then return end
      call('HINCRBY', updates_key(topic), id, 1)
    end
    index_before(topic, action, id)
    call('HSET', entity_key(topic, id), unpack(ARGV, at + 8, at + 7 + 2 * ARGV[at + 7]))
    if topic == 'order' then
      call('DEL', items_key(id))
      call('RPUSH', items_key(id), unpack(items_of(at)))
    end
    index_after(at, topic, action, id)
  end

  function R.write_shelves(add)
    local main_event_id = ARGV[first_event + 3]
    for _, shelf in ipairs(planned) do
      -- A UUID that follows from the order's event and the row: the same at any retry, and like no other.
      local h = redis.sha1hex(main_event_id .. shelf.row)
      local event_id = string.format('%s-%s-5%s-a%s-%s', h:sub(1, 8), h:sub(9, 12), h:sub(14, 16), h:sub(18, 20),
                                     h:sub(21, 32))
      local amount = string.format('%.0f', shelf.amount)
      add(ns .. 'events:{inventory}_updated', event_id, '{"id":' .. cjson.encode(shelf.row) .. ',"product_id":' ..
          cjson.encode(shelf.product_id) .. ',"amount":' .. amount .. '}')
      call('HSET', entity_key('inventory', shelf.row), 'amount', amount)
      call('HINCRBY', updates_key('inventory'), shelf.row, 1)
    end
  end

  return R
end

local function is_plain(at)
  local topic, mode = ARGV[at], ARGV[at + 5]
  if ARGV[at + 4] ~= '' then return false end
  return mode == '0' or mode == '1' and ARGV[at + 1] == 'created' and (topic == 'customer' or topic == 'product')
end

for i = 1, n_events do
  if not is_plain(starts and starts[i] or first_event) then plain = false end
end

local R
if not plain then
  R = rules()
  local refusal = R.check_references()
  for i = 1, n_events do
    if refusal then return refusal end
    if not answer[i] then refusal = R.check(starts and starts[i] or first_event) end
  end
  if refusal then return refusal end
end

-- 3. Write ----------------------------------------------------------------------------------------------

local last_s, last_us = 0, 0
if last then
  local s, us = last:match('^(%d+)-(%d+)$')
  last_s, last_us = s + 0, us + 0
end

local function next_id()
  if last_s > 1e11 then -- counting on behind a foreign entry that is named by milliseconds
    last_us = math.max(last_us + 1, now_s * 1e6 + now_us)
    return string.format('%.0f-%.0f', last_s, last_us)
  elseif now_s > last_s or now_s == last_s and now_us > last_us then
    last_s, last_us = now_s, now_us
  else -- the same microsecond, or a clock that was set back
    last_us = last_us + 1
    if last_us >= 1e6 then last_s, last_us = last_s + 1, 0 end
  end
  return last_s .. '-' .. last_us
end

local function add(stream, event_id, json)
  local id = next_id()
  local added = redis.pcall('XADD', stream, id, 'event_id', event_id, 'entity', json)
  if type(added) == 'table' then
    if not added.err:find('equal or smaller', 1, true) then return added end
    -- Somebody else has written here, or our last ID was lost: go on behind what the stream has.
    local info = call('XINFO', 'STREAM', stream)
    for i = 1, #info, 2 do
      if info[i] == 'last-generated-id' then
        local s, us = info[i + 1]:match('^(%d+)-(%d+)$')
        last_s, last_us = s + 0, us + 0
      end
    end
    id = next_id()
    call('XADD', stream, id, 'event_id', event_id, 'entity', json)
  end
  return id
end

local known, ids, ids_topic = {}, {}, nil

local function flush_ids()
  if #ids > 0 then call('SADD', ns .. '{' .. ids_topic .. '}_ids', unpack(ids)) end
  ids = {}
end

local stream, stream_topic, stream_action
for i = 1, n_events do
  if not answer[i] then
    local at = starts and starts[i] or first_event
    local topic, action, event_id = ARGV[at], ARGV[at + 1], ARGV[at + 3]
    if topic ~= stream_topic or action ~= stream_action then
      stream, stream_topic, stream_action = ns .. 'events:{' .. topic .. '}_' .. action, topic, action
    end
    local id = add(stream, event_id, ARGV[at + 6])
    if type(id) == 'table' then return id end
    answer[i] = id
    known[#known + 1] = event_id
    known[#known + 1] = id
    if R and ARGV[at + 5] ~= '0' then
      R.project(at)
    elseif ARGV[at + 5] == '1' then -- plain: a customer or a product that is created
      if topic ~= ids_topic then
        flush_ids()
        ids_topic = topic
      end
      ids[#ids + 1] = ARGV[at + 2]
      call('HSET', ns .. '{' .. topic .. '}_entity:' .. ARGV[at + 2], unpack(ARGV, at + 8, at + 7 + 2 * ARGV[at + 7]))
    end
  end
end
flush_ids()
if R then R.write_shelves(add) end

if not since or now_s - since >= ARGV[2] + 0 then
  if since then
    call('UNLINK', before_key)
    call('RENAME', known_key, before_key)
  end
  call('HSET', known_key, SINCE, now[1])
end
known[#known + 1] = LAST
known[#known + 1] = string.format('%.0f-%.0f', last_s, last_us)
for from = 1, #known, 2000 do call('HSET', known_key, unpack(known, from, math.min(from + 1999, #known))) end
return answer
