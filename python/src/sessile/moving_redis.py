"""Old sessions in Redis keys, one value each: Flask-Session's, and those of one's own making.

What always holds: pickle is never read unless `pickle=True` says so, and never written; only the
keys under the prefix are touched.
"""

from __future__ import annotations

import json
import pickle as pickles
from collections.abc import Callable
from typing import Any

from sessile.errors import ConfigurationError, DocumentError
from sessile.moving import Old

__all__ = ["FlaskSessionKeys", "RedisKeys"]

PICKLED = b"\x80"


class RedisKeys:
    """Sessions under `prefix` + id, as JSON or what `loads` and `dumps` make of it."""

    carries = False

    def __init__(
        self,
        client: Any,
        prefix: str = "session:",
        *,
        loads: Callable[[bytes], Any] = json.loads,
        dumps: Callable[[Any], bytes | str] = json.dumps,
        pickle: bool = False,
    ) -> None:
        """`client` is a synchronous one of redis-py. `pickle` also reads values that `loads`
        refuses: whoever can write to that Redis can then run code here."""
        self.client, self.prefix, self.pickle = client, prefix, pickle
        self.loads, self.dumps = loads, dumps

    def read(self, id: str) -> Old | None:
        value = self.client.get(self.prefix + id)
        if value is None:
            return None
        left = self.client.ttl(self.prefix + id)
        if left == -2:
            return None
        return Old(self.decoded(value), None if left < 0 else max(1, left))

    def write(self, id: str, document: dict[Any, Any], seconds: int, new: bool) -> bool:
        value = self.dumps(document)
        return bool(self.client.set(self.prefix + id, value, ex=seconds, xx=not new))

    def remove(self, id: str) -> None:
        self.client.delete(self.prefix + id)

    def decoded(self, value: bytes | str) -> dict[Any, Any]:
        """The document of a record; raises DocumentError if it isn't one."""
        raw = value.encode() if isinstance(value, str) else value
        try:
            found = self.loads(raw)
        except Exception:
            if not (self.pickle and raw.startswith(PICKLED)):
                raise DocumentError("an old session can't be read (pickle is off)") from None
            found = pickles.loads(raw)
        if not isinstance(found, dict):
            raise DocumentError("an old session isn't a dict")
        return found


class FlaskSessionKeys(RedisKeys):
    """Flask-Session's, 0.6 to 0.8: MessagePack, JSON, and pickle if that's allowed."""

    def __init__(self, client: Any, prefix: str = "session:", *, pickle: bool = False) -> None:
        try:
            import msgspec
        except ImportError:
            raise ConfigurationError("needs the package msgspec: pip install msgspec") from None

        def loads(raw: bytes) -> Any:
            if raw.startswith(PICKLED) and len(raw) > 1:  # an empty MessagePack dict is one byte
                raise ValueError("a pickle")
            try:
                return msgspec.msgpack.decode(raw)
            except msgspec.DecodeError:
                return json.loads(raw)

        super().__init__(client, prefix, loads=loads, dumps=msgspec.msgpack.encode, pickle=pickle)
