-- Writes something that changes nothing: once it is on the disk, everything applied before it is. WAITAOF follows.
--
-- KEYS  1 ph:epoch  2 ph:seq
-- ARGV  1 epoch
-- Reply OK
-- Error STALE where ph:epoch is another
local epoch = ARGV[1]

if redis.call('GET', KEYS[1]) ~= epoch then return redis.error_reply('STALE ph:epoch is not ' .. epoch) end
return redis.call('SET', KEYS[2], redis.call('GET', KEYS[2]) or '0')
