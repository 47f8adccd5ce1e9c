"""Values: what a leaf holds, as one JSON text.

JSON's own types stand for themselves. Every other type is an object with one key that begins
with `!`, its tag:

```text
!dt datetime, ISO 8601   !dz datetime, its zone's name, fold   !d date   !t time, fold
!td timedelta: days, seconds, microseconds   !dec Decimal   !uuid UUID   !b bytes, base 64
!tu tuple   !s set   !fs frozenset   !f "nan", "inf", "-inf"   !m Markup   !a Atomic
!k dict with integers among its keys: pairs   !o dict that looks like one of these
```

What always holds: what is decoded encodes to the same value again, an object with a tag that is
not known here included; nothing is ever pickled; what isn't named here is refused with its path.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import json
import math
import uuid
from collections.abc import Callable
from typing import Any

from sessile.errors import DocumentError
from sessile.paths import DEPTH_MAX, Path, show

__all__ = ["Atomic", "Opaque", "decode", "encode"]


class Atomic(dict[Any, Any]):
    """A dict that is one leaf: it's saved as a whole, and never merged with another's changes."""


class Opaque:
    """A value that this version doesn't understand. It's kept as it came."""

    __slots__ = ("text",)

    def __init__(self, text: bytes) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Opaque) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"<a value that this version doesn't know: {len(self.text)} bytes>"


def encode(value: Any, path: Path = ()) -> bytes:
    """The JSON text of a value. DocumentError, naming the path, if it can't be stored."""
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return _dump(value, path)
    if kind is Opaque:
        return bytes(value.text)
    return _dump(_plain(value, path, DEPTH_MAX, set()), path)


def decode(text: bytes) -> Any:
    """The value of a JSON text; `Opaque` if it's none, or has a tag that isn't known here."""
    try:
        value = json.loads(text)
        return _whole(value) if type(value) is dict or type(value) is list else value
    except (ValueError, TypeError, LookupError, RecursionError, ArithmeticError):
        return Opaque(text)


def _dump(value: Any, path: Path) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        # Half a surrogate pair has no bytes, but it has an escape.
        return json.dumps(value, separators=(",", ":")).encode()
    except ValueError:
        # What is left is an integer that Python refuses to print, as it would take too long.
        raise DocumentError(f"{show(path)} has an integer with too many digits") from None


def _plain(value: Any, path: Path, depth: int, above: set[int]) -> Any:
    """The value in JSON's own types."""
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if kind is float:
        return value if math.isfinite(value) else {"!f": _float_name(value)}
    if depth == 0:
        raise DocumentError(f"{show(path)} is nested too deeply")
    if isinstance(value, (dict, list, tuple, set, frozenset)):
        if id(value) in above:
            raise DocumentError(f"{show(path)} contains itself")
        above.add(id(value))
        try:
            return _container(value, path, depth - 1, above)
        finally:
            above.discard(id(value))
    return _scalar(value, path)


def _container(value: Any, path: Path, depth: int, above: set[int]) -> Any:
    if isinstance(value, dict):
        return _plain_dict(value, path, depth, above)
    if isinstance(value, (set, frozenset)):
        # In one order, so that the same set is the same text.
        members = sorted(_dump(_plain(member, path, depth, above), path) for member in value)
        tag = "!s" if isinstance(value, set) else "!fs"
        return {tag: [json.loads(member) for member in members]}
    plain = [_plain(item, (*path, at), depth, above) for at, item in enumerate(value)]
    return {"!tu": plain} if isinstance(value, tuple) else plain


def _plain_dict(value: dict[Any, Any], path: Path, depth: int, above: set[int]) -> Any:
    strings = True
    for key in value:
        if type(key) is not str:
            strings = False
            if type(key) is not int:
                raise DocumentError(f"{show(path)} has the key {key!r}, which isn't str or int")
    if not strings:
        pairs = [[key, _plain(item, (*path, key), depth, above)] for key, item in value.items()]
        plain: Any = {"!k": pairs}
    else:
        plain = {key: _plain(item, (*path, key), depth, above) for key, item in value.items()}
        if _tag(plain) is not None:
            plain = {"!o": plain}
    return {"!a": plain} if isinstance(value, Atomic) else plain


def _scalar(value: Any, path: Path) -> Any:
    for kind, write in _WRITERS:
        if isinstance(value, kind):
            return write(value)
    if hasattr(value, "__html__") and isinstance(value, str):
        return {"!m": str.__str__(value)}
    if isinstance(value, (str, int, float)):
        return _subclass(value)
    if isinstance(value, Opaque):
        try:
            return json.loads(value.text)
        except (ValueError, RecursionError):
            raise DocumentError(f"{show(path)} isn't JSON, it can't be part of a value") from None
    if _is_lazy(value):
        return str(value)
    raise DocumentError(f"{show(path)} is a {type(value).__name__}, which can't be stored")


def _subclass(value: Any) -> Any:
    """What a value of a derived class is (an enum's member, say) in JSON's own types."""
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        plain = float(value)
        return plain if math.isfinite(plain) else {"!f": _float_name(plain)}
    return str.__str__(value)


def _is_lazy(value: Any) -> bool:
    """Django's lazy translations, Flask-Babel's, Quart's: proxies that become text when asked."""
    kind = type(value)
    return kind.__name__ in {"__proxy__", "LazyString", "_LazyString", "LazyProxy"}


def _float_name(value: float) -> str:
    return "nan" if value != value else "inf" if value > 0 else "-inf"


def _write_datetime(value: datetime.datetime) -> Any:
    key = _zone_name(value.tzinfo)
    if key is not None:
        return {"!dz": [value.replace(tzinfo=None, fold=0).isoformat(), key, value.fold]}
    if value.fold:
        return {"!dz": [value.replace(fold=0).isoformat(), None, value.fold]}
    return {"!dt": value.isoformat()}


def _write_time(value: datetime.time) -> Any:
    key = _zone_name(value.tzinfo)
    plain = value.replace(fold=0) if key is None else value.replace(tzinfo=None, fold=0)
    return {"!t": [plain.isoformat(), value.fold, key]}


def _zone_name(zone: datetime.tzinfo | None) -> str | None:
    """The name of a zone, of the standard library's kind or pytz's."""
    name = getattr(zone, "key", None) or getattr(zone, "zone", None)
    return name if isinstance(name, str) else None


_WRITERS: list[tuple[Any, Callable[[Any], Any]]] = [
    (datetime.datetime, _write_datetime),
    (datetime.date, lambda value: {"!d": value.isoformat()}),
    (datetime.time, _write_time),
    (datetime.timedelta, lambda value: {"!td": [value.days, value.seconds, value.microseconds]}),
    (decimal.Decimal, lambda value: {"!dec": str(value)}),
    (uuid.UUID, lambda value: {"!uuid": value.hex}),
    ((bytes, bytearray, memoryview), lambda value: {"!b": base64.b64encode(value).decode()}),
]


def _tag(value: dict[str, Any]) -> str | None:
    """The tag of a JSON object that has one."""
    if len(value) == 1:
        (key,) = value
        if key.startswith("!"):
            return key
    return None


def _whole(value: Any) -> Any:
    """A value out of JSON's own types; LookupError for an unknown tag."""
    if type(value) is list:
        return [_whole(item) if type(item) in _NESTED else item for item in value]
    if type(value) is dict:
        tag = _tag(value)
        if tag is not None:
            return _READERS[tag](value[tag])
        return {key: _whole(item) if type(item) in _NESTED else item for key, item in value.items()}
    return value


_NESTED = frozenset({dict, list})


def _object(value: dict[str, Any]) -> dict[str, Any]:
    return {key: _whole(item) for key, item in value.items()}


def _zone(name: str | None) -> datetime.tzinfo | None:
    if name is None:
        return None
    import zoneinfo

    return zoneinfo.ZoneInfo(name)


def _read_zoned(value: Any) -> datetime.datetime:
    text, zone, fold = value
    moment = datetime.datetime.fromisoformat(text).replace(fold=fold)
    return moment if zone is None else moment.replace(tzinfo=_zone(zone))


def _read_time(value: Any) -> datetime.time:
    text, fold, zone = value
    time = datetime.time.fromisoformat(text).replace(fold=fold)
    return time if zone is None else time.replace(tzinfo=_zone(zone))


def _markup(text: str) -> Any:
    # Not installed everywhere, nor where this is checked.
    try:
        from markupsafe import Markup  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return text
    return Markup(text)


_READERS: dict[str, Callable[[Any], Any]] = {
    "!f": float,
    "!dt": datetime.datetime.fromisoformat,
    "!dz": _read_zoned,
    "!d": datetime.date.fromisoformat,
    "!t": _read_time,
    "!td": lambda value: datetime.timedelta(*value),
    "!dec": decimal.Decimal,
    "!uuid": lambda value: uuid.UUID(hex=value),
    "!b": lambda value: base64.b64decode(value, validate=True),
    "!tu": lambda value: tuple(_whole(value)),
    "!s": lambda value: set(_whole(value)),
    "!fs": lambda value: frozenset(_whole(value)),
    "!m": _markup,
    "!a": lambda value: Atomic(_whole(value)),
    "!k": lambda value: {key: _whole(item) for key, item in value},
    "!o": _object,
}
