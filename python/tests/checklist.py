"""The security checklist: what of OWASP's ASVS 5.0 and its cheat sheet on session management (CS)
a session package owes, by id, in our own words. test_security_checklist.py holds that each has a
test with the id in its name, and that docs/security-checklist.md lists the same.
"""

from __future__ import annotations

PACKAGE = {
    "asvs_1_3_9": "nothing that a client chooses becomes part of a command to memcached",
    "asvs_1_5_2": "what lies in the store is read as data, never as objects that run",
    "asvs_3_3_1": "the cookie can be held to TLS: Secure",
    "asvs_3_3_2": "the cookie's SameSite says what other sites may send it with",
    "asvs_3_3_3": "the cookie can be bound to its host: __Host-, no domain, the whole path",
    "asvs_3_3_4": "scripts can't read the cookie: HttpOnly",
    "asvs_3_3_5": "the cookie is small: the id alone travels",
    "asvs_7_2_1": "the server checks the id; an altered or unknown one is nobody's",
    "asvs_7_2_3": "ids are random, of the system's generator, with 128 bits at least",
    "asvs_7_2_4": "a sign-in gives another id, and ends the one before",
    "asvs_7_4_3": "other sessions can be ended at a change of password, this one kept",
    "asvs_7_5_2": "users can see their sessions, and end each",
    "asvs_11_5_1": "nobody's ids can be told from another's: forks and restarts included",
    "asvs_13_1_2": "connections have a limit, and what happens at the limit is documented",
    "asvs_13_2_6": "connections obey the documented timeouts and retries",
    "asvs_14_2_1": "no id is taken from a URL",
    "asvs_14_3_2": "caches are told not to keep what was made of a session",
    "asvs_16_5_2": "without the store the app goes on as far as it needs none, and recovers",
    "asvs_16_5_3": "without the store nobody is let in, signed out or believed by the cookie",
    "cs_any_input": "an id is checked before it is used for anything",
    "cs_caching": "whoever looks at a session says so to caches: Vary",
    "cs_strict_mode": "an id that the server didn't issue is never taken over",
}
"""The rows that the package alone, or the package with the server, has to hold."""

SHARED = {
    "asvs_7_4_1": "after a sign-out nothing opens the session, and no late save revives it",
    "asvs_15_4_1": "requests at the same time lose nothing of each other",
    "asvs_16_2_5": "no id stands in logs, errors or the store",
    "cs_logging": "what becomes of sessions is logged, each named by the start of a hash",
}
"""Rows that the server has to hold, too: what is tested here is the package's part."""
