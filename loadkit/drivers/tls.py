"""TLS settings of a target: the CA bundle that verifies the server, and the client certificate."""

import ssl
from typing import NoReturn

from loadkit.errors import ConfigurationError
from loadkit.target import Target

__all__ = ["context_of"]


def context_of(target: Target) -> ssl.SSLContext:
    """The TLS context of a target's connections, with the client certificate if there is one.

    Raises:
        ConfigurationError: a file cannot be read, or does not contain what was expected.

    """
    try:
        context = ssl.create_default_context(cafile=target.ca_file or None)
    except OSError as error:  # includes ssl.SSLError
        raise ConfigurationError(
            f"cannot read the certificate authority in {target.ca_file}: {_why(error)}"
        ) from None
    if not target.cert_file:
        return context

    def refuse() -> NoReturn:
        raise ConfigurationError(
            f"the key in {target.key_file or target.cert_file} is encrypted, and a passphrase cannot be entered; "
            "expected a key without a passphrase, readable by you alone"
        )

    try:
        context.load_cert_chain(target.cert_file, target.key_file or None, password=refuse)
    except OSError as error:
        files = " with ".join(file for file in (target.cert_file, target.key_file) if file)
        raise ConfigurationError(
            f"cannot use the client certificate in {files}: {_why(error)}; expected PEM files, "
            "the certificate and its key in one, or the key in a file of its own"
        ) from None
    return context


def _why(error: OSError) -> str:
    """The reason as text: that of the system for a missing file, of OpenSSL for an invalid one."""
    if isinstance(error, ssl.SSLError):
        return str(error.reason or "no certificate or key in it").replace("_", " ").lower()
    return str(error.strerror or error)
