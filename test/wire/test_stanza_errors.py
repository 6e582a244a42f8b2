"""RFC 6120 8.2, 8.3: semantics of stanzas and their errors."""

import html
import xml.etree.ElementTree as ET

import pytest

from mk import NS, child, children, fence, name, to_str

CONDITIONS = {
    "bad-request": "modify", "conflict": "cancel", "feature-not-implemented": None,
    "forbidden": "auth", "gone": "cancel", "internal-server-error": None,
    "item-not-found": "cancel", "jid-malformed": "modify", "not-acceptable": "modify",
    "not-allowed": "cancel", "not-authorized": "auth", "policy-violation": None,
    "recipient-unavailable": "wait", "redirect": "modify", "registration-required": "auth",
    "remote-server-not-found": "cancel", "remote-server-timeout": "wait",
    "resource-constraint": "wait", "service-unavailable": "cancel",
    "subscription-required": "auth", "undefined-condition": None, "unexpected-request": None,
}


def condition(el):
    """Of an error stanza, whose form is checked (8.3.2)."""
    assert el.get("type") == "error", to_str(el)
    errors = children(el, "error", NS.CLIENT)
    assert len(errors) == 1, to_str(el)
    conditions = [c for c in children(errors[0], xmlns=NS.STANZAS) if name(c) != "text"]
    assert len(conditions) == 1, to_str(el)
    found = name(conditions[0])
    type_ = errors[0].get("type")
    assert found in CONDITIONS, to_str(el)
    assert type_ in ("auth", "cancel", "continue", "modify", "wait"), to_str(el)
    assert CONDITIONS[found] in (None, type_), to_str(el)
    return found


@pytest.fixture
def c(account, connect):
    return connect(account(), presence="")


# ---- form --------------------------------------------------------------------

def test_error_goes_back_with_id_and_swapped_addresses(c):
    c.send("<iq type='get' id='e1' to='meerkat.test'><query xmlns='mk:unknown'/></iq>")
    e = c.answer("e1")
    assert condition(e) == "service-unavailable"
    assert e.get("from") == "meerkat.test" and e.get("to") == c.jid


@pytest.mark.parametrize("id_", ["a", "&amp;&lt;&gt;&apos;&quot;", "\u4e2d\u6587", "x" * 500, " "])
def test_id_comes_back_unchanged(c, id_):
    c.send('<iq type="get" id="%s" to="meerkat.test"><query xmlns="mk:unknown"/></iq>' % id_)
    e = c.expect("iq", type="error")
    assert e.get("id") == html.unescape(id_)


@pytest.mark.parametrize("iq", [
    "<iq id='1'><ping xmlns='urn:xmpp:ping'/></iq>",                       # no type
    "<iq type='fetch' id='1'><ping xmlns='urn:xmpp:ping'/></iq>",
    "<iq type='' id='1'><ping xmlns='urn:xmpp:ping'/></iq>",
    "<iq type='get' id='1'/>",                                             # no child
    "<iq type='set' id='1'>text</iq>",
    "<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/><ping xmlns='urn:xmpp:ping'/></iq>",
    "<iq type='get' id='1'><a xmlns='mk:a'/><b xmlns='mk:b'/></iq>",
])
def test_bad_iq(c, iq):
    """8.2.3"""
    c.send(iq)
    assert condition(c.expect("iq", id="1")) == "bad-request"


def test_iq_without_id(c):
    """8.1.3: required for an IQ."""
    c.send("<iq type='get'><ping xmlns='urn:xmpp:ping'/></iq>")
    assert condition(c.expect("iq")) == "bad-request"


@pytest.mark.parametrize("jid", [
    "@meerkat.test", "a@", "a@b@c/", "meerkat.test/", "a b@meerkat.test", "a&quot;b@meerkat.test",
    "x" * 1024 + "@meerkat.test", "a@meerkat.test/" + "x" * 1024, "a&lt;b@meerkat.test", "/", "@",
])
@pytest.mark.parametrize("stanza", ["iq", "message"])
def test_jid_malformed(c, jid, stanza):
    """8.1.1.1, 8.3.3.8"""
    c.send("<%s type='%s' id='j' to='%s'><q xmlns='mk:q'/></%s>" % (
        stanza, "get" if stanza == "iq" else "chat", jid, stanza))
    e = c.expect(stanza)
    assert condition(e) == "jid-malformed"
    assert e.get("id") == "j"


@pytest.mark.parametrize("stanza,type_", [("iq", "get"), ("iq", "set"), ("message", "chat"),
                                          ("message", "normal")])
def test_remote_server_not_found(c, stanza, type_):
    """RFC 6120 10.4: no link to other servers."""
    c.send("<%s type='%s' id='r' to='a@elsewhere.test'><q xmlns='mk:q'/><body>x</body></%s>" % (
        stanza, type_, stanza) if stanza == "message" else
        "<iq type='%s' id='r' to='a@elsewhere.test'><q xmlns='mk:q'/></iq>" % type_)
    e = c.expect(stanza, id="r")
    assert condition(e) in ("remote-server-not-found", "service-unavailable")
    assert e.get("from") == "a@elsewhere.test"


def test_presence_to_elsewhere_does_no_harm(c):
    c.send("<presence to='a@elsewhere.test'/>")
    for el in c.barrier():
        assert name(el) == "presence" and el.get("type") == "error", to_str(el)


# ---- errors end there --------------------------------------------------------

ERROR = ("<error type='cancel'><service-unavailable "
         "xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>")


@pytest.mark.parametrize("to", [
    None, "meerkat.test", "nobody-here@meerkat.test", "nobody-here@meerkat.test/x",
    "meerkat.test/x", "a@elsewhere.test",
])
@pytest.mark.parametrize("stanza", ["iq", "message", "presence"])
def test_error_is_never_answered_by_an_error(c, to, stanza):
    """8.3.1"""
    c.send("<%s type='error' id='e'%s>%s</%s>" % (
        stanza, " to='%s'" % to if to else "", ERROR, stanza))
    got = [g for g in c.barrier() if g.get("from") != c.bare and g.get("type") == "error"
           and g.get("to") != c.bare]
    if to is None:
        # To our own account: as if sent to the bare JID.
        got = [g for g in got if g.get("from") not in (c.jid,)]
    assert not got, [to_str(g) for g in got]


@pytest.mark.parametrize("type_", ["result", "error"])
def test_answers_are_never_answered(c, type_):
    c.send("<iq type='%s' id='nobody-asked' to='meerkat.test'/>" % type_)
    c.send("<iq type='%s' id='nobody-asked2'/>" % type_)
    c.send("<iq type='%s' id='nobody-asked3' to='nobody-here@meerkat.test/x'/>" % type_)
    c.send("<iq type='%s' id='nobody-asked4' to='%s'/>" % (type_, c.bare))
    c.expect_nothing()


def test_errors_reach_the_other_client(pair):
    a, b = pair
    b.send("<message type='error' id='m9' to='%s'>%s</message>" % (a.jid, ERROR))
    e = a.expect("message", type="error", id="m9")
    assert condition(e) == "service-unavailable" and e.get("from") == b.jid


# ---- what clients invent -----------------------------------------------------

def test_unknown_message_type_is_normal(pair):
    """RFC 6121 5.2.2."""
    a, b = pair
    a.send("<message type='nonsense' to='%s'><body>x</body></message>" % b.bare)
    got, _ = fence(a, b)
    assert [name(m) for m in got] == ["message"]


@pytest.mark.parametrize("type_", ["nonsense", "", "available"])
def test_unknown_presence_type(c, type_):
    """RFC 6121 4.7.1: other values are not for us to guess at."""
    c.send("<presence type='%s' to='nobody-here@meerkat.test' id='p'/>" % type_)
    for el in c.barrier():
        assert el.get("type") == "error", to_str(el)
        assert condition(el) == "bad-request"


def test_extended_content_is_kept(pair):
    """8.4: what we don't understand goes through as it is."""
    a, b = pair
    x = ("<x xmlns='mk:x' a='1' b:c='2' xmlns:b='mk:b'><b:y>t<z xmlns=''/>u</b:y>"
         "<m xml:lang='de'>&lt;</m></x>")
    a.send("<message to='%s' type='chat'>%s</message>" % (b.jid, x))
    m = b.expect("message")
    assert ET.canonicalize(to_str(child(m, "x", "mk:x"))) == ET.canonicalize(
        to_str(ET.fromstring(x)))


def test_attributes_of_stanzas_are_kept(pair):
    a, b = pair
    a.send("<message to='%s' type='chat' id='i' xmlns:k='mk:k' k:v='1' other='2'><body>x</body>"
           "</message>" % b.jid)
    m = b.expect("message", type="chat", id="i")
    assert m.get("{mk:k}v") == "1" and m.get("other") == "2"


def test_error_of_a_message_shows_no_more_than_needed(c):
    """8.3.1: the original payload may come back; what comes must be ours."""
    c.send("<message type='chat' id='m' to='x@elsewhere.test'><body>secret</body></message>")
    e = c.expect("message", id="m")
    condition(e)
    for child_ in e:
        assert name(child_) in ("error", "body"), to_str(e)
