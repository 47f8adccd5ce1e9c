"""Settings under which Django's own test suite runs: its CACHES are the store under test.

SESSILE_TEST_DEFAULT names the cache that sessions and `default` use; the other backends are
configured beside it because Django's cache tests find their servers through CACHES. Everything
else is as in the suite's own test_sqlite.py.
"""

import os

HOST = os.environ["SESSILE_TEST_HOST"]
PORT = os.environ["SESSILE_TEST_PORT"]
MEMCACHED = f"{HOST}:{os.environ['SESSILE_TEST_MEMCACHED_PORT']}"
BACKENDS = {
    "redis": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": f"redis://{HOST}:{PORT}",
    },
    "pymemcache": {
        "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
        "LOCATION": MEMCACHED,
    },
    "pylibmc": {
        "BACKEND": "django.core.cache.backends.memcached.PyLibMCCache",
        "LOCATION": MEMCACHED,
    },
}

chosen = os.environ["SESSILE_TEST_DEFAULT"]
CACHES = {"default": BACKENDS[chosen]}
CACHES.update((name, backend) for name, backend in BACKENDS.items() if name != chosen)

DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3"},
    "other": {"ENGINE": "django.db.backends.sqlite3"},
}
SECRET_KEY = "only for tests"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
