"""Django's tests of message storages (its BaseTests) on our MessageStorage."""

from django.contrib.messages import constants
from django.contrib.messages.storage.base import Message
from django.test import TestCase
from django.utils.safestring import SafeData, mark_safe
from messages_tests.base import BaseTests

from sessile.django import SessionStore
from sessile.django.messages import MessageStorage, is_message


class SessileMessageTests(BaseTests, TestCase):
    storage_class = MessageStorage

    def get_request(self):
        request = super().get_request()
        request.session = SessionStore()
        return request

    def stored_messages_count(self, storage, response):
        return len([key for key in storage.request.session.keys() if is_message(key)])  # noqa: SIM118

    def keep(self, storage, *messages):
        storage._store(list(messages), None)

    def test_get(self):
        storage = self.storage_class(self.get_request())
        examples = [Message(constants.INFO, "one"), Message(constants.INFO, "two", "tag")]
        self.keep(storage, *examples)
        self.assertEqual(list(storage), examples)

    def test_safedata(self):
        storage = self.storage_class(self.get_request())
        self.keep(storage, Message(constants.DEBUG, mark_safe("<b>safe</b>")))
        self.keep(storage, Message(constants.DEBUG, "<b>not</b>"))
        safe, other = list(storage)
        self.assertIsInstance(safe.message, SafeData)
        self.assertNotIsInstance(other.message, SafeData)
