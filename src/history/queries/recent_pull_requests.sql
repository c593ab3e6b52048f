-- The latest pull requests that were opened, merged or closed, whole: what lacks an id counts nowhere.
-- COALESCE: one that is closed and not known to be merged is closed.
-- TIMESTAMPDIFF: seconds since 1970, whatever the session's time zone.
SELECT
    id, TIMESTAMPDIFF(SECOND, '1970-01-01 00:00:00', created_at), repo_id, repo_name, actor_id, actor_login,
    additions, deletions, action, pr_or_issue_id, COALESCE(pr_merged, false)
FROM github_events
WHERE type = 'PullRequestEvent' AND action IN ('opened', 'closed') AND event_year >= ? AND created_at > ?
    AND id IS NOT NULL AND actor_id IS NOT NULL AND repo_id IS NOT NULL AND pr_or_issue_id IS NOT NULL
ORDER BY created_at DESC
LIMIT ?
