#!lua flags=allow-oom
-- DELETE: cfg, ref. A tombstone refuses every later write; objects are swept by the caller.
local ref = ARGV[2]
if dead_and_buried(ref) then return { 'gone' } end
local job, set_id = split(ref)
local state = redis.call('HMGET', record(ref), 'status', 'made_by_job')
if not state[1] then return { 'unknown' } end
if set_id then
  if state[2] == '1' and not TERMINAL[state[1]] then return { 'made_by_job' } end
  local owner = get(ref, 'owner') or ''
  drop_set(job, set_id)
  bury(ref, owner)
else
  drop_job(job)
end
return { 'ok' }
