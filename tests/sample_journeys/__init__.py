"""Journeys for tests of the engine."""

import asyncio
import contextlib
from types import SimpleNamespace

from loadkit.journey import User, journey
from loadkit.recording.timing import QUERY


@journey("two steps")
async def two_steps(user: User) -> None:
    answer = await user.get("/first/1")
    user.check(answer.json() == {}, "the first step is empty")
    await user.think()
    await user.post("/second", json={"user": user.number})


@journey("a failing check")
async def failing_check(user: User) -> None:
    await user.get("/checked")
    user.check(False, "it holds")
    await user.think()


@journey("late reading")
async def late_reading(user: User) -> None:
    answer = await user.get("/late")
    await user.think()
    answer.json()


@journey("a mistake")
async def mistake(user: User) -> None:
    await user.get("/before")
    raise TypeError("the author's")


@journey("a mistake at once")
async def mistake_at_once(user: User) -> None:
    raise KeyError("nothing")


@journey("a mistake of some")
async def mistake_of_some(user: User) -> None:
    await user.get("/before")
    if user.number % 10 == 3:
        raise TypeError("the author's")
    await user.think()


@journey("endless")
async def endless(user: User, text: str = "") -> None:
    while True:
        await user.get(f"/endless/{text}")


@journey("naming")
async def naming(user: User) -> None:
    await user.post(f"/names/{user.run_id}-{user.number}")


@journey("an expected refusal")
async def expected_refusal(user: User) -> None:
    await user.get("/refused", expect=(404,))
    await user.think()


@journey("unrecorded")
async def unrecorded(user: User) -> None:
    await user.get("/hidden", record=False)
    await user.get("/shown")


@journey("everything caught")
async def everything_caught(user: User) -> None:
    try:
        await user.get("/caught")
        await user.think()
    except Exception:
        await asyncio.sleep(0)


@journey("administer", role="admin")
async def administer(user: User) -> None:
    await user.get(f"/admin/{user.account.username}", label=f"as {user.account.role}")


@journey("through httpx")
async def through_httpx(user: User) -> None:
    if "client" not in user.state:
        user.use_httpx(follow_redirects=True)
        user.state["client"] = "httpx"
    await user.get("/through/1")
    await user.think()


class SpinsError(BaseException):
    """A journey without an operation ran too often. The engine counts no error that is no `Exception`."""


@journey("nothing")
async def nothing(user: User) -> None:
    user.state["runs"] = user.state.get("runs", 0) + 1
    if user.state["runs"] > 1000:
        raise SpinsError


@journey("now and then")
async def now_and_then(user: User) -> None:
    user.state["runs"] = user.state.get("runs", 0) + 1
    if user.state["runs"] % 50 == 0:
        await user.get("/seldom")


@journey("a slow query")
async def slow_query(user: User) -> None:
    with await user.meter.begin("all events", QUERY) as operation:
        await asyncio.sleep(1.0)
        operation.succeeded(user.meter.now())
    await user.think()


async def a_query(user: User) -> None:
    with await user.meter.begin("tenant overview", QUERY) as operation:
        await asyncio.sleep(0.01)
        operation.succeeded(user.meter.now())


@journey("a page and a query")
async def page_and_query(user: User) -> None:
    with user.workflow("visit") as workflow, workflow.step("look"):
        await user.get("/page")
        await a_query(user)


@journey("two pages")
async def two_pages(user: User) -> None:
    await user.get("/a")
    await user.think()
    await user.get("/b")


@journey("a page that is wrong")
async def wrong_page(user: User) -> None:
    await user.get("/page")
    raise AssertionError("it is wrong")


@journey("a page with a token that has expired at once")
async def page_with_a_short_token(user: User) -> None:
    async def renew() -> None:
        await user.post("/token", record=False)

    user.renew_after(0.0, renew)
    await user.get("/page")


@journey("a visit after an unrecorded log-in")
async def visit_logged_in(user: User) -> None:
    await user.post("/login", record=False)
    with user.workflow("visit") as workflow:
        with workflow.step("look"):
            await user.get("/page")
        with workflow.step("look around"):
            pass


@journey("a query and a page")
async def query_and_page(user: User) -> None:
    with user.workflow("visit") as workflow, workflow.step("look"):
        await a_query(user)
        await user.get("/page")


@journey("seldom a query")
async def seldom_a_query(user: User) -> None:
    if user.random.random() < 0.1:
        await a_query(user)
    await user.get("/page")


@journey("sharing")
async def sharing(user: User) -> None:
    await user.get(f"/group/{user.group}/{user.tenant}/{user.account.username}")
    await user.think()


@journey("telling")
async def telling(user: User) -> None:
    tell = user.state.get("tell")
    if tell is None and user.meter.is_recorded:
        tell = user.state["tell"] = user.shares_state("a document")
    try:
        await user.get("/document")
        await user.think()
    finally:
        if tell is not None and user.seconds_left <= user.meter.intended - user.meter.now():
            tell("digest")


@journey("announcing")
async def announcing(user: User) -> None:
    """Write, and receive each second write at once; the user is its own only follower."""
    subscription = user.state.get("subscription")
    if subscription is None:
        subscription = user.state["subscription"] = SimpleNamespace(is_ended=False)
        user.watches(subscription, "stream")
    number = user.state["number"] = user.state.get("number", 0) + 1
    try:
        await user.post("/write")
        user.acknowledged(number)
        if number % 2 == 0:
            user.reached(number, "stream")
        await user.think()
    finally:
        subscription.is_ended = user.seconds_left <= user.meter.intended - user.meter.now()


@journey("for each tenant")
async def for_each_tenant(user: User) -> None:
    for account in user.tenants:
        await user.get(f"/of/{account.tenant}", label="GET /of/{tenant}")
    await user.think()


@journey("gives up")
async def gives_up(user: User) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(2.0):
            await user.get("/slow")
    await user.get("/fast")


@journey("gives up at once")
async def gives_up_at_once(user: User) -> None:
    async with asyncio.timeout(2.0):
        await user.get("/slow")


@journey("with a token")
async def with_a_token(user: User) -> None:
    async def renew() -> None:
        await user.post("/token", record=False)

    if user.renewal is None:
        user.renew_after(100.0, renew)
    await user.get("/first")


@journey("shown alone")
async def shown_alone(user: User) -> None:
    await user.get("/shown")
