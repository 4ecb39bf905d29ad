#!lua flags=allow-oom
-- SWEPT: cfg, ref. Its objects are gone for good; a set may be asked for again.
local ref = ARGV[2]
redis.call('ZREM', TAG .. ':sweep', ref)
local _, set_id = split(ref)
if set_id then redis.call('DEL', TAG .. ':tomb:' .. ref) end
return { 'ok' }
