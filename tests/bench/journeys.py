"""What each user does in the benchmark: ask, read the JSON, check it."""

import orjson

from loadkit.journey import User, journey

STORE = "INSERT INTO sink (amount, note) VALUES ($1, 'a row of the benchmark')"


@journey("read")
async def read(user: User) -> None:
    """One request."""
    answer = await user.get("/")
    user.check(answer.json()["id"] == 17, "is seventeen")


@journey("fetch")
async def fetch(user: User, path: str) -> None:
    """One request for a path, whose rows are read."""
    answer = await user.get(path, label="GET /file")
    user.check(answer.json()["rows"][0]["id"] == 0, "begins with row 0")


@journey("follow", uses=("ws",))
async def follow(user: User) -> None:
    """Follow a stream of messages until the end: one connection."""
    ws = await user.ws.connect("/")
    ws.subscribe(_stream_of)
    await ws.hold()


def _stream_of(message: str | bytes) -> tuple[str, int, float]:
    """The stream of a message, its number in it and its creation time in Unix seconds."""
    event = orjson.loads(message)
    return event["stream"], event["sequence"], event["created"]


@journey("store", uses=("db",))
async def store(user: User) -> None:
    """Store one row, as pgbench does beside it."""
    await user.db.execute(STORE, user.random.randrange(100_000), label="store")
