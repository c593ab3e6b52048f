SELECT
    COUNT(DISTINCT actor_id) AS developers,
    COUNT(DISTINCT repo_id) AS repos,
    COUNT(DISTINCT CASE WHEN action = 'closed' AND pr_merged = true THEN pr_or_issue_id END) AS merged_prs,
    COUNT(DISTINCT CASE WHEN action = 'opened' THEN pr_or_issue_id END) AS opened_prs,
    COUNT(DISTINCT CASE WHEN action = 'closed' AND pr_merged = false THEN pr_or_issue_id END) AS closed_prs,
    COALESCE(SUM(CASE WHEN action = 'closed' AND pr_merged = true THEN additions END), 0) AS additions,
    COALESCE(SUM(CASE WHEN action = 'closed' AND pr_merged = true THEN deletions END), 0) AS deletions
FROM github_events
WHERE type = 'PullRequestEvent' AND action IN ('opened', 'closed') AND created_at > '{from}'
