-- The service's queries: one function per endpoint, so one round trip per request. Each sets the
-- tenant first (for this transaction only), and row-level security then applies to the caller.
-- They are loaded at each start.

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
BEGIN
    PERFORM set_config('app.tenant', tenant::text, true);
    RETURN QUERY SELECT u.id, u.username, u.role, t.id, t.name
        FROM users u JOIN tenants t ON t.id = u.tenant_id WHERE u.id = account;
END $$;

-- The ids stored for the key: the given ones, or those of the first request with this key.
CREATE OR REPLACE FUNCTION api.claim_key(tenant integer, wanted text, given uuid[], run text)
RETURNS uuid[] LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO idempotency_keys (tenant_id, key, ids, run_id) VALUES (tenant, wanted, given, run) ON CONFLICT DO NOTHING;
    IF FOUND THEN
        RETURN given;
    END IF;
    RETURN (SELECT k.ids FROM idempotency_keys k WHERE k.key = wanted);
END $$;

CREATE OR REPLACE FUNCTION api.insert_events(
    tenant integer, run text, session uuid, ids uuid[], names text[], times timestamptz[], vals double precision[])
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO metric_events (id, tenant_id, session_id, name, value, time, run_id)
        SELECT e.id, tenant, session, e.name, e.value, e.time, run
        FROM unnest(ids, names, times, vals) AS e (id, name, time, value);
    INSERT INTO rollup_pending (tenant_id, day, name, events, total)
        SELECT tenant, (e.time AT TIME ZONE 'UTC')::date, e.name, count(*), sum(e.value)
        FROM unnest(names, times, vals) AS e (name, time, value) GROUP BY 2, 3;
END $$;

-- Null if the tenant has no such session.
CREATE OR REPLACE FUNCTION api.store_events(
    tenant integer, run text, idempotency_key text, session uuid,
    ids uuid[], names text[], times timestamptz[], vals double precision[])
RETURNS uuid[] LANGUAGE plpgsql AS $$
DECLARE
    stored uuid[] := ids;
BEGIN
    PERFORM set_config('app.tenant', tenant::text, true);
    IF session IS NOT NULL AND NOT EXISTS (SELECT FROM sessions s WHERE s.id = session) THEN
        RETURN NULL;
    END IF;
    IF idempotency_key IS NOT NULL THEN
        stored := api.claim_key(tenant, idempotency_key, ids, run);
    END IF;
    IF stored = ids THEN
        PERFORM api.insert_events(tenant, run, session, ids, names, times, vals);
    END IF;
    RETURN stored;
END $$;

-- The session's id, then its events' ids.
CREATE OR REPLACE FUNCTION api.store_session(
    tenant integer, run text, idempotency_key text, session uuid, account integer, platform text, started timestamptz,
    ids uuid[], names text[], times timestamptz[], vals double precision[])
RETURNS uuid[] LANGUAGE plpgsql AS $$
DECLARE
    stored uuid[] := session || ids;
BEGIN
    PERFORM set_config('app.tenant', tenant::text, true);
    IF idempotency_key IS NOT NULL THEN
        stored := api.claim_key(tenant, idempotency_key, session || ids, run);
    END IF;
    IF stored = session || ids THEN
        INSERT INTO sessions (id, tenant_id, user_id, platform, started_at, event_count, run_id)
            VALUES (session, tenant, account, platform, started, cardinality(ids), run);
        PERFORM api.insert_events(tenant, run, session, ids, names, times, vals);
    END IF;
    RETURN stored;
END $$;

-- A page of events, newest first; the cursor is the last row of the previous page. Two statements,
-- because each uses another index.
CREATE OR REPLACE FUNCTION api.events(
    tenant integer, since timestamptz, until timestamptz, wanted text, cursor_time timestamptz, cursor_id uuid, page integer)
RETURNS TABLE (id text, tenant_id integer, session_id text, name text, value double precision, "time" timestamptz)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('app.tenant', tenant::text, true);
    IF wanted IS NULL THEN
        RETURN QUERY SELECT e.id::text, e.tenant_id, e.session_id::text, e.name, e.value, e.time FROM metric_events e
            WHERE e.time >= since AND e.time < until AND e.time <= cursor_time AND (e.time, e.id) < (cursor_time, cursor_id)
            ORDER BY e.time DESC, e.id DESC LIMIT page;
    ELSE
        RETURN QUERY SELECT e.id::text, e.tenant_id, e.session_id::text, e.name, e.value, e.time FROM metric_events e
            WHERE e.name = wanted AND e.time >= since AND e.time < until
            AND e.time <= cursor_time AND (e.time, e.id) < (cursor_time, cursor_id)
            ORDER BY e.time DESC, e.id DESC LIMIT page;
    END IF;
END $$;

-- The tenant's overview: totals of thirty days, busiest metrics, latest sessions, dashboards.
CREATE OR REPLACE FUNCTION api.overview(tenant integer) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('app.tenant', tenant::text, true);
    RETURN (SELECT json_build_object(
        'tenant', (SELECT t.name FROM tenants t WHERE t.id = tenant),
        'events', (SELECT coalesce(sum(r.events), 0) FROM rollup r WHERE r.day > current_date - 30),
        'users', (SELECT count(*) FROM users),
        'top_metrics', (SELECT coalesce(json_agg(m), '[]') FROM (
            SELECT r.name, m.unit, sum(r.events) AS events, sum(r.total) / sum(r.events) AS mean
            FROM rollup r LEFT JOIN metrics m ON m.name = r.name WHERE r.day > current_date - 30
            GROUP BY r.name, m.unit HAVING sum(r.events) > 0 ORDER BY 3 DESC LIMIT 5) m),
        'latest_sessions', (SELECT coalesce(json_agg(s), '[]') FROM (
            SELECT s.id, u.username, s.platform, s.started_at, s.event_count AS events
            FROM sessions s JOIN users u ON u.id = s.user_id ORDER BY s.started_at DESC LIMIT 10) s),
        'dashboards', (SELECT coalesce(json_agg(d), '[]') FROM (
            SELECT d.id, d.title, json_agg(w.id ORDER BY w.id) AS widgets
            FROM dashboards d JOIN widgets w ON w.dashboard_id = d.id GROUP BY d.id, d.title ORDER BY d.id) d)));
END $$;

-- One widget with thirty days of its metric; null if the tenant has no such widget.
CREATE OR REPLACE FUNCTION api.widget(tenant integer, wanted integer) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('app.tenant', tenant::text, true);
    RETURN (SELECT json_build_object('id', w.id, 'dashboard', d.title, 'kind', w.kind, 'name', w.name, 'unit', m.unit,
        'series', (SELECT json_agg(s ORDER BY s.day) FROM (
            SELECT days.day, coalesce(r.events, 0) AS events, r.total / nullif(r.events, 0) AS mean
            FROM (SELECT current_date - back AS day FROM generate_series(0, 29) back) days
            LEFT JOIN rollup r ON r.name = w.name AND r.day = days.day) s))
        FROM widgets w JOIN dashboards d ON d.id = w.dashboard_id LEFT JOIN metrics m ON m.name = w.name
        WHERE w.id = wanted);
END $$;

-- Thirty days of events by name, category or day; or the latest 500 sessions by user or platform.
CREATE OR REPLACE FUNCTION api.analytics(tenant integer, dimension text)
RETURNS TABLE (key text, sessions bigint, events bigint, mean double precision) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('app.tenant', tenant::text, true);
    IF dimension IN ('user', 'platform') THEN
        RETURN QUERY SELECT CASE dimension WHEN 'user' THEN u.username ELSE s.platform END,
                count(*), sum(s.event_count)::bigint, avg(s.event_count)::double precision
            FROM (SELECT * FROM public.sessions ORDER BY started_at DESC LIMIT 500) s JOIN users u ON u.id = s.user_id
            GROUP BY 1 ORDER BY 3 DESC LIMIT 50;
    ELSE
        RETURN QUERY SELECT
                CASE dimension WHEN 'name' THEN r.name WHEN 'category' THEN coalesce(m.category, 'other') ELSE r.day::text END,
                NULL::bigint, sum(r.events)::bigint, sum(r.total) / nullif(sum(r.events), 0)
            FROM rollup r LEFT JOIN metrics m ON m.name = r.name WHERE r.day > current_date - 30
            GROUP BY 1 ORDER BY 3 DESC LIMIT 50;
    END IF;
END $$;

CREATE OR REPLACE FUNCTION api.list_tenants(tenant integer)
RETURNS TABLE (id integer, parent_id integer, name text, created_at timestamptz) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('app.tenant', tenant::text, true);
    RETURN QUERY SELECT t.id, t.parent_id, t.name, t.created_at FROM tenants t ORDER BY t.id DESC LIMIT 50;
END $$;

CREATE OR REPLACE FUNCTION api.create_tenant(tenant integer, run text, wanted text) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    created integer;
BEGIN
    PERFORM set_config('app.tenant', tenant::text, true);
    INSERT INTO tenants (parent_id, name, run_id) VALUES (tenant, wanted, run) RETURNING id INTO created;
    RETURN created;
END $$;

CREATE OR REPLACE FUNCTION api.list_users(tenant integer, after integer)
RETURNS TABLE (id integer, tenant_id integer, username text, role text, created_at timestamptz) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('app.tenant', tenant::text, true);
    RETURN QUERY SELECT u.id, u.tenant_id, u.username, u.role, u.created_at FROM users u
        WHERE u.id > after ORDER BY u.id LIMIT 50;
END $$;

CREATE OR REPLACE FUNCTION api.create_user(tenant integer, run text, wanted text, hash bytea, role text)
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    created integer;
BEGIN
    PERFORM set_config('app.tenant', tenant::text, true);
    INSERT INTO users (tenant_id, username, password_hash, role, run_id) VALUES (tenant, wanted, hash, role, run)
        RETURNING id INTO created;
    RETURN created;
END $$;

CREATE OR REPLACE FUNCTION api.usage(tenant integer) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('app.tenant', tenant::text, true);
    RETURN (SELECT json_build_object(
        'tenant', (SELECT t.name FROM tenants t WHERE t.id = tenant),
        'users', (SELECT count(*) FROM users),
        'dashboards', (SELECT count(*) FROM dashboards),
        'days', (SELECT coalesce(json_agg(d), '[]') FROM (
            SELECT r.day, sum(r.events) AS events, count(*) AS metrics FROM rollup r
            WHERE r.day > current_date - 30 GROUP BY r.day ORDER BY r.day) d)));
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
        SELECT m.tenant_id, m.day, m.name, sum(m.events), sum(m.total) FROM moved m GROUP BY 1, 2, 3
        ON CONFLICT (tenant_id, day, name) DO UPDATE
            SET events = rollup.events + excluded.events, total = rollup.total + excluded.total;
END $$;

-- Removes exactly the rows with a run's id, and subtracts its events from the rollup.
CREATE OR REPLACE FUNCTION remove_run(run text) RETURNS TABLE (relation text, removed bigint) LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY
        WITH gone AS (DELETE FROM metric_events e WHERE e.run_id = run RETURNING e.tenant_id, e.name, e.value, e.time),
        undone AS (
            INSERT INTO rollup_pending (tenant_id, day, name, events, total)
                SELECT g.tenant_id, (g.time AT TIME ZONE 'UTC')::date, g.name, -count(*), -sum(g.value)
                FROM gone g GROUP BY 1, 2, 3)
        SELECT 'metric_events', count(*) FROM gone;
    RETURN QUERY WITH gone AS (DELETE FROM sessions s WHERE s.run_id = run RETURNING 1) SELECT 'sessions', count(*) FROM gone;
    RETURN QUERY WITH gone AS (DELETE FROM idempotency_keys k WHERE k.run_id = run RETURNING 1)
        SELECT 'idempotency_keys', count(*) FROM gone;
    RETURN QUERY WITH gone AS (DELETE FROM users u WHERE u.run_id = run RETURNING 1) SELECT 'users', count(*) FROM gone;
    RETURN QUERY WITH gone AS (DELETE FROM tenants t WHERE t.run_id = run RETURNING 1) SELECT 'tenants', count(*) FROM gone;
END $$;
