-- Deletes what an earlier seed, or the counting before it, left of a year's sets and closed days.
--
-- KEYS  1 ph:epoch  2 ph:seed:<Y>  3 ph:days  4 and more: what is deleted
-- ARGV  1 epoch  2 the claim's token  3 until when the claim holds, Unix ms  4 and more: fields of ph:days
-- Reply 1
-- Error STALE where ph:epoch is another, SEEDING where the claim is another's, WRONGTYPE
local epoch, token, holds_until = ARGV[1], ARGV[2], ARGV[3]

if redis.call('GET', KEYS[1]) ~= epoch then return redis.error_reply('STALE ph:epoch is not ' .. epoch) end
if redis.call('HGET', KEYS[2], 'token') ~= token then return redis.error_reply('SEEDING another process seeds') end
redis.call('HLEN', KEYS[3])

redis.call('HSET', KEYS[2], 'until', holds_until)
-- In the background: a day has hundreds of thousands of members.
for i = 4, #KEYS do redis.call('UNLINK', KEYS[i]) end
for i = 4, #ARGV do redis.call('HDEL', KEYS[3], ARGV[i]) end
return 1
