-- The lines of a year's merged pull requests: each once a day, and only where both numbers are known, as the state adds
-- them. MAX: any of the events of one day, which agree.
SELECT SUM(additions), SUM(deletions)
FROM (
    SELECT MAX(additions) AS additions, MAX(deletions) AS deletions
    FROM github_events
    WHERE type = 'PullRequestEvent' AND action = 'closed' AND pr_merged = true AND event_year = ?
        AND actor_id IS NOT NULL AND repo_id IS NOT NULL AND pr_or_issue_id IS NOT NULL
        AND additions IS NOT NULL AND deletions IS NOT NULL
    GROUP BY event_day, pr_or_issue_id
) AS sized
