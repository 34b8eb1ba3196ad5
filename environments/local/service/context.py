"""The settings and resources that all handlers of an instance share."""

from dataclasses import dataclass

from environments.local.service.broadcast import Broadcast
from environments.local.service.cache import Cache
from environments.local.service.config import Config
from environments.local.service.database import Pool
from environments.local.service.faults import Faults
from environments.local.service.telemetry import Telemetry
from environments.local.service.tokens import TenantKeys, Tokens
from environments.local.service.websocket import Connections


@dataclass(frozen=True, slots=True)
class Context:
    """The instance's settings and resources."""

    config: Config
    pool: Pool
    cache: Cache
    tokens: Tokens
    tenant_keys: TenantKeys
    telemetry: Telemetry
    faults: Faults
    connections: Connections
    broadcast: Broadcast

    @classmethod
    def make(cls, config: Config) -> "Context":
        """Create all resources without connecting them."""
        telemetry = Telemetry()
        pool = Pool(config.database, config.pool_size)
        cache = Cache(config.cache)
        tokens, keys = Tokens(config.secret), TenantKeys(config.secret)
        connections = Connections()
        broadcast = Broadcast(config.cache, keys, connections)
        for name, kind, owner, attribute in (
            ("db_pool_size", "gauge", pool, "size"),
            ("db_pool_used", "gauge", pool, "used"),
            ("db_pool_waiting", "gauge", pool, "waiting"),
            ("db_pool_acquired_total", "counter", pool, "acquired"),
            ("db_pool_acquired_without_waiting_total", "counter", pool, "unwaited"),
            ("db_pool_waited_total", "counter", pool, "waited"),
            ("cache_hits_total", "counter", cache, "hits"),
            ("cache_misses_total", "counter", cache, "misses"),
            ("ws_connections", "gauge", connections, "open"),
            ("ws_send_queue_bytes", "gauge", connections, "waiting"),
            ("ws_messages_sent_total", "counter", connections, "sent"),
            ("ws_bytes_sent_total", "counter", connections, "sent_bytes"),
            ("ws_cut_off_total", "counter", connections, "cut_off"),
            ("ws_resumes_total", "counter", broadcast, "resumes"),
            ("ws_resume_gaps_total", "counter", broadcast, "gaps"),
            ("ws_published_total", "counter", broadcast, "published"),
            ("ws_publish_failed_total", "counter", broadcast, "failed"),
        ):
            telemetry.watch(name, kind, owner, attribute)
        faults = Faults(pool, cache, telemetry, connections, broadcast, keys)
        return cls(config, pool, cache, tokens, keys, telemetry, faults, connections, broadcast)
