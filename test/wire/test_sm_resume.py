"""XEP-0198 5: resumption; and S-06, who may resume what."""

import re
import socket

import pytest

from mk import NS, StreamClosed, StreamError, child, children, name, text, to_str
from mk.sm import SmClient, failed, stamp

BIND2 = "<bind xmlns='%s'>%%s</bind>" % NS.BIND2


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
    c = sm(account()).login()
    c.enable()
    return c


@pytest.fixture
def b(account, connect):
    return connect(account())


LOST = {
    "reset": lambda c: c.reset(),
    "closed": lambda c: c.kill(),
    "half closed": lambda c: c.sock.shutdown(socket.SHUT_WR),
    "silent": lambda c: None,
    "stream error": lambda c: c.send("<x:y/>"),
}


def body(el):
    return text(el, "body")


def got(c, n):
    """The next n bodies."""
    return [body(c.until(lambda e: name(e) == "message")) for _ in range(n)]


# ---- how it goes ------------------------------------------------------------------


@pytest.mark.parametrize("how", LOST)
def test_resume(c, b, sm, how):
    """Examples 8, 9, 12, 13: whatever became of the connection; what was sent and
    not acknowledged comes again, then what came meanwhile, in order, each once."""
    c.answers = False
    for i in range(5):
        b.message(c.jid, "n%d" % i)
        c.until(lambda e: name(e) == "message")
    c.handled = 3                      # the last two got lost on the way
    LOST[how](c)
    for i in range(5, 10):
        b.message(c.jid, "n%d" % i)
    c2 = sm(c.account).authenticate()
    el = c2.resume_of(c)
    assert name(el) == "resumed" and el.get("previd") == c.id and el.get("h") == "0", to_str(el)
    msgs = [c2.until(lambda e: name(e) == "message") for _ in range(7)]
    assert [body(m) for m in msgs] == ["n%d" % i for i in range(3, 10)]
    for m in msgs:
        assert m.get("to") == c.jid
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$", stamp(m)), to_str(m)
    b.message(c.jid, "live")
    m = c2.until(lambda e: name(e) == "message")
    assert body(m) == "live" and stamp(m) is None
    assert c2.handled == 11


def test_counters_go_on(c, b, sm):
    """5: sequence values are carried over."""
    for i in range(3):
        c.message(b.jid, str(i))
    assert c.h(3) == 3
    c.reset()
    c2 = sm(c.account).authenticate()
    assert c2.resume_of(c).get("h") == "3"
    c2.message(b.jid, "3")
    assert c2.h(4) == 4
    assert got(b, 4) == list("0123")


def test_h_covers_all_that_came_in(c, b, sm):
    """What the client sent before the break is handled once, whether it was
    acknowledged or not: it resends what h does not cover."""
    for i in range(50):
        c.message(b.jid, str(i))
    c.kill()
    c2 = sm(c.account).authenticate()
    h = int(c2.resume_of(c).get("h"))
    assert 0 <= h <= 50
    for i in range(h, 50):
        c2.message(b.jid, str(i))
    assert c2.h(50) == 50
    assert got(b, 50) == [str(i) for i in range(50)]
    b.expect_nothing()


def test_many_times(c, b, sm):
    n = 0
    for round_ in range(10):
        c.reset()
        for _ in range(3):
            b.message(c.jid, str(n))
            n += 1
        c2 = sm(c.account).authenticate()
        assert name(c2.resume_of(c)) == "resumed"
        assert got(c2, 3) == [str(i) for i in range(n - 3, n)]
        c = c2
    assert c.h() == 0


def test_old_stream_gets_conflict(c, b, sm):
    """Example 15."""
    c2 = sm(c.account).authenticate()
    assert name(c2.resume_of(c)) == "resumed"
    c.expect_stream_error("conflict")
    b.message(c2.jid, "x")
    assert got(c2, 1) == ["x"]


def test_long_queue(c, b, sm):
    """More than the window: the rest follows as the client acknowledges."""
    c.reset()
    for i in range(450):
        b.message(c.jid, str(i))
    c2 = sm(c.account).authenticate()
    assert name(c2.resume_of(c)) == "resumed"
    b.message(c.jid, "450")
    assert got(c2, 451) == [str(i) for i in range(451)]
    b.message(c.jid, "last")
    assert got(c2, 1) == ["last"]


def test_nothing_happens_to_presence(c, account, sm, connect):
    """Neither the loss nor the return is seen by others."""
    b = connect(account(), presence="")
    c.send("<presence to='%s'/>" % b.jid)
    assert b.until(lambda e: e.get("from") == c.jid).get("type") is None
    c.reset()
    c2 = sm(c.account).authenticate()
    c2.resume_of(c)
    c2.message(b.jid, "back")
    el = b.recv()
    assert name(el) == "message", to_str(el)


def test_not_after_a_clean_end(c, sm):
    """7."""
    c.close()
    c2 = sm(c.account).authenticate()
    failed(c2.resume_of(c), "item-not-found")
    c2.bind()


def test_not_resumable(sm, account, connect, b):
    """Enabled without 'resume': what is lost goes elsewhere at once."""
    c = sm(account()).login()
    c.enable(resume=False)
    c.answers = False
    other = connect(c.account, "other", presence="")
    b.message(c.jid, "x")
    c.until(lambda e: name(e) == "message")
    c.reset()
    m = other.until(lambda e: name(e) == "message")
    assert body(m) == "x" and stamp(m)


# ---- refused ------------------------------------------------------------------------


def test_unknown_id(c, sm):
    """Example 14, and binding is possible then."""
    c2 = sm(c.account).authenticate()
    for previd in ("some-long-sm-id", "x" * 4000, c.id[:-1], c.id + "x", c.id.upper()):
        el = failed(c2.resume_of(c, previd=previd), "item-not-found")
        assert el.get("h") is None
    c2.bind()
    c2.enable()
    c.h()


@pytest.mark.parametrize("attrs", ["", "h='0'", "previd='x'", "h='x' previd='x'",
                                   "h='-1' previd='x'", "h='4294967296' previd='x'"])
def test_bad_requests(sm, account, attrs):
    c = sm(account()).authenticate()
    c.send("<resume xmlns='%s' %s/>" % (NS.SM, attrs))
    failed(c.recv(), "bad-request")
    c.bind()


def test_not_when_bound(c, sm):
    c2 = sm(c.account).login()
    failed(c2.resume_of(c), "unexpected-request")
    c.h()


def test_not_before_authentication(c, sm):
    c2 = sm(c.account).start()
    failed(c2.resume_of(c), "unexpected-request")
    c.h()


def test_h_too_high(c, b, sm):
    """It is the new stream that is wrong, not the session."""
    b.message(c.jid, "x")
    c.until(lambda e: name(e) == "message")
    c.reset()
    c2 = sm(c.account).authenticate()
    c2.send("<resume xmlns='%s' h='7' previd='%s'/>" % (NS.SM, c.id))
    e = c2.expect_stream_error("undefined-condition")
    assert child(e.element, "handled-count-too-high", NS.SM).get("send-count") == "1"
    c3 = sm(c.account).authenticate()
    assert name(c3.resume_of(c)) == "resumed"


def test_session_of_another_user(c, b, sm, account):
    """S-06: only as the same bare JID."""
    thief = sm(account()).authenticate()
    el = failed(thief.resume_of(c), "item-not-found")
    assert el.get("h") is None
    thief.bind()
    b.message(c.jid, "x")
    assert got(c, 1) == ["x"]
    c.close()
    thief = sm(account()).authenticate()
    assert failed(thief.resume_of(c), "item-not-found").get("h") is None


def test_same_name_elsewhere(server, c, sm):
    thief = sm(server.account(c.account.user, server.strange)).authenticate()
    failed(thief.resume_of(c), "item-not-found")
    c.h()


def test_two_at_once(c, b, sm):
    """Exactly one has the session in the end; nobody gets anything twice."""
    c.reset()
    for i in range(20):
        b.message(c.jid, str(i))
    two = [sm(c.account).authenticate() for _ in range(2)]
    for x in two:
        x.answers = False
        x.send("<resume xmlns='%s' h='0' previd='%s'/>" % (NS.SM, c.id))
    results = []
    for x in two:
        x.jid = c.jid
        bodies = []
        try:
            el = x.recv()
            assert name(el) == "resumed", to_str(el)
            while len(bodies) < 20:
                bodies.append(body(x.until(lambda e: name(e) == "message")))
            x.send("<r xmlns='%s'/>" % NS.SM)
            x.until(lambda e: name(e) == "a")
            results.append((x, bodies))
        except (StreamError, StreamClosed):
            pass
    alive = []
    for x, bodies in results:
        try:
            x.h()
            alive.append((x, bodies))
        except (StreamError, StreamClosed):
            pass
    assert len(alive) == 1
    assert alive[0][1] == [str(i) for i in range(20)]


# ---- too late -------------------------------------------------------------------------


def short(make_server, **more):
    return make_server({"host_types": {"people": {"plugins": {
        "sm": dict({"resume_timeout": "1s"}, **more)}}}})


def test_expired(make_server, sm):
    """Offline storage and the other resources get it; the latecomer is told what had
    been handled."""
    server = short(make_server)
    a = server.account()
    c = sm(a, server).login()
    c.enable()
    b = server.client(server.account()).login()
    other = server.client(a).login("other", presence="")
    for i in range(2):
        c.message(b.jid, "x")
    c.h(2)
    c.reset()
    sent = [b.message(c.jid, "late%d" % i) for i in range(3)]
    got = [other.until(lambda e: name(e) == "message") for _ in range(3)]
    assert [m.get("id") for m in got] == sent
    assert all(len(children(m, "delay", NS.DELAY)) == 1 for m in got)
    c2 = sm(a, server).authenticate()
    el = failed(c2.resume_of(c), "item-not-found")
    assert el.get("h") == "2"
    c2.bind()
    b.kill()
    other.kill()


def test_expired_to_offline_storage(make_server, sm):
    server = short(make_server)
    a = server.account()
    c = sm(a, server).login(presence="")
    c.enable()
    c.answers = False
    b = server.client(server.account()).login()
    b.message(c.jid, "0")
    c.until(lambda e: name(e) == "message")
    c.reset()
    for i in range(1, 4):
        b.message(c.jid, str(i))
    # until it is over: the session is gone when its resource can't be asked
    b.iq("get", "<x xmlns='mk:x'/>", to=c.jid)
    c2 = sm(a, server).login(presence="")
    got = [c2.until(lambda e: name(e) == "message") for _ in range(4)]
    assert [text(m, "body") for m in got] == list("0123")
    for m in got:
        assert len(children(m, "delay", NS.DELAY)) == 1, to_str(m)
    b.kill()


def test_iq_to_a_session_that_does_not_come_back(make_server, sm):
    server = short(make_server)
    c = sm(server.account(), server).login()
    c.enable()
    c.reset()
    b = server.client(server.account()).login()
    a = b.iq("get", "<x xmlns='mk:x'/>", to=c.jid)
    assert a.get("type") == "error"
    assert child(child(a, "error"), "service-unavailable", NS.STANZAS) is not None
    b.kill()


def test_max_of_the_client_is_kept(make_server, sm):
    """It asked for a second of the five minutes."""
    server = make_server()
    c = sm(server.account(), server).login()
    c.enable(max=1)
    c.reset()
    b = server.client(server.account()).login()
    assert b.iq("get", "<x xmlns='mk:x'/>", to=c.jid).get("type") == "error"
    c2 = sm(c.account, server).authenticate()
    failed(c2.resume_of(c), "item-not-found")
    b.kill()


def test_not_remembered(make_server, sm):
    server = short(make_server, remember=0)
    c = sm(server.account(), server).login()
    c.enable()
    c.close()
    c2 = sm(c.account, server).authenticate()
    assert failed(c2.resume_of(c), "item-not-found").get("h") is None


def test_switched_off(make_server, sm):
    server = make_server({"host_types": {"people": {"plugins": {"sm": {"resume_timeout": 0}}}}})
    c = sm(server.account(), server).login()
    el = c.enable()
    assert el.get("id") is None and el.get("resume") is None
    c2 = sm(c.account, server).authenticate()
    failed(c2.resume_of(c, previd="x"), "feature-not-implemented")


def test_new_bind_of_the_resource(c, b, sm):
    """RFC 6120 7.7.2.2: the old session ends; what it held is not lost."""
    c.answers = False
    c.reset()
    b.message(c.jid, "x")
    c2 = sm(c.account).login(c.resource)
    assert c2.jid == c.jid
    assert got(c2, 1) == ["x"]
    c3 = sm(c.account).authenticate()
    failed(c3.resume_of(c), "item-not-found")


def test_queue_of_the_absent_is_bounded(make_server, sm):
    server = make_server({"host_types": {"people": {"plugins": {"sm": {"max_unacked": 20}}}}})
    a = server.account()
    c = sm(a, server).login()
    c.enable()
    c.reset()
    other = server.client(a).login("other", presence="")
    b = server.client(server.account()).login()
    for i in range(30):
        b.message(c.jid, str(i))
    got = [int(text(other.until(lambda e: name(e) == "message"), "body")) for _ in range(30)]
    assert got == list(range(30))
    b.kill()
    other.kill()


# ---- 9: SASL2 ---------------------------------------------------------------------------


RESUME = "<resume xmlns='%s' h='%d' previd='%s'/>"


def test_inline_resume(c, b, sm):
    """9.2: <resumed/> in <success/>; no features, no bind; the stream goes on."""
    c.message(b.jid, "x")
    c.h(1)
    c.reset()
    b.message(c.jid, "meanwhile")
    c2 = sm(c.account).start()
    c2.take_over(c)
    success = c2.sasl2("SCRAM-SHA-256", inline=RESUME % (NS.SM, c.handled, c.id) + BIND2 % "")
    resumed = child(success, "resumed", NS.SM)
    assert resumed is not None, to_str(success)
    assert resumed.get("previd") == c.id and resumed.get("h") == "1"
    assert child(success, "bound", NS.BIND2) is None
    assert text(success, "authorization-identifier", NS.SASL2) == c.jid
    m = c2.recv()
    assert name(m) == "message" and body(m) == "meanwhile", "no features: %s" % to_str(m)
    c2.message(b.jid, "y")
    assert c2.h(2) == 2


def test_inline_resume_takes_over(c, sm):
    """From a stream that is still there."""
    c2 = sm(c.account).start()
    c2.take_over(c)
    success = c2.sasl2("PLAIN", inline=RESUME % (NS.SM, 0, c.id))
    assert child(success, "resumed", NS.SM) is not None
    c.expect_stream_error("conflict")
    assert c2.h() == 0


def test_inline_resume_fails_and_bind_follows(c, sm):
    """Examples 30, 32: <failed/> beside <bound/>."""
    c.close()
    c2 = sm(c.account).start()
    success = c2.sasl2("SCRAM-SHA-1", inline=RESUME % (NS.SM, 0, c.id) + BIND2 % (
        "<tag>AwesomeXMPP</tag><enable xmlns='%s' resume='true'/>" % NS.SM))
    el = failed(child(success, "failed", NS.SM), "item-not-found")
    assert el.get("h") == "0"
    bound = child(success, "bound", NS.BIND2)
    assert child(bound, "enabled", NS.SM) is not None
    assert "/AwesomeXMPP" in text(success, "authorization-identifier", NS.SASL2)
    c2.expect("features", NS.STREAM)


def test_inline_resume_fails_without_bind(c, sm):
    c2 = sm(c.account).start()
    success = c2.sasl2("PLAIN", inline=RESUME % (NS.SM, 0, "nonsense"))
    failed(child(success, "failed", NS.SM), "item-not-found")
    c2.features = c2.expect("features", NS.STREAM)
    c2.bind()


def test_inline_h_too_high(c, sm):
    c2 = sm(c.account).start()
    with pytest.raises(StreamError) as e:
        c2.sasl2("PLAIN", inline=RESUME % (NS.SM, 3, c.id) + BIND2 % "")
    assert e.value.condition == "undefined-condition"
    assert c.h() == 0


# ---- settings -----------------------------------------------------------------------------


def test_settings_apply_to_sessions_that_exist(make_server, sm):
    server = make_server()
    a = server.account()
    c = sm(a, server).login()
    c.enable()
    server.config["host_types"]["people"]["plugins"]["sm"] = {"resume_timeout": "1s"}
    server.write_config()
    server.ctl("reload")
    c.reset()
    b = server.client(server.account()).login()
    assert b.iq("get", "<x xmlns='mk:x'/>", to=c.jid).get("type") == "error"
    b.kill()


def test_plugin_goes(make_server, sm):
    """Sessions that wait for their clients end; what they held is delivered."""
    server = make_server()
    a = server.account()
    c = sm(a, server).login()
    c.enable()
    c.reset()
    b = server.client(server.account()).login()
    other = server.client(a).login("other", presence="")
    b.message(c.jid, "x")
    b.message(other.jid, "fence")
    assert text(other.until(lambda e: name(e) == "message"), "body") == "fence"
    del server.config["host_types"]["people"]["plugins"]["sm"]
    server.write_config()
    server.ctl("reload")
    assert text(other.until(lambda e: name(e) == "message"), "body") == "x"
    assert b.iq("get", "<x xmlns='mk:x'/>", to=c.jid).get("type") == "error"
    b.kill()
    other.kill()
