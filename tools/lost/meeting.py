"""Holds requests until all of a group have loaded their session, so that they overlap for certain.

A meeting is a token, the request's place among COUNT, and whether they go on in TURNS (each after
the one before has saved) or all at once. Apps call `arrive` between loading and changing, and
`leave` after saving; the processes find each other in a redis-server that holds nothing else.
What always holds: nobody waits longer than WAIT_SECONDS; who waited in vain says so.
"""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["WAIT_SECONDS", "Meeting", "Room"]

WAIT_SECONDS = 20
"""How long a request waits for the others, at most."""
PATIENCE = WAIT_SECONDS + 10
"""Until an answer of the redis-server must have come; its client has less of it."""


class Meeting(NamedTuple):
    """One request's part in a meeting."""

    token: str
    place: int
    count: int
    turns: bool

    def door(self, place: int) -> str:
        """The list by which a request is told to go on."""
        return f"{self.token}:{place}"


class Room:
    """Where the requests of this process wait. `arrive` and `leave` exist for both worlds."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client: Any = None
        self._async_client: Any = None

    def arrive(self, meeting: Meeting) -> bool:
        """Waits for the others; whether they came."""
        client = self.client
        if client.incr(meeting.token) == meeting.count:
            for place in range(1 if meeting.turns else meeting.count):
                client.rpush(meeting.door(place), 1)
        client.expire(meeting.token, 2 * WAIT_SECONDS)
        return client.blpop([meeting.door(meeting.place)], WAIT_SECONDS) is not None

    def leave(self, meeting: Meeting) -> None:
        """Lets the next one go on, if it waits for that."""
        if meeting.turns and meeting.place + 1 < meeting.count:
            self.client.rpush(meeting.door(meeting.place + 1), 1)

    async def aarrive(self, meeting: Meeting) -> bool:
        """As `arrive`."""
        client = self.async_client
        if await client.incr(meeting.token) == meeting.count:
            for place in range(1 if meeting.turns else meeting.count):
                await client.rpush(meeting.door(place), 1)
        await client.expire(meeting.token, 2 * WAIT_SECONDS)
        return await client.blpop([meeting.door(meeting.place)], WAIT_SECONDS) is not None

    async def aleave(self, meeting: Meeting) -> None:
        """As `leave`."""
        if meeting.turns and meeting.place + 1 < meeting.count:
            await self.async_client.rpush(meeting.door(meeting.place + 1), 1)

    @property
    def client(self) -> Any:
        if self._client is None:
            import redis

            self._client = redis.Redis.from_url(self.url, socket_timeout=PATIENCE)
        return self._client

    @property
    def async_client(self) -> Any:
        if self._async_client is None:
            import redis.asyncio

            self._async_client = redis.asyncio.Redis.from_url(self.url, socket_timeout=PATIENCE)
        return self._async_client
