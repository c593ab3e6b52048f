-- Claims the seed of a year from history, unless it has one, needs none, or another process is at it.
--
-- KEYS  1 ph:epoch  2 ph:seed:<Y>  3 ph:own:<Y>
-- ARGV  1 epoch  2 the claim's token  3 now, Unix ms  4 until when the claim holds, Unix ms  5 the epoch to take where the
--       year is to be seeded again, else empty: batches that were applied before are lost to their workers then
-- Reply 0 no seed is needed, 1 another process is at it, 2 claimed, 3 claimed, and an earlier seed may have left members
-- Error STALE where ph:epoch is another, WRONGTYPE
local epoch, token, now, holds_until, next_epoch = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]

if redis.call('GET', KEYS[1]) ~= epoch then return redis.error_reply('STALE ph:epoch is not ' .. epoch) end
local mark = redis.call('HMGET', KEYS[2], 'state', 'until')
local state, held_until = mark[1], tonumber(mark[2] or '0') or 0
local counted = redis.call('HLEN', KEYS[3]) > 0
if state == 'seeding' and held_until > now then return 1 end
if next_epoch == '' and (state == 'done' or (not state and counted)) then return 0 end

redis.call('HSET', KEYS[2], 'state', 'seeding', 'token', token, 'until', holds_until)
if next_epoch ~= '' then redis.call('SET', KEYS[1], next_epoch) end
return (state or counted) and 3 or 2
