-- name: hourly values
-- for: The detail of one metric: the number, mean and p95 of its values for each of its last hours.
-- example: ["crash", 6]
SELECT e.tenant_id, date_trunc('hour', e.time) AS hour, count(*) AS events, avg(e.value) AS mean,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY e.value) AS p95
FROM metric_events e
WHERE e.name = $1
    AND e.time > (SELECT max(newest.time) FROM metric_events newest WHERE newest.name = $1)
        - make_interval(hours => $2::integer)
GROUP BY e.tenant_id, hour
ORDER BY hour DESC
