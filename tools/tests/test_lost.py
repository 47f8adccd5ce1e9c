"""The judges of the lost-update harness: they find what is lost, and blame nobody wrongly."""

from __future__ import annotations

from typing import Any

import pytest

from lost.judge import by_marks, by_versions, judged
from lost.model import leaves_of, merged, same
from lost.plans import CLIENTS, LENGTH, PER_ROUND, Request, Round, draw
from lost.rounds import History, Sent
from lost.steps import Step, carry_out


def sent(began: int, ended: int, versions: tuple[Any, Any], seen: Any, *steps: Step) -> Sent:
    """A request that was answered."""
    loaded, saved = versions
    request = Request(tuple(steps))
    return Sent(request, began, ended, status=200, seen=seen, loaded=loaded, saved=saved)


def history(document: dict[str, Any], *requests: Sent) -> History:
    birth = sent(0, 1, (None, 1), {}, Step("change", ("born",), "r"))
    whole = History(Round("r", birth.request, [], []))
    whole.sent = [birth, *requests]
    whole.document = {"born": "r", **document}
    return whole


BORN = {"born": "r"}
PEAR = Step("change", ("cart", "pear"), "m1")
PLUM = Step("change", ("cart", "plum"), "m2")
GONE = Step("delete", ("cart",))


def test_what_nobody_covered_has_to_be_there() -> None:
    pair = sent(1, 5, (1, 2), BORN, PEAR), sent(2, 6, (1, 3), BORN, PLUM)
    both = history({"cart": {"pear": "m1", "plum": "m2"}}, *pair)
    assert not [*by_marks(both), *by_versions(both)]
    one = history({"cart": {"plum": "m2"}}, *pair)
    assert [*by_marks(one)] == ["change cart.pear m1 isn't there, but None"]
    assert by_versions(one) == ['in the end: cart.pear: {} is "m1"']


def test_what_may_have_been_covered_is_left_to_the_versions() -> None:
    pair = sent(1, 5, (1, 2), BORN, PEAR), sent(2, 6, (1, 3), {**BORN, "cart": {}}, GONE)
    gone, there = history({}, *pair), history({"cart": {"pear": "m1"}}, *pair)
    assert not [*by_marks(gone), *by_marks(there)]
    assert not by_versions(gone) and by_versions(there)


def test_what_was_deleted_for_certain_may_not_be_there() -> None:
    late = sent(6, 7, (2, 3), {**BORN, "cart": {"pear": "m1"}}, GONE)
    back = history({"cart": {"pear": "m1"}}, sent(1, 5, (1, 2), BORN, PEAR), late)
    assert [*by_marks(back)] == ["delete cart has left cart.pear: 'm1'"]
    assert by_versions(back)


def test_sums_and_lists_have_all_that_was_added() -> None:
    adding = [sent(1, 9, (1, n), BORN, Step("incr", ("n",), n)) for n in (2, 3, 4)]
    assert not [*by_marks(history({"n": 9}, *adding)), *by_versions(history({"n": 9}, *adding))]
    assert len([*by_marks(history({"n": 4}, *adding))]) == 2
    pushing = [sent(1, 9, (1, n), BORN, Step("push", ("l",), (f"m{n}", None))) for n in (2, 3)]
    assert not [*by_marks(history({"l": ["m2", "m3"]}, *pushing))]
    assert len([*by_marks(history({"l": ["m3"]}, *pushing))]) == 1


def test_what_is_there_after_a_sign_out_is_revived() -> None:
    ended = history({})
    ended.last = [sent(9, 10, (1, None), BORN, Step("end"))]
    ended.afterwards = [{}, BORN]
    assert judged(ended, "born", ours=True).counts["revived"] == 1


def test_versions_tell_what_was_dropped_or_came_from_nowhere() -> None:
    dropped = history({}, sent(1, 2, (1, 1), BORN, PEAR))
    assert by_versions(dropped) == ["change cart.pear m1 wasn't saved"]
    unknown = history({}, sent(1, 2, (7, 7), BORN))
    assert by_versions(unknown) == ["version 7 was loaded, and nobody saved it"]
    twice = [sent(1, 9, (1, 2), BORN, step) for step in (PEAR, PLUM)]
    assert "version 2 was saved 2 times" in by_versions(history({}, *twice))


@pytest.mark.parametrize(
    ("there", "seen", "step", "after"),
    [
        ({"a": {"x": 1, "y": 2}}, {"a": {"x": 1}}, Step("delete", ("a", "x")), {"a": {"y": 2}}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"x": 1}}, Step("delete", ("a",)), {}),
        ({"a": {"x": 1}}, {"a": "text"}, Step("delete", ("a",)), {}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"x": 1}}, Step("empty", ("a",)), {"a": {"y": 2}}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"v": 1, "w": 1}}, Step("empty", ("a",)), {}),
        ({"a": "text"}, {}, Step("change", ("a", "x"), 1), {"a": {"x": 1}}),
        ({"a": {"x": 1}}, {}, Step("change", ("a",), "text"), {"a": "text"}),
        ({"a": 1}, {}, Step("incr", ("a",), 4), {"a": 5}),
        ({"a": [1, 2]}, {}, Step("push", ("a",), (3, 2)), {"a": [2, 3]}),
        ({"a": 1}, {}, Step("init", ("a",), 2), {"a": 1}),
        ({}, {}, Step("init", ("a",), 2), {"a": 2}),
        ({"a": 1}, {}, Step("setdefault", ("a",), 2), {"a": 2}),
    ],
)
def test_the_model_merges_as_the_page_says(there: Any, seen: Any, step: Step, after: Any) -> None:
    assert not same(merged(leaves_of(there), seen, [step]), leaves_of(after))


def test_plans_are_the_same_for_the_same_seed_and_fit_any_document() -> None:
    for number in range(50):
        plan = draw(str(number), "born")
        assert plan == draw(str(number), "born")
        requests = [plan.birth, *(r for client in plan.clients for r in client), *plan.ending]
        assert len(requests) == PER_ROUND == 1 + CLIENTS * (LENGTH + 1)
        assert sum(request.has("end") for request in requests) == 1
        document: dict[str, Any] = {}
        for request in requests:
            carry_out(document, request.steps)
        assert document["born"] == str(number)
