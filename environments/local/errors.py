"""Errors that a user can act on."""


class LocalError(Exception):
    """The local environment cannot execute a command; the message is a one-line reason."""
