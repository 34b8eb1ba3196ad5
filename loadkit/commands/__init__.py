"""The commands of `loadkit`, one module each: `add` puts it on the parser, `execute` does it and returns the exit code."""
