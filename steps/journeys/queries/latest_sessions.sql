-- name: latest sessions
-- for: The list of the tenant's newest sessions, with who they were and their number of events.
-- example: [50]
SELECT s.tenant_id, s.id, u.username, s.platform, s.started_at, s.event_count
FROM sessions s JOIN users u ON u.id = s.user_id
ORDER BY s.started_at DESC
LIMIT $1::integer
