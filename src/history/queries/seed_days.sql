-- The counts of every day of a year; those that go on counting are left out by whoever reads them.
-- COALESCE: one that is closed and not known to be merged is closed.
SELECT
    event_day,
    COUNT(DISTINCT CASE WHEN action = 'opened' THEN pr_or_issue_id END) AS opened,
    COUNT(DISTINCT CASE WHEN action = 'closed' AND COALESCE(pr_merged, false) = true THEN pr_or_issue_id END) AS merged,
    COUNT(DISTINCT CASE WHEN action = 'closed' AND COALESCE(pr_merged, false) = false THEN pr_or_issue_id END) AS closed,
    COUNT(DISTINCT actor_id) AS developers
FROM github_events
WHERE type = 'PullRequestEvent' AND action IN ('opened', 'closed') AND event_year = ? AND event_day IS NOT NULL
    AND actor_id IS NOT NULL AND repo_id IS NOT NULL AND pr_or_issue_id IS NOT NULL
GROUP BY event_day
