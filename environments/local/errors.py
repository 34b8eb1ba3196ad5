"""What can go wrong in a way that the person at the terminal can act on."""


class LocalError(Exception):
    """The local environment cannot do what was asked; the message is one line that says why."""
