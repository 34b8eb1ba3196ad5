"""Finds journeys: by title in a package, or by the path in a plan."""

import importlib
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

from loadkit.errors import ConfigurationError
from loadkit.users.journey import Arrive, Journey

__all__ = ["arrival_of", "find", "resolve"]


def find(package: str, root: Path) -> dict[str, str]:
    """The journeys of a package and its modules: title to ``module:function``.

    Raises:
        ConfigurationError: a module cannot be imported, or two journeys have the same title.

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
                    f'two journeys have the title "{value.title}": {found[value.title]} and {value.path}'
                )
    return found


def resolve(path: str, root: Path) -> Journey:
    """The journey at ``module:function``.

    Raises:
        ConfigurationError: there is no journey at this path.

    """
    module, _, name = path.partition(":")
    found = getattr(_imported(module, root), name, None)
    if not isinstance(found, Journey):
        raise ConfigurationError(
            f'no journey at "{path}": expected module:function with @journey("…") above the function'
        )
    return found


def arrival_of(package: str, root: Path) -> Arrive | None:
    """The package's ``async def arrive(user)``; None if it has none.

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
