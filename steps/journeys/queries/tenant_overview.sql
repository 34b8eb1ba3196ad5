-- name: tenant overview
-- for: The first page of a dashboard: thirty days of the tenant's busiest metrics, with their units.
-- example: []
SELECT r.tenant_id, r.name, m.category, m.unit,
    sum(r.events)::bigint AS events,
    sum(r.total) / nullif(sum(r.events), 0) AS mean,
    max(r.day) AS last_day
FROM rollup r LEFT JOIN metrics m ON m.name = r.name
WHERE r.day > current_date - 30
GROUP BY r.tenant_id, r.name, m.category, m.unit
ORDER BY events DESC
LIMIT 10
