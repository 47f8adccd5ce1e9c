r"""What a session's values look like in the store when SESSILE_ENCRYPTION_KEYS are set.

Each leaf is sealed by itself with AES-256-GCM, so that requests still merge leaf by leaf:

```text
leaf   01 | key id 4 | nonce 12 | sealed bytes of the leaf, its stamp too | tag 16
\@seal 01 | salt 16  | (key id 4 | mark 16) for each handle, the newest first
salt      SHA-256("... salt", namespace, the handle that it was created under), cut
key id    HMAC(key, "... key"), cut
leaf key  HMAC(key, "... leaf", namespace, salt)
mark      HMAC(key, "... seal", namespace, salt, handle), cut
```

HMAC is that of SHA-256. A session's salt survives rotation, and gives it a key of its
own; the associated data of a leaf are namespace, salt and the leaf's name. So a value opens at no
other path and in no other session, and a session's fields are worth nothing under a handle that has
no mark. Nonces are random: with a key per session, two of a million writes to one session are the
same by a chance of 2^-57. What always holds: what can't be opened raises EncryptionError, and is
never taken for something else; the marker of an empty dict, `{}`, is the only value that isn't
sealed, since stores merge by it. `None` among the keys stands for no encryption, so that it can be
turned on and off while sessions live; as long as it's there, values that aren't sealed are taken.
Not for hiding names, sizes, users and times, nor for noticing that an old state was put back.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from os import urandom
from typing import Any

from sessile.errors import ConfigurationError, EncryptionError
from sessile.paths import METADATA

__all__ = ["SEAL", "Ring", "Seal", "ring_of"]

SEAL = b"\\@seal"
"""Beside the document: the salt, and which handles it belongs to."""
VERSION = b"\x01"
"""Begins what is sealed; no JSON text begins so."""
KEY_LEAST = 32
"""Bytes of a key."""
ID, SALT, NONCE, MARK = 4, 16, 12, 16
SEALED = 1 + ID + NONCE
"""Where what is sealed begins in a stored leaf."""
HANDLE = 64
ENTRIES_MAX = 5
"""Handles that a salt may belong to: the newest, and old ones that stand for it for a while."""
DOMAIN = b"sessile encryption 1 "
EMPTY_DICT = re.compile(rb"\{\}( [0-9a-z]+)?")

UNKNOWN = "a session was sealed with a key that isn't among SESSILE_ENCRYPTION_KEYS"
CHANGED = "a session's value was changed, or brought there from elsewhere: {}"
MOVED = "a session's values were changed, or brought there from another session"
OPEN = (
    "a session isn't encrypted: while encryption is being turned on, "
    "None has to be among SESSILE_ENCRYPTION_KEYS"
)


class Key:
    """One of SESSILE_ENCRYPTION_KEYS."""

    __slots__ = ("_secret", "id")

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self.id = self.derived(b"key")[:ID]

    def derived(self, purpose: bytes, *parts: bytes) -> bytes:
        """32 bytes that say nothing of the key."""
        return hmac.digest(self._secret, b"\0".join((DOMAIN + purpose, *parts)), "sha256")


class Ring:
    """The keys of one namespace: the first seals, all of them open."""

    def __init__(self, keys: Sequence[bytes | None], namespace: str) -> None:
        """Raises ConfigurationError if the package `cryptography` isn't there."""
        try:
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError:
            raise ConfigurationError(
                "SESSILE_ENCRYPTION_KEYS needs a package: pip install 'sessile[encryption]'"
            ) from None
        self.cipher: Any = AESGCM
        self.invalid: type[Exception] = InvalidTag
        made = [None if key is None else Key(key) for key in keys]
        self.newest = made[0]
        """What seals; `None` if new values aren't sealed."""
        self.keys = {key.id: key for key in made if key is not None}
        self.takes_open = None in made
        """Whether values that aren't sealed are read."""
        self.namespace = namespace.encode()
        if len(self.keys) + self.takes_open != len(made):
            raise ConfigurationError("SESSILE_ENCRYPTION_KEYS: a key stands there twice")

    def fresh(self, handle: bytes) -> Seal:
        """The seal of a new session. `handle` is its key in the store, here as below."""
        if self.newest is None:
            return Seal(self, b"", b"")
        # Not random: a session made again under its id, as it may be while an app moves in, opens
        # what a request that knew the one before still writes.
        about = b"\0".join((DOMAIN + b"salt", self.namespace, handle[-HANDLE:]))
        salt = hashlib.sha256(about).digest()[:SALT]
        return Seal(self, salt, VERSION + salt + self.entry(self.newest, salt, handle))

    def seal(self, field: bytes, handle: bytes) -> Seal:
        """The seal of a session that has this field. EncryptionError if it isn't its own."""
        if not field:
            if not self.takes_open:
                raise EncryptionError(OPEN)
            return Seal(self, b"", b"")
        salt, entries = field[1 : 1 + SALT], field[1 + SALT :]
        step = ID + MARK
        if field[:1] != VERSION or not entries or len(entries) % step:
            raise EncryptionError(MOVED)
        is_unknown = False
        for at in range(0, len(entries), step):
            key = self.keys.get(entries[at : at + ID])
            if key is None:
                is_unknown = True
            elif hmac.compare_digest(entries[at : at + step], self.entry(key, salt, handle)):
                return Seal(self, salt, field, is_newest=at == 0)
        raise EncryptionError(UNKNOWN if is_unknown else MOVED)

    def entry(self, key: Key, salt: bytes, handle: bytes) -> bytes:
        """What says that a salt belongs to a handle."""
        name = handle[-HANDLE:]
        return key.id + key.derived(b"seal", self.namespace, salt + name)[:MARK]


class Seal:
    """What opens and closes the leaves of one session."""

    __slots__ = ("_about", "_ciphers", "_ring", "_salt", "field", "is_newest")

    def __init__(self, ring: Ring, salt: bytes, field: bytes, *, is_newest: bool = True) -> None:
        self._ring = ring
        self._salt = salt
        self._about = ring.namespace + b"\0" + salt
        self._ciphers: dict[bytes, Any] = {}
        self.field = field
        """What stands in SEAL; empty if nothing of the session is sealed."""
        self.is_newest = is_newest
        """Whether the handle is the session's own, not one that stands for it for a while."""

    @property
    def is_sound(self) -> bool:
        """Whether this is how a session would be sealed now."""
        newest = self._ring.newest
        if newest is None or not self.field:
            return newest is None and not self.field
        return self.field[1 + SALT :].startswith(newest.id)

    def close(self, name: bytes, leaf: bytes) -> bytes:
        """The leaf as it's stored."""
        key = self._ring.newest
        if key is None or not self.field or is_bare(name, leaf):
            return leaf
        nonce = urandom(NONCE)
        sealed: bytes = self._cipher(key).encrypt(nonce, leaf, self._about + name)
        return b"".join((VERSION, key.id, nonce, sealed))

    def open_all(self, fields: Mapping[bytes, bytes]) -> tuple[dict[bytes, bytes], bool]:
        """The leaves, and whether all is sealed as it would be now. EncryptionError as `open`."""
        newest, sound, leaves = self._ring.newest, self.is_sound, {}
        decrypt, begins = None, b""
        if newest is not None and self.field:
            decrypt, begins = self._cipher(newest).decrypt, VERSION + newest.id
        about, invalid = self._about, self._ring.invalid
        for name, stored in fields.items():
            if name == SEAL:
                continue
            if decrypt is None or not stored.startswith(begins):
                leaves[name] = self.open(name, stored)
                sound = sound and self.fits(name, stored)
                continue
            try:
                leaves[name] = decrypt(
                    stored[SEALED - NONCE : SEALED], stored[SEALED:], about + name
                )
            except (invalid, ValueError):
                raise EncryptionError(CHANGED.format(shown(name))) from None
        return leaves, sound

    def open(self, name: bytes, stored: bytes) -> bytes:
        """The leaf. EncryptionError if it isn't what was closed there."""
        if stored[:1] != VERSION:
            if self._ring.takes_open or is_bare(name, stored):
                return stored
            raise EncryptionError(OPEN if not self.field else CHANGED.format(shown(name)))
        key = self._ring.keys.get(stored[1 : 1 + ID])
        if key is None:
            raise EncryptionError(UNKNOWN)
        nonce, text = stored[SEALED - NONCE : SEALED], stored[SEALED:]
        try:
            leaf: bytes = self._cipher(key).decrypt(nonce, text, self._about + name)
        except (self._ring.invalid, ValueError):
            raise EncryptionError(CHANGED.format(shown(name))) from None
        return leaf

    def fits(self, name: bytes, stored: bytes) -> bool:
        """Whether a stored leaf is sealed as it would be now."""
        newest = self._ring.newest
        if is_bare(name, stored):
            return True
        if newest is None:
            return stored[:1] != VERSION
        return stored.startswith(newest.id, 1) and stored[:1] == VERSION

    def renewed(self, handle: bytes) -> Seal:
        """The seal with the newest key, or with none if that's how it's to be."""
        newest = self._ring.newest
        if newest is None or not self.field:
            return self._ring.fresh(handle)
        old = self.field[1 + SALT + ID + MARK :]
        return self._with(newest, handle, old)

    def moved(self, handle: bytes, *, stays: bool) -> Seal:
        """The seal under another handle; `stays` if the old ones may stand for it for a while."""
        newest = self._ring.newest or next(iter(self._ring.keys.values()))
        if not self.field:
            return self
        return self._with(newest, handle, self.field[1 + SALT :] if stays else b"")

    def _with(self, key: Key, handle: bytes, others: bytes) -> Seal:
        entries = self._ring.entry(key, self._salt, handle) + others
        kept = entries[: ENTRIES_MAX * (ID + MARK)]
        return Seal(self._ring, self._salt, VERSION + self._salt + kept)

    def _cipher(self, key: Key) -> Any:
        cipher = self._ciphers.get(key.id)
        if cipher is None:
            derived = key.derived(b"leaf", self._about)
            cipher = self._ciphers[key.id] = self._ring.cipher(derived)
        return cipher


@lru_cache(maxsize=16)
def ring_of(keys: tuple[bytes | None, ...], namespace: str) -> Ring | None:
    """The ring of these settings, `None` if nothing is encrypted. Raises ConfigurationError."""
    return Ring(keys, namespace) if any(key is not None for key in keys) else None


def is_bare(name: bytes, leaf: bytes) -> bool:
    """Whether a field stays as it is: the marker of an empty dict, and what engines note."""
    if leaf[:2] == b"{}":
        return EMPTY_DICT.fullmatch(leaf) is not None
    return name.startswith(METADATA)


def shown(name: bytes) -> str:
    """The name of a leaf for a message."""
    return name.decode(errors="replace")
