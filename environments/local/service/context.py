"""The settings and resources that all handlers of an instance share."""

from dataclasses import dataclass

from environments.local.service.cache import Cache
from environments.local.service.config import Config
from environments.local.service.database import Pool
from environments.local.service.faults import Faults
from environments.local.service.telemetry import Telemetry
from environments.local.service.tokens import TenantKeys, Tokens


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

    @classmethod
    def make(cls, config: Config) -> "Context":
        """Create all resources without connecting them."""
        telemetry = Telemetry()
        pool = Pool(config.database, config.pool_size)
        cache = Cache(config.cache)
        for name, kind, owner, attribute in (
            ("db_pool_size", "gauge", pool, "size"),
            ("db_pool_used", "gauge", pool, "used"),
            ("db_pool_waiting", "gauge", pool, "waiting"),
            ("db_pool_acquire_total", "counter", pool, "acquired"),
            ("db_pool_acquire_waited_total", "counter", pool, "waited"),
            ("cache_hits_total", "counter", cache, "hits"),
            ("cache_misses_total", "counter", cache, "misses"),
        ):
            telemetry.watch(name, kind, owner, attribute)
        tokens, keys = Tokens(config.secret), TenantKeys(config.secret)
        return cls(config, pool, cache, tokens, keys, telemetry, Faults(pool, cache, telemetry))
