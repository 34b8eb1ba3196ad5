"""PostgreSQL for load: the database's address, checked once, and the pool of a worker."""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import asyncpg

from loadkit.drivers.base import Meter
from loadkit.drivers.masking import Mask
from loadkit.drivers.network import kind_of
from loadkit.drivers.postgres.client import DbClient
from loadkit.drivers.postgres.outcomes import is_answer, is_lost
from loadkit.drivers.postgres.pool import Pool
from loadkit.drivers.postgres.session import Session
from loadkit.errors import ConfigurationError, UnreachableError
from loadkit.queries import Query, read_queries
from loadkit.recording.sql import POOL_IN_USE, POOL_SIZE, POOL_WAITING
from loadkit.target import Target

__all__ = ["PostgresDriver"]

_PATIENCE = 5.0
"""Seconds that the database has to accept a connection."""
_APPLICATION = "loadkit"
"""The application name. It identifies the suite's connections in the server's statistics."""


class PostgresDriver:
    """The target's database, with one pool for all users of a worker."""

    name: ClassVar[str] = "db"
    descriptors_per_user: ClassVar[int] = 1
    """A user takes at most one connection at a time."""

    def __init__(self, target: Target) -> None:
        if not target.database:
            raise ConfigurationError(
                'a journey uses "db", and the environment file names no database; '
                'expected such as [database] dsn = "env:STAGING_DATABASE"'
            )
        self._address = target.database
        self.mask = Mask.of(target)
        self._use = target.database_use
        self.queries: Mapping[str, Query] = read_queries(Path(self._use.queries)) if self._use.queries else {}
        self._adhoc: dict[str, Query] = {}
        self.retries = self._use.retries
        self.pool = Pool(self._connect_for_pool, self._use.pool)
        self._caches = self._use.statement_cache is not False

    async def open(self) -> None:
        """Connect once, and check that the role may run the named queries.

        Raises:
            UnreachableError: the database does not answer.
            ConfigurationError: it refuses the role, or the role may not run the queries or would
                not be subject to row-level security.

        """
        session: Session | None = None
        try:
            session = await self._connect(caches=False)
            await self._check(session)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, ValueError) as error:
            raise self._refusal(error) from None
        finally:
            if session is not None:
                session.terminate()

    def client(self, meter: Meter) -> DbClient:
        """Create the client of a new user; nothing is sent yet."""
        return DbClient(meter, self)

    def gauges(self) -> dict[str, float]:
        """The state of the pool."""
        return {
            POOL_SIZE: float(self.pool.size),
            POOL_IN_USE: float(self.pool.in_use),
            POOL_WAITING: float(self.pool.waiting),
        }

    async def close(self) -> None:
        """Close the pool."""
        await self.pool.close()

    def adhoc(self, sql: str) -> Query:
        """The query with this SQL text; cached, because journeys repeat their queries."""
        found = self._adhoc.get(sql)
        if found is None:
            found = self._adhoc[sql] = Query("", sql)
        return found

    def give_up_statements(self) -> None:
        """Keep no statement prepared from now on.

        A pooler gives each transaction another connection.
        """
        self._caches = False

    async def _connect_for_pool(self) -> Session:
        return await self._connect(caches=self._caches)

    async def _connect(self, *, caches: bool) -> Session:
        connection = await asyncpg.connect(
            self._address.reveal(),
            timeout=_PATIENCE,
            statement_cache_size=100 if caches else 0,
            server_settings={"application_name": _APPLICATION},
        )
        use = self._use
        limit = f"{use.statement_timeout * 1000:.0f}"
        session = Session(
            connection,
            caches=caches,
            settings=(("statement_timeout", limit),) if use.statement_timeout else (),
            tenant=use.tenant,
        )
        try:
            await session.open()
        except BaseException:
            session.terminate()
            raise
        return session

    async def _check(self, session: Session) -> None:
        """Check the role and the queries, and detect a connection pooler before the database."""
        facts = await session.ask(
            "SELECT pg_backend_pid() AS pid, current_user AS role, "
            "(SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user) AS bypasses"
        )
        if self._use.statement_cache is None and facts["pid"] != session.pid:
            self.give_up_statements()
        if self._use.tenant and facts["bypasses"]:
            raise ConfigurationError(
                f'the role "{facts["role"]}" of the database bypasses row-level security, so {self._use.tenant} '
                "would separate no tenants; expected the role of the service"
            )
        for query in self.queries.values():
            try:
                await session.explain(query.sql, query.example)
            except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                if is_lost(error):
                    raise
                why = (
                    f'the query "{query.name}" cannot run on {self._address}'
                    if is_answer(error)
                    else f'the example of the query "{query.name}" does not fit it'
                )
                raise ConfigurationError(f"{why}: {_sentence(error)}") from None

    def _refusal(self, error: BaseException) -> Exception:
        """Why the database cannot be used, in one line without the password."""
        where = f"the database {self._address}"
        if isinstance(error, UnreachableError | ConfigurationError):
            return error
        match error:
            case asyncpg.InvalidPasswordError() | asyncpg.InvalidAuthorizationSpecificationError():
                return ConfigurationError(f"{where} refuses the role or its password: {_sentence(error)}")
            case asyncpg.InvalidCatalogNameError():
                return ConfigurationError(f"{where} does not exist: {_sentence(error)}")
            case asyncpg.InsufficientPrivilegeError():
                return ConfigurationError(f"{where} does not let the role in: {_sentence(error)}")
            case asyncpg.PostgresError():
                return UnreachableError(f"{where} accepts no connection: {_sentence(error)}")
            case TimeoutError():
                return UnreachableError(f"{where} accepts no connection within {_PATIENCE:g} s")
            case OSError() | ssl.SSLError():
                return UnreachableError(f"{where} accepts no connection: {kind_of(error)}")
            case _:
                # Its text may repeat a part of the address.
                return ConfigurationError(
                    f"{where} cannot be used ({type(error).__name__}); "
                    'expected an address such as "postgresql://service:***@db.example.com:5432/metrics"'
                )


def _sentence(error: Any) -> str:
    """The first line of a server error, with its code."""
    text = " ".join(str(error).splitlines()[0].split()) if str(error) else type(error).__name__
    state = getattr(error, "sqlstate", "")
    return f"{text} ({state})" if state else text
