"""What a round lost, and what it revived, by two judges that know nothing of each other.

By marks, for every engine: what was acknowledged and that nothing acknowledged may have covered
since has to be there (or gone, if it was a deletion), by the moments at which requests began and
were answered. In doubt nothing is lost.
By versions, for engines of ours: the model replays all saves in the order of their versions. What
each request loaded, and what is there in the end, has to be just that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lost.model import Leaves, Path, at, leaves_of, merged, same
from lost.rounds import History, Sent
from lost.steps import CONTROL, Step

__all__ = ["Verdict", "judged"]

SETS = ("change", "reassign", "setdefault", "first", "init")
SUMS = ("count", "incr")


@dataclass
class Verdict:
    """What was counted over one or more rounds."""

    counts: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)

    def __iadd__(self, other: Verdict) -> Verdict:
        self.counts += other.counts
        self.complaints = (self.complaints + other.complaints)[:20]
        return self

    def lose(self, kind: str, words: list[str], history: History) -> None:
        """Notes what is wrong with a round, if anything is."""
        self.counts[kind] += len(words)
        self.complaints += [f"{kind}, round {history.round.token}: {word}" for word in words]


def judged(history: History, born: str, *, ours: bool) -> Verdict:
    """All that can be said of a round."""
    verdict = Verdict(counted(history))
    verdict.lose("lost", list(by_marks(history)), history)
    revived = [f"{document}" for document in history.afterwards if born in document]
    verdict.lose("revived", revived, history)
    if ours:
        verdict.lose("unlike the replay", by_versions(history), history)
    return verdict


def counted(history: History) -> Counter[str]:
    every = history.sent + history.last
    done = [sent for sent in every if sent.done]
    ops = Counter(f"op {step.op}" for sent in done for step in sent.request.steps)
    return ops + Counter(
        {
            "rounds": 1,
            "requests": len(every),
            "updates": len(done),
            "overlapped": sum(overlapped(sent, every) for sent in done),
            "forced": sum(bool(sent.met) for sent in every),
            "met nobody": sum(sent.met is False for sent in every if sent.status),
            "merged": merges(done),
            "sent again": sum(not s.done and not s.unknown for s in history.sent),
            "given up": history.given_up,
            "failed": sum(sent.unknown for sent in every),
            "cookies back": history.cookies_back,
        }
    )


def overlapped(sent: Sent, every: list[Sent]) -> bool:
    """Whether another request of the session was under way at the same time."""
    return any(
        other is not sent and other.began < sent.ended and sent.began < other.ended
        for other in every
    )


def merges(done: list[Sent]) -> int:
    """Saves that found a version that their request hadn't loaded."""
    order = sorted(sent.saved for sent in done if sent.saved and sent.saved != sent.loaded)
    before = dict(zip(order[1:], order, strict=False))
    return sum(
        before.get(sent.saved, sent.loaded) != sent.loaded
        for sent in done
        if sent.saved and sent.loaded and sent.saved != sent.loaded
    )


# ---- by marks


@dataclass(frozen=True)
class Deed:
    """A step of a request that was acknowledged, or about which nobody knows."""

    step: Step
    sent: Sent
    at: int
    """Which of its request."""

    def touches(self, path: Path) -> bool:
        """Whether it may decide what is at a path."""
        own, op = self.step.path, self.step.op
        if op in CONTROL:
            return False
        if op == "delete" and self.may_empty():
            own = own[:-1]
        if op in ("delete", "empty"):
            return path[: len(own)] == own
        return path[: len(own)] == own or own[: len(path)] == path

    def may_empty(self) -> bool:
        """Whether it takes several keys out of one dict: if these were all, that was cleared."""
        own = self.step.path
        steps = self.sent.request.steps
        beside = [s for s in steps if s.op == "delete" and s.path[:-1] == own[:-1]]
        return len(own) > 1 and len(beside) > 1

    def may_follow(self, other: Deed) -> bool:
        """Whether its effect may have come after the other's."""
        if self.sent is other.sent:
            return self.at > other.at
        return self.sent.unknown or self.sent.ended >= other.sent.began


def by_marks(history: History) -> Iterator[str]:
    """What is missing, and what is there that should be gone."""
    deeds = [
        Deed(step, sent, number)
        for sent in history.sent
        if sent.done or sent.unknown
        for number, step in enumerate(sent.request.steps)
    ]
    certain = [deed for deed in deeds if deed.sent.done]
    document = history.document
    writers = {str(deed.step.value): deed for deed in deeds if deed.step.op in SETS}
    for deed in certain:
        step = deed.step
        others = [o for o in deeds if o is not deed and o.touches(step.path) and o.may_follow(deed)]
        if step.op in SETS:
            found = at(document, step.path)
            enough = found is not None if step.op in ("setdefault", "init") else found == step.value
            if not enough and not others:
                yield f"{words(step)} isn't there, but {found!r}"
        elif step.op == "push":
            entry, trim = step.value
            kept = trim is None and all(other.step.op == "push" for other in others)
            if kept and entry not in (at(document, step.path) or []):
                yield f"{words(step)} isn't there"
        elif step.op in ("delete", "empty"):
            yield from undeleted(deed, document, writers)
    yield from short_sums(certain, deeds, document)


def undeleted(deed: Deed, document: dict[str, Any], writers: dict[str, Deed]) -> Iterator[str]:
    """What a deletion should have taken away, since it was there before for certain."""
    there = leaves_of(document)
    for path, value in there.items():
        writer = writers.get(value) if isinstance(value, str) else None
        inside = path[: len(deed.step.path)] == deed.step.path
        if deed.step.op == "empty" and path == deed.step.path:
            continue  # no dict
        if writer and inside and not writer.may_follow(deed):
            yield f"{words(deed.step)} has left {'.'.join(path)}: {value!r}"
            return


def short_sums(certain: list[Deed], deeds: list[Deed], document: Any) -> Iterator[str]:
    """Of each sum that nothing takes away, by how many steps it falls short of what was added."""
    added: dict[Path, list[Deed]] = {}
    for deed in certain:
        if deed.step.op in SUMS:
            added.setdefault(deed.step.path, []).append(deed)
    for path, adding in added.items():
        if any(o.touches(path) for o in deeds if o.step.op not in SUMS or o.sent.unknown):
            continue
        short = sum(deed.step.value for deed in adding) - (at(document, path) or 0)
        if short:
            missing = fewest([deed.step.value for deed in adding], short)
            yield from [f"{'.'.join(path)} is {short} short"] * missing


def fewest(values: list[int], short: int) -> int:
    """How many additions must be missing at least for a sum to be this much short."""
    left, count = short, 0
    for value in sorted(values, reverse=True):
        if left <= 0:
            break
        left, count = left - value, count + 1
    return max(count, 1)


# ---- by versions


def by_versions(history: History) -> list[str]:
    """Where the replay holds something else than was loaded, or than was there in the end."""
    every = history.sent + history.last
    complaints, states, before_last = replayed(history, every)
    for sent in every:
        if sent.loaded is None:
            continue
        if sent.loaded not in states:
            complaints.append(f"version {sent.loaded} was loaded, and nobody saved it")
        elif sent.seen is not None:
            complaints += [
                f"version {sent.loaded} was loaded: {word}"
                for word in same(leaves_of(sent.seen), states[sent.loaded])
            ]
    for sent in history.sent:
        seen = leaves_of(sent.seen or {})
        if sent.done and sent.saved == sent.loaded and after(seen, sent) != seen:
            complaints.append(f"{', '.join(map(words, sent.request.steps))} wasn't saved")
    final = same(leaves_of(history.document), before_last)
    return complaints + [f"in the end: {word}" for word in final]


def replayed(history: History, every: list[Sent]) -> tuple[list[str], dict[int, Leaves], Leaves]:
    """What is wrong with the versions, what each one holds, and the last before the sign-out.

    A save that changes nothing any more answers the version that is there, as the one did that
    made it.
    """
    saves: dict[int, list[Sent]] = {}
    for sent in every:
        if sent.saved and sent.saved != sent.loaded:
            saves.setdefault(sent.saved, []).append(sent)
    complaints, states = [], {}
    state: Leaves = {}
    before_last: Leaves = {}
    for version, several in sorted(saves.items()):
        outcomes = [(sent, after(state, sent)) for sent in several]
        fitting = [
            outcome
            for sent, outcome in outcomes
            if all(not same(after(outcome, o), outcome) for o in several if o is not sent)
        ]
        if not fitting:
            complaints.append(f"version {version} was saved {len(several)} times")
        state = states[version] = fitting[0] if fitting else outcomes[0][1]
        if any(sent in history.sent for sent in several):
            before_last = state
    return complaints, states, before_last


def after(state: Leaves, sent: Sent) -> Leaves:
    """The session after this request, had it been saved then."""
    return merged(state, sent.seen or {}, sent.request.steps)


def words(step: Step) -> str:
    value = f" {step.value}" if step.value is not None else ""
    return f"{step.op} {'.'.join(step.path)}{value}"
