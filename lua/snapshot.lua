-- Reads the published counters of a year together with the number of the last batch in them.
--
-- KEYS  1 ph:epoch  2 ph:seq  3 daily_open_<Y>  4 daily_merge_<Y>  5 daily_close_<Y>  6 daily_dev_<Y>  7 year_sum_<Y>
--       8 ph:seed:<Y>  9 ph:own:<Y>
-- ARGV  1 epoch
-- Reply {seq or false, then the fields and values of the five hashes, then how it stands with the seed (false or its
--       state) and 1 where the year has counts of its own}
-- Error STALE where ph:epoch is another
local epoch = ARGV[1]

if redis.call('GET', KEYS[1]) ~= epoch then return redis.error_reply('STALE ph:epoch is not ' .. epoch) end
local reply = {redis.call('GET', KEYS[2])}
for i = 3, 7 do reply[i - 1] = redis.call('HGETALL', KEYS[i]) end
reply[7] = redis.call('HGET', KEYS[8], 'state')
reply[8] = redis.call('EXISTS', KEYS[9])
return reply
