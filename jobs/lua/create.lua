#!lua
-- CREATE: cfg, job, owner, doc, warnings, idempotency digest or '', fingerprint, bytes of the
-- inputs, '1' if somebody wants to be told of its end. Nothing that clients wrote is decoded here:
-- what a decoder refuses would leave half a job.
-- Refused when memory is full (no allow-oom): nothing is accepted that can't be kept.
local job, owner, doc, warnings, digest, fingerprint, input_bytes, hook =
  ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]
if dead_and_buried(job) then return { 'gone', job } end
-- A client whose reply was lost sends the same id again.
if redis.call('EXISTS', record(job)) == 1 then return { 'created', job } end
local idem = TAG .. ':idem:' .. digest
if digest ~= '' then
  local known = redis.call('HMGET', idem, 'job', 'fingerprint')
  if known[1] then
    if known[2] ~= fingerprint then return { 'conflict', known[1] } end
    if dead_and_buried(known[1]) then return { 'gone', known[1] } end
    if redis.call('EXISTS', record(known[1])) == 1 then return { 'replayed', known[1] } end
  end
end
if redis.call('SCARD', TAG .. ':openjobs:' .. owner) >= cfg.max_jobs_per_key then
  return { 'too_many', '' }
end
-- Ended jobs take memory that belongs to all.
if owner ~= '' and redis.call('ZCARD', TAG .. ':own:' .. owner) >= cfg.max_kept_jobs_per_key then
  return { 'crowded', '' }
end
if not has_room(owner) then return { 'too_much', '' } end
local expires = text(NOW + cfg.retention_us)
set(job, 'doc', doc, 'owner', owner, 'status', 'queued', 'version', '1', 'strikes', '0',
  'losses', '0', 'schema', text(cfg.schema), 'warnings', '', 'created_us', text(NOW), 'updated_us', text(NOW),
  'expires_us', expires, 'input_bytes', input_bytes, 'hook', hook)
account(job)
redis.call('ZADD', TAG .. ':all', text(NOW), job)
redis.call('ZADD', TAG .. ':own:' .. owner, text(NOW), job)
redis.call('ZADD', TAG .. ':expiry', expires, job)
redis.call('SADD', TAG .. ':openjobs:' .. owner, job)
if digest ~= '' then
  redis.call('HSET', idem, 'job', job, 'fingerprint', fingerprint)
  redis.call('PEXPIRE', idem, cfg.idempotency_ms)
end
emit(job, 'status', '{"status":"queued"}')
warn(job, warnings)
tally(job, 'created')
enqueue(job, 0)
return { 'created', job }
