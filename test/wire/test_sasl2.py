"""XEP-0388 (SASL2) and XEP-0386 (Bind 2)."""

import base64

import pytest

from mk import AuthFailed, NS, StreamClosed, child, children, name, ns, text, to_str
from mk.scram import Scram, downgrade_hash

BIND2 = "<bind xmlns='%s'%%s>%%s</bind>" % NS.BIND2


@pytest.fixture
def c(account, connect):
    client = connect()
    client.account = account()
    client.start()
    return client


def test_offer(c):
    assert set(c.mechanisms2) >= {"SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "PLAIN"}
    inline = child(child(c.features, "authentication", NS.SASL2), "inline", NS.SASL2)
    assert child(inline, "bind", NS.BIND2) is not None


def test_no_offer_without_tls(connect):
    c = connect().connect()
    c.open()
    assert not c.mechanisms2


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256"])
def test_without_bind(c, mechanism):
    """2.6.3: features follow at once, with no new header; then classic binding."""
    success = c.sasl2(mechanism)
    assert text(success, "authorization-identifier", NS.SASL2) == c.account.jid
    c.features = c.expect("features", NS.STREAM)
    assert not c.mechanisms and not c.mechanisms2
    assert child(c.features, "bind", NS.BIND) is not None
    c.bind()
    c.ping()


@pytest.mark.parametrize("binding", ["tls-exporter", "tls-server-end-point"])
def test_channel_binding(c, binding):
    data = c.binding(binding)
    if data is None:
        pytest.skip("this Python can't export keying material")
    c.sasl2("SCRAM-SHA-256-PLUS", binding=(binding, data))


def test_bind2(c):
    """XEP-0386: bound with the success, no further round trip."""
    success = c.sasl2("SCRAM-SHA-256", inline=BIND2 % ("", ""))
    jid = text(success, "authorization-identifier", NS.SASL2)
    assert jid.startswith(c.account.jid + "/")
    assert child(success, "bound", NS.BIND2) is not None
    c.jid = jid
    c.features = c.expect("features", NS.STREAM)
    assert child(c.features, "bind", NS.BIND) is None
    c.ping()


def test_bind2_tag(c):
    """XEP-0386 3.2: the tag begins the resource, which is still unguessable."""
    success = c.sasl2("PLAIN", inline=BIND2 % ("", "<tag>AwesomeXMPP</tag>"))
    resource = text(success, "authorization-identifier", NS.SASL2).split("/", 1)[1]
    assert resource.startswith("AwesomeXMPP") and len(resource) > len("AwesomeXMPP") + 4


def test_bind2_of_the_same_client_ends_its_earlier_session(account, connect):
    """XEP-0386 3.2: a client that comes back (the same user-agent id) replaces itself."""
    a = account()
    agent = "<user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'><software>T</software></user-agent>"
    clients = []
    for _ in range(2):
        c = connect()
        c.account = a
        c.start()
        success = c.sasl2("PLAIN", inline=BIND2 % ("", "<tag>T</tag>"), user_agent=agent)
        jid = text(success, "authorization-identifier", NS.SASL2)
        assert "d4565fa7" not in jid
        clients.append(c)
    # One that is not the same client does not matter to it.
    other = connect()
    other.account = a
    other.start()
    other.sasl2("PLAIN", inline=BIND2 % ("", "<tag>T</tag>"),
                user_agent=agent.replace("d4565fa7", "00000000"))
    clients[0].expect_stream_error("conflict")
    clients[1].recv()
    clients[1].ping()


def test_bind2_with_carbons(c, connect, account):
    """Carbons are asked for in the same step."""
    c.sasl2("SCRAM-SHA-1", inline=BIND2 % ("", "<enable xmlns='%s'/>" % NS.CARBONS))
    c.recv()
    other = connect(c.account, presence="")
    to = connect(account(), presence="")
    other.message(to.jid, "copied")
    m = c.until(lambda e: child(e, "sent", NS.CARBONS) is not None)
    assert m.get("from") == c.account.jid


def test_bind2_with_sm(c):
    """XEP-0198 10 inside XEP-0386: enabled together with the resource."""
    success = c.sasl2("SCRAM-SHA-1", inline=BIND2 % ("", "<enable xmlns='%s'/>" % NS.SM))
    bound = child(success, "bound", NS.BIND2)
    assert child(bound, "enabled", NS.SM) is not None, to_str(success)
    c.recv()
    c.ping()
    c.send("<r xmlns='%s'/>" % NS.SM)
    assert c.expect("a", NS.SM).get("h") == "1"


def test_failure(c):
    with pytest.raises(AuthFailed) as e:
        c.account.password, right = "wrong", c.account.password
        c.sasl2("SCRAM-SHA-256")
    failure = e.value.element
    assert ns(failure) == NS.SASL2
    # 2.6.4: the condition is in the namespace of RFC 6120
    assert child(failure, "not-authorized", NS.SASL) is not None, to_str(failure)
    c.account.password = right
    c.sasl2("SCRAM-SHA-256")


@pytest.mark.parametrize("data,condition", [
    ("<authenticate xmlns='urn:xmpp:sasl:2' mechanism='NONSENSE'/>", "invalid-mechanism"),
    ("<authenticate xmlns='urn:xmpp:sasl:2'/>", None),
    ("<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'><initial-response>!!!"
     "</initial-response></authenticate>", "incorrect-encoding"),
    ("<response xmlns='urn:xmpp:sasl:2'>AA==</response>", None),
    ("<abort xmlns='urn:xmpp:sasl:2'/>", None),
    ("<next xmlns='urn:xmpp:sasl:2' task='x'/>", None),
])
def test_odd_requests(c, data, condition):
    c.send(data)
    try:
        el = c.recv()
        assert name(el) == "failure", to_str(el)
        if condition:
            assert name(el[0]) == condition
    except StreamClosed:
        assert condition is None


def test_abort(c):
    x = Scram("SCRAM-SHA-1", c.account.user, c.account.password)
    c.send("<authenticate xmlns='%s' mechanism='SCRAM-SHA-1'><initial-response>%s"
           "</initial-response></authenticate>" % (
               NS.SASL2, base64.b64encode(x.first()).decode()))
    c.expect("challenge", NS.SASL2)
    c.send("<abort xmlns='%s'/>" % NS.SASL2)
    el = c.expect("failure", NS.SASL2)
    assert child(el, "aborted", NS.SASL) is not None
    c.sasl2("SCRAM-SHA-1")


def test_downgrade_protection(c):
    """XEP-0474: here SASL2's own list counts."""
    x = Scram("SCRAM-SHA-256", c.account.user, c.account.password)
    c.send("<authenticate xmlns='%s' mechanism='SCRAM-SHA-256'><initial-response>%s"
           "</initial-response></authenticate>" % (
               NS.SASL2, base64.b64encode(x.first()).decode()))
    x.final(base64.b64decode(c.expect("challenge", NS.SASL2).text))
    assert x.server_attributes["h"] == downgrade_hash("sha256", c.mechanisms2, c.bindings)


def test_never_twice(c):
    """2.8: a stream error."""
    c.sasl2("PLAIN")
    c.recv()
    c.send("<authenticate xmlns='%s' mechanism='PLAIN'/>" % NS.SASL2)
    c.expect_stream_error("policy-violation")


@pytest.mark.parametrize("profile", ["SASL2", "classic"])
@pytest.mark.parametrize("what", [
    "<presence/>", "<message to='x@y.example'><body>x</body></message>",
    "<iq type='get' id='r'><query xmlns='jabber:iq:register'/></iq>",
    "<enable xmlns='urn:xmpp:sm:3'/>"])
def test_nothing_else_during_an_exchange(make_server, connect, what, profile):
    """2.4: who sends anything else is disconnected."""
    s = make_server({"host_types": {"people": {"plugins": {"register": {"registration": True}}}}})
    c = connect(server=s)
    c.account = s.account()
    c.start()
    first = base64.b64encode(Scram("SCRAM-SHA-1", c.account.user, "x").first()).decode()
    if profile == "classic":
        c.auth("SCRAM-SHA-1", base64.b64decode(first))
        c.expect("challenge", NS.SASL)
    else:
        c.send("<authenticate xmlns='%s' mechanism='SCRAM-SHA-1'><initial-response>%s"
               "</initial-response></authenticate>" % (NS.SASL2, first))
        c.expect("challenge", NS.SASL2)
    c.send(what)
    c.expect_stream_error("not-authorized")


@pytest.mark.parametrize("user,ok", [(None, True), ("{user}", True), ("somebody-else", False)])
def test_from_of_the_stream(account, connect, user, ok):
    """2.3: who opened the stream as somebody else can't log in."""
    c = connect()
    c.account = account()
    c.start("direct", from_=user and user.format(user=c.account.user) + "@" + c.domain)
    if ok:
        c.sasl2("PLAIN")
        return
    with pytest.raises(AuthFailed):
        c.sasl2("PLAIN")


def test_stanzas_follow_at_once(c, connect, account):
    """Nothing sent right behind the last step is lost at the hand-over."""
    b = connect(account(), presence="")
    first = base64.b64encode(("\0%s\0%s" % (c.account.user, c.account.password)).encode())
    c.send("<authenticate xmlns='%s' mechanism='PLAIN'><initial-response>%s</initial-response>%s"
           "</authenticate>" % (NS.SASL2, first.decode(), BIND2 % ("", "")) +
           "".join("<message to='%s' id='h%d' type='chat'><body>x</body></message>" % (b.jid, i)
                   for i in range(20)))
    assert [b.expect("message").get("id") for _ in range(20)] == ["h%d" % i for i in range(20)]


def test_unknown_inline_requests_are_passed_over(c):
    """XEP-0388 2.6.1: only what was offered may be used; the rest does no harm."""
    success = c.sasl2("PLAIN", inline="<x xmlns='mk:x'/>" + BIND2 % ("", "<y xmlns='mk:y'/>"))
    assert [name(x) for x in children(success, xmlns="mk:x")] == []
    c.recv()
    c.ping()
