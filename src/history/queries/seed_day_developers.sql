-- The distinct people of a day that goes on counting; conditions as in seed_developers.sql. The year is named for its
-- index.
SELECT DISTINCT actor_id
FROM github_events
WHERE type = 'PullRequestEvent' AND action IN ('opened', 'closed') AND event_year = ? AND event_day = ?
    AND actor_id IS NOT NULL AND repo_id IS NOT NULL AND pr_or_issue_id IS NOT NULL
ORDER BY actor_id
