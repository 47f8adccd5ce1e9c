"""Django's tests of session engines (SessionTestsMixin), sync and async, on our SessionStore."""

from django.test import SimpleTestCase, override_settings
from sessions_tests.tests import SessionTestsMixin

from sessile.django import SessionStore


class SessileSessionTests(SessionTestsMixin, SimpleTestCase):
    backend = SessionStore


@override_settings(USE_TZ=True)
class SessileSessionWithTimeZoneTests(SessileSessionTests):
    pass
