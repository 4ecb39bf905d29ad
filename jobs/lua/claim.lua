#!lua flags=allow-oom
-- CLAIM: cfg, kind, ref or '' (head of pending), nonce of this call.
local kind, wanted, nonce = ARGV[2], ARGV[3], ARGV[4]

local function take(ref)
  redis.call('ZREM', pending(ref), ref)
  redis.call('ZADD', LEASES, text(NOW + cfg.lease_us), ref)
  -- Above every token ever given, even after Valkey has lost its data and the fence with it.
  local token = text(math.max(tonumber(redis.call('GET', TAG .. ':fence') or '0') + 1, NOW))
  redis.call('SET', TAG .. ':fence', token)
  set(ref, 'token', token, 'claimant', nonce, 'lease_us', text(cfg.lease_us))
  redis.call('HSETNX', record(ref), 'started_us', text(NOW))
  redis.call('HDEL', record(ref), 'not_before_us')
  tally(ref, 'claimed')
  set_status(ref, 'running')
  return token
end

-- Whoever works on a task also goes by its job's record, and on a job by that of the set it carries.
local function is_known(ref)
  local carried = carried_set(ref)
  return schema(ref) <= cfg.schema and schema((split(ref))) <= cfg.schema
    and (not carried or schema(carried) <= cfg.schema)
end

local function consider(ref)
  if dead_and_buried(ref) then
    redis.call('ZREM', pending(ref), ref)
    return 'gone'
  end
  local state = redis.call('HMGET', record(ref), 'status', 'cancel', 'claimant', 'token', 'made_by_job')
  if not state[1] then
    redis.call('ZREM', pending(ref), ref)
    return 'unknown'
  end
  if TERMINAL[state[1]] then return 'done' end
  if state[5] == '1' then return 'held' end
  if state[1] ~= 'queued' then
    local lease = redis.call('ZSCORE', LEASES, ref)
    if lease and tonumber(lease) > NOW then
      -- The reply to this very call was lost and the client asks again.
      if state[3] == nonce and state[1] == 'running' then return 'claimed', state[4] end
      return 'held'
    end
    local answer = lose(ref, 'lease_over')
    if answer == 'failed' then return 'done' end
    if answer == 'cancelled' then return answer end
  end
  if tonumber(get(ref, 'not_before_us') or '0') > NOW then return 'early' end
  if not is_known(ref) then return 'newer' end
  return 'claimed', take(ref)
end

local answer, token = 'empty', nil
if wanted ~= '' then
  answer, token = consider(wanted)
else
  -- Every head that nobody can claim leaves the queue, so this moves on.
  for _ = 1, 10 do
    local head = redis.call('ZRANGEBYSCORE', TAG .. ':pending:' .. kind, '-inf', text(NOW), 'LIMIT', 0, 1)
    if not head[1] then break end
    wanted = head[1]
    answer, token = consider(wanted)
    if answer == 'claimed' or answer == 'early' or answer == 'newer' then break end
    redis.call('ZREM', pending(wanted), wanted)
    answer = 'empty'
  end
end
if answer ~= 'claimed' then return { answer, wanted } end
local job = split(wanted)
return { answer, wanted, token, redis.call('HGETALL', record(job)), redis.call('HGETALL', record(wanted)) }
