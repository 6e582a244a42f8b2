"""RFC 6120 8.2.3: each request gets exactly one answer."""

import pytest

from mk import NS, child, name, to_str


@pytest.fixture
def c(account, connect):
    return connect(account())


def test_ping(c):
    """XEP-0199 4.2"""
    a = c.iq("get", "<ping xmlns='urn:xmpp:ping'/>", to="meerkat.test")
    assert a.get("type") == "result" and len(a) == 0
    assert a.get("from") == "meerkat.test"


@pytest.mark.parametrize("payload", [
    "<query xmlns='mk:unknown'/>", "<ping xmlns='mk:ping'/>", "<pong xmlns='urn:xmpp:ping'/>",
])
@pytest.mark.parametrize("type_", ["get", "set"])
@pytest.mark.parametrize("to", [None, "meerkat.test", "own"])
def test_what_nobody_handles(c, payload, type_, to):
    a = c.iq(type_, payload, to=c.bare if to == "own" else to)
    assert a.get("type") == "error"
    assert name(child(a, "error")[0]) in ("service-unavailable", "feature-not-implemented")


def test_set_of_what_can_only_be_read(c):
    a = c.iq("set", "<query xmlns='http://jabber.org/protocol/disco#info'/>", to="meerkat.test")
    assert a.get("type") == "error"


def test_each_request_is_answered_once(c):
    n = 300
    kinds = ["<ping xmlns='urn:xmpp:ping'/>", "<query xmlns='jabber:iq:roster'/>",
             "<query xmlns='http://jabber.org/protocol/disco#info'/>", "<query xmlns='mk:no'/>"]
    c.send("".join("<iq type='get' id='a%d'%s>%s</iq>" % (
        i, "" if i % 4 == 1 else " to='meerkat.test'", kinds[i % 4]) for i in range(n)))
    ids = [c.expect("iq").get("id") for _ in range(n)]
    assert sorted(ids) == sorted("a%d" % i for i in range(n))
    c.expect_nothing()


def test_equal_ids_are_the_clients_affair(c):
    c.send("<iq type='get' id='same'><ping xmlns='urn:xmpp:ping'/></iq>" * 3)
    for _ in range(3):
        c.expect("iq", id="same", type="result")


def test_between_clients(pair):
    a, b = pair
    a.send("<iq type='get' id='q' to='%s'><query xmlns='mk:q'><x/></query></iq>" % b.jid)
    q = b.expect("iq", type="get", id="q")
    assert q.get("from") == a.jid and child(child(q, "query", "mk:q"), "x") is not None
    b.send("<iq type='result' id='q' to='%s'><query xmlns='mk:q'/></iq>" % a.jid)
    r = a.expect("iq", type="result", id="q")
    assert r.get("from") == b.jid


def test_client_that_leaves_with_a_request(pair):
    """The answer may be lost (it was on its way), or be an error; never two."""
    a, b = pair
    a.send("<iq type='get' id='q' to='%s'><query xmlns='mk:q'/></iq>" % b.jid)
    b.expect("iq", id="q")
    b.kill()
    a.ping()


def test_request_to_a_resource_that_left(pair):
    a, b = pair
    jid = b.jid
    b.close()
    r = a.iq("get", "<query xmlns='mk:q'/>", to=jid)
    assert r.get("type") == "error"
    assert name(child(r, "error")[0]) == "service-unavailable", to_str(r)


def test_disco_lists_what_works(c):
    a = c.iq("get", "<query xmlns='%s'/>" % NS.DISCO_INFO, to="meerkat.test")
    query = child(a, "query", NS.DISCO_INFO)
    features = {f.get("var") for f in query if name(f) == "feature"}
    assert NS.DISCO_INFO in features and NS.PING in features
    identities = [(i.get("category"), i.get("type")) for i in query if name(i) == "identity"]
    assert ("server", "im") in identities


def test_big_answers_do_not_block_others(account, connect):
    """A client that asks a lot and reads slowly only slows itself."""
    a = connect(account())
    for i in range(50):
        a.send("<iq type='get' id='s%d' to='meerkat.test'><query xmlns='%s'/></iq>" % (
            i, NS.DISCO_INFO))
    connect(account()).ping()
    for i in range(50):
        a.answer("s%d" % i)
