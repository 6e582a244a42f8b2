"""XEP-0077: accounts made, changed and removed by clients."""

import itertools
import time

import pytest

import mk
from mk import NS, AuthFailed, child, children, name, text, to_str

REG = "jabber:iq:register"
FEATURE = "http://jabber.org/features/iq-register"
STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"
_users = itertools.count(1)


def config(**settings):
    s = {"registration": True, "per_address": 0}
    s.update(settings)
    return {"host_types": {"people": {"plugins": {"register": s}}}}


@pytest.fixture
def make(make_server):
    return lambda **settings: make_server(config(**settings))


@pytest.fixture
def server(make):
    return make()


def new_user():
    return "reg%d" % next(_users)


def query(username=None, password=None, more=""):
    return "<query xmlns='%s'>%s%s%s</query>" % (
        REG, "" if username is None else "<username>%s</username>" % username,
        "" if password is None else "<password>%s</password>" % password, more)


def early(connect, server, **kw):
    """A stream that is not authenticated."""
    return connect(server=server).start(**kw)


def error(a):
    assert a.get("type") == "error", to_str(a)
    e = child(a, "error")
    condition = [x for x in e if mk.ns(x) == STANZAS and name(x) != "text"]
    assert len(condition) == 1, to_str(a)
    assert child(a, "query", REG) is None, "the request holds a password"
    return name(condition[0]), e.get("type")


def ok(a):
    assert a.get("type") == "result" and len(a) == 0, to_str(a)


def login(server, connect, user, password, domain=None):
    return connect(mk.Account(user, domain or server.domain, password), server=server)


# ---- before login --------------------------------------------------------------


def test_feature(server, connect):
    """7: announced once the stream is encrypted, until one is authenticated."""
    c = connect(server=server).connect()
    c.open()
    assert child(c.features, "register", FEATURE) is None
    c.starttls()
    assert child(c.features, "register", FEATURE) is not None
    d = connect(server=server, account=server.account())
    assert child(d.features, "register", FEATURE) is None


@pytest.mark.parametrize("to", [None, "meerkat.test"])
def test_fields(server, connect, to):
    """3.1, examples 1 and 2"""
    a = early(connect, server).iq("get", query(), to=to)
    assert a.get("type") == "result"
    q = child(a, "query", REG)
    assert [name(e) for e in q] == ["instructions", "username", "password"]
    assert text(q, "instructions", REG)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-1"])
@pytest.mark.parametrize("tls", ["starttls", "direct"])
def test_registers(server, connect, mechanism, tls):
    """3.1, examples 4 and 5; then login on the same stream (3.1.1)."""
    user = new_user()
    c = early(connect, server, tls=tls)
    c.iq("get", query())
    ok(c.iq("set", query(user, "Calliope")))
    c.account = mk.Account(user, server.domain, "Calliope")
    c.plain() if mechanism == "PLAIN" else c.scram(mechanism)
    c.bind()
    c.ping()
    login(server, connect, user, "Calliope").ping()
    with pytest.raises(AuthFailed):
        login(server, connect, user, "calliope")


def test_login_that_failed_before_registration(server, connect):
    """That there was no such user is not remembered."""
    user = new_user()
    with pytest.raises(AuthFailed):
        login(server, connect, user, "Calliope")
    ok(early(connect, server).iq("set", query(user, "Calliope")))
    login(server, connect, user, "Calliope").ping()


def test_name_that_is_taken(server, connect):
    """3.1, example 6: as the profile of usernames compares them."""
    user = new_user()
    c = early(connect, server)
    ok(c.iq("set", query(user, "Calliope")))
    assert error(c.iq("set", query(user, "m1cro$oft"))) == ("conflict", "cancel")
    assert error(c.iq("set", query(user.upper(), "m1cro$oft"))) == ("conflict", "cancel")
    login(server, connect, user, "Calliope").ping()


def test_two_at_once(server, connect):
    """One of them gets the name."""
    user = new_user()
    clients = [early(connect, server) for _ in range(4)]
    for k, c in enumerate(clients):
        c.send("<iq type='set' id='r'>%s</iq>" % query(user, "password%d" % k))
    answers = [c.answer("r") for c in clients]
    won = [k for k, a in enumerate(answers) if a.get("type") == "result"]
    assert len(won) == 1
    assert {error(a) for a in answers if a.get("type") == "error"} == {("conflict", "cancel")}
    login(server, connect, user, "password%d" % won[0]).ping()


@pytest.mark.parametrize("username,password", [
    (None, "Calliope"), ("bill1", None), ("bill2", ""), ("", "Calliope"), (None, None),
    ("bill@shakespeare.lit", "Calliope"), ("bi ll", "Calliope"), ("b" * 1024, "Calliope"),
    ("bill3", "short"), ("bill4", "p" * 1025), ("bill5", "pass\u200eword"),
])
def test_what_is_not_acceptable(server, connect, username, password):
    """3.1, example 7, and what can't be a name or password."""
    c = early(connect, server)
    assert error(c.iq("set", query(username, password))) == ("not-acceptable", "modify")
    ok(c.iq("set", query(new_user(), "Calliope")))


@pytest.mark.parametrize("user", ["admin", "Admin", "postmaster", "ROOT"])
def test_reserved_names(server, connect, user):
    assert error(early(connect, server).iq("set", query(user, "Calliope")))[0] == "conflict"


def test_domains_are_apart(server, connect):
    """The domain is that of the stream."""
    user = new_user()
    c = connect(server=server, domain=server.other).start()
    ok(c.iq("set", query(user, "Calliope"), to=server.other))
    login(server, connect, user, "Calliope", server.other).ping()
    with pytest.raises(AuthFailed):
        login(server, connect, user, "Calliope")


@pytest.mark.parametrize("iq", [
    "<iq type='set' id='x'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
    "<iq type='get' id='x'><ping xmlns='urn:xmpp:ping'/></iq>",
    "<iq type='get' id='x'/>",
    "<iq type='get'><query xmlns='jabber:iq:register'/></iq>",
    "<iq type='result' id='x'><query xmlns='jabber:iq:register'/></iq>",
    "<iq id='x'><query xmlns='jabber:iq:register'/></iq>",
    "<iq type='get' id='x'><query xmlns='jabber:iq:register'/><query xmlns='jabber:iq:register'/></iq>",
    "<iq type='get' id='x' to='second.test'><query xmlns='jabber:iq:register'/></iq>",
    "<iq type='get' id='x' to='a@meerkat.test'><query xmlns='jabber:iq:register'/></iq>",
    "<message><body>x</body></message>", "<presence/>",
])
def test_anything_else_before_login(server, connect, iq):
    """3.1.1; RFC 6120 4.9.3.12"""
    c = early(connect, server)
    c.send(iq)
    c.expect_stream_error("not-authorized")


def test_removal_before_login(server, connect):
    """3.2, table: "the entity is not registered with the server"."""
    c = early(connect, server)
    assert error(c.iq("set", query(more="<remove/>")))[0] == "unexpected-request"


def test_off_by_default(make_server, connect):
    """3.1: "it MUST return a service-unavailable error"."""
    s = make_server({"host_types": {"people": {"plugins": {"register": {}}}}})
    c = early(connect, s)
    assert child(c.features, "register", FEATURE) is None
    assert error(c.iq("get", query())) == ("service-unavailable", "cancel")
    assert error(c.iq("set", query(new_user(), "Calliope"))) == ("service-unavailable", "cancel")


def test_needs_tls(server, connect):
    """9: where TLS can be had it comes first; where it can't, nobody registers."""
    c = connect(server=server).connect()
    c.open()
    c.send("<iq type='get' id='x'>%s</iq>" % query())
    c.expect_stream_error("not-authorized")
    c = connect(server=server).connect(server.port_plain)
    c.open()
    assert child(c.features, "register", FEATURE) is None
    assert error(c.iq("get", query())) == ("not-authorized", "auth")
    assert error(c.iq("set", query(new_user(), "Calliope")))[0] == "not-authorized"


def test_without_tls_if_set(make, connect):
    s = make(without_tls=True)
    c = connect(server=s).connect(s.port_plain)
    c.open()
    assert child(c.features, "register", FEATURE) is not None
    ok(c.iq("set", query(new_user(), "Calliope")))


def test_redirection(make, connect):
    """5"""
    url = "http://www.shakespeare.lit/contests.php"
    c = early(connect, make(redirect_url=url, instructions="To register, visit " + url))
    q = child(c.iq("get", query()), "query", REG)
    assert [name(e) for e in q] == ["instructions", "x"]
    assert text(child(q, "x", "jabber:x:oob"), "url", "jabber:x:oob") == url
    assert error(c.iq("set", query(new_user(), "Calliope"))) == ("not-allowed", "cancel")


def test_limit_per_address(make, connect):
    """What is refused for what it asks for does not count; a name that is taken does."""
    s = make(per_address=3, period="2s")
    c, user = early(connect, s), new_user()
    assert error(c.iq("set", query(user, "short")))[0] == "not-acceptable"
    ok(c.iq("set", query(user, "Calliope")))
    assert error(c.iq("set", query(user, "Calliope")))[0] == "conflict"
    ok(early(connect, s).iq("set", query(new_user(), "Calliope")))
    last = new_user()
    for _ in range(3):
        assert error(early(connect, s).iq("set", query(last, "Calliope"))) == (
            "resource-constraint", "wait")
    assert 'meerkat_register_limited_total{type="people"} 3' in s.ctl("metrics").stdout
    # Until the period is over.
    deadline = time.monotonic() + 30
    while True:
        a = early(connect, s).iq("set", query(last, "Calliope"))
        if a.get("type") == "result" or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    ok(a)


def test_limit_in_all(make, connect):
    c = early(connect, make(total=2))
    for _ in range(2):
        ok(c.iq("set", query(new_user(), "Calliope")))
    assert error(c.iq("set", query(new_user(), "Calliope")))[0] == "resource-constraint"


def test_pipelined(server, connect):
    """What follows waits for the account."""
    users = [new_user() for _ in range(5)]
    c = early(connect, server)
    c.send("".join("<iq type='set' id='%s'>%s</iq>" % (u, query(u, "Calliope")) for u in users)
           + "<iq type='get' id='last'>%s</iq>" % query())
    for u in users:
        c.expect("iq", id=u, type="result")
    c.expect("iq", id="last", type="result")
    c.account = mk.Account(users[0], server.domain, "Calliope")
    c.plain()


def test_client_that_leaves_meanwhile(server, connect):
    """The account is made; nobody is there for the answer."""
    user = new_user()
    for how in ("kill", "reset", "close"):
        c = early(connect, server)
        c.send("<iq type='set' id='r'>%s</iq>" % query(user + how, "Calliope"))
        getattr(c, how)()
    d = early(connect, server)
    deadline = time.monotonic() + 30
    while error(d.iq("set", query(user + "close", "Calliope")))[0] != "conflict":
        assert time.monotonic() < deadline
    ok(d.iq("set", query(new_user(), "Calliope")))


def test_plugin_that_stops_meanwhile(server, connect):
    c = early(connect, server)
    c.send("".join("<iq type='set' id='r%d'>%s</iq>" % (k, query(new_user(), "Calliope"))
                   for k in range(20)))
    c.answer("r0")
    server.ctl("plugin", "stop", "register", "people")
    c.expect_closed()
    d = early(connect, server)
    assert child(d.features, "register", FEATURE) is None
    d.send("<iq type='get' id='x'>%s</iq>" % query())
    d.expect_stream_error("not-authorized")


def test_set_while_it_runs(server, connect):
    c = early(connect, server)
    server.config["host_types"]["people"]["plugins"]["register"]["registration"] = False
    server.write_config()
    server.ctl("reload")
    assert error(c.iq("get", query()))[0] == "service-unavailable"


# ---- after login ---------------------------------------------------------------


@pytest.fixture
def user(server, connect):
    a = server.account()
    return a, connect(a, server=server)


@pytest.mark.parametrize("to", [None, "meerkat.test"])
def test_registered(user, to):
    """3.1, example 3"""
    a, c = user
    q = child(c.iq("get", query(), to=to), "query", REG)
    assert child(q, "registered", REG) is not None
    assert text(q, "username", REG) == a.user and not text(q, "password", REG)


@pytest.mark.parametrize("writing", ["%s", "%s@meerkat.test"])
def test_password_change(server, connect, user, writing):
    """3.3, examples 28 and 29; other sessions go on."""
    a, c = user
    other = connect(a, server=server)
    ok(c.iq("set", query(writing % a.user, "newpassword"), to="meerkat.test"))
    for mechanism in ("PLAIN", "SCRAM-SHA-1"):
        connect(mk.Account(a.user, a.domain, "newpassword"), server=server,
                mechanism=mechanism).ping()
        with pytest.raises(AuthFailed):
            connect(a, server=server, mechanism=mechanism)
    c.ping()
    other.ping()


@pytest.mark.parametrize("username,password,condition", [
    (None, "newpassword", "bad-request"), ("own", None, "bad-request"),
    ("own", "", "bad-request"), ("other", "newpassword", "not-acceptable"),
    ("own", "short", "not-acceptable"), ("own", "pass\u200eword", "not-acceptable"),
])
def test_password_changes_that_fail(server, connect, user, username, password, condition):
    """3.3, table: the old one stays, and nobody else's is changed."""
    a, c = user
    other = server.account()
    username = {"own": a.user, "other": other.user}.get(username)
    assert error(c.iq("set", query(username, password), to="meerkat.test"))[0] == condition
    connect(a, server=server).ping()
    connect(other, server=server).ping()


def test_password_change_needs_tls(server, connect):
    """3.3, table: not-authorized"""
    a = server.account()
    c = connect(server=server, account=None)
    c.account = a
    c.connect(server.port_plain)
    c.open()
    c.plain()
    c.bind()
    assert error(c.iq("set", query(a.user, "newpassword")))[0] == "not-authorized"


def test_what_is_not_allowed(make, connect):
    """3.2, 3.3, tables"""
    s = make(password_change=False, removal=False)
    a = s.account()
    c = connect(a, server=s)
    assert error(c.iq("set", query(a.user, "newpassword")))[0] == "not-allowed"
    assert error(c.iq("set", query(more="<remove/>")))[0] == "not-allowed"
    c.ping()


def test_limit_of_password_changes(make, connect):
    s = make(per_account=2)
    a, b = s.account(), s.account()
    c = connect(a, server=s)
    for k in range(2):
        ok(c.iq("set", query(a.user, "newpassword%d" % k)))
    assert error(c.iq("set", query(a.user, "newpassword"))) == ("resource-constraint", "wait")
    ok(connect(b, server=s).iq("set", query(b.user, "newpassword")))


def test_other_domains_and_users(server, user, connect):
    """Only with one's own server, for one's own account."""
    a, c = user
    other = server.account()
    for to in (server.other, other.jid):
        for type_, payload in (("get", query()), ("set", query(a.user, "newpassword")),
                               ("set", query(more="<remove/>"))):
            assert error_any(c.iq(type_, payload, to=to)) == "service-unavailable"
    connect(a, server=server).ping()
    connect(other, server=server).ping()


def error_any(a):
    assert a.get("type") == "error", to_str(a)
    return name(child(a, "error")[0])


@pytest.mark.parametrize("to", [None, "meerkat.test"])
def test_removal(server, connect, user, to):
    """3.2, examples 10 and 11: the answer, then all sessions end with not-authorized."""
    a, c = user
    other = connect(a, server=server, presence="")
    c.send("<iq type='set' id='unreg1'%s>%s</iq>" % (
        " to='%s'" % to if to else "", query(more="<remove/>")))
    r = c.expect("iq", id="unreg1", type="result")
    assert len(r) == 0 and r.get("from") == to
    c.expect_stream_error("not-authorized")
    other.expect_stream_error("not-authorized")
    for mechanism in ("PLAIN", "SCRAM-SHA-1"):
        with pytest.raises(AuthFailed):
            connect(a, server=server, mechanism=mechanism)
    # The name is free, and nothing of the old user is left.
    ok(early(connect, server).iq("set", query(a.user, "Calliope")))
    assert login(server, connect, a.user, "Calliope").roster() == {}


@pytest.mark.parametrize("payload", [
    query(more="<remove/><x/>"), query(more="<remove/><remove/>"), query("x", None, "<remove/>")])
def test_removal_must_be_alone(server, connect, user, payload):
    """3.2, table: bad-request"""
    a, c = user
    assert error(c.iq("set", payload))[0] == "bad-request"
    connect(a, server=server).ping()


def test_removal_with_presence(server, connect):
    """Contacts see the user go."""
    a, b = (connect(server.account(), server=server, presence="") for _ in range(2))
    b.send("<presence type='subscribe' to='%s'/>" % a.bare)
    a.until(lambda e: name(e) == "presence" and e.get("type") == "subscribe")
    a.send("<presence type='subscribed' to='%s'/>" % b.bare)
    b.until(lambda e: name(e) == "presence" and e.get("from") == a.jid)
    a.send("<iq type='set' id='unreg1'>%s</iq>" % query(more="<remove/>"))
    a.until(lambda e: name(e) == "iq" and e.get("id") == "unreg1" and e.get("type") == "result")
    b.until(lambda e: name(e) == "presence" and e.get("type") == "unavailable"
            and e.get("from") == a.jid)


def test_what_waits_behind_a_removal(server, connect, user):
    """Pipelined: nothing after it is answered."""
    a, c = user
    c.send("<iq type='set' id='unreg1'>%s</iq>" % query(more="<remove/>")
           + "<iq type='get' id='p'><ping xmlns='%s'/></iq>" % NS.PING
           + "<message to='%s' type='chat'><body>x</body></message>" % a.jid)
    c.expect("iq", id="unreg1", type="result")
    c.expect_stream_error("not-authorized")


def test_anonymous(make_server, connect):
    """One who has no account."""
    s = make_server({"host_types": {"anonymous": {"auth": ["anonymous"], "plugins": {
        "register": {"registration": True}}}}})
    c = connect(server=s, domain=s.anon).start()
    c.auth("ANONYMOUS")
    c.sasl_result()
    c.bind()
    assert error(c.iq("get", query()))[0] == "service-unavailable"
    assert error(c.iq("set", query(more="<remove/>")))[0] == "registration-required"
    c.ping()


def test_disco(user):
    """8.1"""
    _, c = user
    q = child(c.iq("get", "<query xmlns='%s'/>" % NS.DISCO_INFO, to="meerkat.test"), "query")
    assert REG in {f.get("var") for f in children(q, "feature")}


@pytest.mark.parametrize("settings", [
    {"password_min": 0}, {"reserved": ["a@b"]}, {"period": "0"}, {"per_address": -1}])
def test_settings_are_checked(server, settings):
    server.config["host_types"]["people"]["plugins"]["register"].update(settings)
    server.write_config()
    p = server.ctl("reload", check=False)
    assert p.returncode != 0 and list(settings)[0] in p.stdout + p.stderr
