#!lua flags=allow-oom
-- BEAT: cfg, ref, token, phase, progress, warnings, preview key, effective config ('' = none).
local ref, token, phase, progress, warnings, preview, config =
  ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8]
if not holds(ref, token) then return { 'refused', '0', '0' } end
redis.call('ZADD', LEASES, text(NOW + cfg.lease_us), ref)

local function report(target)
  if phase ~= '' and get(target, 'phase') ~= phase then
    set(target, 'phase', phase)
    redis.call('HDEL', record(target), 'progress')
    emit(target, 'phase', '{"phase":"' .. phase .. '"}')
  end
  if progress ~= '' then
    set(target, 'progress', progress)
    local shown = get(target, 'phase')
    shown = shown and '"' .. shown .. '"' or 'null'
    emit(target, 'progress', '{"phase":' .. shown .. ',"progress":' .. progress .. '}')
  end
  touch(target)
end

if phase ~= '' or progress ~= '' then
  report(ref)
  local carried = carried_set(ref)
  if carried then report(carried) end
end
if warnings ~= '' then warn(ref, warnings) end
if preview ~= '' then
  set(ref, 'preview_key', preview)
  emit(ref, 'preview', '{}')
end
if config ~= '' then set(ref, 'effective_config', config) end
if warnings ~= '' or preview ~= '' or config ~= '' then touch(ref) end
local flags = redis.call('HMGET', record(ref), 'cancel', 'finish')
return { 'ok', flags[1] or '0', flags[2] or '0' }
