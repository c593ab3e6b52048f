-- The distinct repositories of a year's counted events; conditions as in seed_developers.sql.
SELECT DISTINCT repo_id
FROM github_events
WHERE type = 'PullRequestEvent' AND action IN ('opened', 'closed') AND event_year = ?
    AND actor_id IS NOT NULL AND repo_id IS NOT NULL AND pr_or_issue_id IS NOT NULL
ORDER BY repo_id
