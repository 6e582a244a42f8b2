"""XEP-0198: stream management, what happens on one connection. Section numbers
are those of version 1.6.3. Resumption is in test_sm_resume.py."""

import pytest

from mk import NS, child, children, name, ns, text, to_str
from mk.sm import SmClient, failed

BIND2 = "<bind xmlns='%s'>%%s</bind>" % NS.BIND2
ENABLE = "<enable xmlns='%s'/>" % NS.SM


@pytest.fixture
def sm(request):
    """sm(account): a client that is not connected."""
    made = []

    def make(account, server=None):
        c = SmClient(server or request.getfixturevalue("server"), account)
        made.append(c)
        return c
    yield make
    for c in made:
        c.kill()


@pytest.fixture
def c(sm, account):
    return sm(account()).login()


@pytest.fixture
def b(account, connect):
    """Somebody to talk to."""
    return connect(account())


# ---- 2: the feature -------------------------------------------------------------


def test_feature_after_authentication_only(sm, account):
    c = sm(account()).start()
    assert child(c.features, "sm", NS.SM) is None
    c.scram()
    assert child(c.features, "sm", NS.SM) is not None
    assert child(c.features, "bind", NS.BIND) is not None


# ---- 3: enabling ----------------------------------------------------------------


def test_enable(c):
    """Examples 2 and 3: without 'resume' there is no id."""
    el = c.enable(resume=False)
    assert el.get("id") is None and el.get("resume") is None


@pytest.mark.parametrize("value", ["true", "1"])
def test_enable_with_resumption(c, value):
    """Example 4."""
    c.send("<enable xmlns='%s' resume='%s'/>" % (NS.SM, value))
    el = c.expect("enabled", NS.SM)
    assert el.get("resume") in ("true", "1")
    assert len(el.get("id")) >= 26, "S-06: 128 bits at least"
    assert int(el.get("max")) == 300


def test_ids_are_never_the_same(sm, account):
    a = account()
    ids = {sm(a).login().enable().get("id") for _ in range(5)}
    assert len(ids) == 5


@pytest.mark.parametrize("max_,given", [("60", 60), ("100000", 300), ("nonsense", 300)])
def test_max_of_the_client(c, max_, given):
    """The client's preference counts as long as it is less than the server's."""
    assert int(c.enable(max=max_).get("max")) == given


def test_not_before_bind(sm, account):
    """Example 5, and resource binding is still possible."""
    c = sm(account()).authenticate()
    c.send(ENABLE)
    failed(c.recv(), "unexpected-request")
    c.bind()
    c.enable()


def test_not_before_authentication(sm, account):
    c = sm(account()).start()
    c.send(ENABLE)
    failed(c.recv(), "unexpected-request")


def test_not_twice(c):
    """Example 6: the second attempt is refused; the first one goes on."""
    c.enable()
    c.send(ENABLE)
    failed(c.recv(), "unexpected-request")
    assert c.h() == 0


@pytest.mark.parametrize("el", ["<r xmlns='%s'/>", "<a xmlns='%s' h='0'/>"])
def test_nothing_without_enable(c, el):
    c.send(el % NS.SM)
    failed(c.recv(), "unexpected-request")


# ---- 4: acknowledgements from the server -------------------------------------------


def test_simple_acking(c, b):
    """Example 7: the counter starts with <enable/>, whatever was sent before."""
    c.message(b.jid, "before")
    c.send("<enable xmlns='%s'/>" % NS.SM)
    c.message(b.jid, "I'll send a friar with speed, to Mantua")
    c.expect("enabled", NS.SM)
    assert c.h(1) == 1
    assert [text(b.expect("message"), "body") for _ in range(2)][0] == "before"


def test_every_stanza_counts_and_nothing_else(c, b):
    c.enable()
    n = 0
    for xml in ("<message to='%s'><body>x</body></message>" % b.jid,
                "<message to='%s'/>" % b.jid,
                "<message to='@@'><body>x</body></message>",
                "<presence to='%s'/>" % b.jid,
                "<iq type='get' id='1'><nonsense xmlns='mk:x'/></iq>",
                "<iq type='result' id='2'/>",
                "<iq id='3'/>",
                "<iq type='set' id='4'><session xmlns='%s'/></iq>" % NS.SESSION):
        c.send(xml)
        n += 1
        assert c.h(n) == n, xml
        assert c.h() == n
    c.send(" \n")
    c.ack()
    assert c.h() == n


def test_example_of_a_session(c, b):
    """8.1, Examples 19 to 26."""
    c.enable(resume=False)
    c.iq("get", "<query xmlns='%s'/>" % NS.ROSTER)
    assert c.h(1) == 1
    c.ack(1)
    c.send("<presence to='%s'/>" % b.jid)
    assert c.h(2) == 2
    c.message(b.jid, "ciao!")
    assert c.h(3) == 3


def test_efficient_session(c, b):
    """8.2: five at a time."""
    c.enable(resume=False)
    for n in (5, 10):
        c.send("".join("<message to='%s'><body>%d</body></message>" % (b.jid, i)
                       for i in range(5)) + "<r xmlns='%s'/>" % NS.SM)
        while int(c.expect("a", NS.SM).get("h")) < n:
            pass


def test_h_never_runs_ahead_and_comes_in_the_end(c, b):
    """4: <r/> is answered at once; what is not safe yet is acknowledged by a
    further <a/> when it is, without another <r/>."""
    c.enable()
    last = 0
    for i in range(1, 201):
        c.message(b.jid, "m%d" % i)
        c.request()
    answers = 0
    while last < 200:
        h = int(c.expect("a", NS.SM).get("h"))
        assert last <= h <= 200
        last = h
        answers += 1
    assert answers >= 1


def test_without_presence_or_recipient(c, account):
    """Handled is handled: an error for the recipient is the server's affair."""
    c.enable()
    c.message("nobody@meerkat.test", "x")
    c.message("x@elsewhere.invalid", "x")
    assert c.h(2) == 2


# ---- 4: acknowledgements from the client --------------------------------------------


def test_server_asks(c, b):
    """One stanza, and a question soon after."""
    c.enable()
    c.shows = True
    b.message(c.jid, "x")
    c.expect("message")
    c.expect("r", NS.SM)
    c.ack()
    c.shows = False
    c.h()


def test_server_asks_within_a_burst(c, b, make_server):
    """request_every: 10."""
    c.enable()
    c.shows = True
    for i in range(35):
        b.message(c.jid, str(i))
    stanzas, asked = 0, 0
    while stanzas < 35:
        el = c.recv()
        if name(el) == "r":
            asked += 1
        else:
            stanzas += 1
    assert asked >= 3


def test_unasked_ack(c, b):
    c.enable()
    for i in range(3):
        b.message(c.jid, "x")
        c.until(lambda e: name(e) == "message")
        c.ack(i + 1)
    c.ack(3)
    c.ack(2)         # an old one does no harm
    assert c.h() == 0


def test_ack_of_too_many(c, b):
    """Example 16."""
    c.enable()
    c.answers = False
    for i in range(8):
        b.message(c.jid, "x")
        c.until(lambda e: name(e) == "message")
    c.ack(10)
    e = c.expect_stream_error("undefined-condition")
    detail = child(e.element, "handled-count-too-high", NS.SM)
    assert detail.get("h") == "10" and detail.get("send-count") == "8", to_str(e.element)
    assert e.text == "You acknowledged 10 stanzas, but I only sent you 8 so far."
    assert [name(x) for x in e.element] == ["undefined-condition", "handled-count-too-high", "text"]


@pytest.mark.parametrize("h", ["", "x", "-1", "4294967296", "1.0", None])
def test_ack_that_is_none(c, h):
    c.enable()
    c.send("<a xmlns='%s'%s/>" % (NS.SM, "" if h is None else " h='%s'" % h))
    failed(c.recv(), "bad-request")
    c.h()


def test_unacked_messages_go_on_at_a_clean_end(c, account, connect, sm):
    """4: as if the resource had not been there; here, to another one."""
    a = c.account
    c.enable()
    c.answers = False
    other = connect(a, "other", presence="")
    b = connect(account())
    for i in range(5):
        b.message(c.jid, "n%d" % i)
        c.until(lambda e: name(e) == "message")
    c.ack(2)
    c.close()
    got = [other.until(lambda e: name(e) == "message") for _ in range(3)]
    assert [text(m, "body") for m in got] == ["n2", "n3", "n4"]
    for m in got:
        delay = children(m, "delay", NS.DELAY)
        assert len(delay) == 1 and delay[0].get("from") == "meerkat.test", to_str(m)


def test_acked_messages_do_not(c, account, connect):
    """And the client's last <a/> before </stream:stream> counts."""
    c.enable()
    other = connect(c.account, "other", presence="")
    b = connect(account())
    for i in range(3):
        b.message(c.jid, "x")
        c.until(lambda e: name(e) == "message")
    c.ack()
    c.close()
    other.expect_nothing()


def test_unacked_request_is_answered(c, account, connect):
    """RFC 6120 8.2.3: somebody waits for the answer."""
    c.enable()
    c.answers = False
    b = connect(account())
    b.send("<iq type='get' id='q' to='%s'><x xmlns='mk:x'/></iq>" % c.jid)
    c.until(lambda e: name(e) == "iq")
    c.close()
    a = b.answer("q")
    assert a.get("type") == "error" and a.get("from") == c.jid
    assert child(child(a, "error"), "service-unavailable", NS.STANZAS) is not None


def test_both_have_it_so_nobody_gets_it_twice(sm, account, connect):
    """To the bare JID, two resources: one ends without acknowledging, the other has
    it."""
    a = account()
    one, two = (sm(a).login(r, presence="") for r in ("one", "two"))
    for c in (one, two):
        c.enable()
    one.answers = False
    b = connect(account())
    b.message(a.jid, "for both")
    for c in (one, two):
        assert text(c.until(lambda e: name(e) == "message"), "body") == "for both"
    one.close()
    b.message(two.jid, "later")
    m = two.until(lambda e: name(e) == "message")
    assert text(m, "body") == "later", to_str(m)


# ---- limits -----------------------------------------------------------------------


def test_too_much_unacknowledged(make_server, sm):
    server = make_server({"host_types": {"people": {"plugins": {
        "sm": {"max_unacked": 20}, "message": {}}}}})
    a = server.account()
    c = sm(a, server).login()
    c.enable()
    c.answers = False
    other = server.client(a).login("other", presence="")
    b = server.client(server.account()).login()
    for i in range(30):
        b.message(c.jid, str(i))
    c.expect_stream_error("resource-constraint")
    got = [int(text(other.until(lambda e: name(e) == "message"), "body")) for _ in range(30)]
    assert got == list(range(30)), "nothing is lost, and order is kept"
    b.kill()
    other.kill()


def test_client_that_does_not_answer(make_server, sm):
    """ack_timeout: the connection is dead, though nothing says so."""
    server = make_server({"host_types": {"people": {"plugins": {
        "sm": {"ack_timeout": "1s", "request_delay": 0}}}}})
    c = sm(server.account(), server).login()
    c.enable()
    c.answers = False
    b = server.client(server.account()).login()
    b.message(c.jid, "x")
    c.expect_stream_error("connection-timeout")
    c2 = sm(c.account, server).authenticate()
    c.handled = 0
    assert name(c2.resume_of(c)) == "resumed"
    assert text(c2.expect("message"), "body") == "x"
    b.kill()


# ---- 9: with SASL2 and Bind 2 ---------------------------------------------------------


def test_inline_offer(sm, account):
    """Example 29."""
    c = sm(account()).start()
    inline = child(child(c.features, "authentication", NS.SASL2), "inline", NS.SASL2)
    assert child(inline, "sm", NS.SM) is not None, to_str(inline)
    bind = child(inline, "bind", NS.BIND2)
    features = children(child(bind, "inline", NS.BIND2), "feature", NS.BIND2)
    assert NS.SM in [f.get("var") for f in features], to_str(inline)


def test_inline_enable(sm, account, b):
    """9.1."""
    c = sm(account()).start()
    success = c.sasl2("PLAIN", inline=BIND2 % ("<tag>AwesomeXMPP</tag><enable xmlns='%s' "
                                              "resume='1'/>" % NS.SM))
    enabled = child(child(success, "bound", NS.BIND2), "enabled", NS.SM)
    assert enabled.get("resume") in ("1", "true") and enabled.get("id"), to_str(success)
    c.expect("features", NS.STREAM)
    c.jid = text(success, "authorization-identifier", NS.SASL2)
    c.message(b.jid, "x")
    assert c.h(1) == 1
    c.send(ENABLE)
    failed(c.recv(), "unexpected-request")


def test_no_inline_enable_but_a_later_one(sm, account):
    c = sm(account()).start()
    c.sasl2("PLAIN", inline=BIND2 % "")
    features = c.expect("features", NS.STREAM)
    assert child(features, "sm", NS.SM) is not None
    c.enable()


# ---- not used, not paid ----------------------------------------------------------------


def test_clients_without_it_notice_nothing(b, c):
    b.message(c.jid, "x")
    m = c.recv()
    assert name(m) == "message" and ns(m) == NS.CLIENT
