-- Gives a store its epoch where it has none, and takes over the hashes that a predecessor left in it: they are kept as
-- ph:old:<key>, and what they say of days before today becomes base.
--
-- Hashes beside ph:seq are pulsehub's own, whose epoch alone was deleted: they stay.
--
-- KEYS  1 ph:epoch  2 ph:seq, then for each year: daily_open_<Y>, daily_merge_<Y>, daily_close_<Y>, daily_dev_<Y>,
--       daily_year_<Y>, year_sum_<Y>, the six as ph:old:<key>, ph:base:<Y>, then for each of its days: ph:base:<D>
-- ARGV  1 the epoch to take where there is none  2 today, then for each year: n, n names of days
-- Reply {the epoch, the number of days taken over}
-- Error AGAIN where the predecessor wrote a day that is not named
local epoch, today = ARGV[1], ARGV[2]

local DAY_FIELDS = {'open', 'merge', 'close', 'dev'}

local known = redis.call('GET', KEYS[1])
if known then return {known, 0} end

local function integer(value)
    return value and string.find(value, '^%d+$') and tonumber(value) or 0
end

local function pairs_of(key)
    local flat, map = redis.call('HGETALL', key), {}
    for i = 1, #flat, 2 do map[flat[i]] = flat[i + 1] end
    return map
end

local years, days_taken = {}, 0
local key, arg = 2, 2
local ours = redis.call('EXISTS', KEYS[2]) == 1
while not ours and key < #KEYS do
    local count = tonumber(ARGV[arg + 1])
    local year = {first = key, base_keys = {}, days = {}, present = {}}
    for i = 1, count do year.base_keys[ARGV[arg + 1 + i]] = KEYS[key + 13 + i] end
    for i = 1, 6 do
        year.present[i] = redis.call('EXISTS', KEYS[key + i]) == 1
        local map = pairs_of(KEYS[key + i])
        if i == 6 then year.sums = map end
        if i <= 4 then
            for day, value in pairs(map) do
                if day < today then
                    if not year.base_keys[day] then return redis.error_reply('AGAIN ' .. day .. ' is new') end
                    year.days[day] = year.days[day] or {0, 0, 0, 0}
                    year.days[day][i] = integer(value)
                end
            end
        end
    end
    years[#years + 1] = year
    key, arg = key + 13 + count, arg + 1 + count
end

redis.call('SET', KEYS[1], epoch)
for _, year in ipairs(years) do
    local first = year.first
    for i = 1, 6 do
        if year.present[i] then redis.call('RENAME', KEYS[first + i], KEYS[first + 6 + i]) end
    end
    for day, values in pairs(year.days) do
        for i = 1, 4 do
            redis.call('HSET', year.base_keys[day], DAY_FIELDS[i], values[i])
            redis.call('HSET', KEYS[first + i], day, values[i])
        end
        redis.call('HSET', KEYS[first + 5], day, values[1] + values[2] + values[3])
        days_taken = days_taken + 1
    end
    for _, field in ipairs({'dev', 'repo', 'additions', 'deletions'}) do
        local value = integer(year.sums[field])
        redis.call('HSET', KEYS[first + 13], field, value)
        redis.call('HSET', KEYS[first + 6], field, value)
    end
end
return {epoch, days_taken}
