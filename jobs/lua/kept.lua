#!lua flags=allow-oom
-- KEPT: cfg, ref, version. The record of that version is in the object store.
local ref, version = ARGV[2], ARGV[3]
local now = get(ref, 'version')
if not now or now == version then redis.call('ZREM', UNKEPT, ref) end
return { 'ok' }
