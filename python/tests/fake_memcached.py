"""memcached in this process, by requests and replies, for plans that are stepped through."""

from __future__ import annotations

from sessile.memcached_wire import Answer

__all__ = ["Server"]


class Server:
    """memcached's `mg`, `ms` and `md`, as far as the plans use them."""

    def __init__(self) -> None:
        self.values: dict[bytes, tuple[bytes, bytes]] = {}
        self.count = 0

    def answer(self, data: bytes) -> Answer:
        line, _, rest = data.partition(b"\r\n")
        command, name, *flags = line.split()
        value, cas = self.values.get(name, (b"", b""))
        if command == b"mg":
            return Answer(b"VA", value, cas) if cas else Answer(b"EN")
        compared = [flag[1:] for flag in flags if flag[:1] == b"C"]
        if not cas and (compared or command == b"md"):
            return Answer(b"NF")
        if compared and compared != [cas]:
            return Answer(b"EX")
        if command == b"md":
            del self.values[name]
            return Answer(b"HD")
        if cas and b"ME" in flags:
            return Answer(b"NS")
        self.count += 1
        self.values[name] = (rest[: int(flags[0])], b"%d" % self.count)
        return Answer(b"HD", b"", b"%d" % self.count)
