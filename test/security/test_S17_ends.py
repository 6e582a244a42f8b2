"""S-17: objects that end while something is under way.
CVE-2004-0953, CVE-2015-2058, CVE-2016-2385, CVE-2020-25269, CVE-2026-106803 and their kind.

Connections die at every stage, with work waiting in jobs; in a sanitizer build the log would
tell. Texts are cut where limits cut them, never within a character.
"""

import random

import pytest

from mk import AuthFailed, NS, child


def steps(c, a, b):
    """Stages of a life, as generators see them: after each yield the client may die."""
    c.connect()
    yield "connected"
    c.send(c.stream_header()[:20])
    yield "in the header"
    c.send(c.stream_header()[20:])
    c.opened()
    yield "opened"
    c.send("<starttls xmlns='%s'/>" % NS.TLS)
    yield "starttls sent"
    c.expect("proceed", NS.TLS)
    yield "before the handshake"
    c.tls()
    yield "after the handshake"
    c.open()
    c.auth("SCRAM-SHA-256", b"n,,n=%s,r=abcdefghijkl" % a.user.encode())
    yield "in a SCRAM exchange"
    c.recv()
    c.send("<abort xmlns='%s'/>" % NS.SASL)
    c.recv()
    c.auth("PLAIN", ("\0%s\0wrong" % a.user).encode())
    yield "password under check"
    c.recv()
    c.auth("PLAIN", ("\0%s\0%s" % (a.user, a.password)).encode())
    yield "good password under check"
    c.sasl_result(restart=False)
    yield "before the restart"
    c.open()
    c.send("<iq type='set' id='b'><bind xmlns='%s'/></iq>" % NS.BIND)
    yield "bind sent"
    answer = c.answer("b")
    c.jid = child(child(answer, "bind", NS.BIND), "jid").text
    c.send("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq><presence/>")
    yield "roster and presence sent"
    c.send("<presence type='subscribe' to='%s'/>" % b.bare)
    yield "subscription sent"
    c.send("<iq type='set' id='s'><query xmlns='jabber:iq:roster'><item jid='%s' name='x'/></query>"
           "</iq>" % b.bare)
    yield "roster change sent"
    c.send("<message to='offline-%s' type='chat'><body>x</body></message>" % a.jid)
    yield "message to nobody sent"
    c.message(b.jid, "x" * 100000)
    yield "big message sent"
    c.send("<message to='%s'><body>half" % b.jid)
    yield "within a stanza"


ENDS = ["kill", "reset", "half", "stream"]


@pytest.mark.parametrize("end", ENDS)
def test_end_at_every_stage(account, connect, end):
    b = connect(account(), presence="")
    a = account()
    stage = 0
    while True:
        c = connect()
        last = None
        for i, what in enumerate(steps(c, a, b)):
            last = what
            if i == stage:
                break
        else:
            break
        try:
            if end == "kill":
                c.kill()
            elif end == "reset":
                c.reset()
            elif end == "half":
                c.sock.shutdown(1)
                c.sock.settimeout(10)
                while c.sock.recv(65536):
                    pass
            else:
                c.send("</stream:stream>")
                c.kill()
        except OSError:
            pass
        stage += 1
        c.kill()
    assert stage > 15, last
    b.barrier()
    connect(a).ping()


@pytest.mark.parametrize("seed", range(4))
def test_account_that_goes_while_it_is_used(server, connect, seed):
    """Removed with sessions open and requests under way."""
    r = random.Random(seed)
    other = connect(server.account(), presence="")
    for _ in range(3):
        a = server.account()
        c, d = connect(a, presence=""), connect(a, presence="")
        for i in range(r.randrange(30)):
            c.send("<iq type='set' id='i%d'><query xmlns='jabber:iq:roster'><item jid='x%d@y.test'/>"
                   "</query></iq>" % (i, i))
        other.message(d.jid, "x")
        server.ctl("account", "unregister", a.jid)
        for x in (c, d):
            x.expect_closed()
        again = connect()
        again.account = a
        again.start()
        with pytest.raises(AuthFailed):
            again.scram()
    other.ping()


def test_conflict_storm(account, connect):
    """The same resource again and again: each ends the one before it."""
    a = account()
    clients = []
    for _ in range(15):
        clients.append(connect(a, "same"))
    for c in clients[:-1]:
        c.expect_stream_error("conflict")
    clients[-1].ping()


@pytest.mark.parametrize("n", [1021, 1022, 1023])
def test_text_is_not_cut_within_a_character(account, connect, n):
    """Resources of just the longest length, with characters of two to four bytes at the end."""
    for tail in ("\u00e9", "\u20ac", "\u4e2d"):
        c = connect()
        c.account = account()
        c.start()
        c.plain()
        resource = "x" * n + tail
        a = c.iq("set", "<bind xmlns='%s'><resource>%s</resource></bind>" % (NS.BIND, resource))
        if a.get("type") == "result":
            jid = child(child(a, "bind", NS.BIND), "jid").text
            jid.encode("utf-8")
            if len(resource.encode()) <= 1023:
                assert jid.endswith(resource)
        else:
            assert len(resource.encode()) > 1023
        c.ping() if a.get("type") == "result" else None


def test_many_short_lives(account, connect):
    a, b = account(), connect(account(), presence="")
    for i in range(40):
        c = connect(a)
        c.send("<presence/><presence type='unavailable'/><message to='%s' type='chat'><body>%d</body>"
               "</message>" % (b.jid, i))
        c.kill() if i % 2 else c.send("</stream:stream>")
    b.barrier()
