-- The service's queries: one function per endpoint, so one round trip per request. Each sets the
-- tenant first (for this transaction only), and row-level security then applies to the caller.
-- They are loaded at each start. Lists are returned as JSON, which the service passes on as it is.
--
-- Three habits keep them cheap. The tenant is set where variables are declared, because an
-- expression needs no executor. Functions that only read are STABLE, so they need no snapshots of
-- their own. JSON of many rows is joined by concat(), which looks up the output functions once;
-- json_build_object() and json_agg() do so for every value.

-- Every query has one good plan for all arguments; planning again costs more than running it.
ALTER ROLE metrics_service SET plan_cache_mode = force_generic_plan;

-- Before the log-in the tenant is unknown: the only query across tenants, by the unique user name.
CREATE OR REPLACE FUNCTION api.credentials(wanted text)
RETURNS TABLE (id integer, tenant_id integer, role text, password_hash bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT u.id, u.tenant_id, u.role, u.password_hash FROM users u WHERE u.username = wanted
$$;

CREATE OR REPLACE FUNCTION api.me(tenant integer, account integer)
RETURNS TABLE (id integer, username text, role text, tenant_id integer, tenant_name text)
LANGUAGE plpgsql AS $$
DECLARE
    own text := set_config('app.tenant', tenant::text, true);
BEGIN
    RETURN QUERY SELECT u.id, u.username, u.role, t.id, t.name
        FROM users u JOIN tenants t ON t.id = u.tenant_id WHERE u.id = account;
END $$;

-- The ids stored for the key: null for the given ones, else those of the first request with the key.
CREATE OR REPLACE FUNCTION api.claim_key(tenant integer, wanted text, given uuid[], run text)
RETURNS uuid[] LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO idempotency_keys (tenant_id, key, ids, run_id) VALUES (tenant, wanted, given, run) ON CONFLICT DO NOTHING;
    IF FOUND THEN
        RETURN NULL;
    END IF;
    RETURN (SELECT k.ids FROM idempotency_keys k WHERE k.key = wanted);
END $$;

-- Null if the tenant has no such session, no ids if the events were stored as given, else the ids
-- that the first request with the key stored. An event without a time happened at `moment`.
CREATE OR REPLACE FUNCTION api.store_events(
    tenant integer, run text, idempotency_key text, session uuid, moment timestamptz,
    ids uuid[], names text[], times timestamptz[], vals double precision[])
RETURNS uuid[] LANGUAGE plpgsql AS $$
DECLARE
    own text := set_config('app.tenant', tenant::text, true);
    stored uuid[];
BEGIN
    IF session IS NOT NULL AND NOT EXISTS (SELECT FROM sessions s WHERE s.id = session) THEN
        RETURN NULL;
    END IF;
    IF idempotency_key IS NOT NULL THEN
        stored := api.claim_key(tenant, idempotency_key, ids, run);
        IF stored IS NOT NULL THEN
            RETURN stored;
        END IF;
    END IF;
    INSERT INTO metric_events (id, tenant_id, session_id, name, value, time, run_id)
        SELECT e.id, tenant, session, e.name, e.value, coalesce(e.time, moment), run
        FROM unnest(ids, names, times, vals) AS e (id, name, time, value);
    INSERT INTO rollup_pending (tenant_id, moment, names, times, vals) VALUES (tenant, moment, names, times, vals);
    RETURN '{}';
END $$;

-- No ids if the session and its events were stored as given, else the ids that the first request
-- with the key stored: the session's, then its events'.
CREATE OR REPLACE FUNCTION api.store_session(
    tenant integer, run text, idempotency_key text, session uuid, account integer, platform text, started timestamptz,
    moment timestamptz, ids uuid[], names text[], times timestamptz[], vals double precision[])
RETURNS uuid[] LANGUAGE plpgsql AS $$
DECLARE
    own text := set_config('app.tenant', tenant::text, true);
    stored uuid[];
BEGIN
    IF idempotency_key IS NOT NULL THEN
        stored := api.claim_key(tenant, idempotency_key, session || ids, run);
        IF stored IS NOT NULL THEN
            RETURN stored;
        END IF;
    END IF;
    INSERT INTO sessions (id, tenant_id, user_id, platform, started_at, event_count, run_id)
        VALUES (session, tenant, account, platform, started, cardinality(ids), run);
    RETURN api.store_events(tenant, run, NULL, session, moment, ids, names, times, vals);
END $$;

-- `name` is the event's name in JSON.
CREATE OR REPLACE FUNCTION api.event_json(
    id uuid, tenant integer, session uuid, name text, value double precision, "time" timestamptz)
RETURNS text LANGUAGE sql STABLE RETURN concat(
    '{"id":"', id, '","tenant_key":', tenant,
    ',"session_id":', CASE WHEN session IS NULL THEN 'null' ELSE concat('"', session, '"') END,
    ',"name":', name, ',"value":', value, ',"time":', to_json("time"), '}');

-- A page of events, newest first; the cursor is the last row of the previous page. Two statements,
-- because each uses another index. The keys of tenants are secrets of the service: a row's
-- `tenant_key` is its tenant's id here, and the service replaces it. Where many rows share one key, it
-- is that of another tenant if any of the rows belongs to one, and otherwise that of `tenant`.
CREATE OR REPLACE FUNCTION api.events(
    tenant integer, since timestamptz, until timestamptz, wanted text, cursor_time timestamptz, cursor_id uuid, page integer)
RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    own text := set_config('app.tenant', tenant::text, true);
    quoted text := to_json(wanted);  -- once, and not for each row
BEGIN
    IF wanted IS NULL THEN
        RETURN (SELECT concat(
                '{"events":[', string_agg(api.event_json(e.id, e.tenant_id, e.session_id, to_json(e.name)::text, e.value, e.time), ','), '],"next":',
                CASE count(*) WHEN page THEN concat('"', extract(epoch FROM min(e.time)), '_', (array_agg(e.id))[page], '"')
                ELSE 'null' END, '}')
            FROM (SELECT * FROM metric_events e
                WHERE e.time >= since AND e.time < until AND e.time <= cursor_time AND (e.time, e.id) < (cursor_time, cursor_id)
                ORDER BY e.time DESC, e.id DESC LIMIT page) e);
    END IF;
    RETURN (SELECT concat(
            '{"events":[', string_agg(api.event_json(e.id, e.tenant_id, e.session_id, quoted, e.value, e.time), ','), '],"next":',
            CASE count(*) WHEN page THEN concat('"', extract(epoch FROM min(e.time)), '_', (array_agg(e.id))[page], '"')
            ELSE 'null' END, '}')
        FROM (SELECT * FROM metric_events e
            WHERE e.name = wanted AND e.time >= since AND e.time < until
            AND e.time <= cursor_time AND (e.time, e.id) < (cursor_time, cursor_id)
            ORDER BY e.time DESC, e.id DESC LIMIT page) e);
END $$;

-- The tenant's overview: totals of thirty days, busiest metrics, latest sessions, dashboards.
CREATE OR REPLACE FUNCTION api.overview(tenant integer) RETURNS json LANGUAGE plpgsql STABLE AS $$
DECLARE
    own text := set_config('app.tenant', tenant::text, true);
BEGIN
    RETURN (
        WITH sums AS (
            SELECT r.name, sum(r.events) AS events, sum(r.total) AS total, max(nullif(r.tenant_id, tenant)) AS other
            FROM rollup r WHERE r.day > current_date - 30 GROUP BY r.name),
        latest AS (
            SELECT s.id, u.username, s.platform, s.started_at, s.event_count AS events,
                coalesce(nullif(s.tenant_id, tenant), nullif(u.tenant_id, tenant)) AS other
            FROM sessions s JOIN users u ON u.id = s.user_id ORDER BY s.started_at DESC LIMIT 10),
        boards AS (
            SELECT d.id, d.title, json_agg(w.id ORDER BY w.id) AS widgets,
                max(coalesce(nullif(d.tenant_id, tenant), nullif(w.tenant_id, tenant))) AS other
            FROM dashboards d JOIN widgets w ON w.dashboard_id = d.id GROUP BY d.id, d.title ORDER BY d.id)
        SELECT concat(
            '{"tenant_key":', coalesce((SELECT max(other) FROM sums), a.other, (SELECT max(other) FROM latest),
                (SELECT max(other) FROM boards), tenant),
            ',"overview":', json_build_object(
                'tenant', (SELECT t.name FROM tenants t WHERE t.id = tenant),
                'events', (SELECT coalesce(sum(s.events), 0) FROM sums s),
                'users', a.users,
                'top_metrics', (SELECT coalesce(json_agg(m), '[]') FROM (
                    SELECT s.name, m.unit, s.events, s.total / s.events AS mean
                    FROM sums s LEFT JOIN metrics m ON m.name = s.name WHERE s.events > 0 ORDER BY 3 DESC LIMIT 5) m),
                'latest_sessions', (SELECT coalesce(json_agg(s), '[]') FROM (
                    SELECT id, username, platform, started_at, events FROM latest) s),
                'dashboards', (SELECT coalesce(json_agg(d), '[]') FROM (SELECT id, title, widgets FROM boards) d)),
            '}')::json
        FROM (SELECT count(*) AS users, max(nullif(u.tenant_id, tenant)) AS other FROM users u) a);
END $$;

-- One widget with thirty days of its metric; null if the tenant has no such widget.
CREATE OR REPLACE FUNCTION api.widget(tenant integer, wanted integer) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    own text := set_config('app.tenant', tenant::text, true);
BEGIN
    RETURN (SELECT concat(
            '{"tenant_key":', coalesce(nullif(w.tenant_id, tenant), nullif(d.tenant_id, tenant), s.other, tenant),
            ',"widget":{"id":', w.id, ',"dashboard":', to_json(d.title), ',"kind":', to_json(w.kind), ',"name":', to_json(w.name),
            ',"unit":', coalesce(to_json(m.unit)::text, 'null'), ',"series":[', s.points, ']}}')
        FROM widgets w JOIN dashboards d ON d.id = w.dashboard_id LEFT JOIN metrics m ON m.name = w.name,
        LATERAL (SELECT string_agg(concat(
                '{"day":"', p.day, '","events":', coalesce(p.events, 0),
                ',"mean":', coalesce((p.total / nullif(p.events, 0))::text, 'null'), '}'), ',') AS points,
                max(nullif(p.tenant_id, tenant)) AS other
            FROM (SELECT days.day, r.tenant_id, r.events, r.total
                FROM (SELECT current_date - back AS day FROM generate_series(29, 0, -1) back) days
                LEFT JOIN rollup r ON r.name = w.name AND r.day = days.day AND r.day > current_date - 30
                ORDER BY days.day) p) s
        WHERE w.id = wanted);
END $$;

CREATE OR REPLACE FUNCTION api.group_json(key text, sessions bigint, events numeric, mean double precision)
RETURNS text LANGUAGE sql STABLE RETURN concat(
    '{"key":', to_json(key), ',"sessions":', coalesce(sessions::text, 'null'),
    ',"events":', events, ',"mean":', coalesce(mean::text, 'null'), '}');

-- Thirty days of events by name, category or day; or the latest 500 sessions by user or platform.
CREATE OR REPLACE FUNCTION api.analytics(tenant integer, dimension text) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    own text := set_config('app.tenant', tenant::text, true);
    groups text;
    other integer;
BEGIN
    CASE dimension
    WHEN 'user' THEN
        SELECT string_agg(api.group_json(u.username, g.sessions, g.events, g.mean), ',' ORDER BY g.events DESC),
                max(coalesce(g.tenant_id, nullif(u.tenant_id, tenant))) INTO groups, other
            FROM (SELECT s.user_id, count(*) AS sessions, sum(s.event_count) AS events, avg(s.event_count) AS mean,
                    max(nullif(s.tenant_id, tenant)) AS tenant_id
                FROM (SELECT * FROM sessions ORDER BY started_at DESC LIMIT 500) s
                GROUP BY 1 ORDER BY 3 DESC LIMIT 50) g JOIN users u ON u.id = g.user_id;
    WHEN 'platform' THEN
        SELECT string_agg(api.group_json(g.platform, g.sessions, g.events, g.mean), ','), max(g.tenant_id) INTO groups, other
            FROM (SELECT s.platform, count(*) AS sessions, sum(s.event_count) AS events, avg(s.event_count) AS mean,
                    max(nullif(s.tenant_id, tenant)) AS tenant_id
                FROM (SELECT * FROM sessions ORDER BY started_at DESC LIMIT 500) s
                GROUP BY 1 ORDER BY 3 DESC LIMIT 50) g;
    WHEN 'day' THEN
        SELECT string_agg(api.group_json(g.day::text, NULL, g.events, g.mean), ','), max(g.tenant_id) INTO groups, other
            FROM (SELECT r.day, sum(r.events) AS events, sum(r.total) / nullif(sum(r.events), 0) AS mean,
                    max(nullif(r.tenant_id, tenant)) AS tenant_id
                FROM rollup r WHERE r.day > current_date - 30 GROUP BY 1 ORDER BY 2 DESC LIMIT 50) g;
    WHEN 'name' THEN
        SELECT string_agg(api.group_json(g.name, NULL, g.events, g.mean), ','), max(g.tenant_id) INTO groups, other
            FROM (SELECT r.name, sum(r.events) AS events, sum(r.total) / nullif(sum(r.events), 0) AS mean,
                    max(nullif(r.tenant_id, tenant)) AS tenant_id
                FROM rollup r WHERE r.day > current_date - 30 GROUP BY 1 ORDER BY 2 DESC LIMIT 50) g;
    ELSE
        SELECT string_agg(api.group_json(g.category, NULL, g.events, g.mean), ','), max(g.tenant_id) INTO groups, other
            FROM (SELECT coalesce(m.category, 'other') AS category, sum(r.events) AS events,
                    sum(r.total) / nullif(sum(r.events), 0) AS mean, max(nullif(r.tenant_id, tenant)) AS tenant_id
                FROM rollup r LEFT JOIN metrics m ON m.name = r.name WHERE r.day > current_date - 30
                GROUP BY 1 ORDER BY 2 DESC LIMIT 50) g;
    END CASE;
    RETURN concat('{"tenant_key":', coalesce(other, tenant), ',"group_by":"', dimension, '","groups":[', groups, ']}');
END $$;

-- The caller's tenant and the tenants it created, newest first. A tenant created by another carries
-- the other's key.
CREATE OR REPLACE FUNCTION api.list_tenants(tenant integer) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    own text := set_config('app.tenant', tenant::text, true);
BEGIN
    RETURN (SELECT concat('{"tenants":[', string_agg(concat(
            '{"id":', t.id, ',"tenant_key":', CASE t.id WHEN tenant THEN t.id ELSE t.parent_id END,
            ',"name":', to_json(t.name), ',"created_at":', to_json(t.created_at), '}'), ','), ']}')
        FROM (SELECT * FROM tenants ORDER BY id DESC LIMIT 50) t);
END $$;

CREATE OR REPLACE FUNCTION api.create_tenant(tenant integer, run text, wanted text) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    own text := set_config('app.tenant', tenant::text, true);
    created integer;
BEGIN
    INSERT INTO tenants (parent_id, name, run_id) VALUES (tenant, wanted, run) RETURNING id INTO created;
    RETURN created;
END $$;

CREATE OR REPLACE FUNCTION api.list_users(tenant integer, after integer) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    own text := set_config('app.tenant', tenant::text, true);
BEGIN
    RETURN (SELECT concat('{"users":[', string_agg(concat(
            '{"id":', u.id, ',"tenant_key":', u.tenant_id, ',"username":', to_json(u.username),
            ',"role":', to_json(u.role), ',"created_at":', to_json(u.created_at), '}'), ','),
            '],"next":', CASE count(*) WHEN 50 THEN max(u.id)::text ELSE 'null' END, '}')
        FROM (SELECT * FROM users WHERE id > after ORDER BY id LIMIT 50) u);
END $$;

CREATE OR REPLACE FUNCTION api.create_user(tenant integer, run text, wanted text, hash bytea, role text)
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    own text := set_config('app.tenant', tenant::text, true);
    created integer;
BEGIN
    INSERT INTO users (tenant_id, username, password_hash, role, run_id) VALUES (tenant, wanted, hash, role, run)
        RETURNING id INTO created;
    RETURN created;
END $$;

CREATE OR REPLACE FUNCTION api.usage(tenant integer) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    own text := set_config('app.tenant', tenant::text, true);
BEGIN
    RETURN (SELECT concat(
            '{"tenant_key":', coalesce(u.other, b.other, e.other, tenant),
            ',"usage":{"tenant":', (SELECT to_json(t.name) FROM tenants t WHERE t.id = tenant),
            ',"users":', u.users, ',"dashboards":', b.dashboards, ',"days":[', e.days, ']}}')
        FROM (SELECT count(*) AS users, max(nullif(tenant_id, tenant)) AS other FROM users) u,
            (SELECT count(*) AS dashboards, max(nullif(tenant_id, tenant)) AS other FROM dashboards) b,
            (SELECT string_agg(concat('{"day":"', d.day, '","events":', d.events, ',"metrics":', d.metrics, '}'), ',') AS days,
                max(d.other) AS other
            FROM (SELECT r.day, sum(r.events) AS events, count(*) AS metrics, max(nullif(r.tenant_id, tenant)) AS other
                FROM rollup r WHERE r.day > current_date - 30 GROUP BY r.day ORDER BY r.day) d) e);
END $$;

-- Adds rows written since the last call to the rollup. Every instance calls it; one at a time works.
CREATE OR REPLACE FUNCTION api.refresh_rollup() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('api.refresh_rollup')) THEN
        RETURN;
    END IF;
    WITH moved AS (DELETE FROM rollup_pending RETURNING *)
    INSERT INTO rollup (tenant_id, day, name, events, total)
        SELECT m.tenant_id, (coalesce(e.time, m.moment) AT TIME ZONE 'UTC')::date, e.name, count(*), sum(e.value)
        FROM moved m, unnest(m.names, m.times, m.vals) AS e (name, time, value) GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
        ON CONFLICT (tenant_id, name, day) DO UPDATE
            SET events = rollup.events + excluded.events, total = rollup.total + excluded.total;
END $$;

-- Locks what runs write until the end of the transaction. Only the tables that no fault of the database
-- holds open are locked, in the order of the writers.
CREATE OR REPLACE PROCEDURE lock_runs() LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('api.refresh_rollup'));
    LOCK TABLE idempotency_keys, metric_events, rollup_pending IN ACCESS EXCLUSIVE MODE;
END $$;

-- Removes all rows that runs wrote, and restores the sums of the seeded events. A client may state a time
-- in the past; has_past tells whether such rows exist. To delete them takes a second in ten million.
DROP FUNCTION IF EXISTS remove_runs();
CREATE OR REPLACE FUNCTION remove_runs(has_past boolean) RETURNS TABLE (relation text, removed bigint)
LANGUAGE plpgsql AS $$
DECLARE
    until timestamptz := (SELECT s.seeded_until FROM seeding s);
BEGIN
    CALL lock_runs();
    RETURN QUERY SELECT 'metric_events_runs', count(*) FROM metric_events_runs;
    CALL make_runs_partition(until);
    IF has_past THEN
        RETURN QUERY WITH gone AS (DELETE FROM metric_events e WHERE e.run_id IS NOT NULL RETURNING e.tableoid)
            SELECT g.tableoid::regclass::text, count(*) FROM gone g GROUP BY 1;
    END IF;
    RETURN QUERY SELECT 'idempotency_keys', count(*) FROM idempotency_keys;
    TRUNCATE idempotency_keys, rollup_pending;
    RETURN QUERY WITH gone AS (DELETE FROM sessions s WHERE s.run_id IS NOT NULL RETURNING 1) SELECT 'sessions', count(*) FROM gone;
    RETURN QUERY WITH gone AS (DELETE FROM users u WHERE u.run_id IS NOT NULL RETURNING 1) SELECT 'users', count(*) FROM gone;
    RETURN QUERY WITH gone AS (
            DELETE FROM widgets w USING tenants t WHERE t.id = w.tenant_id AND t.run_id IS NOT NULL RETURNING 1)
        SELECT 'widgets', count(*) FROM gone;
    RETURN QUERY WITH gone AS (
            DELETE FROM dashboards d USING tenants t WHERE t.id = d.tenant_id AND t.run_id IS NOT NULL RETURNING 1)
        SELECT 'dashboards', count(*) FROM gone;
    RETURN QUERY WITH gone AS (DELETE FROM tenants t WHERE t.run_id IS NOT NULL RETURNING 1) SELECT 'tenants', count(*) FROM gone;
    DELETE FROM rollup r WHERE NOT EXISTS (
        SELECT FROM rollup_seeded s WHERE (s.tenant_id, s.name, s.day) = (r.tenant_id, r.name, r.day));
    UPDATE rollup r SET events = s.events, total = s.total FROM rollup_seeded s
        WHERE (s.tenant_id, s.name, s.day) = (r.tenant_id, r.name, r.day) AND (s.events, s.total) <> (r.events, r.total);
END $$;

-- Removes exactly the rows with a run's id, and subtracts its events from the rollup.
CREATE OR REPLACE FUNCTION remove_run(run text) RETURNS TABLE (relation text, removed bigint) LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY
        WITH gone AS (DELETE FROM metric_events e WHERE e.run_id = run RETURNING e.tenant_id, e.name, e.value, e.time),
        undone AS (
            INSERT INTO rollup (tenant_id, day, name, events, total)
                SELECT g.tenant_id, (g.time AT TIME ZONE 'UTC')::date, g.name, -count(*), -sum(g.value)
                FROM gone g GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
                ON CONFLICT (tenant_id, name, day) DO UPDATE
                    SET events = rollup.events + excluded.events, total = rollup.total + excluded.total)
        SELECT 'metric_events', count(*) FROM gone;
    RETURN QUERY WITH gone AS (DELETE FROM sessions s WHERE s.run_id = run RETURNING 1) SELECT 'sessions', count(*) FROM gone;
    RETURN QUERY WITH gone AS (DELETE FROM idempotency_keys k WHERE k.run_id = run RETURNING 1)
        SELECT 'idempotency_keys', count(*) FROM gone;
    RETURN QUERY WITH gone AS (DELETE FROM users u WHERE u.run_id = run RETURNING 1) SELECT 'users', count(*) FROM gone;
    RETURN QUERY WITH gone AS (DELETE FROM tenants t WHERE t.run_id = run RETURNING 1) SELECT 'tenants', count(*) FROM gone;
END $$;
