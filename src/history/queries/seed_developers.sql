-- The distinct people of a year's counted events: what a state's own set of them has to hold.
-- Rows without one of the three ids count nowhere, whoever loaded them.
-- Ordered, so that neighbours go to the same part of the state's set.
SELECT DISTINCT actor_id
FROM github_events
WHERE type = 'PullRequestEvent' AND action IN ('opened', 'closed') AND event_year = ?
    AND actor_id IS NOT NULL AND repo_id IS NOT NULL AND pr_or_issue_id IS NOT NULL
ORDER BY actor_id
