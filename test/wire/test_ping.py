"""XEP-0199: pings to the server, and from it."""

import time

import pytest

from mk import NS, StreamClosed, StreamError, child, name, to_str

PING = "<ping xmlns='urn:xmpp:ping'/>"


@pytest.fixture
def pinging(make_server):
    def make(**settings):
        return make_server({"host_types": {"people": {"plugins": {"ping": dict(
            {"send_pings": True, "interval": "1s", "timeout": "1s"}, **settings)}}}})
    return make


def got_ping(c, domain="meerkat.test"):
    q = c.expect("iq", type="get")
    assert child(q, "ping", NS.PING) is not None, to_str(q)
    assert q.get("from") == domain and q.get("to") == c.jid and q.get("id")
    return q


@pytest.mark.parametrize("to", [None, "meerkat.test", "own"])
def test_client_to_server(account, connect, to):
    """4.2: to the server, to the own bare JID, or to nobody."""
    c = connect(account())
    to = c.bare if to == "own" else to
    a = c.iq("get", PING, to=to)
    assert a.get("type") == "result" and len(a) == 0
    assert a.get("from") == to and a.get("to") == c.jid


def test_set_is_no_ping(account, connect):
    a = connect(account()).iq("set", PING, to="meerkat.test")
    assert a.get("type") == "error"
    assert name(child(a, "error")[0]) == "service-unavailable"


def test_account_of_somebody_else(account, connect):
    """RFC 6121 8.5.1: nothing tells whether it exists."""
    c, other = connect(account()), account()
    for jid in (other.jid, "nobody-at-all@meerkat.test"):
        a = c.iq("get", PING, to=jid)
        assert name(child(a, "error")[0]) == "service-unavailable"


def test_client_to_client(pair):
    """4.4: the resource itself answers."""
    a, b = pair
    a.send("<iq type='get' id='e2e1' to='%s'>%s</iq>" % (b.jid, PING))
    q = b.expect("iq", type="get", id="e2e1")
    assert q.get("from") == a.jid
    b.send("<iq type='result' id='e2e1' to='%s'/>" % a.jid)
    assert a.answer("e2e1").get("from") == b.jid


def test_feature(account, connect):
    """5"""
    c = connect(account())
    for to in ("meerkat.test", c.bare):
        q = child(c.iq("get", "<query xmlns='%s'/>" % NS.DISCO_INFO, to=to), "query")
        assert NS.PING in {f.get("var") for f in q}


@pytest.mark.parametrize("answer", [
    "<iq type='result' id='%s' to='meerkat.test'/>",
    "<iq type='error' id='%s' to='meerkat.test'><ping xmlns='urn:xmpp:ping'/><error type='cancel'>"
    "<service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>",
])
def test_silent_client_is_pinged(pinging, connect, answer):
    """4.1: a client that answers, even with an error, is there; it is asked again."""
    s = pinging(timeout_action="kill")
    c = connect(s.account(), server=s)
    ids = set()
    for _ in range(3):
        q = got_ping(c)
        ids.add(q.get("id"))
        c.send(answer % q.get("id"))
    assert len(ids) == 3
    c.ping()


def test_client_that_speaks_is_not_pinged(pinging, connect):
    s = pinging(interval="2s")
    c = connect(s.account(), server=s)
    end = time.monotonic() + 4
    while time.monotonic() < end:
        c.expect_nothing()
        time.sleep(0.2)
    got_ping(c)


def test_client_that_does_not_answer_is_closed(pinging, connect):
    s = pinging(timeout_action="kill")
    c = connect(s.account(), server=s)
    got_ping(c)
    c.expect_stream_error("connection-timeout")
    m = s.ctl("metrics").stdout
    assert 'meerkat_ping_killed_total{type="people"} 1' in m


def test_client_that_does_not_answer_stays(pinging, connect):
    s = pinging()
    c = connect(s.account(), server=s)
    got_ping(c)
    got_ping(c)
    c.ping()


def test_only_the_one_asked_answers(pinging, connect):
    """An answer of somebody else does not count (S-06)."""
    s = pinging(timeout_action="kill")
    c, other = connect(s.account(), server=s), connect(s.account(), server=s)
    id_ = got_ping(c).get("id")
    other.send("<iq type='result' id='%s' to='meerkat.test'/>" % id_)
    with pytest.raises((StreamError, StreamClosed)):
        while True:
            c.recv()


def test_client_that_leaves_while_it_is_asked(pinging, connect):
    s = pinging(timeout_action="kill")
    c = connect(s.account(), server=s)
    got_ping(c)
    c.close()
    d = connect(s.account(), server=s)
    got_ping(d)
    d.kill()


def test_stopped_while_it_asks(pinging, connect):
    s = pinging(timeout_action="kill", timeout="1h")
    c = connect(s.account(), server=s)
    got_ping(c)
    waits = connect(s.account(), server=s)
    s.ctl("plugin", "stop", "ping", "people")
    a = waits.iq("get", PING, to="meerkat.test")
    assert a.get("type") == "error"
    s.ctl("plugin", "start", "ping", "people")
    waits.ping()


def test_set_while_it_runs(make_server, connect):
    s = make_server()
    s.config["host_types"]["people"]["plugins"]["ping"] = {
        "send_pings": True, "interval": "1s"}
    s.write_config()
    s.ctl("reload")
    got_ping(connect(s.account(), server=s))


@pytest.mark.parametrize("settings,key", [
    ({"interval": "0"}, "interval"), ({"timeout": "0s"}, "timeout"),
    ({"timeout_action": "ban"}, "timeout_action"), ({"send_ping": True}, "send_pings")])
def test_settings_are_checked(make_server, settings, key):
    s = make_server()
    s.config["host_types"]["people"]["plugins"]["ping"] = settings
    s.write_config()
    p = s.ctl("reload", check=False)
    assert p.returncode != 0 and key in p.stdout + p.stderr
