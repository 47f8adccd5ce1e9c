"""The words between plans and those who move bytes: what is asked, and an error as an answer."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, TypeVar

from sessile.errors import DocumentError, SessileError, SessionConflict, SessionUnavailable

__all__ = ["Address", "Ask", "Command", "Plan", "Refused", "failure"]

T = TypeVar("T")
Command: TypeAlias = "tuple[bytes | str | int, ...]"
Address: TypeAlias = "tuple[str, int]"
"""Host and port; the path of a socket and 0."""


class Ask(NamedTuple):
    """Commands to send at once, on one connection, to the node that holds a key."""

    commands: tuple[Command, ...]
    key: bytes
    """Any key of the node; empty where any node will do."""
    repeat: bool = True
    """Whether it may be sent again, on another connection, when one was lost."""
    at: Address | None = None
    """The very node to ask, whatever the key."""
    asking: bool = False
    """Whether the node is about to take the key over, and must be told that we know."""


Plan: TypeAlias = Generator[Ask, list[Any], T]


@dataclass(frozen=True, slots=True)
class Refused:
    """An error that the server answered."""

    code: str
    """Its first word."""
    text: str = ""

    @property
    def forbids_scripts(self) -> bool:
        """Whether it means that this server or user runs no scripts."""
        unknown = self.code == "ERR" and self.text.lower().startswith("unknown command")
        return unknown or (self.code == "NOPERM" and "'eval" in self.text.lower())

    @property
    def passes(self) -> bool:
        """Whether it means that the store can't now, but may soon."""
        return self.code in {
            "LOADING",
            "OOM",
            "READONLY",
            "MASTERDOWN",
            "NOREPLICAS",
            "CLUSTERDOWN",
            "TRYAGAIN",
            "MISCONF",
            "BUSY",
        }


def failure(refused: Refused) -> SessileError:
    """The exception for an error that the server answered."""
    if refused.code == "CONFLICT":
        return SessionConflict("the session was changed in the meantime")
    if refused.code == "REFUSED":
        return DocumentError(refused.text)
    if refused.passes:
        return SessionUnavailable(f"the store refuses at the moment: {refused.code}")
    return SessileError(f"the store refuses: {refused.code} {refused.text}".strip())
