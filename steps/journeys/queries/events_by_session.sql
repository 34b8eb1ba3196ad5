-- name: events by session
-- for: What happened in the tenant's newest sessions: sessions, their users, events and metrics joined.
-- example: [5]
-- The end of a session's span is made below: made in the join, row-level security keeps it from the index.
SELECT s.tenant_id, s.id AS session_id, u.username, s.platform, e.name, m.unit,
    count(*) AS events, avg(e.value) AS mean, max(e.time) AS last
FROM (
    SELECT *, started_at + interval '15 minutes' AS until FROM sessions ORDER BY started_at DESC LIMIT $1::integer
) s
JOIN users u ON u.id = s.user_id
JOIN metric_events e ON e.session_id = s.id AND e.time >= s.started_at AND e.time < s.until
JOIN metrics m ON m.name = e.name
GROUP BY s.tenant_id, s.id, u.username, s.platform, e.name, m.unit
ORDER BY last DESC
