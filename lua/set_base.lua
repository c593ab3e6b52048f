-- Sets what history says of a year, and publishes the larger of it and the state's own.
--
-- KEYS  1 ph:epoch  2 ph:own:<Y>  3 ph:base:<Y>  4 daily_open_<Y>  5 daily_merge_<Y>  6 daily_close_<Y>
--       7 daily_dev_<Y>  8 daily_year_<Y>  9 year_sum_<Y>, then for each day: ph:own:<D>, ph:base:<D>
-- ARGV  1 epoch  2 dev  3 repo  4 additions  5 deletions, then for each day: its name, open, merge, close, dev
-- Reply the number of days
-- Error STALE where ph:epoch is another, MALFORMED where a counter is no number, WRONGTYPE
local epoch, sums, first_key, first_arg = ARGV[1], {ARGV[2], ARGV[3], ARGV[4], ARGV[5]}, 10, 6

local function own(key, ...)
    local values = redis.call('HMGET', key, ...)
    for i = 1, #values do
        values[i] = tonumber(values[i] or '0')
        if not values[i] then error({err = 'MALFORMED ' .. key .. ' holds what is no number'}) end
    end
    return values
end

local function larger(value, base)
    return math.max(value, tonumber(base))
end

if redis.call('GET', KEYS[1]) ~= epoch then return redis.error_reply('STALE ph:epoch is not ' .. epoch) end
local year, days = own(KEYS[2], 'dev', 'repo', 'additions', 'deletions'), {}
redis.call('HLEN', KEYS[3])
for i = 4, 9 do redis.call('HLEN', KEYS[i]) end
for key = first_key, #KEYS, 2 do
    redis.call('HLEN', KEYS[key + 1])
    days[#days + 1] = own(KEYS[key], 'open', 'merge', 'close', 'dev')
end

redis.call('HSET', KEYS[3], 'dev', sums[1], 'repo', sums[2], 'additions', sums[3], 'deletions', sums[4])
redis.call('HSET', KEYS[9], 'dev', larger(year[1], sums[1]), 'repo', larger(year[2], sums[2]),
    'additions', larger(year[3], sums[3]), 'deletions', larger(year[4], sums[4]))
for i, day in ipairs(days) do
    local arg = first_arg + (i - 1) * 5
    local name, base = ARGV[arg], {ARGV[arg + 1], ARGV[arg + 2], ARGV[arg + 3], ARGV[arg + 4]}
    redis.call('HSET', KEYS[first_key + i * 2 - 1], 'open', base[1], 'merge', base[2], 'close', base[3], 'dev', base[4])
    local event = 0
    for field = 1, 4 do
        local published = larger(day[field], base[field])
        redis.call('HSET', KEYS[3 + field], name, published)
        if field < 4 then event = event + published end
    end
    redis.call('HSET', KEYS[8], name, event)
end
return #days
