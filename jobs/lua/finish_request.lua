#!lua flags=allow-oom
-- FINISH-REQUEST: cfg, job. Stop training now and keep what is learned.
local job = ARGV[2]
if dead_and_buried(job) then return { 'gone' } end
local state = redis.call('HMGET', record(job), 'status', 'checkpoint', 'finish')
if not state[1] then return { 'unknown' } end
if TERMINAL[state[1]] then return { 'done' } end
if state[1] == 'cancelling' then return { 'cancelling' } end
if not state[2] then return { 'nothing_learned' } end
if state[3] ~= '1' then
  set(job, 'finish', '1')
  touch(job)
end
return { 'ok' }
