#!lua flags=allow-oom
-- HOOK TOLD: cfg, ref, µs until it is tried again ('' = never), warning line ('' = none).
local ref, delay, warning = ARGV[2], ARGV[3], ARGV[4]
if not get(ref, 'status') then return { 'unknown' } end
if delay == '' then
  redis.call('ZREM', HOOKS, ref)
else
  redis.call('ZADD', HOOKS, text(NOW + tonumber(delay)), ref)
end
if warning ~= '' then
  warn(ref, warning)
  touch(ref)
  redis.call('PEXPIRE', TAG .. ':ev:' .. ref, cfg.events_after_end_ms)
end
return { 'ok' }
