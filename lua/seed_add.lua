-- Adds members from history to a year's or a day's sets, and renews the claim; with no sets it only does that.
--
-- KEYS  1 ph:epoch  2 ph:seed:<Y>, then for each set: its key
-- ARGV  1 epoch  2 the claim's token  3 until when the claim holds, Unix ms  4 a bitmap's last offset
--       then for each set: "set" or "bits", n, n members (of a bitmap: n offsets)
-- Reply 1
-- Error STALE where ph:epoch is another, SEEDING where the claim is another's, WRONGTYPE
local epoch, token, holds_until, last_bit = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

if redis.call('GET', KEYS[1]) ~= epoch then return redis.error_reply('STALE ph:epoch is not ' .. epoch) end
if redis.call('HGET', KEYS[2], 'token') ~= token then return redis.error_reply('SEEDING another process seeds') end
local sets, arg = {}, 4
for i = 3, #KEYS do
    local kind, count = ARGV[arg + 1], tonumber(ARGV[arg + 2])
    local size = redis.call(kind == 'set' and 'SCARD' or 'STRLEN', KEYS[i])
    sets[#sets + 1] = {key = KEYS[i], kind = kind, count = count, arg = arg + 2, size = size}
    arg = arg + 2 + count
end

redis.call('HSET', KEYS[2], 'until', holds_until)
for _, set in ipairs(sets) do
    if set.kind == 'set' then
        redis.call('SADD', set.key, unpack(ARGV, set.arg + 1, set.arg + set.count))
    else
        -- Made at its full size, as in apply.lua.
        if set.size == 0 then redis.call('SETBIT', set.key, last_bit, 0) end
        for j = 1, set.count do redis.call('SETBIT', set.key, ARGV[set.arg + j], 1) end
    end
end
return 1
