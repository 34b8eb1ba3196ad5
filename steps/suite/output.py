"""Standard output that stays usable after its reader has gone."""

import os
from typing import Any, TextIO

__all__ = ["LastingOutput"]


class LastingOutput:
    """A stream that writes nowhere after its reader has closed the pipe, as in `behave | head`.

    The reader of a pipe also ends at Ctrl-C. An error of the next write would end the session before
    it has written its results.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, or nothing if there is no reader."""
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._discard()
            return len(text)

    def flush(self) -> None:
        """Flush the stream, or discard what it holds if there is no reader."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._discard()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _discard(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
