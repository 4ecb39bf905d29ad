#!lua
-- CREATE of a sample set: cfg, job, set, owner, doc, checkpoint sha256, checkpoint key.
local job, set_id, owner, doc, sha256, key =
  ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local ref = job .. '/' .. set_id
if dead_and_buried(ref) then return { 'gone' } end
local state = redis.call('HMGET', record(job), 'status', 'trained', 'checkpoint')
if not state[1] then return { 'unknown' } end
local status = get(ref, 'status')
if status and status ~= 'failed' and status ~= 'cancelled' then return { 'exists' } end
if state[2] ~= '1' and not TERMINAL[state[1]] then return { 'not_trained' } end
if not state[3] then return { 'no_checkpoint' } end
if cjson.decode(state[3]).sha256 ~= sha256 then return { 'changed' } end
if redis.call('SCARD', TAG .. ':open:' .. job) >= cfg.max_sets_per_job
  or redis.call('SCARD', TAG .. ':opensets:' .. owner) >= cfg.max_sets_per_key then
  return { 'too_many' }
end
if not has_room(owner) then return { 'too_much' } end
local created = get(ref, 'created_us') or text(NOW)
local version = tonumber(get(ref, 'version') or '0')
forget_bytes(ref)
redis.call('DEL', record(ref))
redis.call('PERSIST', TAG .. ':ev:' .. ref)
set(ref, 'doc', doc, 'owner', owner, 'status', 'queued', 'version', text(version), 'strikes', '0',
  'losses', '0', 'schema', text(math.max(cfg.schema, schema(job))), 'warnings', '', 'created_us', created, 'updated_us', text(NOW))
redis.call('ZADD', TAG .. ':sets:' .. job, created, set_id)
redis.call('HSET', TAG .. ':pins:' .. job, set_id, key)
redis.call('SADD', TAG .. ':open:' .. job, ref)
redis.call('SADD', TAG .. ':opensets:' .. owner, ref)
tally(ref, 'created')
enqueue(ref, 0)
set_status(ref, 'queued')
return { status and 'restarted' or 'created' }
