r"""Paths: where in a document a leaf stands, as the name of its field.

```text
("cart", "a.b", "", 7)   <->   cart.a\.b.\e.\i7
```

Components are strings and integers. `\` and `.` are escaped by `\`, the empty string is `\e`, an
integer is `\i` and its digits. What always holds: two different paths have two different names;
no path has a name with `\!` in it, which is kept for what engines note beside the leaves.
"""

from __future__ import annotations

import re
from functools import lru_cache

from sessile.errors import DocumentError

__all__ = [
    "DEPTH_MAX",
    "METADATA",
    "PATH_MAX",
    "Component",
    "Path",
    "component",
    "join",
    "show",
    "split",
]

Component = str | int
Path = tuple[Component, ...]

DEPTH_MAX = 32
"""Components of a path, at most."""
PATH_MAX = 1024
"""Bytes of a path's name, at most."""
METADATA = b"\\!"
"""How the names of fields begin that aren't leaves."""

# An integer with more bits has a longer name than PATH_MAX, and Python may refuse to print it.
_BITS_MAX = 4 * PATH_MAX
_SPECIAL = re.compile(r"[\\.]")
_PARTS = re.compile(rb"(?:[^\\.]|\\.)+", re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


@lru_cache(maxsize=8192)
def component(part: Component) -> bytes:
    """The name of one component."""
    if isinstance(part, str):
        if not part:
            return b"\\e"
        try:
            return _SPECIAL.sub(lambda found: "\\" + found[0], part).encode()
        except UnicodeEncodeError:
            raise DocumentError(f"the key {part!r} isn't valid text") from None
    if part.bit_length() > _BITS_MAX:
        raise DocumentError(f"a key is a number of {part.bit_length()} bits, which is too long")
    return b"\\i%d" % part


def join(path: Path) -> bytes:
    """The name of a path; the empty one is the whole document."""
    return b".".join(map(component, path))


@lru_cache(maxsize=8192)
def split(name: bytes) -> Path:
    """The path of a name. DocumentError if it's nobody's."""
    parts = _PARTS.findall(name)
    if not parts or b".".join(parts) != name:
        raise DocumentError(f"{name!r} is no path")
    return tuple(_part(part, name) for part in parts)


def show(path: Path) -> str:
    """A path for a message: `cart['a.b'][7]`, the root is `the session`."""
    if not path:
        return "the session"
    first, *rest = path
    text = first if isinstance(first, str) and first.isidentifier() else f"[{first!r}]"
    return text + "".join(f"[{part!r}]" for part in rest)


def _part(part: bytes, name: bytes) -> Component:
    if part == b"\\e":
        return ""
    try:
        if part.startswith(b"\\i"):
            number = int(part[2:])
            if component(number) == part:
                return number
        else:
            text = _ESCAPED.sub(_literal, part).decode()
            if component(text) == part:
                return text
    except ValueError:
        pass
    raise DocumentError(f"{name!r} is no path")


def _literal(found: re.Match[bytes]) -> bytes:
    if found[1] not in b"\\.":
        raise ValueError(found[0])
    return found[1]
