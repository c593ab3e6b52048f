-- What every session starts with. UTC: days and years are UTC, wherever the server is. sql_mode stays as the server
-- has it, strict: a value that does not fit is an error and not another value.
SET time_zone = '+00:00'
