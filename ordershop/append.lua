--[[ The one write path: everything that one append means, in one atomic step on the server.

  1. Known?  a repeated event answers the ID that it got first
  2. Check   do the entities stand as expected? is there stock?       Nothing is written yet.
  3. Write   IDs, stream entries, the entity cache, indexes, stock    Nothing is refused from here on.

So there is no moment in which a client can see an event without its entity, half an entity, or stock that
was taken for an order that does not exist. What can still fail is a key that holds somebody else's value of another
type. Then nothing more is written, but that what is in the streams is known: a repeat appends what is missing.

ARGV:
  namespace, seconds of the dedup window, number of references, number of groups,
  a reference each:  topic, id                                   must exist
  a group each:      topic, action, expect, mode, number of fields, field, ..., number of events,
    an event each:   id, event_id, json, value, ...     and for an order that has fields: number of items, item, ...

  expect    ''  nothing;  'E'  the entity exists;  a number  it has this version, 0: it does not exist
  mode      '0'  event only;  '1'  event and entity cache;  'S'  these, and stock: of orders alone

Answer:
  an ID for each event, in their order; or
  {'', reason, detail}: refused, and nothing was written.

Kept beside ids and entities, all in the same step:
  {order}_unbilled  Set   the orders that no billing names      {inventory}_of_product:<id>  List  a product's shelves
  {order}_billed    Hash  order -> the billing that names it, though the order may be gone; it may come back
  {topic}_updates   Hash  how often an entity was written again; its version is one more

Known event_ids are the fields of two Hashes, so that memory stays bounded. The younger one also holds the
last ID and its own age: one HMGET reads all that the simplest append must know. When it is a window old, it
takes the place of the elder:

     events:ids:before          events:ids
   |-- looked up ----------|-- looked up, written --|   an event is known for one to two windows

A redis.call costs more than anything else here, a function value a good part of one. What only some events
need is therefore made only for them (`rules`).
]]

local call, try, ARGV = redis.call, redis.pcall, ARGV -- a global costs a look-up each time
local ns, n_refs, n_groups = ARGV[1], ARGV[3] + 0, ARGV[4] + 0
local now = call('TIME')
local now_s, now_us = now[1] + 0, now[2] + 0
local known_key, before_key = ns .. 'events:ids', ns .. 'events:ids:before'
local LAST, SINCE = '\0last', '\0since'

-- 1. Known? ---------------------------------------------------------------------------------------------

-- groups[i] and starts[i] say what event i is and where it stands; an event's arguments begin with its id.
local groups, starts, event_ids, n_events = {}, {}, {}, 0
local plain = n_refs == 0 -- whether there are only events whose projection needs no rules
local at = 5 + 2 * n_refs
for _ = 1, n_groups do
  local g = {topic = ARGV[at], action = ARGV[at + 1], expect = ARGV[at + 2], mode = ARGV[at + 3],
             fields = ARGV[at + 4] + 0, names = at + 5}
  g.has_items = g.topic == 'order' and g.fields > 0
  if g.expect ~= '' or g.mode ~= '0' and
     (g.mode ~= '1' or g.action ~= 'created' or g.topic ~= 'customer' and g.topic ~= 'product') then
    plain = false
  end
  at = at + 5 + g.fields
  local to = n_events + ARGV[at]
  at = at + 1
  for i = n_events + 1, to do
    groups[i], starts[i], event_ids[i] = g, at, ARGV[at + 1]
    at = at + 3 + g.fields
    if g.has_items then at = at + 1 + ARGV[at] end
  end
  n_events = to
end

local answer, last, since = {}, nil, nil
local first_of, twin_of = {}, {} -- an event that stands twice in a batch gets the answer of the first
if n_events == 1 then
  local state = call('HMGET', known_key, LAST, SINCE, event_ids[1])
  last, since = state[1], state[2]
  local id = state[3] or call('HGET', before_key, event_ids[1])
  if id then return {id} end
else
  local state = call('HMGET', known_key, LAST, SINCE)
  last, since = state[1], state[2]
  local fresh = n_events
  for from = 1, n_events, 1000 do -- unpack has room for some thousand arguments
    local to = math.min(from + 999, n_events)
    local here = call('HMGET', known_key, unpack(event_ids, from, to))
    local before = call('HMGET', before_key, unpack(event_ids, from, to))
    for i = from, to do
      local id = here[i - from + 1] or before[i - from + 1]
      local twin = first_of[event_ids[i]]
      if id or twin then
        if not id then twin_of[i] = twin end
        answer[i] = id or true
        fresh = fresh - 1
      else
        first_of[event_ids[i]] = i
      end
    end
  end
  if fresh == 0 then return answer end
end

-- 2. Check ----------------------------------------------------------------------------------------------

-- field, value, field, value, ... of an event; one table for all of them, since each is used at once.
local pairs_of_fields = {}
local function named_values(g, at)
  for f = 1, g.fields do
    pairs_of_fields[2 * f - 1], pairs_of_fields[2 * f] = ARGV[g.names + f - 1], ARGV[at + 2 + f]
  end
  pairs_of_fields[2 * g.fields + 1] = nil
  return pairs_of_fields
end

-- Everything that an append of customers or products alone can do without.
local function rules()
  local R, planned, by_row, expected, billed_by, changes = {}, {}, {}, {}, {}, {}

  local function entity_key(topic, id) return ns .. '{' .. topic .. '}_entity:' .. id end
  local function ids_key(topic) return ns .. '{' .. topic .. '}_ids' end
  local function updates_key(topic) return ns .. '{' .. topic .. '}_updates' end
  local function items_key(id) return ns .. '{order}_product_ids:' .. id end
  local function shelf_key(product_id) return ns .. '{inventory}_of_product:' .. product_id end
  local unbilled_key, billed_key = ns .. '{order}_unbilled', ns .. '{order}_billed'
  local shelf_events_key = ns .. 'events:{inventory}_updated'

  local function exists(topic, id) return call('SISMEMBER', ids_key(topic), id) == 1 end
  local function refused(reason, detail) return {'', reason, detail} end

  local function value_of(g, at, name)
    for f = 1, g.fields do
      if ARGV[g.names + f - 1] == name then return ARGV[at + 2 + f] end
    end
  end

  local function items_of(g, at)
    local count = at + 3 + g.fields
    return {unpack(ARGV, count + 1, count + ARGV[count])}
  end

  local function count_items(counts, items, sign)
    for _, product_id in ipairs(items) do counts[product_id] = (counts[product_id] or 0) + sign end
  end

  -- What an order changes on the shelves: product_id -> pieces that go back (or, below 0, are taken).
  -- An order that is created again is replaced, and an update of one that is not there changes nothing.
  local function stock_change(g, at)
    local change = {}
    if g.action == 'updated' and not exists('order', ARGV[at]) then return change end
    count_items(change, call('LRANGE', items_key(ARGV[at]), 0, -1), 1)
    if g.action ~= 'deleted' then count_items(change, items_of(g, at), -1) end
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

  function R.check(g, at)
    local topic, action, id, expect, mode = g.topic, g.action, ARGV[at], g.expect, g.mode
    if expect ~= '' or mode == 'S' then
      -- What is expected of an entity, and what an order takes, holds before the append, so for one event of it.
      if expected[topic .. ' ' .. id] then return refused('version', 'twice in one append') end
      expected[topic .. ' ' .. id] = true
    end
    if expect == 'E' then
      if not exists(topic, id) then return refused('unknown', topic .. ' ' .. id) end
    elseif expect ~= '' then
      local version = exists(topic, id) and 1 + (call('HGET', updates_key(topic), id) or 0) or 0
      if version ~= expect + 0 then return refused('version', string.format('%.0f', version)) end
    end
    if topic == 'billing' and mode ~= '0' and action ~= 'deleted' then
      local order_id = value_of(g, at, 'order_id')
      if not exists('order', order_id) then return refused('unknown', 'order ' .. order_id) end
      local mine = call('HGET', entity_key('billing', id), 'order_id') == order_id
      if not mine and call('SISMEMBER', unbilled_key, order_id) == 0 or (billed_by[order_id] or id) ~= id then
        return refused('billed', order_id)
      end
      billed_by[order_id] = id
    end
    if mode == 'S' then
      changes[at] = stock_change(g, at)
      local short = plan_shelves(changes[at])
      if short then return refused('stock', short) end
      -- It fails here, before anything was written, where the shelves' events cannot be appended.
      if #planned > 0 then call('XLEN', shelf_events_key) end
    end
  end

  -- Lists that are looked up by another entity's id follow the cache in the same step.
  local function index_before(topic, action, id)
    if topic == 'inventory' then
      local product_id = call('HGET', entity_key(topic, id), 'product_id')
      if product_id then call('LREM', shelf_key(product_id), 0, id) end
    elseif topic == 'billing' then
      local order_id = call('HGET', entity_key(topic, id), 'order_id')
      if order_id then
        call('HDEL', billed_key, order_id)
        if exists('order', order_id) then call('SADD', unbilled_key, order_id) end
      end
    elseif topic == 'order' and action == 'deleted' then
      call('SREM', unbilled_key, id)
    end
  end

  local function index_after(g, at, topic, action, id)
    if topic == 'inventory' then
      call('RPUSH', shelf_key(value_of(g, at, 'product_id')), id)
    elseif topic == 'billing' then
      local order_id = value_of(g, at, 'order_id')
      call('SREM', unbilled_key, order_id)
      call('HSET', billed_key, order_id, id)
    elseif topic == 'order' and action == 'created' and call('HEXISTS', billed_key, id) == 0 then
      call('SADD', unbilled_key, id)
    end
  end

  function R.project(g, at)
    local topic, action, id = g.topic, g.action, ARGV[at]
    if action == 'deleted' then
      index_before(topic, action, id)
      call('SREM', ids_key(topic), id)
      call('DEL', entity_key(topic, id))
      if topic == 'order' then call('DEL', items_key(id)) end
      call('HDEL', updates_key(topic), id)
      return
    end
    if action == 'created' then
      if call('SADD', ids_key(topic), id) == 0 then call('HINCRBY', updates_key(topic), id, 1) end
    else
      -- An update of what was deleted, or never was, changes nothing, here as in a replay.
      if not exists(topic, id) then return end
      call('HINCRBY', updates_key(topic), id, 1)
    end
    index_before(topic, action, id)
    call('HSET', entity_key(topic, id), unpack(named_values(g, at), 1, 2 * g.fields))
    if topic == 'order' then
      call('DEL', items_key(id))
      call('RPUSH', items_key(id), unpack(items_of(g, at)))
    end
    index_after(g, at, topic, action, id)
  end

  -- Takes an order out of the plan that was not appended.
  function R.forget(at)
    local change = {}
    for product_id, delta in pairs(changes[at] or {}) do change[product_id] = -delta end
    plan_shelves(change)
  end

  function R.write_shelves(add, main_event_id)
    for _, shelf in ipairs(planned) do
      -- A UUID that follows from the first event that is new here and the row: like no other, for that event is
      -- written once.
      local h = redis.sha1hex(main_event_id .. shelf.row)
      local event_id = string.format('%s-%s-5%s-a%s-%s', h:sub(1, 8), h:sub(9, 12), h:sub(14, 16), h:sub(18, 20),
                                     h:sub(21, 32))
      local amount = string.format('%.0f', shelf.amount)
      local id = add(shelf_events_key, event_id, '{"id":' .. cjson.encode(shelf.row) .. ',"product_id":' ..
                     cjson.encode(shelf.product_id) .. ',"amount":' .. amount .. '}')
      if type(id) == 'table' then error(id) end
      call('HSET', entity_key('inventory', shelf.row), 'amount', amount)
      call('HINCRBY', updates_key('inventory'), shelf.row, 1)
    end
  end

  return R
end

local R
if not plain then
  R = rules()
  local refusal = R.check_references()
  for i = 1, n_events do
    if refusal then return refusal end
    if not answer[i] then refusal = R.check(groups[i], starts[i]) end
  end
  if refusal then return refusal end
end

-- 3. Write ----------------------------------------------------------------------------------------------

local last_s, last_us = 0, 0
if last then
  local dash = last:find('-', 1, true)
  last_s, last_us = last:sub(1, dash - 1) + 0, last:sub(dash + 1) + 0
end

local prefix_s, prefix -- a number becomes a string slowly; the seconds of most IDs are those of the last one
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
  if last_s ~= prefix_s then prefix_s, prefix = last_s, last_s .. '-' end
  return prefix .. last_us
end

local function add(stream, event_id, json)
  local id = next_id()
  local added = try('XADD', stream, id, 'event_id', event_id, 'entity', json)
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
    added = try('XADD', stream, id, 'event_id', event_id, 'entity', json)
    if type(added) == 'table' then return added end
  end
  return id
end

local known, n_known, ids, n_ids, ids_topic = {}, 0, {}, 0, nil
local failed -- the first error, behind which nothing more is appended

local stream, stream_group
local n_tried = n_events
for i = 1, n_events do
  if not answer[i] then
    local g, at, event_id = groups[i], starts[i], event_ids[i]
    if g ~= stream_group then stream, stream_group = ns .. 'events:{' .. g.topic .. '}_' .. g.action, g end
    local id = add(stream, event_id, ARGV[at + 2])
    if type(id) == 'table' then
      if n_known == 0 then return id end
      failed, n_tried = id, i - 1
      break
    end
    answer[i] = id
    known[n_known + 1], known[n_known + 2] = event_id, id
    n_known = n_known + 2
    if g.mode ~= '0' then
      if R then
        local done, why = pcall(R.project, g, at)
        if not done then failed = why end
      else -- plain: a customer or a product that is created
        if g.topic ~= ids_topic or n_ids == 5000 then
          if n_ids > 0 then
            local added = try('SADD', ns .. '{' .. ids_topic .. '}_ids', unpack(ids, 1, n_ids))
            if type(added) == 'table' then failed = added end
          end
          n_ids, ids_topic = 0, g.topic
        end
        n_ids = n_ids + 1
        ids[n_ids] = ARGV[at]
        local added = try('HSET', ns .. '{' .. g.topic .. '}_entity:' .. ARGV[at],
                          unpack(named_values(g, at), 1, 2 * g.fields))
        if added ~= g.fields then -- all of its fields are new, unless it was there before
          if type(added) ~= 'table' then
            added = try('HINCRBY', ns .. '{' .. g.topic .. '}_updates', ARGV[at], 1)
          end
          if type(added) == 'table' then failed = added end
        end
      end
      if failed then
        n_tried = i
        break
      end
    end
  end
end
if n_ids > 0 then
  local added = try('SADD', ns .. '{' .. ids_topic .. '}_ids', unpack(ids, 1, n_ids))
  if type(added) == 'table' then failed = failed or added end
end
if R then
  for i = n_tried + 1, n_events do
    if not answer[i] then R.forget(starts[i]) end
  end
  local done, why = pcall(R.write_shelves, add, known[1])
  if not done then failed = failed or why end
end

if not since or now_s - since >= ARGV[2] + 0 then
  if since then
    call('UNLINK', before_key)
    call('RENAME', known_key, before_key)
  end
  -- A value of more than 64 bytes makes it a hash table at once. As a list, which a small Hash is at first, it
  -- would look through all its fields for each new one.
  call('HSET', known_key, SINCE, now[1] .. string.rep(' ', 65))
end
known[n_known + 1], known[n_known + 2] = LAST, string.format('%.0f-%.0f', last_s, last_us)
n_known = n_known + 2
for from = 1, n_known, 2000 do call('HSET', known_key, unpack(known, from, math.min(from + 1999, n_known))) end
if failed then return type(failed) == 'table' and failed or {err = 'ERR ' .. failed} end
for i, twin in pairs(twin_of) do answer[i] = answer[twin] end
return answer
