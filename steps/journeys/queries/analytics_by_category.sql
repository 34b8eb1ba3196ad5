-- name: analytics by category
-- for: The analysis page: events and their mean of the last days by category of metric and by day.
-- example: [30]
SELECT r.tenant_id, coalesce(m.category, 'other') AS category, r.day,
    sum(r.events)::bigint AS events,
    sum(r.total) / nullif(sum(r.events), 0) AS mean
FROM rollup r LEFT JOIN metrics m ON m.name = r.name
WHERE r.day > current_date - $1::integer
GROUP BY r.tenant_id, 2, r.day
ORDER BY r.day DESC, events DESC
