"""The fast path of `sessile.document`. Whatever answers `None` leaves the work to Python."""

from collections.abc import Callable, Mapping
from typing import Any, Final, final

AGREEMENT: Final[int]

@final
class Leaves:
    @staticmethod
    def of(fields: Mapping[bytes, bytes]) -> Leaves | None: ...
    def items(self) -> dict[bytes, tuple[bytes, int]]: ...
    @property
    def next_stamp(self) -> int: ...

def decode(fields: Mapping[bytes, bytes]) -> tuple[dict[Any, Any], Leaves] | None: ...
def changes(
    leaves: Leaves,
    document: Mapping[Any, Any],
    is_atomic: Callable[[tuple[Any, ...], Mapping[Any, Any]], bool] | None,
    size_max: int | None,
) -> tuple[dict[bytes, bytes], list[bytes]] | None: ...
def ready_after(fd: int, micros: int) -> int | None: ...
def reply(data: bytes) -> tuple[Any, int] | None: ...
