"""S-07: content that only one's own server may send, from anybody else.
CVE-2017-5589 and its dozen relatives, CVE-2020-26547, CVE-2019-16235, CVE-2016-9928,
CVE-2015-8688. Clients are weak here: the server keeps it from them.
"""

import pytest

from mk import NS, child, fence, name, ns, to_str

FORWARDED = ("<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' "
             "from='boss@meerkat.test/x' to='you@meerkat.test' type='chat'><body>pay me</body>"
             "</message></forwarded>")
PAYLOADS = {
    "carbon received": "<received xmlns='urn:xmpp:carbons:2'>%s</received>" % FORWARDED,
    "carbon sent": "<sent xmlns='urn:xmpp:carbons:2'>%s</sent>" % FORWARDED,
}


def seen(elements, xmlns):
    return [e for e in elements if any(ns(c) == xmlns for c in e.iter() if c is not e)]


@pytest.mark.parametrize("what", ["carbon received", "carbon sent"])
@pytest.mark.parametrize("type_", ["chat", "normal", "headline", "groupchat", "error"])
@pytest.mark.parametrize("full", [True, False])
def test_forged_carbons(pair, what, type_, full):
    a, b = pair
    b.iq("set", "<enable xmlns='%s'/>" % NS.CARBONS)
    a.send("<message to='%s' type='%s' id='f'>%s</message>" % (
        b.jid if full else b.bare, type_, PAYLOADS[what]))
    got, _ = fence(a, b)
    assert not seen(got, NS.CARBONS), [to_str(g) for g in got]


def test_forged_carbons_of_ones_own_other_resource(account, connect):
    """A thief of one session must not lead the others by the nose."""
    a = account()
    x, y = connect(a, presence=""), connect(a, presence="")
    y.barrier()
    x.send("<message to='%s' type='chat' id='f'>%s</message>" % (y.jid, PAYLOADS["carbon sent"]))
    got, _ = fence(x, y)
    assert not seen(got, NS.CARBONS), [to_str(g) for g in got]


@pytest.mark.parametrize("count", [2, 50])
def test_many_forged_carbons_in_one_stanza(pair, count):
    a, b = pair
    a.send("<message to='%s' type='chat' id='f'><body>x</body>%s</message>" % (
        b.jid, PAYLOADS["carbon received"] * count))
    got, _ = fence(a, b)
    assert not seen(got, NS.CARBONS)


@pytest.mark.parametrize("type_", ["set", "result"])
@pytest.mark.parametrize("full", [True, False])
def test_forged_roster_push(pair, type_, full):
    """RFC 6121 2.1.6."""
    a, b = pair
    a.send("<iq type='%s' id='push1' to='%s'><query xmlns='jabber:iq:roster'><item "
           "jid='evil@meerkat.test' subscription='both'/></query></iq>" % (
               type_, b.jid if full else b.bare))
    got, back = fence(a, b)
    if type_ == "set":
        assert not seen(got, NS.ROSTER), [to_str(g) for g in got]
        errors = [e for e in back if e.get("id") == "push1"]
        assert len(errors) <= 1
        for e in errors:
            assert name(child(e, "error")[0]) in ("service-unavailable", "forbidden",
                                                  "not-allowed"), to_str(e)
    assert "evil@meerkat.test" not in b.roster()


def test_real_ones_still_come(pair, account, connect):
    a, b = pair
    other = connect(b.account, presence="")
    other.iq("set", "<enable xmlns='%s'/>" % NS.CARBONS)
    b.barrier()
    a.message(b.jid, "hello")
    assert child(b.until(lambda e: name(e) == "message"), "body").text == "hello"
    m = other.until(lambda e: name(e) == "message" and child(e, "received", NS.CARBONS) is not None)
    assert m.get("from") == b.bare
