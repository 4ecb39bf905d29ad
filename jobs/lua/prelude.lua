-- Shared by all scripts of the state machine; pasted in front of each.
-- KEYS[1] is the hash tag; ARGV[1] is the JSON of limits and times (µs). Only the server's clock
-- is ever read. A ref is '<job>' or '<job>/<set>'.
local TAG = KEYS[1]
local cfg = cjson.decode(ARGV[1])
local time = redis.call('TIME')
local NOW = tonumber(time[1]) * 1000000 + tonumber(time[2])
local TERMINAL = { succeeded = true, failed = true, cancelled = true }
local LEASES = TAG .. ':leases'
local HOOKS = TAG .. ':hooks'
local UNKEPT = TAG .. ':unkept'
local KEEP_US = 30000000

-- Microseconds need 16 digits; tostring() would round them.
local function text(number) return string.format('%.0f', number) end

local function split(ref)
  local job, set = string.match(ref, '^([^/]+)/?(.*)$')
  if set == '' then set = nil end
  return job, set
end

local function record(ref)
  local job, set = split(ref)
  if set then return TAG .. ':set:' .. job .. ':' .. set end
  return TAG .. ':job:' .. job
end

local function pending(ref)
  local _, set = split(ref)
  return TAG .. ':pending:' .. (set and 'set' or 'job')
end

local function get(ref, field) return redis.call('HGET', record(ref), field) end
local function set(ref, ...) redis.call('HSET', record(ref), ...) end

-- Who knows only an older schema leaves alone what was written in this one.
local function schema(ref) return tonumber(get(ref, 'schema') or '1') end
local function stamp(ref)
  if schema(ref) < cfg.schema then set(ref, 'schema', text(cfg.schema)) end
end

-- What has happened so often, for the metrics: only ever grows.
local function tally(ref, what)
  local _, is_set = split(ref)
  redis.call('HINCRBY', TAG .. ':tally', (is_set and 'set' or 'job') .. ':' .. what, 1)
end

local function dead_and_buried(ref)
  local job = split(ref)
  return redis.call('EXISTS', TAG .. ':tomb:' .. ref) == 1
    or redis.call('EXISTS', TAG .. ':tomb:' .. job) == 1
end

local function emit(ref, kind, data)
  redis.call('XADD', TAG .. ':ev:' .. ref, 'MAXLEN', '=', cfg.events_kept, '*',
    'type', kind, 'data', data)
end

local function touch(ref)
  redis.call('HINCRBY', record(ref), 'version', 1)
  set(ref, 'updated_us', text(NOW))
end

-- The set that a job's own run makes follows its job until one of them has ended.
local function carried_set(ref)
  local job, is_set = split(ref)
  if is_set then return nil end
  local first = get(ref, 'first_set')
  if not first then return nil end
  local carried = job .. '/' .. first
  local state = redis.call('HMGET', record(carried), 'status', 'made_by_job')
  if state[2] == '1' and not TERMINAL[state[1]] then return carried end
  return nil
end

local function set_status_of_one(ref, status)
  set(ref, 'status', status)
  if status ~= 'running' and status ~= 'cancelling' then redis.call('HDEL', record(ref), 'phase') end
  touch(ref)
  emit(ref, 'status', '{"status":"' .. status .. '"}')
end

local function set_status(ref, status)
  local carried = carried_set(ref)
  set_status_of_one(ref, status)
  if carried then set_status_of_one(carried, status) end
end

local function close(ref)
  local job, set_id = split(ref)
  local owner = get(ref, 'owner') or ''
  redis.call('ZREM', pending(ref), ref)
  redis.call('ZREM', LEASES, ref)
  if set_id then
    redis.call('SREM', TAG .. ':open:' .. job, ref)
    redis.call('SREM', TAG .. ':opensets:' .. owner, ref)
  else
    redis.call('SREM', TAG .. ':openjobs:' .. owner, ref)
  end
end

local function end_one(ref, status, failure)
  close(ref)
  set(ref, 'finished_us', text(NOW))
  redis.call('HDEL', record(ref), 'not_before_us')
  if failure ~= '' then set(ref, 'failure', failure) end
  tally(ref, 'ended:' .. status .. ':' .. (failure ~= '' and cjson.decode(failure).code or ''))
  set_status_of_one(ref, status)
  -- Whoever ends it keeps its record in the object store; who dies before is made up for by REAP.
  redis.call('ZADD', UNKEPT, text(NOW + KEEP_US), ref)
  local _, is_set = split(ref)
  if not is_set and get(ref, 'hook') == '1' then redis.call('ZADD', HOOKS, text(NOW), ref) end
  -- A later reader gets a 'reset' with the whole record instead.
  redis.call('PEXPIRE', TAG .. ':ev:' .. ref, cfg.events_after_end_ms)
end

local function end_task(ref, status, failure)
  local carried = carried_set(ref)
  end_one(ref, status, failure)
  if not carried then return end
  if status == 'succeeded' and not get(carried, 'result') then
    end_one(carried, 'failed',
      '{"code":"not_made","detail":"The job ended without making its first set.",' ..
      '"hint":"Ask for the set again."}')
  else
    end_one(carried, status, failure)
  end
end

local function give_up(ref, failure)
  redis.call('LPUSH', TAG .. ':dead', ref)
  end_task(ref, 'failed', failure)
end

local function enqueue(ref, delay)
  redis.call('ZREM', LEASES, ref)
  -- Without a delay a task keeps its place in the line.
  local score = delay > 0 and text(NOW + delay) or get(ref, 'created_us')
  redis.call('ZADD', pending(ref), score, ref)
  set(ref, 'not_before_us', text(NOW + delay), 'delay_us', text(delay), 'rung_us', '0')
end

local function backoff(base_count)
  if base_count < 1 then return 0 end
  return math.min(cfg.retry_base_us * 2 ^ (base_count - 1), cfg.retry_max_us)
end

-- The worker is gone ('lease_over') or going ('released'): nobody's fault, so the first is free.
local function lose(ref, cause)
  tally(ref, 'lost:' .. cause)
  if get(ref, 'cancel') == '1' then
    end_task(ref, 'cancelled', '')
    return 'cancelled'
  end
  local losses = redis.call('HINCRBY', record(ref), 'losses', 1)
  if losses >= cfg.max_losses then
    give_up(ref, '{"code":"worker_lost","detail":"The worker was lost ' .. losses ..
      ' times without progress.","hint":"See the workers\' logs; out of memory is likely."}')
    return 'failed'
  end
  enqueue(ref, backoff(losses - 1))
  set_status(ref, 'queued')
  return 'requeued'
end

local function holds(ref, token)
  if dead_and_buried(ref) then return false end
  local state = redis.call('HMGET', record(ref), 'status', 'token')
  return (state[1] == 'running' or state[1] == 'cancelling') and state[2] == token
end

-- Warnings are JSON lines: kept as they came, equal ones once.
local function warn(ref, lines)
  local known = get(ref, 'warnings') or ''
  for line in string.gmatch(lines, '[^\n]+') do
    if not string.find('\n' .. known .. '\n', '\n' .. line .. '\n', 1, true) then
      known = known == '' and line or known .. '\n' .. line
      emit(ref, 'warning', line)
    end
  end
  set(ref, 'warnings', known)
end

local function size_of(json) return json and cjson.decode(json).size_bytes or 0 end

-- What a task has stored counts for its owner: a job's inputs and newest two checkpoints, a set's
-- archive. Called whenever one of them changes.
local function account(ref)
  local state = redis.call('HMGET', record(ref), 'owner', 'bytes', 'input_bytes', 'checkpoint', 'previous', 'result')
  local bytes = tonumber(state[3] or '0') + size_of(state[4]) + size_of(state[5]) + size_of(state[6])
  set(ref, 'bytes', text(bytes))
  redis.call('HINCRBY', TAG .. ':bytes', state[1] or '', text(bytes - tonumber(state[2] or '0')))
end

local function forget_bytes(ref)
  local state = redis.call('HMGET', record(ref), 'owner', 'bytes')
  if not state[2] or state[2] == '0' then return end
  if redis.call('HINCRBY', TAG .. ':bytes', state[1], '-' .. state[2]) <= 0 then
    redis.call('HDEL', TAG .. ':bytes', state[1])
  end
end

-- Without keys there is one owner, the machine's, and its disk is the limit.
local function has_room(owner)
  local stored = tonumber(redis.call('HGET', TAG .. ':bytes', owner) or '0')
  return owner == '' or stored < cfg.max_bytes_per_key
end

local function drop_set(job, set_id)
  local ref = job .. '/' .. set_id
  close(ref)
  forget_bytes(ref)
  redis.call('DEL', record(ref), TAG .. ':ev:' .. ref)
  redis.call('ZREM', TAG .. ':sets:' .. job, set_id)
  redis.call('ZREM', UNKEPT, ref)
  redis.call('HDEL', TAG .. ':pins:' .. job, set_id)
end

-- The owner stays known, so that nobody else learns that there was a task.
local function bury(ref, owner)
  redis.call('SET', TAG .. ':tomb:' .. ref, owner, 'PX', cfg.tombstone_ms)
  redis.call('ZADD', TAG .. ':sweep', text(NOW + 2 * cfg.lease_us), ref)
end

local function drop_job(job)
  local owner = get(job, 'owner') or ''
  for _, set_id in ipairs(redis.call('ZRANGE', TAG .. ':sets:' .. job, 0, -1)) do
    drop_set(job, set_id)
  end
  close(job)
  forget_bytes(job)
  redis.call('DEL', record(job), TAG .. ':ev:' .. job, TAG .. ':sets:' .. job,
    TAG .. ':pins:' .. job, TAG .. ':open:' .. job)
  redis.call('ZREM', TAG .. ':all', job)
  redis.call('ZREM', TAG .. ':own:' .. owner, job)
  redis.call('ZREM', TAG .. ':expiry', job)
  redis.call('ZREM', HOOKS, job)
  redis.call('ZREM', UNKEPT, job)
  bury(job, owner)
end
