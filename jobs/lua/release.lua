#!lua flags=allow-oom
-- RELEASE: cfg, ref, token. The worker is told to stop; the task goes back to the queue.
local ref, token = ARGV[2], ARGV[3]
if not holds(ref, token) then return { 'refused' } end
return { lose(ref, 'released') }
