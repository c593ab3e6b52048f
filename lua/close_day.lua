-- Closes a day: its sets go, its counters stay, and what comes late no longer counts for it.
--
-- KEYS  1 ph:epoch  2 ph:days  3 ph:closed:<D>  4 and more: the day's sets
-- ARGV  1 epoch  2 the day  3 the second since which no event may have been applied to it  4 now, Unix seconds
-- Reply 1 where it was closed, 0 where an event has been applied to it since
-- Error STALE where ph:epoch is another
local epoch, day, cutoff, now = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]

if redis.call('GET', KEYS[1]) ~= epoch then return redis.error_reply('STALE ph:epoch is not ' .. epoch) end
local touched = tonumber(redis.call('HGET', KEYS[2], day) or '')
if not touched or touched > cutoff then return 0 end

redis.call('SET', KEYS[3], now)
-- In the background: a day has hundreds of thousands of members.
for i = 4, #KEYS do redis.call('UNLINK', KEYS[i]) end
redis.call('HDEL', KEYS[2], day)
return 1
