"""What all tests share."""

from hypothesis import settings

# Properties say what holds, not how fast: on a busy machine a deadline fails for no fault of the code.
settings.register_profile("project", deadline=None)
settings.load_profile("project")
