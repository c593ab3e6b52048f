-- Ends a seed: sets the year's own counts and publishes them. From here on the year's events are applied.
--
-- KEYS  1 ph:epoch  2 ph:seed:<Y>  3 ph:seq  4 ph:days  5 ph:own:<Y>  6 ph:base:<Y>  7 daily_open_<Y>  8 daily_merge_<Y>
--       9 daily_close_<Y>  10 daily_dev_<Y>  11 daily_year_<Y>  12 year_sum_<Y>
--       then for each day: ph:own:<D>, ph:base:<D>, ph:closed:<D>
-- ARGV  1 epoch  2 the claim's token  3 now, Unix seconds  4 dev  5 repo  6 additions  7 deletions
--       then for each day: its name, "open", "closed" or "gone" (it has no counts of its own), open, merge, close, dev
-- Reply the number of days
-- Error STALE where ph:epoch is another, SEEDING where the claim is another's, MALFORMED where a counter is no number,
--       WRONGTYPE
local epoch, token, now = ARGV[1], ARGV[2], ARGV[3]
local sums, first_key, first_arg = {ARGV[4], ARGV[5], ARGV[6], ARGV[7]}, 12, 7

local function base(key, ...)
    local values = redis.call('HMGET', key, ...)
    for i = 1, #values do
        values[i] = tonumber(values[i] or '0')
        if not values[i] then error({err = 'MALFORMED ' .. key .. ' holds what is no number'}) end
    end
    return values
end

if redis.call('GET', KEYS[1]) ~= epoch then return redis.error_reply('STALE ph:epoch is not ' .. epoch) end
if redis.call('HGET', KEYS[2], 'token') ~= token then return redis.error_reply('SEEDING another process seeds') end
local seq = redis.call('GET', KEYS[3])
for _, key in ipairs({4, 5, 7, 8, 9, 10, 11, 12}) do redis.call('HLEN', KEYS[key]) end
local year_base, days = base(KEYS[6], 'dev', 'repo', 'additions', 'deletions'), {}
local key, arg = first_key, first_arg
while key < #KEYS do
    redis.call('HLEN', KEYS[key + 1])
    redis.call('STRLEN', KEYS[key + 3])
    days[#days + 1] = {
        own_key = KEYS[key + 1],
        closed_key = KEYS[key + 3],
        base = base(KEYS[key + 2], 'open', 'merge', 'close', 'dev'),
        name = ARGV[arg + 1],
        kind = ARGV[arg + 2],
        own = {ARGV[arg + 3], ARGV[arg + 4], ARGV[arg + 5], ARGV[arg + 6]},
    }
    key, arg = key + 3, arg + 6
end

-- Beside ph:seq the published hashes are known as ours, whatever happens to ph:epoch.
if not seq then redis.call('SET', KEYS[3], '0') end
redis.call('HSET', KEYS[5], 'dev', sums[1], 'repo', sums[2], 'additions', sums[3], 'deletions', sums[4])
redis.call('HSET', KEYS[12], 'dev', math.max(sums[1], year_base[1]), 'repo', math.max(sums[2], year_base[2]),
    'additions', math.max(sums[3], year_base[3]), 'deletions', math.max(sums[4], year_base[4]))
for _, day in ipairs(days) do
    local own, event = day.own, 0
    if day.kind == 'gone' then
        redis.call('DEL', day.own_key, day.closed_key)
    else
        redis.call('HSET', day.own_key, 'open', own[1], 'merge', own[2], 'close', own[3], 'dev', own[4])
    end
    if day.kind == 'closed' then redis.call('SET', day.closed_key, now) end
    if day.kind == 'open' then
        redis.call('HSET', KEYS[4], day.name, now)
    else
        redis.call('HDEL', KEYS[4], day.name)
    end
    for field = 1, 4 do
        local published = math.max(own[field], day.base[field])
        redis.call('HSET', KEYS[6 + field], day.name, published)
        if field < 4 then event = event + published end
    end
    redis.call('HSET', KEYS[11], day.name, event)
end
redis.call('HSET', KEYS[2], 'state', 'done')
redis.call('HDEL', KEYS[2], 'token', 'until')
return #days
