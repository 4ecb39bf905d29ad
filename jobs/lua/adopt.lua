#!lua flags=allow-oom
-- ADOPT: cfg, job, token, set, doc, checkpoint key. The job's own run makes its first set.
local job, token, set_id, doc, key = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
if not holds(job, token) then return { 'refused' } end
local ref = job .. '/' .. set_id
if dead_and_buried(ref) then return { 'gone' } end
local before = get(job, 'first_set')
if before and before ~= set_id then
  -- The final checkpoint was broken and training ended in another one: so did the set's id.
  if carried_set(job) then drop_set(job, before) end
end
local status = get(ref, 'status')
set(job, 'first_set', set_id)
if status and status ~= 'queued' and get(ref, 'made_by_job') ~= '1' then return { 'exists' } end
if not status then
  set(ref, 'doc', doc, 'owner', get(job, 'owner') or '', 'version', '0', 'strikes', '0',
    'losses', '0', 'warnings', '', 'created_us', text(NOW))
  tally(ref, 'created')
end
stamp(ref)
close(ref)
set(ref, 'made_by_job', '1')
redis.call('HSETNX', record(ref), 'started_us', text(NOW))
redis.call('HDEL', record(ref), 'not_before_us')
redis.call('ZADD', TAG .. ':sets:' .. job, get(ref, 'created_us'), set_id)
redis.call('HSET', TAG .. ':pins:' .. job, set_id, key)
set_status_of_one(ref, get(job, 'status'))
touch(job)
return { 'ok' }
