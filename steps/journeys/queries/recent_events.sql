-- name: recent events
-- for: The newest events of one metric, a page of fifty.
-- example: ["page.view"]
SELECT e.tenant_id, e.id, e.session_id, e.name, e.value, e.time
FROM metric_events e
WHERE e.name = $1 AND e.time > now() - interval '30 days'
ORDER BY e.time DESC, e.id DESC
LIMIT 50
