"""When a browser is told again the id that it has.

Whoever sets the cookie at each save lets an answer that was under way bring an old id back over
that of a sign-in. So an id is told once, and again only to move the end of the browser's cookie:
by more than a tenth of its age, or because the app said another expiry. Such an answer may be
lost, and then the browser still has the earlier end: while that is ahead, the id is told once more
after a tenth of what was left until then. Beside the document stands when the cookie ends; what
isn't known counts as due, as after moving in from elsewhere. A cookie that ends with the browser
has no end to move. No I/O, and no clock but by argument.

In a `Session` six names have to do with it. `cookie_is_due` asks this module. `_renew` is set by a
load that slides, by a save where the cookie is due, and by what makes or takes over a session: the
write under way notes an end, and `wants_cookie` shows it to those who would write nothing else.
`_issued` says that this request made an id. Once a write is through, `_told` says that what it
noted is for this response to tell, and nothing is due again in this request. `tells_cookie` is
what the response does about it: nothing if another id has taken over, or nobody was read.
"""

from __future__ import annotations

__all__ = ["COOKIE", "is_due", "note"]

COOKIE = b"\\@cookie"
"""Beside the document: when the browser's cookie ends, Unix seconds; 0 for with the browser. Or a
JSON list of that and of the moment after which it's told once more. No path has this name, and no
engine uses it."""
RENEWAL = 10
"""A cookie is set anew after a tenth of its age."""


def is_due(noted: bytes, age: int, now: int) -> bool:
    """Whether a cookie of `age` seconds (0: until the browser is closed), set at `now`, would end
    at quite another time than the one that was noted, or that one may not have arrived."""
    ends, again = moments(noted)
    if not (age and ends):
        return bool(age or ends)
    return abs(now + age - ends) * RENEWAL > age or bool(again and now > again)


def note(noted: bytes, age: int, now: int, *, fresh: bool = False) -> dict[bytes, bytes]:
    """What stands beside the document once the cookie is set; nothing where nothing needs to.

    A `fresh` id has no earlier end that would go on if it didn't arrive.
    """
    if not (age or noted):
        return {}
    ends, before = (now + age if age else 0), moments(noted)[0]
    left, moved = before - now, abs(ends - before) * RENEWAL > age
    if fresh or not age or left <= 0 or not moved:
        return {COOKIE: b"%d" % ends}
    return {COOKIE: b"[%d,%d]" % (ends, now + min(age, left) // RENEWAL)}


def moments(noted: bytes) -> tuple[int, int]:
    """When the cookie ends, and after when it's told once more; 0 for what wasn't noted."""
    ends, _, again = noted.strip(b"[]").partition(b",")
    return (int(ends) if ends.isdigit() else 0), (int(again) if again.isdigit() else 0)
