"""Ids and handles."""

import pytest

from sessile import ConfigurationError
from sessile.ids import DJANGO, URL_SAFE, Shape, handle, handles, new_id, route


def test_ids_have_their_shape_and_never_come_twice():
    for shape in (DJANGO, URL_SAFE):
        ids = {new_id(shape.alphabet, shape.length) for _ in range(1000)}
        assert len(ids) == 1000 and all(map(shape.fits, ids))


def test_a_handle_is_no_id_and_tells_nothing():
    id = new_id()
    known = handle(id, "app")
    assert len(known) == 64 and id.encode() not in known
    assert not DJANGO.fits(known.decode()) and not URL_SAFE.fits(known.decode())
    assert handle(id, "app") == known != handle(id, "other") != handle(new_id(), "app")


def test_handles_stay_what_they_are():
    """Made otherwise, they would lose every session that there is."""
    assert handle("a" * 32, "shop") == (
        b"5af55f3eae4788d1e23bac1e1d5ec70dfa09d0c133865de6b37cd9441e1b9991"
    )
    assert handle("a" * 32, "shop", ["k" * 16]) == (
        b"946440ed3273bc410212bf90078757fcbef3f85c2e158cfe811756c0acf08875"
    )


def test_keys_can_be_changed_without_losing_a_session():
    id = new_id()
    old = handle(id, "app", ["an old key of 24 bytes.."])
    now = handles(id, "app", ["a new key of 24 bytes...", "an old key of 24 bytes.."])
    assert now[1] == old != now[0]
    with pytest.raises(ConfigurationError, match="16 bytes"):
        handle(id, "app", ["short"])


def test_rotation_keeps_the_routing_characters():
    id = new_id()
    assert route(new_id(like=id)) == route(id)
    assert new_id(like=id) != id


@pytest.mark.parametrize(
    "text", [None, 7, "", "a" * 31, "a" * 33, "A" * 32, "é" * 32, "a" * 31 + "\n"]
)
def test_what_is_no_id_is_seen_without_asking_anybody(text):
    assert not DJANGO.fits(text)


def test_ids_that_could_be_guessed_are_refused():
    with pytest.raises(ConfigurationError, match="guessed"):
        Shape("0123456789abcdef", 32)
    with pytest.raises(ConfigurationError, match="256 letters"):
        Shape("".join(map(chr, range(300))), 32)
