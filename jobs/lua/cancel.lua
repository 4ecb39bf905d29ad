#!lua flags=allow-oom
-- CANCEL: cfg, ref. Queued: at once. Running: a flag that the next beat, claim or reap sees.
local ref = ARGV[2]
if dead_and_buried(ref) then return { 'gone' } end
local state = redis.call('HMGET', record(ref), 'status', 'made_by_job')
if not state[1] then return { 'unknown' } end
if TERMINAL[state[1]] then return { 'done' } end
if state[2] == '1' then return { 'made_by_job' } end
set(ref, 'cancel', '1')
if state[1] == 'queued' then
  end_task(ref, 'cancelled', '')
  return { 'cancelled' }
end
if state[1] == 'running' then set_status(ref, 'cancelling') end
return { 'cancelling' }
