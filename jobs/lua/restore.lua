#!lua
-- RESTORE: cfg, ref, owner, created µs, expires µs ('' for a set), checkpoint key, field, value, …
local ref, owner, created, expires, key = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
if dead_and_buried(ref) then return { 'gone' } end
if redis.call('EXISTS', record(ref)) == 1 then return { 'exists' } end
for i = 7, #ARGV, 2 do set(ref, ARGV[i], ARGV[i + 1]) end
account(ref)
local job, set_id = split(ref)
if set_id then
  redis.call('ZADD', TAG .. ':sets:' .. job, created, set_id)
  redis.call('HSET', TAG .. ':pins:' .. job, set_id, key)
else
  redis.call('ZADD', TAG .. ':all', created, job)
  redis.call('ZADD', TAG .. ':own:' .. owner, created, job)
  redis.call('ZADD', TAG .. ':expiry', expires, job)
end
return { 'created' }
