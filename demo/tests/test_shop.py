"""What a visitor can do in the shop, and that its state is in the store and nowhere else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest


def sign_in(client, name: str = "ada"):
    """Signs in; the answer is the page that follows."""
    form = {"username": name, "password": name}
    answer = client.post("/sign-in/", form, follow=True)
    assert answer.status_code == 200
    return answer


def text(client, path: str) -> str:
    """A page's text; anything but 200 fails."""
    answer = client.get(path)
    assert answer.status_code == 200
    return answer.content.decode()


def keys(pattern: str = "*") -> list[str]:
    """Keys that the store holds."""
    from shop import facts

    return sorted(key.decode() for key in facts.client().scan_iter(pattern))


def stored(client) -> str:
    """The key under which the store has a browser's session."""
    from sessile.django import SessionStore

    return SessionStore(client.cookies["shop_session"].value).store_key


def test_looking_around_needs_no_session(browser) -> None:
    client = browser()
    assert "Sessile oak" in text(client, "/")
    assert "Nothing here yet" in text(client, "/cart/")
    assert "You have no session yet" in text(client, "/sessions/")
    assert keys() == []
    assert "shop_session" not in client.cookies


def test_a_cart_is_a_session_in_the_store(browser) -> None:
    client = browser()
    for slug in ("oak", "oak", "moss"):
        page = client.post("/cart/add/", {"slug": slug}, follow=True)
    assert "Moss ball is in your cart." in page.content.decode()
    cart = text(client, "/cart/")
    assert "€ 57.00" in cart
    assert len(keys("sessile:shop:*")) == 1
    client.post("/cart/put/", {"slug": "oak", "quantity": "0"})
    assert "€ 9.00" in text(client, "/cart/")
    client.post("/cart/order/")
    assert "Nothing here yet" in text(client, "/cart/")


@pytest.mark.parametrize("quantity, left", [("-5", "Nothing here"), ("100000", "€ 891.00")])
def test_quantities_are_bounded(browser, quantity: str, left: str) -> None:
    client = browser()
    client.post("/cart/put/", {"slug": "moss", "quantity": quantity})
    assert left in text(client, "/cart/")


def test_nonsense_is_refused(browser) -> None:
    client = browser()
    assert client.post("/cart/add/", {"slug": "whale"}).status_code == 404
    assert client.get("/cart/add/").status_code == 405
    page = client.post("/cart/put/", {"slug": "oak", "quantity": "many"}, follow=True)
    assert "A quantity is a whole number." in page.content.decode()


def test_forms_carry_a_token(browser) -> None:
    client = browser()
    client.handler.enforce_csrf_checks = True
    assert client.post("/cart/add/", {"slug": "oak"}).status_code == 403
    assert text(client, "/").count("csrfmiddlewaretoken") >= 8


def test_signing_in_keeps_the_cart_and_changes_the_key(browser) -> None:
    client = browser()
    client.post("/cart/add/", {"slug": "fern"})
    before = client.cookies["shop_session"].value
    page = sign_in(client)
    assert "Sign out Ada" in page.content.decode()
    assert client.cookies["shop_session"].value != before
    assert "Wall fern" in text(client, "/cart/")
    late = browser()
    late.cookies["shop_session"] = before
    assert "Sign in" in text(late, "/cart/")


def test_a_wrong_password(browser) -> None:
    page = browser().post("/sign-in/", {"username": "ada", "password": "grace"})
    assert "Name and password don" in page.content.decode()
    assert keys() == []


def test_the_session_page_says_what_the_store_holds(browser, store) -> None:
    client = browser()
    sign_in(client)
    page = text(client, "/sessions/")
    key = client.cookies["shop_session"].value
    assert key not in page
    assert f"{key[:4]}…{key[-2:]}" in page
    for command in ("TYPE", "TTL", "HKEYS", "MEMORY USAGE", "OBJECT ENCODING"):
        assert f"&gt; {command} sessile:shop:" in page
    assert ("as Sessile" if store.ours else "as Redis") in page
    assert "(hidden)" in page
    assert "Firefox on Linux" in page


def test_saving_gives_the_full_time_again(browser) -> None:
    from shop import facts

    client = browser()
    sign_in(client)
    key = stored(client)
    facts.client().expire(key, 100)
    assert facts.client().ttl(key) <= 100
    client.post("/sessions/slide/")
    assert facts.client().ttl(key) > 1700


def test_two_tabs_add_to_one_cart_at_once(browser) -> None:
    client = browser()
    client.post("/cart/add/", {"slug": "moss"})

    def tab(_: int) -> int:
        other = browser()
        other.cookies["shop_session"] = client.cookies["shop_session"].value
        return other.post("/cart/add/", {"slug": "moss"}).status_code

    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(tab, range(10))) == [302] * 10
    page = text(client, "/cart/")
    assert "€ 99.00" in page
    assert "ten tabs at once" in page


def test_ending_another_session(browser) -> None:
    here, there = browser(), browser("Mozilla/5.0 (iPhone) Safari/605")
    sign_in(here)
    sign_in(there)
    there_key = stored(there)
    page = text(here, "/sessions/")
    assert "Safari on iPhone" in page
    assert "Sign out everywhere else" in page
    handle = there_key.rpartition(":")[2]
    assert handle in page
    answer = here.post("/sessions/end/", {"handle": handle}, follow=True)
    assert "1 session ended." in answer.content.decode()
    assert there_key not in keys()
    assert "Sign in" in text(there, "/")
    assert "Sign out Ada" in text(here, "/")


def test_ending_all_others_spares_this_one_and_other_people(browser) -> None:
    here, grace = browser(), browser()
    others = [browser() for _ in range(3)]
    sign_in(grace, "grace")
    for client in (here, *others):
        sign_in(client)
    answer = here.post("/sessions/end/", {"handle": "others"}, follow=True)
    assert "3 sessions ended." in answer.content.decode()
    assert "Sign out Ada" in text(here, "/")
    assert "Sign out Grace" in text(grace, "/")
    assert all("Sign out" not in text(client, "/") for client in others)


def test_signing_out_everywhere_ends_this_one_too_and_spares_other_people(browser) -> None:
    here, grace = browser(), browser()
    others = [browser() for _ in range(2)]
    sign_in(grace, "grace")
    for client in (here, *others):
        sign_in(client)
        client.post("/cart/add/", {"slug": "oak"})
    cookies = [client.cookies["shop_session"].value for client in (here, *others)]
    left = stored(grace)
    assert len(keys("sessile:shop:*")) == 4
    answer = here.post("/sessions/end/", {"handle": "all"})
    assert (answer.status_code, answer.url) == (302, "/")
    assert here.cookies["shop_session"].value == ""
    assert "Sign in" in text(here, "/")
    assert keys("sessile:shop:*") == [left]
    for cookie in cookies:
        late = browser()
        late.cookies["shop_session"] = cookie
        assert "Sign out" not in text(late, "/")
        assert "Nothing here yet" in text(late, "/cart/")
    assert "Sign out Grace" in text(grace, "/")


def test_two_browsers_show_the_same_sessions_each_its_own_first(browser) -> None:
    firefox, safari = browser(), browser("Mozilla/5.0 (iPhone) Safari/605")
    for client in (firefox, safari):
        sign_in(client)
    names = ("Firefox on Linux", "Safari on iPhone")
    for client, own, other in ((firefox, *names), (safari, *reversed(names))):
        first, _, rest = text(client, "/sessions/").partition("this one")
        assert own in first
        assert other not in first
        assert other in rest
        assert rest.count("End it") == 1


def test_two_browsers_show_the_same_session(browser) -> None:
    here, there = browser(), browser("Mozilla/5.0 (iPhone) Safari/605")
    sign_in(here)
    there.cookies["shop_session"] = here.cookies["shop_session"].value
    here.post("/cart/add/", {"slug": "oak"})
    there.post("/cart/add/", {"slug": "moss"})
    for client in (here, there):
        cart, page = text(client, "/cart/"), text(client, "/sessions/")
        assert "Sessile oak" in cart
        assert "Moss ball" in cart
        assert stored(here).rpartition(":")[2][:8] in page
        assert "End it" not in page
        assert "Sign in from a second browser" in page


def test_signing_out_leaves_nothing(browser) -> None:
    client = browser()
    sign_in(client)
    client.post("/sign-out/")
    assert keys("sessile:shop:*") == []


def test_a_session_that_the_store_lost_is_not_listed(browser) -> None:
    from shop import facts

    here, there = browser(), browser()
    sign_in(here)
    sign_in(there)
    facts.client().delete(stored(there))
    assert "Sign out everywhere else" not in text(here, "/sessions/")


def test_pages_ask_nobody_else(browser) -> None:
    client = browser()
    sign_in(client)
    for path in ("/", "/cart/", "/sessions/"):
        page = text(client, path)
        assert "http://" not in page
        assert "https://" not in page
