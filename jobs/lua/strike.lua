#!lua flags=allow-oom
-- STRIKE: cfg, ref, token, failure. The child died, hung or exited non-zero.
local ref, token, failure = ARGV[2], ARGV[3], ARGV[4]
if not holds(ref, token) then return { 'refused' } end
if get(ref, 'cancel') == '1' then
  end_task(ref, 'cancelled', '')
  return { 'cancelled' }
end
tally(ref, 'struck:' .. cjson.decode(failure).code)
local strikes = redis.call('HINCRBY', record(ref), 'strikes', 1)
if strikes >= cfg.max_strikes then
  give_up(ref, failure)
  return { 'failed' }
end
enqueue(ref, backoff(strikes))
set_status(ref, 'queued')
return { 'requeued' }
