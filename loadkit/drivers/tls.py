"""TLS as a target states it: whom the client believes, and who it says it is."""

import ssl
from typing import NoReturn

from loadkit.errors import ConfigurationError
from loadkit.target import Target

__all__ = ["context_of"]


def context_of(target: Target) -> ssl.SSLContext:
    """What every connection to a target verifies, and the certificate that it shows where it is asked for one.

    Raises:
        ConfigurationError: a file cannot be read, or is not what it should be.

    """
    try:
        context = ssl.create_default_context(cafile=target.ca_file or None)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigurationError(
            f"cannot read the certificate authority in {target.ca_file}: {_why(error)}"
        ) from None
    if not target.cert_file:
        return context

    def refuse() -> NoReturn:
        raise ConfigurationError(
            f"the key in {target.key_file or target.cert_file} is encrypted, and nobody is there to be asked; "
            "expected one without a passphrase, readable by you alone"
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
    """In words: a file that is missing has its own, one that is wrong has those of OpenSSL."""
    if isinstance(error, ssl.SSLError):
        return str(error.reason or "no certificate or key in it").replace("_", " ").lower()
    return str(error.strerror or error)
