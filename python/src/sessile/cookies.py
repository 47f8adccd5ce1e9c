"""When a browser is told again the id that it has.

Whoever sets the cookie at each save lets an answer that was under way bring an old id back over
that of a sign-in. So an id is told once, and again only to move the end of the browser's cookie:
by more than a tenth of its age, or because the app said another expiry. Beside the document stands
when the cookie ends; what isn't known counts as due, as after moving in from elsewhere. A cookie
that ends with the browser has no end to move. No I/O, and no clock but by argument.
"""

from __future__ import annotations

__all__ = ["COOKIE", "is_due", "note"]

COOKIE = b"\\@cookie"
"""Beside the document: when the browser's cookie ends, Unix seconds; 0 for with the browser. No
path has this name, and no engine uses it."""
RENEWAL = 10
"""A cookie is set anew after a tenth of its age."""


def is_due(noted: bytes, age: int, now: int) -> bool:
    """Whether a cookie of `age` seconds (0: until the browser is closed), set at `now`, would end
    at quite another time than the one that was noted."""
    ends = int(noted) if noted.isdigit() else 0
    if not (age and ends):
        return bool(age or ends)
    return abs(now + age - ends) * RENEWAL > age


def note(noted: bytes, age: int, now: int) -> dict[bytes, bytes]:
    """What stands beside the document once the cookie is set; nothing where nothing needs to."""
    if not (age or noted):
        return {}
    return {COOKIE: b"%d" % (now + age if age else 0)}
