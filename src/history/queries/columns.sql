-- What the table looks like: its columns, how many characters a text may have, so that a longer one is cut here
-- instead of being refused there (sql_mode is strict), and whether a column takes NULL.
-- DATABASE(): the one of tidb.db; a table of that name elsewhere is somebody else's.
SELECT LOWER(column_name), character_maximum_length, is_nullable = 'YES'
FROM information_schema.columns
WHERE table_schema = DATABASE() AND table_name = 'github_events'
