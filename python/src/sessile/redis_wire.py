"""Commands and replies of Redis over the connections of redis-py, which makes them and logs in.

The bytes are ours, since a session is a hash: redis-py's own reading of one takes longer than all
else of a request. What always holds: as many replies are read as commands were sent, and anything
that comes behind them is an error, as is what says that the connection is of no use; after an error
the connection must be closed. Which replies a connection may be trusted with, and how long they
are waited for, is `sessile.redis_pool`'s business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from redis import ConnectionError as RedisConnectionError
from redis import ResponseError
from redis import TimeoutError as RedisTimeoutError

from sessile import pool
from sessile.busy import BusyPoll
from sessile.errors import SessileError
from sessile.redis_ask import Command, Refused
from sessile.waiting import within
from sessile.wire import MORE, ProtocolError, Replies

__all__ = ["exchange", "exchange_async", "limit", "packed", "refused"]

CHUNK = 16 * 1024
"""Bytes taken from a connection at once."""
USELESS = {"LOADING", "NOAUTH", "WRONGPASS"}
"""Errors that are the connection's or the server's, whatever is asked."""
FULL = "max number of clients reached"


def refused(line: bytes) -> Refused:
    """An error that the server answered. Raises redis-py's ConnectionError if all others will get
    the same."""
    text = line.decode("utf-8", "replace")
    code, _, rest = text.partition(" ")
    if code in USELESS or rest.startswith(FULL):
        raise RedisConnectionError(text)
    return Refused(code, rest) if code.isupper() else Refused("ERR", text)


class Answers(Replies):
    """Replies as redis-py tells them: a status is bytes, an error a `Refused` of ours."""

    __slots__ = ()
    status = staticmethod(bytes)
    error = staticmethod(refused)


def packed(commands: Sequence[Command]) -> bytes:
    """The bytes of commands."""
    out = []
    for command in commands:
        out.append(b"*%d\r\n" % len(command))
        for word in command:
            if isinstance(word, str):
                word = word.encode()
            elif isinstance(word, int):
                word = b"%d" % word
            out.append(b"$%d\r\n%b\r\n" % (len(word), word))
    return b"".join(out)


def exchange(held: Any, commands: Sequence[Command], busy_poll: int) -> list[Any]:
    """Sends commands and reads their replies. OSError or redis-py's ConnectionError if the
    connection is lost; TimeoutError or BlockingIOError if nothing comes or goes in time."""
    data = packed(commands)
    if held._sock is None:
        try:
            held.connect()
        except ResponseError as error:
            raise useless(error) from None
        limit(held)
    plug = held._sock
    busy = busy_of(held, busy_poll)
    chunk = busy.send(data)
    answers = Answers()
    replies: list[Any] = []
    while True:
        if chunk is None:
            busy.sleep(held.socket_timeout)
            chunk = plug.recv(CHUNK)
        answers.feed(some(chunk))
        if whole(answers, replies, len(commands)):
            return replies
        chunk = None


async def exchange_async(held: Any, commands: Sequence[Command]) -> list[Any]:
    """The same in an event loop."""
    data = packed(commands)
    # With a timeout of its own redis-py would use asyncio.wait_for, which loses cancellations.
    seconds, held.socket_timeout = held.socket_timeout, None
    try:
        if not held.is_connected:
            try:
                await within(seconds, held.connect())
            except ResponseError as error:
                raise useless(error) from None
        return await within(seconds, talk(held._reader, held._writer, data, len(commands)))
    except asyncio.TimeoutError:
        raise RedisTimeoutError("no connection, or no reply in time") from None
    finally:
        held.socket_timeout = seconds


async def talk(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes, count: int
) -> list[Any]:
    writer.write(data)
    await writer.drain()
    answers = Answers()
    replies: list[Any] = []
    while not whole(answers, replies, count):
        answers.feed(some(await reader.read(CHUNK)))
    return replies


def useless(error: ResponseError) -> SessileError:
    """What redis-py was told while it logged in or chose the database."""
    return SessileError(f"the store refuses the connection: {error}")


def whole(answers: Answers, replies: list[Any], count: int) -> bool:
    """Takes what has come; whether these are all replies. Raises ProtocolError if it's more."""
    while len(replies) < count:
        reply = answers.take()
        if reply is MORE:
            return False
        replies.append(reply)
    if not answers.is_empty:
        raise ProtocolError("the server answered more than was asked")
    return True


def some(data: bytes) -> bytes:
    if not data:
        raise RedisConnectionError("the server closed the connection")
    return data


def limit(held: Any) -> None:
    """Has each call on a connection end after its `socket_timeout`."""
    held._sock.settimeout(held.socket_timeout)
    pool.limit(held._sock, held.socket_timeout)


def busy_of(held: Any, micros: int) -> BusyPoll:
    """How the replies of a connection are waited for; it may have connected anew."""
    plug = held._sock
    known: BusyPoll | None = held.__dict__.get("sessile_busy")
    if known is None or known.plug is not plug:
        known = held.sessile_busy = BusyPoll(plug, micros)
    return known
