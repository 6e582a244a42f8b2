"""Fixtures of all tests against a running server.

server       shared by a worker of the test run: for tests that need nothing
             special, with accounts of their own
make_server  servers of a test's own: make_server({...changes of the settings})
account      new accounts on the shared server
connect      clients: connect() is a connection, connect(account) one that logs
             in; they are closed at the end
muc          rooms on the shared server, and people in them (mk/muc.py)
"""

import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

import mk  # noqa: E402
import mk.muc  # noqa: E402


@pytest.fixture(scope="session")
def _server():
    if not os.path.exists(os.path.join(mk.server.BUILD, "meerkatd")):
        pytest.fail("no meerkatd in %s: ./quickstart build" % mk.server.BUILD)
    s = mk.Server().start()
    yield s
    s.close()


@pytest.fixture
def server(_server):
    _server.accounts.clear()
    yield _server
    assert _server.alive(), "the server ended:\n" + _server.log()[-4000:]


@pytest.fixture
def make_server():
    made = []

    def make(changes=None, start=True, **kw):
        s = mk.Server(changes, **kw)
        made.append(s)
        return s.start() if start else s
    yield make
    failures = []
    for s in made:
        try:
            s.close()
        except AssertionError as e:
            failures.append(str(e))
    assert not failures, "\n".join(failures)


@pytest.fixture
def account(server):
    return server.account


@pytest.fixture
def connect(request):
    """connect(account=None, resource=None, server=, domain=, tls=, mechanism=,
    presence=): a bound client, or without an account one that is not connected."""
    made = []

    def make(account=None, resource=None, server=None, domain=None, **kw):
        server = server or request.getfixturevalue("server")
        c = mk.Client(server, account, domain)
        made.append(c)
        return c.login(resource, **kw) if account else c
    yield make
    for c in made:
        c.kill()


@pytest.fixture
def pair(account, connect):
    """Two users who do not know each other, online, with initial presence."""
    return connect(account(), presence=""), connect(account(), presence="")


@pytest.fixture
def muc(server, account, connect):
    return mk.muc.Stage(server, account, connect)


@pytest.fixture
def healthy(pair):
    """Two users who chat undisturbed, whatever a test does to the server: they are
    tried after it."""
    a, b = pair
    yield a, b
    for x, y in ((a, b), (b, a)):
        x.message(y.jid, "still here")
        assert mk.text(y.until(lambda e: mk.name(e) == "message"), "body") == "still here"


def pytest_make_parametrize_id(config, val, argname):
    """Short names, in ASCII, for the texts that tests are made of."""
    if isinstance(val, (str, bytes)):
        text = ascii(val)[1:-1] if isinstance(val, str) else ascii(val)[2:-1]
        return text if len(text) <= 48 else text[:40] + "...%d" % len(val)
    return None
