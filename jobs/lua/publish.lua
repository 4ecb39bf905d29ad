#!lua flags=allow-oom
-- PUBLISH a checkpoint: cfg, job, token, checkpoint, engine. Its object exists, its hash is known.
local job, token, checkpoint, engine = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if not holds(job, token) then return { 'refused' } end
local new = cjson.decode(checkpoint)
local state = redis.call('HMGET', record(job), 'checkpoint', 'previous', 'best_step')
local answer = { 'ok' }
if not (state[1] and cjson.decode(state[1]).key == new.key) then
  if state[1] then set(job, 'previous', state[1]) end
  if state[2] then
    local old = cjson.decode(state[2]).key
    local pinned = false
    for _, key in ipairs(redis.call('HVALS', TAG .. ':pins:' .. job)) do
      pinned = pinned or key == old
    end
    if not pinned then answer[2] = old end
  end
end
set(job, 'checkpoint', checkpoint, 'engine', engine)
stamp(job)
if new.final then set(job, 'trained', '1') end
-- Only progress beyond everything known forgives: falling back and failing again must end.
if new.step > tonumber(state[3] or '-1') then
  set(job, 'best_step', text(new.step), 'strikes', '0', 'losses', '0')
end
account(job)
touch(job)
emit(job, 'checkpoint', '{"step":' .. text(new.step) .. ',"final":' .. tostring(new.final) .. '}')
return answer
