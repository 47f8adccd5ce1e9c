"""Who has snapshots made and the log rewritten, switched off and on, and synced by another policy,
while clients write; and what is promised meanwhile.

What always holds: less is promised from the moment before it's asked for, more only once the answer
is there. A log that is switched on again has what was acknowledged before when WAITAOF says so.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from model import Client
from wire import ReplyError, Wire, encode

STRICT = {"always": 2, "everysec": 1, "no": 0}
"""The policies, and how much they promise."""
CHANGES = ("BGSAVE", "BGREWRITEAOF", "appendonly", "appendfsync")
WAITAOF = ("WAITAOF", 1, 0, 0)


@dataclass(frozen=True)
class Promise:
    """What lasts of the writes that are asked for and acknowledged under it."""

    logged: bool
    """The log is on: it lasts when the process is killed."""
    always: bool
    """It's on the disk, too."""
    begun: float = 0.0
    """What was acknowledged before that time is on the disk: a log has been begun since."""


class Control:
    """A connection beside the clients'."""

    def __init__(self, port: int, clients: Sequence[Client], policy: str, rng: random.Random):
        self.wire = Wire(port)
        self.clients = clients
        self.policy = policy
        self.rng = rng
        self.asked: deque[tuple[object, ...]] = deque()
        self.marks = [(0.0, Promise(True, policy == "always"))]
        """What was promised, and from when on."""
        self.begun = 0.0
        """When the log was asked to be switched on that isn't there yet."""
        self.snapshots = self.rewrites = self.switches = self.renewed = 0

    @property
    def now(self) -> Promise:
        return self.marks[-1][1]

    def change(self, what: str = "") -> None:
        """Asks for one of CHANGES, or any of them, unless a switch is on its way."""
        if any(words[0] in ("CONFIG", "WAITAOF") for words in self.asked):
            return
        if not what:
            # What comes after a log was switched on again is what may be wrong.
            is_off = not self.now.logged and self.rng.randrange(2)
            what = "appendonly" if is_off else self.rng.choice(CHANGES)
        if what == "appendonly":
            self._switch("no" if self.now.logged else "yes")
        elif what == "appendfsync":
            policy = self.rng.choice([name for name in STRICT if name != self.policy])
            if policy != "always":
                self._promise(always=False)
            self._ask("CONFIG", "SET", what, policy)
        else:
            self._ask(what)

    def hear(self) -> None:
        """Takes the answers that are there."""
        for reply in self.wire.replies():
            words = self.asked.popleft()
            # Who asks while another one is on its way is refused.
            refused = isinstance(reply, ReplyError)
            if words[0] == "BGSAVE":
                self.snapshots += not refused
            elif words[0] == "BGREWRITEAOF":
                self.rewrites += not refused
            elif words[0] == "WAITAOF":
                assert reply == [1, 0], reply
                self._logged()
            elif words[2] == "appendfsync":
                assert reply == "OK", reply
                self.policy, self.switches = str(words[3]), self.switches + 1
                self._promise(always=self.policy == "always")
            else:
                self.switches += not refused
                if (words[3] == "yes") != refused:
                    # The log is on, or about to be.
                    self._ask(*WAITAOF)

    def close(self) -> None:
        self.hear()
        self.wire.close()

    def _switch(self, to: str) -> None:
        if to == "no":
            for client in self.clients:
                client.is_loose = True
            self._promise(logged=False)
            self.begun = 0.0
        else:
            self.begun = time.time()
        self._ask("CONFIG", "SET", "appendonly", to)

    def _logged(self) -> None:
        for client in self.clients:
            client.firm()
        self._promise(logged=True, begun=self.begun)
        self.renewed += self.begun > 0

    def _promise(self, **what: float) -> None:
        self.marks.append((time.time(), replace(self.now, **what)))

    def _ask(self, *words: object) -> None:
        self.asked.append(words)
        self.wire.send(encode(*words))
