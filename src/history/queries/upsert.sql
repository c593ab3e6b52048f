-- Writes rows; {rows} stands for as many (?, …) as there are rows.
-- The key identifies an event, so that one that comes again updates its row.
-- COALESCE: a value that this delivery does not know (NULL) must not overwrite one that an earlier one knew, such as
-- sizes and languages that only enrichment finds out.
-- VALUES(…) and not a row alias, which MariaDB does not know.
INSERT INTO github_events (
    id, type, created_at, repo_id, repo_name, actor_id, actor_login, org_id, org_login, language,
    additions, deletions, action, number, pr_or_issue_id, pr_merged, event_day, event_month, event_year
) VALUES {rows}
ON DUPLICATE KEY UPDATE
    type = COALESCE(VALUES(type), type),
    repo_id = COALESCE(VALUES(repo_id), repo_id),
    repo_name = COALESCE(VALUES(repo_name), repo_name),
    actor_id = COALESCE(VALUES(actor_id), actor_id),
    actor_login = COALESCE(VALUES(actor_login), actor_login),
    org_id = COALESCE(VALUES(org_id), org_id),
    org_login = COALESCE(VALUES(org_login), org_login),
    language = COALESCE(VALUES(language), language),
    additions = COALESCE(VALUES(additions), additions),
    deletions = COALESCE(VALUES(deletions), deletions),
    action = COALESCE(VALUES(action), action),
    number = COALESCE(VALUES(number), number),
    pr_or_issue_id = COALESCE(VALUES(pr_or_issue_id), pr_or_issue_id),
    pr_merged = COALESCE(VALUES(pr_merged), pr_merged)
