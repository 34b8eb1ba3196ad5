"""What all tests share."""

import os
import signal

from hypothesis import settings

# Properties say what holds, not how fast: on a busy machine a deadline fails for no fault of the code.
settings.register_profile("project", deadline=None)
settings.load_profile("project")

# Hundreds of tests start a Python of their own. Without stored bytecode each compiles the project again: 2.4 s of CPU
# for a start of behave instead of 0.9 s.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Whoever starts the tests may ignore Ctrl-C, as a shell does for what runs in its background. Processes that tests
# start would inherit that, and tests of Ctrl-C would wait in vain.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
