-- The table that workers write, where none is there yet. TiDB reads what is inside /*T! … */, MariaDB skips it.
-- CLUSTERED: rows are only ever found by their key, so the key's index may as well hold them.
-- No column but those that every event has is NOT NULL: GitHub leaves fields out without notice.
-- The index serves the backfill, which reads one type of one year; everything else is appended.
-- utf8mb4_bin: names that differ in case are different, and both engines know this collation.
CREATE TABLE IF NOT EXISTS github_events (
    id BIGINT NOT NULL,
    type VARCHAR(64) NOT NULL,
    created_at DATETIME NOT NULL,
    repo_id BIGINT NULL,
    repo_name VARCHAR(160) NULL,
    actor_id BIGINT NULL,
    actor_login VARCHAR(64) NULL,
    org_id BIGINT NULL,
    org_login VARCHAR(64) NULL,
    language VARCHAR(64) NULL,
    additions BIGINT NULL,
    deletions BIGINT NULL,
    action VARCHAR(32) NULL,
    number BIGINT NULL,
    pr_or_issue_id BIGINT NULL,
    pr_merged BOOLEAN NULL,
    event_day DATE NOT NULL,
    event_month DATE NOT NULL,
    event_year INT NOT NULL,
    PRIMARY KEY (id, created_at) /*T![clustered_index] CLUSTERED */,
    KEY index_year_type_action (event_year, type, action)
) DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin
