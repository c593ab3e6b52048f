SELECT actor_id,
    (SELECT name.actor_login FROM github_events name WHERE name.actor_id = top.actor_id
        ORDER BY name.created_at DESC, name.id DESC LIMIT 1) AS actor_login,
    opened_prs + closed_prs + merged_prs AS total_pr_events,
    opened_prs, closed_prs, merged_prs
FROM (
    SELECT actor_id,
        COUNT(DISTINCT CASE WHEN action = 'opened' THEN pr_or_issue_id END) AS opened_prs,
        COUNT(DISTINCT CASE WHEN action = 'closed' AND pr_merged = false THEN pr_or_issue_id END) AS closed_prs,
        COUNT(DISTINCT CASE WHEN action = 'closed' AND pr_merged = true THEN pr_or_issue_id END) AS merged_prs
    FROM github_events
    WHERE type = 'PullRequestEvent' AND action IN ('opened', 'closed') AND created_at > '{from}'
        AND NOT {is_bot}
    GROUP BY actor_id
) top
ORDER BY total_pr_events DESC, actor_id
LIMIT 5
