"""PgBouncer in transaction mode: many clients share few connections to PostgreSQL."""

import os

from environments.local import binaries, postgres
from environments.local.layout import Layout
from environments.local.process import Program, accepts, start_listening

# In this mode, the next transaction of a client may use another connection. Therefore clients use
# neither session settings nor prepared statements: asyncpg with statement_cache_size=0.
_CONFIGURATION = """\
[databases]
{database} = host=127.0.0.1 port={server}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = plain
auth_file = {users}
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 2000
ignore_startup_parameters = extra_float_digits
log_connections = 0
log_disconnections = 0
"""
_CONNECTIONS = 20
"""The maximum number of connections to PostgreSQL for each role."""


async def start(layout: Layout, program: binaries.Installed, server: int) -> tuple[Program, int]:
    """Start PgBouncer in front of the PostgreSQL on port `server`. Raises LocalError."""
    directory = layout.directory / "pgbouncer"
    directory.mkdir(exist_ok=True)
    configuration, users = directory / "pgbouncer.ini", directory / "users.txt"
    users.touch(mode=0o600)
    users.write_text(f'"{postgres.SERVICE_ROLE}" "{layout.secret()}"\n')

    def make(port: int) -> Program:
        configuration.write_text(
            _CONFIGURATION.format(
                database=postgres.DATABASE, server=server, port=port, users=users, size=_CONNECTIONS
            )
        )
        return Program(
            "pgbouncer",
            [str(program.file), str(configuration)],
            layout.logs / "pgbouncer.log",
            directory,
            environment=program.environment,
            ordinary=os.geteuid() == 0,
        )

    return await start_listening(make, accepts)
