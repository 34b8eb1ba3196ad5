"""The registry of protocols.

A protocol consists of a folder next to this module, an entry here, and a step file.
"""

from collections.abc import Iterable
from importlib import import_module
from typing import cast

from loadkit.drivers.base import Driver
from loadkit.errors import ConfigurationError
from loadkit.target import Target

__all__ = ["driver_class", "drivers_for", "register"]

_PLACES: dict[str, str] = {
    "http": "loadkit.drivers.http.driver:HttpDriver",
    "db": "loadkit.drivers.postgres.driver:PostgresDriver",
    "ws": "loadkit.drivers.websocket.driver:WebSocketDriver",
}
"""Maps a driver's name, as journeys use it, to ``module:class``.

The module is imported only if a journey uses the driver."""


def register(name: str, place: str) -> None:
    """Register a protocol that is defined outside the load kit.

    Call it in the module of the journeys that use it, because every worker imports that module.

    Args:
        name: the attribute of a user under which journeys find its client.
        place: ``module:class``; its constructor takes the `Target` alone.

    """
    _PLACES[name] = place


def driver_class(name: str) -> type[Driver]:
    """The class of a driver.

    Raises:
        ConfigurationError: no driver has that name.

    """
    place = _PLACES.get(name)
    if place is None:
        raise ConfigurationError(
            f'a journey uses "{name}", and there is no such driver; there are: {", ".join(sorted(_PLACES))}. '
            'Example: @journey("ingest events", uses=("http",))'
        )
    module, _, attribute = place.partition(":")
    return cast("type[Driver]", getattr(import_module(module), attribute))


def drivers_for(names: Iterable[str], target: Target) -> tuple[Driver, ...]:
    """Create a driver for each named protocol; nothing is opened yet.

    Raises:
        ConfigurationError: a name is unknown, or the target's address is invalid for the protocol.

    """
    return tuple(driver_class(name)(target) for name in dict.fromkeys(names))
