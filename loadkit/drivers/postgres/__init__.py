"""The PostgreSQL driver: asyncpg, with a pool whose waits are timed and a tenant for each query."""
