"""Settings of the shop: no database; all that it knows of visitors is one session each.

Sessions are kept by a server that the shop starts by itself, unless SESSILE_URL in the environment
names another store. SHOP_SECRET_KEY is the signing key (random when absent, which signs everyone
out at a restart). Meant for loopback: plain HTTP, Django's own small web server.
"""

import os
import secrets
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = os.environ.get("SHOP_SECRET_KEY") or secrets.token_urlsafe(32)
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "testserver"]
ROOT_URLCONF = "shop.urls"
USE_TZ = True
STATIC_URL = "static/"
DATABASES = {}

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "sessile.django",
    "shop.apps.Shop",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "sessile.django.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "shop.cart.context",
            ]
        },
    }
]

SESSION_ENGINE = "sessile.django"
SESSILE_NAMESPACE = "shop"
SESSION_COOKIE_NAME = "shop_session"
SESSION_COOKIE_AGE = 30 * 60
SESSION_COOKIE_SAMESITE = "Lax"
MESSAGE_STORAGE = "sessile.django.messages.MessageStorage"

AUTHENTICATION_BACKENDS = ["shop.users.DemoUsers"]
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "shelf"
LOGOUT_REDIRECT_URL = "shelf"
