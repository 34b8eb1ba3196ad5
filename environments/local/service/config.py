"""The settings of an instance."""

import json
import os
from dataclasses import dataclass

VERSION = "1.0.0"


@dataclass(frozen=True, slots=True)
class Config:
    """An instance's settings, given at its start.

    `pool_size` is the maximum number of database connections. `secret` signs tokens and creates the
    keys of tenants. It is the same in all instances.
    """

    name: str
    database: str
    cache: str
    secret: str
    pool_size: int

    @classmethod
    def from_environment(cls) -> "Config":
        """Read METRICS_SERVICE, a JSON object with the fields of this class."""
        return cls(**json.loads(os.environ["METRICS_SERVICE"]))
