#!lua flags=allow-oom
-- REAP: cfg, length of the Celery list of jobs, of sets. Bounded work, one process at a time.
local waiting = { job = tonumber(ARGV[2]), set = tonumber(ARGV[3]) }
local done = { busy = false, requeued = {}, failed = {}, cancelled = {}, expired = {}, unkept = {}, ring = {}, sweep = {} }
-- The lock ends by the clock: one from the future is left over from before it was set back.
local reaper = TAG .. ':reaper'
if not redis.call('SET', reaper, text(NOW), 'NX', 'PX', cfg.reap_lock_ms) then
  if tonumber(redis.call('GET', reaper) or '0') <= NOW then return '{"busy":true}' end
  redis.call('SET', reaper, text(NOW), 'PX', cfg.reap_lock_ms)
end
local function note(list, ref) done[list][#done[list] + 1] = ref end

-- A due time further ahead than it was ever set: the clock was set back since. It comes as late as it
-- was meant to from now on; what waited without a delay is due, in its order.
local function ahead(queue, limit)
  return redis.call('ZRANGEBYSCORE', queue, '(' .. text(limit), '+inf', 'LIMIT', 0, 100)
end
for _, ref in ipairs(ahead(LEASES, NOW + cfg.lease_us)) do
  local limit = NOW + tonumber(get(ref, 'lease_us') or cfg.lease_us)
  if tonumber(redis.call('ZSCORE', LEASES, ref)) > limit then
    redis.call('ZADD', LEASES, text(limit), ref)
  end
end
for _, kind in ipairs({ 'job', 'set' }) do
  local queue = TAG .. ':pending:' .. kind
  for place, ref in ipairs(ahead(queue, NOW)) do
    local delay = tonumber(get(ref, 'delay_us') or '0')
    if tonumber(redis.call('ZSCORE', queue, ref)) > NOW + delay then
      local due = text(delay > 0 and NOW + delay or NOW - 100 + place)
      redis.call('ZADD', queue, due, ref)
      if get(ref, 'status') then set(ref, 'not_before_us', due) end
    end
  end
end

for _, ref in ipairs(redis.call('ZRANGEBYSCORE', LEASES, '-inf', text(NOW), 'LIMIT', 0, 100)) do
  if dead_and_buried(ref) or not get(ref, 'status') then
    redis.call('ZREM', LEASES, ref)
  else
    note(lose(ref, 'lease_over'), ref)
  end
end

for kind, length in pairs(waiting) do
  local queue = TAG .. ':pending:' .. kind
  local room = redis.call('ZCOUNT', queue, '-inf', text(NOW)) - length
  if room > 0 then
    for _, ref in ipairs(redis.call('ZRANGEBYSCORE', queue, '-inf', text(NOW), 'LIMIT', 0, 100)) do
      if room < 1 or #done.ring >= 100 then break end
      local state = redis.call('HMGET', record(ref), 'status', 'rung_us')
      if not state[1] then
        redis.call('ZREM', queue, ref)
      elseif tonumber(state[2] or '0') <= NOW - cfg.ring_again_us then
        set(ref, 'rung_us', text(NOW))
        note('ring', ref)
        room = room - 1
      end
    end
  end
end

for _, job in ipairs(redis.call('ZRANGEBYSCORE', TAG .. ':expiry', '-inf', text(NOW), 'LIMIT', 0, 20)) do
  local status = get(job, 'status')
  if not status then
    redis.call('ZREM', TAG .. ':expiry', job)
  elseif TERMINAL[status] then
    drop_job(job)
    note('expired', job)
  else
    redis.call('ZADD', TAG .. ':expiry', text(NOW + 3600000000), job)
  end
end

for _, ref in ipairs(redis.call('ZRANGEBYSCORE', UNKEPT, '-inf', text(NOW), 'LIMIT', 0, 10)) do
  redis.call('ZADD', UNKEPT, text(NOW + KEEP_US), ref)
  if schema(ref) <= cfg.schema then note('unkept', ref) end
end

for _, ref in ipairs(redis.call('ZRANGEBYSCORE', TAG .. ':sweep', '-inf', text(NOW), 'LIMIT', 0, 20)) do
  note('sweep', ref)
end
return cjson.encode(done)
