"""What a run is made with."""

import json
import os
import sys

from loadkit.engine.machine import facts


def test_versions_and_machine_are_told_as_json_values() -> None:
    told = json.loads(json.dumps(facts()))
    assert told["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert told["machine"]["cores"] == os.cpu_count()
