"""Bearer tokens and passwords.

A token contains the identity and a signature, so every instance can verify it without a look-up.
"""

import hashlib
import hmac
import re
import secrets
import time
from dataclasses import dataclass

ACCESS_SECONDS = 3600
REFRESH_SECONDS = 24 * 3600
_KNOWN = 10_000  # number of cached verified tokens

# A real service's password hash takes 100 ms on purpose. This one takes 0.1 ms, because log-ins are
# a tenth of the load and the load generator shares the machine.
_HASH_ROUNDS = 200

# A JSON string cannot contain this text, because its quotes would have backslashes.
_TENANT_ID = re.compile(r'"tenant_key":(\d+),')


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller: account, tenant, role (`admin` or `member`), log-in, expiry (Unix seconds)."""

    account: int
    tenant: int
    role: str
    login: str
    expires: int


def hash_password(password: str, salt: bytes | None = None) -> bytes:
    """The salt and the PBKDF2 hash of a password."""
    salt = salt or secrets.token_bytes(8)
    return salt + hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _HASH_ROUNDS)


def password_matches(password: str, stored: bytes) -> bool:
    """Whether `stored` is the hash of this password."""
    return hmac.compare_digest(hash_password(password, stored[:8]), stored)


class Tokens:
    """Signs tokens, and verifies tokens of all instances with the same secret."""

    def __init__(self, secret: str) -> None:
        self._key = hashlib.sha256(b"tokens:" + secret.encode()).digest()
        self._known: dict[str, Identity] = {}
        self._ended: dict[str, int] = {}

    def issue(self, kind: str, account: int, tenant: int, *, role: str, login: str, seconds: int) -> str:
        """Create a token of a kind (`access` or `refresh`)."""
        claims = f"{kind}.{account}.{tenant}.{role}.{login}.{int(time.time()) + seconds}"
        return f"{claims}.{self._signature(claims)}"

    def read(self, kind: str, token: str) -> Identity | None:
        """The token's identity; None if it is forged, of another kind, expired or logged out."""
        identity = self._known.get(token) if kind == "access" else None
        if identity is None:
            identity = self._verify(kind, token)
            if identity is None:
                return None
            if kind == "access":
                if len(self._known) >= _KNOWN:
                    self._known.clear()
                self._known[token] = identity
        if identity.expires < time.time() or identity.login in self._ended:
            return None
        return identity

    def _verify(self, kind: str, token: str) -> Identity | None:
        claims, _, signature = token.rpartition(".")
        if not hmac.compare_digest(self._signature(claims).encode(), signature.encode()):
            return None
        given_kind, account, tenant, role, login, expires = claims.split(".")
        if given_kind != kind:
            return None
        return Identity(int(account), int(tenant), role, login, int(expires))

    def end(self, login: str) -> None:
        """Reject all tokens of this log-in from now on."""
        now = int(time.time())
        while self._ended and next(iter(self._ended.values())) < now:  # oldest first; its tokens have expired
            del self._ended[next(iter(self._ended))]
        self._ended[login] = now + REFRESH_SECONDS

    def _signature(self, claims: str) -> str:
        return hmac.digest(self._key, claims.encode(), "sha256").hex()


class TenantKeys:
    """The key that marks each tenant's rows in answers.

    It cannot be guessed, and other tenants never see it.
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self._keys: dict[int, str] = {}

    def __getitem__(self, tenant: int) -> str:
        """The key of a tenant."""
        key = self._keys.get(tenant)
        if key is None:
            digest = hashlib.blake2b(str(tenant).encode(), key=self._secret, digest_size=8).hexdigest()
            key = self._keys[tenant] = f"tk-{digest}"
        return key

    def fill(self, page: str, caller: int) -> bytes:
        """Replace the tenant's id in each row of a JSON text from the database by the tenant's key.

        Usually all rows belong to the caller's tenant. That case is fast.
        """
        filled = page.replace(f'"tenant_key":{caller},', f'"tenant_key":"{self[caller]}",')
        return _TENANT_ID.sub(lambda found: f'"tenant_key":"{self[int(found[1])]}",', filled).encode()
