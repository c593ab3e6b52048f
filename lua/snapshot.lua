-- Reads the published counters of a year together with the number of the last batch in them.
--
-- KEYS  1 ph:epoch  2 ph:seq  3 daily_open_<Y>  4 daily_merge_<Y>  5 daily_close_<Y>  6 daily_dev_<Y>  7 year_sum_<Y>
-- ARGV  1 epoch
-- Reply {seq or false, then the fields and values of the five hashes}
-- Error STALE where ph:epoch is another
local epoch = ARGV[1]

if redis.call('GET', KEYS[1]) ~= epoch then return redis.error_reply('STALE ph:epoch is not ' .. epoch) end
local reply = {redis.call('GET', KEYS[2])}
for i = 3, 7 do reply[i - 1] = redis.call('HGETALL', KEYS[i]) end
return reply
