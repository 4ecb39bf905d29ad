#!lua flags=allow-oom
-- FINISH: cfg, ref, token, status, failure, metrics, result, warnings ('' = none).
local ref, token, status, failure, metrics, result, warnings =
  ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8]
if not holds(ref, token) then
  local state = redis.call('HMGET', record(ref), 'status', 'finished_token')
  -- The reply was lost and the same holder asks again.
  if state[2] == token and not dead_and_buried(ref) then
    if state[1] == status then return { 'ok' } end
    if state[1] == 'cancelled' then return { 'cancelled' } end
  end
  return { 'refused' }
end
local answer = 'ok'
if status == 'succeeded' and get(ref, 'cancel') == '1' then
  status, answer, result = 'cancelled', 'cancelled', ''
end
if warnings ~= '' then warn(ref, warnings) end
set(ref, 'finished_token', token, 'metrics', metrics)
stamp(ref)
if result ~= '' then
  local _, is_set = split(ref)
  local target = is_set and ref or carried_set(ref)
  if target then
    set(target, 'result', result, 'metrics', metrics)
    stamp(target)
    account(target)
  end
end
end_task(ref, status, failure)
return { answer }
