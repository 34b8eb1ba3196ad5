"""What users do: journeys, written as coroutines, and how they are found.

A journey is a coroutine function that gets a user::

    @journey("ingest events")
    async def ingest(user: User) -> None:
        answer = await user.post("/api/v1/metrics/events", json=batch())
        user.check(answer.json()["stored"] == 20, "all events are stored")
        await user.think()
"""

import importlib
import pkgutil
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from loadkit.errors import ConfigurationError
from loadkit.users.user import NoResponse, User

__all__ = ["Arrive", "Journey", "NoResponse", "User", "arrival_of", "fetch", "find", "journey", "resolve"]

Arrive = Callable[[User], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Journey:
    """Something that users do, over and over."""

    title: str
    """As sentences name it: "ingest events"."""
    function: Callable[..., Awaitable[None]]
    """Called with the user and the arguments of the mix."""
    role: str = ""
    """Which role its user's account must have; "" for any."""

    def __call__(self, user: User, **arguments: str) -> Awaitable[None]:
        """Go through it once: a journey can be part of another."""
        return self.function(user, **arguments)

    @property
    def path(self) -> str:
        """Its place, ``module:function``, as plans carry it."""
        return f"{self.function.__module__}:{self.function.__name__}"


def journey(title: str, role: str = "") -> Callable[[Callable[..., Awaitable[None]]], Journey]:
    """Make a coroutine function a journey of that title."""
    return lambda function: Journey(title, function, role)


def find(package: str, root: Path) -> dict[str, str]:
    """The journeys of a package and the modules in it: title to ``module:function``.

    Raises:
        ConfigurationError: a module cannot be imported, or two journeys have one title.

    """
    module = _imported(package, root)
    names = [package]
    names += sorted(
        f"{package}.{info.name}" for info in pkgutil.iter_modules(getattr(module, "__path__", ()))
    )
    found: dict[str, str] = {}
    for name in names:
        for value in vars(_imported(name, root)).values():
            if not isinstance(value, Journey) or value.function.__module__ != name:
                continue
            if found.setdefault(value.title, value.path) != value.path:
                raise ConfigurationError(
                    f'two journeys are called "{value.title}": {found[value.title]} and {value.path}'
                )
    return found


def resolve(path: str, root: Path) -> Journey:
    """The journey at ``module:function``.

    Raises:
        ConfigurationError: there is none.

    """
    module, _, name = path.partition(":")
    found = getattr(_imported(module, root), name, None)
    if not isinstance(found, Journey):
        raise ConfigurationError(
            f'no journey at "{path}": expected module:function with @journey("…") above the function'
        )
    return found


def arrival_of(package: str, root: Path) -> Arrive | None:
    """The package's ``async def arrive(user)``; None where it has none.

    Raises:
        ConfigurationError: the package cannot be imported.

    """
    return getattr(_imported(package, root), "arrive", None) if package else None


def _imported(module: str, root: Path) -> ModuleType:
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    try:
        return importlib.import_module(module)
    except Exception as error:
        raise ConfigurationError(
            f"cannot import the journeys in {module}: {type(error).__name__}: {error}"
        ) from None


@journey("fetch")
async def fetch(user: User, method: str = "GET", path: str = "/", body: str = "", **headers: Any) -> None:
    """One request to one path, which is its own label: what ``loadkit run URL`` does."""
    content = body.encode() if body else None
    await user.request(
        method, path, content=content, headers=headers, label=f"{method} {path.partition('?')[0]}"
    )
    await user.think()
