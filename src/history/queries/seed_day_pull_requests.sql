-- The pull requests of a day that goes on counting, by outcome: 1 opened, 2 merged, 3 closed, and whether a merged one's
-- size is known by any of its events. One that is closed and not known to be merged is closed.
SELECT
    CASE WHEN action = 'opened' THEN 1 WHEN pr_merged = true THEN 2 ELSE 3 END AS outcome,
    pr_or_issue_id,
    MAX(additions IS NOT NULL AND deletions IS NOT NULL) AS sized
FROM github_events
WHERE type = 'PullRequestEvent' AND action IN ('opened', 'closed') AND event_year = ? AND event_day = ?
    AND actor_id IS NOT NULL AND repo_id IS NOT NULL AND pr_or_issue_id IS NOT NULL
GROUP BY outcome, pr_or_issue_id
ORDER BY outcome, pr_or_issue_id
