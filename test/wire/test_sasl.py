"""RFC 6120 6: SASL; RFC 5802, 7677: SCRAM; XEP-0440, XEP-0474."""

import base64

import pytest

from mk import AuthFailed, NS, StreamClosed, StreamError, child, name, ns, to_str
from mk.xml import StreamReader
from mk.scram import Scram, attributes, downgrade_hash

SCRAMS = ["SCRAM-SHA-1", "SCRAM-SHA-224", "SCRAM-SHA-256", "SCRAM-SHA-384", "SCRAM-SHA-512"]
# Keys that are stored unless the settings say more (each costs a derivation).
STORED = ["SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"]


@pytest.fixture
def c(account, connect):
    """A client under TLS that has not logged in, with an account."""
    client = connect()
    client.account = account()
    client.start()
    return client


def expect_failure(c, condition, element=None):
    el = element if element is not None else c.recv()
    assert name(el) == "failure" and ns(el) == NS.SASL, to_str(el)
    conditions = [name(x) for x in el if name(x) != "text"]
    assert conditions == [condition], to_str(el)


# ---- what is offered ---------------------------------------------------------

def test_offer(c):
    m = c.mechanisms
    for mechanism in STORED:
        assert mechanism in m and mechanism + "-PLUS" in m
    assert "PLAIN" in m
    assert "ANONYMOUS" not in m
    assert len(m) == len(set(m))


def test_strongest_first(c):
    m = c.mechanisms
    assert m[-1] == "PLAIN"
    assert m.index("SCRAM-SHA-512-PLUS") < m.index("SCRAM-SHA-1-PLUS")


def test_channel_bindings_are_announced(c):
    """XEP-0440."""
    assert set(c.bindings) == {"tls-exporter", "tls-server-end-point"}


def test_nothing_is_offered_without_tls(connect):
    c = connect().connect()
    c.open()
    assert not c.mechanisms and not c.bindings


def test_no_plus_where_there_is_no_tls(account, connect, server):
    c = connect().connect(server.port_plain)
    c.open()
    assert c.mechanisms
    assert not [m for m in c.mechanisms if m.endswith("-PLUS")]
    assert not c.bindings


# ---- PLAIN -------------------------------------------------------------------

def test_plain(c):
    c.plain()
    assert child(c.features, "bind", NS.BIND) is not None


def test_plain_without_initial_response(c):
    c.auth("PLAIN")
    el = c.expect("challenge", NS.SASL)
    assert not (el.text or "").strip("=")
    c.respond(("\0%s\0%s" % (c.account.user, c.account.password)).encode())
    c.sasl_result()


@pytest.mark.parametrize("user,password", [
    (None, "wrong"), (None, ""), ("nobody-here", "wrong"), (None, "secret"),
])
def test_plain_not_authorized(c, user, password):
    with pytest.raises(AuthFailed) as e:
        c.plain(user=user, password=password)
    assert e.value.condition in ("not-authorized",
                                 "malformed-request" if password == "" else "not-authorized")
    c.plain()


def test_plain_user_is_case_folded(c):
    c.plain(user=c.account.user.upper())
    assert c.bind().split("/")[0] == c.account.jid


@pytest.mark.parametrize("own", [True, False])
def test_plain_authzid_is_oneself(c, own):
    c.plain(authzid=c.account.jid)


@pytest.mark.parametrize("authzid", [
    "somebody@meerkat.test", "meerkat.test", "%(user)s@second.test", "%(user)s",
    "%(user)s@meerkat.test/resource", "@", "admin@meerkat.test",
])
def test_plain_authzid_of_another(c, account, authzid):
    """6.5.6; nobody acts for somebody else (S-06)."""
    with pytest.raises(AuthFailed) as e:
        c.plain(authzid=authzid % {"user": c.account.user})
    assert e.value.condition in ("invalid-authzid", "not-authorized", "malformed-request")


@pytest.mark.parametrize("data", [
    b"", b"user", b"\0user", b"user\0password", b"\0\0\0\0", b"\0user\0pass\0more", b"\0\0pass",
    b"\0user\0", b"\0us\xffer\0pass", b"\xc3\0\xc3\0\xc3", b"\0" + b"u" * 5000 + b"\0p",
    b"\0a@b\0pass", b"\0a/b\0pass",
])
def test_plain_malformed(c, data):
    c.auth("PLAIN", data)
    el = c.recv()
    assert name(el) == "failure"
    assert name(el[0]) in ("malformed-request", "not-authorized")
    c.plain()


def test_password_outside_ascii(server, connect):
    a = server.account(password="p\u00e4ssw\u00f6rd \u4e2d")
    for mechanism in ("PLAIN", "SCRAM-SHA-256"):
        connect(a, mechanism=mechanism)


# ---- base64 ------------------------------------------------------------------

@pytest.mark.parametrize("data", [
    "!!!!", "AGEAYg", "AGEAYg=", "AGEA Yg==", "=AGE", "AG=EA", "A", "====", "AGEAYg==AGEA",
    "\u00e9\u00e9\u00e9\u00e9", "AGEAYg==\u0000".replace("\u0000", "."),
])
def test_incorrect_encoding(c, data):
    """6.5.5: base64 to the letter (13.9.1)."""
    c.auth("PLAIN", data)
    expect_failure(c, "incorrect-encoding")
    c.plain()


@pytest.mark.parametrize("data", ["<x/>", "<![CDATA[AGEAYg==]]><x/>"])
def test_element_instead_of_data(c, data):
    c.send("<auth xmlns='%s' mechanism='PLAIN'>%s</auth>" % (NS.SASL, data))
    el = c.recv()
    if name(el) == "challenge":
        # Taken for a missing initial response.
        c.send("<abort xmlns='%s'/>" % NS.SASL)
        el = c.recv()
    assert name(el) == "failure"
    c.plain()


# ---- mechanisms --------------------------------------------------------------

@pytest.mark.parametrize("mechanism", [
    "", "NONSENSE", "plain", "SCRAM-SHA-1 ", "ANONYMOUS", "EXTERNAL", "DIGEST-MD5", "X" * 2000,
    "SCRAM-MD5", "\u00e9",
])
def test_invalid_mechanism(c, mechanism):
    """6.5.7; also one that exists but was not offered here."""
    c.auth(mechanism, b"\0a\0b")
    expect_failure(c, "invalid-mechanism")
    c.plain()


def test_no_mechanism(c):
    c.send("<auth xmlns='%s'>AGEAYg==</auth>" % NS.SASL)
    el = c.recv()
    assert name(el) == "failure" and name(el[0]) in ("invalid-mechanism", "malformed-request")
    c.plain()


def test_abort(c):
    x = Scram("SCRAM-SHA-1", c.account.user, c.account.password)
    c.auth("SCRAM-SHA-1", x.first())
    c.expect("challenge", NS.SASL)
    c.send("<abort xmlns='%s'/>" % NS.SASL)
    expect_failure(c, "aborted")
    c.scram()


@pytest.mark.parametrize("data", [
    "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>AGEAYg==</response>",
    "<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
    "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
    "<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
])
def test_out_of_turn(c, data):
    """No exchange goes on: a failure or the end of the stream, but no success."""
    c.send(data)
    try:
        el = c.recv()
        assert name(el) == "failure", to_str(el)
        c.plain()
    except StreamClosed:
        pass


def test_second_auth_within_an_exchange(c):
    c.auth("SCRAM-SHA-1", Scram("SCRAM-SHA-1", c.account.user, "x").first())
    c.expect("challenge", NS.SASL)
    c.auth("PLAIN", b"\0a\0b")
    try:
        el = c.recv()
        assert name(el) == "failure", to_str(el)
    except StreamClosed:
        pass


def test_stanza_within_an_exchange(c):
    c.auth("SCRAM-SHA-1", Scram("SCRAM-SHA-1", c.account.user, "x").first())
    c.expect("challenge", NS.SASL)
    c.send("<presence/>")
    c.expect_stream_error("not-authorized")


def test_second_authentication(c):
    """6.4.6: once is enough."""
    c.plain()
    c.auth("PLAIN", ("\0%s\0%s" % (c.account.user, c.account.password)).encode())
    try:
        el = c.recv()
        assert name(el) == "failure", to_str(el)
    except StreamError as e:
        assert e.condition in ("not-authorized", "policy-violation", "unsupported-stanza-type")


def test_success_only_after_restart(c):
    """6.4.6: without a new header nothing may follow."""
    c.plain(restart=False)
    c.reader = StreamReader()
    c.send("<presence/>")
    c.expect_closed()


def test_restart_to_another_domain(c):
    """S-04: the identity belongs to the domain that gave it."""
    c.plain(restart=False)
    c.domain = "second.test"
    with pytest.raises(StreamError) as e:
        c.open()
    assert e.value.condition in ("not-authorized", "host-unknown", "invalid-from",
                                 "policy-violation")


def test_retry_limit(c):
    """6.4.5: two to five tries, then the stream ends."""
    with pytest.raises(StreamError) as e:
        for _ in range(6):
            with pytest.raises(AuthFailed):
                c.plain(password="wrong")
    assert e.value.condition in ("policy-violation", "not-authorized")
    c.expect_end()


def test_some_retries_are_allowed(c):
    for _ in range(3):
        with pytest.raises(AuthFailed):
            c.scram(password="wrong")
    c.scram()
    c.bind()


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-1"])
def test_before_tls(account, connect, mechanism):
    """Where TLS is required, nothing can be had without it."""
    c = connect().connect()
    c.open()
    c.auth(mechanism, b"\0a\0b")
    try:
        expect_failure(c, "encryption-required")
    except StreamError as e:
        assert e.condition in ("policy-violation", "not-authorized")


@pytest.mark.parametrize("stanza", [
    "<message to='a@meerkat.test'><body>x</body></message>", "<presence/>",
    "<iq type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
    "<iq type='get' id='1' to='meerkat.test'><ping xmlns='urn:xmpp:ping'/></iq>",
])
def test_stanza_before_authentication(c, stanza):
    c.send(stanza)
    c.expect_stream_error("not-authorized")


# ---- SCRAM -------------------------------------------------------------------

@pytest.mark.parametrize("mechanism", STORED)
def test_scram(c, mechanism):
    c.scram(mechanism)
    assert c.bind().split("/")[0] == c.account.jid


@pytest.mark.parametrize("mechanism", SCRAMS)
def test_scram_what_is_offered_works(c, mechanism):
    if mechanism not in c.mechanisms:
        pytest.skip("%s is not offered by the default settings" % mechanism)
    c.scram(mechanism)


@pytest.mark.parametrize("binding", ["tls-exporter", "tls-server-end-point"])
@pytest.mark.parametrize("mechanism", STORED)
def test_scram_plus(c, mechanism, binding):
    if c.binding(binding) is None:
        pytest.skip("this Python can't export keying material")
    c.scram(mechanism + "-PLUS", binding=binding)
    c.bind()


@pytest.mark.parametrize("binding", ["tls-exporter", "tls-server-end-point"])
def test_scram_plus_over_direct_tls(account, connect, binding):
    c = connect()
    c.account = account()
    c.start("direct")
    if c.binding(binding) is None:
        pytest.skip("this Python can't export keying material")
    c.scram("SCRAM-SHA-256-PLUS", binding=binding)


def scram_fails(c, x, mechanism, mangle=None):
    c.auth(mechanism, x.first())
    el = c.recv()
    if name(el) == "challenge":
        final = x.final(base64.b64decode(el.text))
        c.respond(mangle(final) if mangle else final)
        el = c.recv()
    assert name(el) == "failure", to_str(el)
    return name(el[0])


@pytest.mark.parametrize("binding", ["tls-exporter", "tls-server-end-point"])
def test_scram_plus_wrong_binding(c, binding):
    """Somebody sits between."""
    x = Scram("SCRAM-SHA-256-PLUS", c.account.user, c.account.password, (binding, b"x" * 32))
    assert scram_fails(c, x, "SCRAM-SHA-256-PLUS") == "not-authorized"
    c.plain()


@pytest.mark.parametrize("binding", ["tls-unique", "nonsense", "tls-exporter\u00e9", ""])
def test_scram_plus_unknown_binding(c, binding):
    """RFC 5802 6: a type that the server does not do; tls-unique is not for TLS 1.3."""
    x = Scram("SCRAM-SHA-256-PLUS", c.account.user, c.account.password, (binding, b"x" * 32))
    assert scram_fails(c, x, "SCRAM-SHA-256-PLUS") in ("not-authorized", "malformed-request")


def test_scram_y_though_plus_is_offered(c):
    """RFC 5802 6: the client would have bound, and thinks that we can't: somebody
    took -PLUS out of the list."""
    x = Scram("SCRAM-SHA-256", c.account.user, c.account.password, gs2="y")
    assert scram_fails(c, x, "SCRAM-SHA-256") == "not-authorized"


def test_scram_y_where_there_is_no_plus(account, connect, server):
    c = connect().connect(server.port_plain)
    c.account = account()
    c.open()
    c.scram("SCRAM-SHA-256", gs2="y")


def test_scram_p_without_plus(c):
    x = Scram("SCRAM-SHA-256", c.account.user, c.account.password, gs2="p=tls-exporter")
    assert scram_fails(c, x, "SCRAM-SHA-256") in ("not-authorized", "malformed-request")


@pytest.mark.parametrize("gs2", ["n", "y"])
def test_scram_plus_without_p(c, gs2):
    x = Scram("SCRAM-SHA-256-PLUS", c.account.user, c.account.password,
              ("tls-exporter", b"x"), gs2=gs2)
    assert scram_fails(c, x, "SCRAM-SHA-256-PLUS") in ("not-authorized", "malformed-request")


def test_scram_changed_gs2_header(c):
    """The header of the first message is bound into the proof."""
    x = Scram("SCRAM-SHA-256", c.account.user, c.account.password)
    x.first()
    c.auth("SCRAM-SHA-256", ("y,," + x.first_bare).encode())
    el = c.recv()
    if name(el) == "challenge":
        c.respond(x.final(base64.b64decode(el.text)))
        el = c.recv()
    assert name(el) == "failure" and name(el[0]) == "not-authorized"


@pytest.mark.parametrize("mechanism", STORED)
def test_scram_wrong_password(c, mechanism):
    with pytest.raises(AuthFailed) as e:
        c.scram(mechanism, password="wrong")
    assert e.value.condition == "not-authorized"
    c.scram(mechanism)


def test_scram_authzid(c):
    c.scram("SCRAM-SHA-1", authzid=c.account.jid)


def test_scram_authzid_of_another(c):
    x = Scram("SCRAM-SHA-1", c.account.user, c.account.password,
              authzid="somebody@meerkat.test")
    assert scram_fails(c, x, "SCRAM-SHA-1") in ("invalid-authzid", "not-authorized")


def test_scram_without_initial_response(c):
    x = Scram("SCRAM-SHA-1", c.account.user, c.account.password)
    c.auth("SCRAM-SHA-1")
    el = c.expect("challenge", NS.SASL)
    assert not (el.text or "").strip("=")
    c.respond(x.first())
    el = c.expect("challenge", NS.SASL)
    c.respond(x.final(base64.b64decode(el.text)))
    c.sasl_result()


def test_scram_user_with_escapes(server, connect):
    """RFC 5802 5.1: '=' and ',' of a name are escaped."""
    a = server.account(user="eq=and,comma")
    connect(a, mechanism="SCRAM-SHA-256")


def first_challenge(c, user):
    c.auth("SCRAM-SHA-256", Scram("SCRAM-SHA-256", user, "x").first())
    a = attributes(base64.b64decode(c.expect("challenge", NS.SASL).text).decode())
    c.send("<abort xmlns='%s'/>" % NS.SASL)
    expect_failure(c, "aborted")
    return a


def test_scram_unknown_user_looks_like_a_known_one(c):
    """S-08: the same salt each time, as long as a real one, the same iterations."""
    real = first_challenge(c, c.account.user)
    one, two = first_challenge(c, "no-such-user"), first_challenge(c, "no-such-user")
    other = first_challenge(c, "neither-this")
    assert one["s"] == two["s"] != other["s"]
    assert len(base64.b64decode(one["s"])) == len(base64.b64decode(real["s"]))
    assert one["i"] == real["i"]
    assert set(one) == set(real)
    assert one["r"] != two["r"]


def test_scram_unknown_user_fails_alike(account, connect):
    c = connect()
    c.account = account()
    c.start()
    answers = []
    for user in (c.account.user, "no-such-user"):
        with pytest.raises(AuthFailed) as e:
            c.scram("SCRAM-SHA-256", user=user, password="wrong")
        answers.append(to_str(e.value.element))
    assert answers[0] == answers[1]


FIRST = [
    b"", b"n", b"n,", b"n,,", b"n,,n=", b"n,,n=user", b"n,,r=abc", b"n,,r=abc,n=user",
    b"n,,n=user,r=", b"x,,n=user,r=abc", b"p=,,n=user,r=abc", b"n,b=,n=user,r=abc",
    b"n,,m=ext,n=user,r=abc", b"n,,n=us=er,r=abc", b"n,,n=us=2Xer,r=abc", b"n,,n=user,r=a\0c",
    b"n,,n=user,r=abc\xff", b"n,,n=\xc3,r=abc", b"n,,n=,r=abc", b",,,,,,,", b"n,,n=user,r=abc,",
    b"n,,n=user r=abc", b"n,,n=u,r=" + b"x" * 6000, b"n,,N=user,r=abc", b"n,a=,n=user,r=abc",
    b"n,a,n=user,r=abc",
]


@pytest.mark.parametrize("first", FIRST, ids=lambda b: repr(b[:30]))
def test_scram_malformed_first(c, first):
    c.auth("SCRAM-SHA-256", first)
    el = c.recv()
    if name(el) == "challenge":
        # An empty message may be taken for a missing one, an empty name for a user's.
        c.send("<abort xmlns='%s'/>" % NS.SASL)
        el = c.recv()
        assert first in (b"", b"n,,n=,r=abc", b"n,,n=user,r=abc,"), first
    assert name(el) == "failure", to_str(el)
    c.scram("SCRAM-SHA-256")


FINAL = [
    lambda f: b"", lambda f: f[:-1], lambda f: f + b"=", lambda f: f + b",x=y",
    lambda f: f.replace(b"c=", b"d="), lambda f: f.replace(b"c=biws", b"c=eSws"),
    lambda f: f.replace(b",r=", b",r=x"), lambda f: f.split(b",p=")[0],
    lambda f: f.split(b",p=")[0] + b",p=", lambda f: f.split(b",p=")[0] + b",p=AAAA",
    lambda f: f.split(b",p=")[0] + b",p=" + b"!" * 44, lambda f: f.replace(b"r=", b"R="),
    lambda f: b"p=" + f.split(b",p=")[1] + b"," + f.split(b",p=")[0], lambda f: b"\0" * 100,
    lambda f: f.replace(b",", b",,"), lambda f: f * 3, lambda f: b"\xff" + f,
    lambda f: f.split(b",p=")[0] + b",p=" + b"A" * 5000,
    lambda f: b"m=x," + f,
]


@pytest.mark.parametrize("mangle", FINAL, ids=range(len(FINAL)))
def test_scram_malformed_final(c, mangle):
    x = Scram("SCRAM-SHA-256", c.account.user, c.account.password)
    condition = scram_fails(c, x, "SCRAM-SHA-256", mangle)
    assert condition in ("malformed-request", "not-authorized", "incorrect-encoding",
                         "invalid-authzid")
    c.scram("SCRAM-SHA-256")


def test_scram_nonce_of_an_older_exchange(c):
    """Nothing of one exchange is worth anything in another."""
    x = Scram("SCRAM-SHA-256", c.account.user, c.account.password)
    c.auth("SCRAM-SHA-256", x.first())
    old = x.final(base64.b64decode(c.expect("challenge", NS.SASL).text))
    c.send("<abort xmlns='%s'/>" % NS.SASL)
    expect_failure(c, "aborted")
    y = Scram("SCRAM-SHA-256", c.account.user, c.account.password, nonce=x.nonce)
    assert scram_fails(c, y, "SCRAM-SHA-256", lambda f: old) in ("not-authorized",
                                                                "malformed-request")


def test_downgrade_protection(c):
    """XEP-0474: what was offered is part of what is signed."""
    x = c.scram("SCRAM-SHA-256")
    h = x.server_attributes.get("h")
    assert h is not None
    c2 = c.server.client(c.account)
    with c2:
        c2.start()
        assert h == downgrade_hash("sha256", c2.mechanisms, c2.bindings)


def test_password_change(server, connect):
    a = server.account()
    connect(a)
    connect(a, mechanism="PLAIN")
    old = a.password
    server.ctl("account", "password", a.jid, "a-new-one")
    c = connect()
    c.account = a
    c.start()
    for attempt in (c.scram, c.plain):
        with pytest.raises(AuthFailed):
            attempt(password=old)
    c.scram(password="a-new-one")


# ---- ANONYMOUS ---------------------------------------------------------------

def test_anonymous(server, connect):
    c = connect(domain=server.anon)
    c.start()
    assert c.mechanisms == ["ANONYMOUS"]
    c.auth("ANONYMOUS")
    el = c.recv()
    if name(el) == "challenge":
        c.respond(b"")
        el = c.recv()
    assert name(el) == "success", to_str(el)
    c.open()
    jid = c.bind()
    assert jid.endswith("@" + server.anon + "/" + c.resource)
    c.ping()


def test_anonymous_users_differ(server, connect):
    jids = set()
    for _ in range(3):
        c = connect(domain=server.anon)
        c.start()
        c.auth("ANONYMOUS", b"trace")
        c.sasl_result()
        jids.add(c.bind().split("/")[0])
    assert len(jids) == 3


def test_anonymous_only_where_allowed(c):
    c.auth("ANONYMOUS", b"trace")
    expect_failure(c, "invalid-mechanism")


def test_plain_where_only_anonymous_is_allowed(server, connect):
    c = connect(domain=server.anon)
    c.start()
    c.auth("PLAIN", b"\0a\0b")
    expect_failure(c, "invalid-mechanism")
