#!lua flags=allow-oom
-- HOOKS DUE: cfg, lease µs. Who has ended and wants it told; nobody else is given these meanwhile.
local again = NOW + tonumber(ARGV[2])
local due = {}
for _, ref in ipairs(redis.call('ZRANGEBYSCORE', HOOKS, '-inf', text(NOW), 'LIMIT', 0, 10)) do
  if get(ref, 'status') then
    redis.call('ZADD', HOOKS, text(again), ref)
    due[#due + 1] = { ref, text(redis.call('HINCRBY', record(ref), 'hook_tries', 1)) }
  else
    redis.call('ZREM', HOOKS, ref)
  end
end
return due
