-- What the table looks like: its columns, and how many characters a text may have, so that a longer one is cut
-- here instead of being refused there (sql_mode is strict).
-- DATABASE(): the one of tidb.db; a table of that name elsewhere is somebody else's.
SELECT LOWER(column_name), character_maximum_length
FROM information_schema.columns
WHERE table_schema = DATABASE() AND table_name = 'github_events'
