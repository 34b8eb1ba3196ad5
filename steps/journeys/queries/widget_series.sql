-- name: widget series
-- for: The chart of one widget: its metric for each of thirty days, days without events included.
-- example: [1]
SELECT w.tenant_id, w.id, d.title AS dashboard, w.name, days.day, coalesce(r.events, 0) AS events,
    r.total / nullif(r.events, 0) AS mean
FROM widgets w
JOIN dashboards d ON d.id = w.dashboard_id
CROSS JOIN (SELECT current_date - back AS day FROM generate_series(0, 29) AS back) days
LEFT JOIN rollup r ON r.name = w.name AND r.day = days.day
WHERE w.id = $1::integer
ORDER BY days.day
