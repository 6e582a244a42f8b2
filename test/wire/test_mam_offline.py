"""XEP-0160 where there is an archive: test_offline's conversations once more, with mam.

Messages are not stored a second time; what waits is marked in the archive.
"""

import os
import sys

import pytest

import mk
from mk import name
from mk.sm import SmClient

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from test_mam import bodies_of, prefs, query  # noqa: E402
from test_offline import *  # noqa: E402,F401,F403
from test_offline import fetch, ids, leave, rest, settle  # noqa: E402

MAM = {"host_types": {"people": {"plugins": {"mam": {}}}}}

# The archive has no max_messages; a user's quota takes the oldest.
del test_full  # noqa: F821


@pytest.fixture(scope="module")
def _server():
    s = mk.Server(MAM).start()
    yield s
    s.close()


@pytest.fixture
def server(_server):
    _server.accounts.clear()
    yield _server
    assert _server.alive(), _server.log()[-4000:]


@pytest.fixture
def make_server(make_server):
    def make(changes=None, **kw):
        both = {"host_types": {"people": {"plugins": {"mam": {}}}}}
        mk.server.merge(both, changes or {})
        return make_server(both, **kw)
    return make


def rows_of_offline(server):
    import sqlite3
    if server.config["storage"]["default"] != "sqlite":
        pytest.skip("looks into the SQLite file")
    db = sqlite3.connect(server.path("data", "meerkat.db"))
    try:
        return db.execute("SELECT COUNT(*) FROM offline_message").fetchone()[0]
    finally:
        db.close()


def test_message_is_stored_once(make_server, connect):
    s = make_server()
    juliet, romeo = s.account(), connect(s.account(), server=s)
    leave(romeo, juliet, "<body>once only</body>", id_="o1")
    c, got = fetch(connect, juliet, server=s)
    assert ids(got) == ["o1"]
    p = query(c)
    assert p.bodies == ["once only"]
    sid = got[0].find("{urn:xmpp:sid:0}stanza-id")
    assert sid.get("by") == juliet.jid and sid.get("id") == p.ids[0]
    assert bodies_of(s, "once only") == 1 and rows_of_offline(s) == 0


def test_message_that_is_not_archived_waits_in_the_old_way(server, connect, account):
    juliet, romeo = account(), connect(account())
    c = connect(juliet)
    prefs(c, "never")
    c.close()
    leave(romeo, juliet, "<body>x</body>", id_="p1")
    c, got = fetch(connect, juliet)
    assert ids(got) == ["p1"] and query(c).bodies == []
    c.close()
    assert fetch(connect, juliet)[1] == []


def test_given_back_between_those_that_were_delivered(server, connect, account):
    """A session that holds what it was sent ends after another one got what waited: what it
    gives back comes again, and nothing else."""
    juliet, romeo = account(), connect(account())
    a = SmClient(server, juliet)
    a.login()
    a.enable()
    a.answers = False
    a.available()
    romeo.message(a.jid, "held", id_="held")
    a.until(lambda e: name(e) == "message")
    a.unavailable()
    for k in range(3):
        leave(romeo, juliet, "<body>x</body>", id_="w%d" % k)
    b, got = fetch(connect, juliet, "other")
    assert ids(got) == ["w0", "w1", "w2"]
    b.unavailable()
    a.send("</stream:stream>")
    a.expect_closed()
    settle(romeo, juliet)
    b.available()
    assert ids(rest(b)) == ["held"]
    b.unavailable()
    b.available()
    assert rest(b) == []


def test_thousands_that_a_crash_found_unacknowledged(make_server, connect):
    """kill -9 while sessions hold what their clients never acknowledged: the server is there at
    once, serves who logs in meanwhile, and each one gets all of it, once and in order."""
    s = make_server()
    if s.config["storage"]["default"] == "memory":
        pytest.skip("memory is not durable")
    sender = SmClient(s, s.account())
    sender.login()
    sender.enable()
    recipients, total = [], 0
    for _ in range(6):
        c = SmClient(s, s.account())
        c.login()
        c.enable()
        c.answers = False
        c.available()
        sender.send("".join("<message to='%s' type='chat' id='m%d'><body>m%d</body></message>"
                            % (c.account.jid, k, k) for k in range(400)))
        total += 400
        sender.h(at_least=total)
        n = 0
        while n < 400:
            n += name(c.recv()) == "message"
        recipients.append(c)
    s.restart(hard=True)
    connect(sender.account, server=s, presence="").ping()
    wanted = ["m%d" % k for k in range(400)]
    # One that is there before all that was handed back is marked, others later.
    for old in recipients:
        c = connect(old.account, server=s, presence="")
        got = []
        while len(got) < 400:
            el = c.recv()
            if name(el) == "message":
                got.append(el.get("id"))
        assert got == wanted
        assert rest(c) == []
        old.kill()
    sender.kill()
    c = connect(recipients[0].account, server=s, presence="")
    assert rest(c) == []
    seen, last = [], None
    while True:
        p = query(c, "<set xmlns='http://jabber.org/protocol/rsm'><max>250</max>%s</set>"
                  % ("<after>%s</after>" % last if last else ""))
        seen += [r.message.get("id") for r in p.results]
        last = p.last
        if p.complete:
            break
    assert seen == wanted
