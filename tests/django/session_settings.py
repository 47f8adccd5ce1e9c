"""Settings under which Django's own suites run on our sessions.

SESSILE_URL names the store. SESSILE_TEST_MIDDLEWARE chooses whose SessionMiddleware the tests get
wherever they name Django's: `django` or `sessile`. The tests of CSRF in sessions name Django's
cache engine in their code and get ours instead. All else is as in the suite's test_sqlite.py.
"""

import os

DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3"},
    "other": {"ENGINE": "django.db.backends.sqlite3"},
}
SECRET_KEY = "only for tests"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
SESSION_ENGINE = "sessile.django"
SESSILE_URL = os.environ["SESSILE_URL"]


def stand_in() -> None:
    """Puts our classes where the suites expect Django's."""
    from django.contrib.sessions import middleware
    from django.contrib.sessions.backends import cache

    from sessile.django import SessionMiddleware, SessionStore

    cache.SessionStore = SessionStore
    if os.environ["SESSILE_TEST_MIDDLEWARE"] == "sessile":
        middleware.SessionMiddleware = SessionMiddleware


stand_in()
