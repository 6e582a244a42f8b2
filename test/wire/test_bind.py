"""RFC 6120 7: resource binding."""

import pytest

from mk import NS, StreamError, child, name, text, to_str


@pytest.fixture
def authed(account, connect):
    """Authenticated, not bound."""
    c = connect()
    c.account = account()
    c.start()
    c.scram()
    return c


def test_feature(authed):
    assert child(authed.features, "bind", NS.BIND) is not None
    assert not authed.mechanisms, "6.3.4: no SASL after SASL"


def test_resource_of_the_servers_making(authed):
    jid = authed.bind()
    assert jid.startswith(authed.account.jid + "/")
    assert len(jid.split("/", 1)[1]) >= 8


def test_empty_resource_is_none(authed):
    """7.6: the client leaves it to the server by saying nothing."""
    a = authed.iq("set", "<bind xmlns='%s'/>" % NS.BIND)
    jid = text(child(a, "bind", NS.BIND), "jid", NS.BIND)
    assert len(jid) > len(authed.account.jid) + 1


def test_resources_are_not_guessed(account, connect):
    a = account()
    resources = {connect(a).resource for _ in range(8)}
    assert len(resources) == 8


def test_resource_of_the_clients_choice(authed):
    assert authed.bind("balcony") == authed.account.jid + "/balcony"


@pytest.mark.parametrize("resource", [
    "two words", "\u00e9t\u00e9", "a/b@c", "\U0001f600", "&<>'\"", "x" * 1023, "UPPER",
])
def test_resources_that_are_fine(authed, resource):
    assert authed.bind(resource) == authed.account.jid + "/" + resource


@pytest.mark.parametrize("resource", ["x" * 1024, "tab\there", "a\u0007b".replace("\u0007", "\u0080"),
                                      "\ufffe".replace("\ufffe", "\u2028")])
def test_resource_that_is_none(authed, resource):
    """7.7.2.1: bad-request (or the server makes another one)."""
    a = authed.iq("set", "<bind xmlns='%s'><resource>%s</resource></bind>" % (NS.BIND, resource))
    if a.get("type") == "error":
        error = child(a, "error")
        assert error.get("type") == "modify"
        assert child(error, "bad-request", NS.STANZAS) is not None
        authed.bind("a-good-one")
    authed.ping()


def test_bind_answers_with_the_same_id(authed):
    authed.send("<iq type='set' id='b&apos;1'><bind xmlns='%s'/></iq>" % NS.BIND)
    a = authed.expect("iq", type="result", id="b'1")
    assert [name(c) for c in a] == ["bind"]


def test_conflict_ends_the_older(account, connect):
    """7.7.2.2, the default policy."""
    a = account()
    old = connect(a, "same")
    new = connect(a, "same")
    assert old.jid == new.jid
    old.expect_stream_error("conflict")
    new.ping()


def test_conflict_may_be_refused(make_server, connect):
    s = make_server({"host_types": {"people": {"resource_conflict": "refuse"}}})
    a = s.account()
    old = connect(a, "same", server=s)
    new = connect(server=s)
    new.account = a
    new.start()
    new.scram()
    answer = new.iq("set", "<bind xmlns='%s'><resource>same</resource></bind>" % NS.BIND)
    if answer.get("type") == "error":
        assert child(child(answer, "error"), "conflict", NS.STANZAS) is not None
        new.bind("another")
    else:
        assert text(child(answer, "bind", NS.BIND), "jid", NS.BIND) != old.jid
    old.ping()
    new.ping()


def test_limit_of_resources(account, connect):
    """7.6.2.1: resource-constraint."""
    a = account()
    clients = [connect(a, "r%d" % i) for i in range(10)]
    c = connect()
    c.account = a
    c.start()
    c.scram()
    answer = c.iq("set", "<bind xmlns='%s'/>" % NS.BIND)
    assert answer.get("type") == "error", to_str(answer)
    error = child(answer, "error")
    assert child(error, "resource-constraint", NS.STANZAS) is not None
    assert error.get("type") == "wait"
    clients[0].close()
    # The place is free as soon as the other has gone.
    c.bind()
    c.ping()


def test_second_bind_is_refused(authed):
    authed.bind("one")
    a = authed.iq("set", "<bind xmlns='%s'><resource>two</resource></bind>" % NS.BIND)
    assert a.get("type") == "error"
    authed.ping()


@pytest.mark.parametrize("stanza", [
    "<message to='romeo@meerkat.test'><body>x</body></message>", "<presence/>",
    "<iq type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>",
    "<iq type='get' id='1' to='romeo@meerkat.test'><ping xmlns='urn:xmpp:ping'/></iq>",
    "<iq type='get' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
])
def test_stanza_before_bind(authed, stanza):
    """7.1: not-authorized closes the stream; an IQ may be answered by an error."""
    authed.send(stanza)
    try:
        a = authed.recv()
    except StreamError as e:
        assert e.condition == "not-authorized"
    else:
        assert name(a) == "iq" and a.get("type") == "error", to_str(a)


@pytest.mark.parametrize("payload,condition", [
    ("<session xmlns='urn:ietf:params:xml:ns:xmpp-session'/>", "unexpected-request"),
    ("<query xmlns='jabber:iq:roster'/>", "not-allowed"),
])
def test_iq_before_bind(authed, payload, condition):
    """8.3.3.22: it comes too early; the stream goes on."""
    e = authed.iq("set", payload)
    assert e.get("type") == "error" and child(child(e, "error"), condition, NS.STANZAS) is not None
    authed.bind()
    authed.ping()


@pytest.mark.parametrize("payload", [
    "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>a</resource><resource>b</resource></bind>",
    "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource><x/></resource></bind>",
    "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>",
])
def test_odd_bind(authed, payload):
    """Answered, one way or the other, and no harm done."""
    a = authed.iq("set", payload)
    if a.get("type") == "error":
        authed.bind()
    authed.ping()


def test_old_session_request(authed):
    """RFC 3921's <session/>, which old clients send: optional, does nothing."""
    session = child(authed.features, "session", NS.SESSION)
    if session is not None:
        assert child(session, "optional") is not None
    authed.bind()
    a = authed.iq("set", "<session xmlns='%s'/>" % NS.SESSION)
    assert a.get("type") == ("result" if session is not None else "error")


def test_what_looks_like_bind_for_others_is_theirs(account, connect):
    """The server answers for itself and for one's own account, for nobody else."""
    a, b = connect(account()), connect(account(), presence="")
    for payload in ("<session xmlns='%s'/>" % NS.SESSION, "<bind xmlns='%s'/>" % NS.BIND):
        a.send("<iq type='set' id='x' to='%s'>%s</iq>" % (b.jid, payload))
        q = b.expect("iq", type="set", id="x")
        assert q.get("from") == a.jid
        b.send("<iq type='result' id='x' to='%s'/>" % a.jid)
        assert a.expect("iq", type="result", id="x").get("from") == b.jid
    for to in (None, a.bare, a.bare.split("@")[1]):
        assert a.iq("set", "<session xmlns='%s'/>" % NS.SESSION, to=to).get("type") == "result"
        assert a.iq("set", "<bind xmlns='%s'/>" % NS.BIND, to=to).get("type") == "error"


def test_from_is_stamped(account, connect):
    """8.1.2.1: what is delivered comes from the full JID."""
    a, b = connect(account()), connect(account(), presence="")
    a.message(b.jid, "x")
    assert b.expect("message").get("from") == a.jid
    a.send("<message from='%s' to='%s' type='chat'><body>x</body></message>" % (a.bare, b.jid))
    assert b.expect("message").get("from") == a.jid


def test_a_name_once_free_can_be_had_again(account, connect):
    a = account()
    for _ in range(3):
        c = connect(a, "same")
        c.ping()
        c.close()
