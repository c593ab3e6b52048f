-- Applies a batch of events: sets, counters, remembered replies, language counts and claims change together or not at
-- all.
--
-- A failed script is not rolled back, so everything is read and checked before the first write. Every value is written
-- absolutely: a torn append-only file that is read twice must not add anything twice.
--
-- KEYS  1 ph:epoch  2 ph:seq  3 ph:days  4 l_<second>  5 ph:seconds
--       then for each set:    its key
--       then for each bit:    its bitmap's key
--       then for each day:    ph:own:<D>, ph:base:<D>, ph:closed:<D>
--       then for each year:   ph:own:<Y>, ph:base:<Y>, daily_open_<Y>, daily_merge_<Y>, daily_close_<Y>, daily_dev_<Y>,
--                             daily_year_<Y>, year_sum_<Y>, ph:seed:<Y>
--       then for each bucket: ph:reply:<n>
--       then for each claim:  ph:claim:<hash>
-- ARGV  1 epoch  2 now, Unix ms  3 seconds that replies are remembered  4 seconds that language counts are kept
--       5 to 10 the numbers of sets, bits, days, years, buckets, languages  11 events, one RECORD each
--       12 1 where a year without counts waits for its seed, else 0  13 one CLAIM for each event, or "" where none has one
--       then for each set:    n, n members
--       then for each bit:    its offset
--       then for each day:    its name, the index of its year
--       then for each year:   its name
--       then for each bucket: n, n fields
--       then the languages
--       Members are numbered from 1 over all sets and on over the bits, fields and languages over all buckets and
--       languages, each once.
-- Reply {seq, flags of the first event, flags of the second, …}: 1 pr, 2 open, 4 merge, 8 close, 16 devDay, 32 devYear,
--       64 repoYear, 128 the language is counted, 256 its day is closed, so that it counts late; of one that lost to
--       its twin 512 and nothing else
-- Error STALE where ph:epoch is another, UNSEEDED with the year whose seed is to be waited for, MALFORMED where a counter
--       is no number or a claim has another form, WRONGTYPE
local epoch, now, remember, keep = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local set_count, bit_count, day_count = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local year_count, bucket_count, language_count = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local records, seeds_required, claimed = ARGV[11], ARGV[12] == '1', ARGV[13]

-- outcome (1 opened, 2 merged, 3 closed, 4 reopened, 5 counts nowhere), whether the size is known, day, then the members of the outcome's
-- set, the day's developers, the year's developers, its repositories and the pending ones, reply, language (0 none),
-- additions, deletions
local RECORD = '>BBI4I4I4I4I4I4I4I4dd'
local OUTCOME_FLAG = {2, 4, 8}
-- which claim (0 none), seconds that twins may lie apart, the event: id and created_at
local CLAIM = '>I4I4c16'
local ANY_TIME = 4294967295
-- Who has a claim: the winner, the second in which it or its twin came first, whether there is a loser; the loser follows.
local HOLDER = '>c16I4B'
local MAX_HOLDERS = 8
local LOST = 512
local DAY_FIELDS = {'open', 'merge', 'close', 'dev'}
local YEAR_FIELDS = {'dev', 'repo', 'additions', 'deletions'}
-- Of a bitmap: they hold 2^16 - 64 ids each.
local LAST_BIT = 65471
-- Beyond this a double no longer holds every integer.
local LARGEST = 9007199254740992

local second = math.floor(now / 1000)

local function number(value, what)
    if not value then return 0 end
    local parsed = tonumber(value)
    if not parsed then error({err = 'MALFORMED ' .. what .. ' is no number'}) end
    return parsed
end

local function numbers(key, fields)
    local values = redis.call('HMGET', key, unpack(fields))
    for i = 1, #fields do values[i] = number(values[i], key .. ' ' .. fields[i]) end
    return values
end

local function add(counters, field, value)
    counters.own[field] = math.min(counters.own[field] + value, LARGEST)
    counters.changed = true
end

-- ---- Read and check everything --------------------------------------------------------------------------------------

if redis.call('GET', KEYS[1]) ~= epoch then return redis.error_reply('STALE ph:epoch is not ' .. epoch) end
local seq = math.max(number(redis.call('GET', KEYS[2]), KEYS[2]) + 1, now)

local key, arg = 5, 13
local sets, before, present = {}, {}, {}
for i = 1, set_count do
    key = key + 1
    local count, first = tonumber(ARGV[arg + 1]), #before
    local members = redis.call('SMISMEMBER', KEYS[key], unpack(ARGV, arg + 2, arg + 1 + count))
    for j = 1, count do before[first + j], present[first + j] = members[j], members[j] end
    sets[i] = {key = KEYS[key], first = first, count = count, arg = arg + 1}
    arg = arg + 1 + count
end

local bits = {first = #before, key = key, arg = arg}
for j = 1, bit_count do
    local bit = redis.call('GETBIT', KEYS[key + j], ARGV[arg + j])
    before[bits.first + j], present[bits.first + j] = bit, bit
end
key, arg = key + bit_count, arg + bit_count

local days, day_names = {}, {}
for i = 1, day_count do
    days[i] = {
        own_key = KEYS[key + 1],
        own = numbers(KEYS[key + 1], DAY_FIELDS),
        base = numbers(KEYS[key + 2], DAY_FIELDS),
        closed = redis.call('EXISTS', KEYS[key + 3]) == 1,
        name = ARGV[arg + 1],
        year = tonumber(ARGV[arg + 2]),
    }
    day_names[i] = ARGV[arg + 1]
    key, arg = key + 3, arg + 2
end
local touched = day_count > 0 and redis.call('HMGET', KEYS[3], unpack(day_names)) or {}
for i = 1, day_count do days[i].touched = number(touched[i], KEYS[3] .. ' ' .. day_names[i]) end

local years = {}
for i = 1, year_count do
    years[i] = {
        own_key = KEYS[key + 1],
        own = numbers(KEYS[key + 1], YEAR_FIELDS),
        base = numbers(KEYS[key + 2], YEAR_FIELDS),
        day_keys = {KEYS[key + 3], KEYS[key + 4], KEYS[key + 5], KEYS[key + 6]},
        event_key = KEYS[key + 7],
        sum_key = KEYS[key + 8],
    }
    -- Only their type matters: they are written, never read back.
    for j = 3, 8 do redis.call('HLEN', KEYS[key + j]) end
    local seed = redis.call('HGET', KEYS[key + 9], 'state')
    local waits = seed and seed ~= 'done'
    if not seed and seeds_required then waits = redis.call('EXISTS', KEYS[key + 1]) == 0 end
    if waits then return redis.error_reply('UNSEEDED ' .. ARGV[arg + 1]) end
    key, arg = key + 9, arg + 1
end

local buckets, remembered, replies = {}, {}, {}
local reply_count = 0
for i = 1, bucket_count do
    key = key + 1
    local count = tonumber(ARGV[arg + 1])
    local values = redis.call('HMGET', KEYS[key], unpack(ARGV, arg + 2, arg + 1 + count))
    for j = 1, count do
        local value = values[j] and number(values[j], KEYS[key])
        -- A clock that stepped back must not make a reply immortal, nor forget it.
        if value and second - math.floor(value / 256) >= remember then value = nil end
        remembered[reply_count + j], replies[reply_count + j] = value or false, value or false
    end
    buckets[i] = {key = KEYS[key], first = reply_count, count = count, arg = arg + 1}
    reply_count, arg = reply_count + count, arg + 1 + count
end

local languages, counted = {}, {}
if language_count > 0 then
    languages = redis.call('HMGET', KEYS[4], unpack(ARGV, arg + 1, arg + language_count))
    for i = 1, language_count do languages[i] = number(languages[i], KEYS[4]) end
    redis.call('ZCARD', KEYS[5])
end

local claims = {}
for i = key + 1, #KEYS do
    local holders = {key = KEYS[i]}
    local stored, place = redis.call('GET', KEYS[i]) or '', 1
    while place <= #stored do
        local holder, paired = {}, 0
        if place + 20 <= #stored then holder.winner, holder.since, paired, place = struct.unpack(HOLDER, stored, place) end
        if not holder.winner or paired > 1 or place + 16 * paired > #stored + 1 then
            error({err = 'MALFORMED ' .. KEYS[i] .. ' is no claim'})
        end
        if paired == 1 then holder.loser, place = string.sub(stored, place, place + 15), place + 16 end
        -- A clock that stepped back makes no claim older.
        if second - holder.since < remember then holders[#holders + 1] = holder end
    end
    claims[#claims + 1] = holders
end

-- ---- Decide ---------------------------------------------------------------------------------------------------------

local function insert(member)
    if present[member] == 1 then return false end
    present[member] = 1
    return true
end

local function is_of_webhook(event)
    return string.byte(event) > 127
end

local function created_at(event)
    return (struct.unpack('>i8', event, 9))
end

-- Whether an event has its claim: it had it before, or it comes before its twin.
local function wins(holders, within, event)
    local twin, apart
    for _, holder in ipairs(holders) do
        if holder.winner == event then return true end
        if holder.loser == event then return false end
    end
    for _, holder in ipairs(holders) do
        if not holder.loser and is_of_webhook(holder.winner) ~= is_of_webhook(event) then
            local distance = math.abs(created_at(holder.winner) - created_at(event))
            if (within == ANY_TIME or distance <= within) and (not twin or distance < apart) then
                twin, apart = holder, distance
            end
        end
    end
    holders.changed = true
    if twin then
        twin.loser, twin.since = event, second
        return false
    end
    if #holders == MAX_HOLDERS then
        local oldest = 1
        for i = 2, MAX_HOLDERS do
            if holders[i].since < holders[oldest].since then oldest = i end
        end
        table.remove(holders, oldest)
    end
    holders[#holders + 1] = {winner = event, since = second}
    return true
end

local claim_position = 1
-- Whether the next event lost to its twin.
local function loses()
    if claimed == '' then return false end
    local claim, within, event
    claim, within, event, claim_position = struct.unpack(CLAIM, claimed, claim_position)
    return claim > 0 and not wins(claims[claim], within, event)
end

local answer = {seq}
local position, index = 1, 1
while position <= #records do
    local outcome, sized, day, pull_request, day_dev, year_dev, year_repo, pending, reply, language, additions, deletions
    outcome, sized, day, pull_request, day_dev, year_dev, year_repo, pending, reply, language, additions, deletions, position =
        struct.unpack(RECORD, records, position)
    local flags, late, lost = 1, 0, loses()
    if outcome < 4 and not lost then
        day = days[day]
        local year = years[day.year]
        if day.closed then
            late = 256
        else
            day.touched_now = true
            local first = insert(pull_request)
            if first then
                flags = flags + OUTCOME_FLAG[outcome]
                add(day, outcome, 1)
            end
            if insert(day_dev) then
                flags = flags + 16
                add(day, 4, 1)
            end
            -- A merged pull request's size counts once: with its first event, or with the first that knows it.
            if outcome == 2 then
                if sized == 1 and (first or present[pending] == 1) then
                    add(year, 3, additions)
                    add(year, 4, deletions)
                    present[pending] = 0
                elseif sized == 0 and first then
                    present[pending] = 1
                end
            end
        end
        if insert(year_dev) then
            flags = flags + 32
            add(year, 1, 1)
        end
        if insert(year_repo) then
            flags = flags + 64
            add(year, 2, 1)
        end
    end
    index = index + 1
    if lost or outcome == 5 then
        answer[index] = lost and LOST or 0
    else
        local value = replies[reply]
        if value then late = 0 else value = second * 256 + flags end
        if language > 0 and value % 256 < 128 then
            value = value + 128
            languages[language] = languages[language] + 1
            counted[language] = true
        end
        replies[reply] = value
        answer[index] = value % 256 + late
    end
end

-- ---- Write. First what an exhausted memory refuses, so that nothing is written then ------------------------------------

redis.call('SET', KEYS[2], seq)

for _, set in ipairs(sets) do
    local added, removed = {}, {}
    for j = 1, set.count do
        local member = set.first + j
        if present[member] ~= before[member] then
            local list = present[member] == 1 and added or removed
            list[#list + 1] = ARGV[set.arg + j]
        end
    end
    if #added > 0 then redis.call('SADD', set.key, unpack(added)) end
    if #removed > 0 then redis.call('SREM', set.key, unpack(removed)) end
end

for j = 1, bit_count do
    if present[bits.first + j] ~= before[bits.first + j] then
        local bitmap = KEYS[bits.key + j]
        -- Made at its full size: one that grows with its highest bit is given up to twice the memory.
        if redis.call('STRLEN', bitmap) == 0 then redis.call('SETBIT', bitmap, LAST_BIT, 0) end
        redis.call('SETBIT', bitmap, ARGV[bits.arg + j], 1)
    end
end

for _, day in ipairs(days) do
    if day.changed then
        local own, event = day.own, 0
        redis.call('HSET', day.own_key, 'open', own[1], 'merge', own[2], 'close', own[3], 'dev', own[4])
        local year = years[day.year]
        for field = 1, 4 do
            local published = math.max(own[field], day.base[field])
            redis.call('HSET', year.day_keys[field], day.name, published)
            if field < 4 then event = event + published end
        end
        redis.call('HSET', year.event_key, day.name, event)
    end
    if day.touched_now and day.touched < second then redis.call('HSET', KEYS[3], day.name, second) end
end

for _, year in ipairs(years) do
    if year.changed then
        local own, base = year.own, year.base
        redis.call('HSET', year.own_key, 'dev', own[1], 'repo', own[2], 'additions', own[3], 'deletions', own[4])
        redis.call('HSET', year.sum_key, 'dev', math.max(own[1], base[1]), 'repo', math.max(own[2], base[2]),
            'additions', math.max(own[3], base[3]), 'deletions', math.max(own[4], base[4]))
    end
end

for _, bucket in ipairs(buckets) do
    local changes = {}
    for j = 1, bucket.count do
        local value = replies[bucket.first + j]
        if value ~= remembered[bucket.first + j] then
            changes[#changes + 1] = ARGV[bucket.arg + j]
            changes[#changes + 1] = value
        end
    end
    if #changes > 0 then
        redis.call('HSET', bucket.key, unpack(changes))
        redis.call('EXPIRE', bucket.key, remember)
    end
end

for _, holders in ipairs(claims) do
    if holders.changed then
        local stored = {}
        for i, holder in ipairs(holders) do
            stored[i] = struct.pack(HOLDER, holder.winner, holder.since, holder.loser and 1 or 0) .. (holder.loser or '')
        end
        redis.call('SET', holders.key, table.concat(stored), 'EX', remember)
    end
end

if next(counted) then
    for language in pairs(counted) do
        redis.call('HSET', KEYS[4], ARGV[arg + language], languages[language])
    end
    redis.call('EXPIRE', KEYS[4], keep)
    redis.call('ZADD', KEYS[5], second, second)
    redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', '(' .. second - keep)
end

return answer
