"""XEP-0160 1.0.1: offline messages; XEP-0203 delay stamps, XEP-0334 hints."""

import calendar
import re
import threading
import time

import pytest

from mk import NS, child, children, fence, name, text, to_str
from mk.sm import SmClient

HINTS = "urn:xmpp:hints"
BODY = ("<body>O blessed, blessed night! I am afeard. Being in night, all this is but a dream, "
        "Too flattering-sweet to be substantial.</body>")


def messages(elements):
    return [e for e in elements if name(e) == "message"]


def ids(elements):
    return [m.get("id") for m in messages(elements)]


@pytest.fixture
def romeo(account, connect):
    return connect(account(), "orchard", presence="")


@pytest.fixture
def juliet(account):
    return account()


def leave(romeo, to, payload=BODY, type_="chat", id_="m1"):
    """Sends, and waits until it is stored or returned: (the errors)."""
    romeo.send("<message to='%s' id='%s'%s>%s</message>" % (
        getattr(to, "jid", to), id_, " type='%s'" % type_ if type_ else "", payload))
    return settle(romeo, to)


def settle(romeo, to):
    """Until what romeo sent to `to` has come to rest: an IQ to the same account is
    handled in its turn."""
    jid = getattr(to, "jid", to)
    got = []
    romeo.send("<iq type='get' id='settle' to='%s'><x xmlns='mk:settle'/></iq>" % jid.split("/")[0])
    while True:
        el = romeo.recv()
        if el.get("id") == "settle":
            return messages(got)
        got.append(el)


def fetch(connect, account, resource=None, presence="", **kw):
    """Logs in and becomes available: (the client, messages that came)."""
    c = connect(account, resource, **kw)
    c.available(presence)
    return c, rest(c)


def rest(c):
    """What is still coming: until two barriers in a row bring nothing."""
    got, quiet = [], 0
    while quiet < 2:
        more = messages(c.barrier())
        got += more
        quiet = 0 if more else quiet + 1
    return got


def error_of(m):
    return name(child(m, "error")[0])


# ---- 2: the flow ------------------------------------------------------------------------


def test_flow(romeo, juliet, connect):
    """Examples 1 to 3; XEP-0203 example 1."""
    before = time.time()
    assert leave(romeo, juliet, BODY, None) == []
    after = time.time()
    c, got = fetch(connect, juliet, "balcony", "<priority>1</priority>")
    m, = got
    assert m.get("from") == romeo.jid and m.get("to") == juliet.jid
    assert m.get("id") == "m1" and m.get("type") is None
    assert text(m, "body", NS.CLIENT) == BODY[6:-7]
    delay, = children(m, "delay", NS.DELAY)
    assert delay.get("from") == "meerkat.test"
    stamp = delay.get("stamp")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", stamp)
    at = calendar.timegm(time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S"))
    assert before - 2 <= at <= after + 1
    # Once.
    c.close()
    assert fetch(connect, juliet)[1] == []


def test_is_delivered_behind_the_presence(romeo, juliet, connect):
    """The client hears first that it is available."""
    leave(romeo, juliet)
    c = connect(juliet)
    c.send("<presence/>")
    first = c.recv()
    assert name(first) == "presence" and first.get("from") == c.jid
    assert c.until(lambda e: name(e) == "message").get("id") == "m1"


def test_order_and_number(romeo, juliet, connect):
    """More than a page of them."""
    for k in range(150):
        romeo.message(juliet.jid, str(k), id_="n%d" % k)
    settle(romeo, juliet)
    _, got = fetch(connect, juliet)
    assert [text(m, "body") for m in got] == [str(k) for k in range(150)]
    assert all(child(m, "delay", NS.DELAY) is not None for m in got)


def test_everything_in_it_is_kept(romeo, juliet, connect):
    romeo.send("<message to='%s' id='e' type='chat' xml:lang='cs'><subject>a</subject>"
               "<body>1 &lt; 2 &amp; &#x10D; &#x1F43E;</body><body xml:lang='en'>x</body>"
               "<thread parent='p'>t</thread><a xmlns='mk:1' q='&quot;&apos;'>m<b/>n</a></message>"
               % juliet.jid)
    settle(romeo, juliet)
    m, = fetch(connect, juliet)[1]
    assert m.get("{%s}lang" % NS.XML) == "cs"
    assert children(m, "body")[0].text == "1 < 2 & \u010d \U0001f43e"
    assert children(m, "body")[1].get("{%s}lang" % NS.XML) == "en"
    assert child(m, "thread").get("parent") == "p" and text(m, "thread") == "t"
    a = child(m, "a", "mk:1")
    assert a.get("q") == "\"'" and a.text == "m" and a[0].tail == "n"


def test_to_a_resource_that_went(romeo, juliet, connect):
    """The address stays what it was (RFC 6121 8.5.3.2.1)."""
    leave(romeo, juliet.jid + "/chamber")
    m, = fetch(connect, juliet)[1]
    assert m.get("to") == juliet.jid + "/chamber"


def test_own_delay_is_not_doubled(romeo, juliet, connect):
    """XEP-0203 4: one of each who delayed it; somebody else's stays."""
    leave(romeo, juliet, BODY + "<delay xmlns='%s' from='elsewhere.test' "
          "stamp='2002-09-10T23:08:25Z'/>" % NS.DELAY)
    m, = fetch(connect, juliet)[1]
    assert sorted(d.get("from") for d in children(m, "delay", NS.DELAY)) == [
        "elsewhere.test", "meerkat.test"]


# ---- 2, 3: whose presence ---------------------------------------------------------------


def test_not_to_a_negative_priority(romeo, juliet, connect):
    """Kept on, until the priority is raised."""
    leave(romeo, juliet, id_="1")
    c, got = fetch(connect, juliet, presence="<priority>-1</priority>")
    assert got == []
    leave(romeo, juliet, id_="2")
    assert rest(c) == []
    c.send("<presence><priority>0</priority></presence>")
    assert ids(rest(c)) == ["1", "2"]
    c.send("<presence><priority>5</priority></presence>")
    assert rest(c) == []


def test_not_before_presence(romeo, juliet, connect):
    leave(romeo, juliet)
    c = connect(juliet)
    assert rest(c) == []
    c.roster()
    assert rest(c) == []
    c.send("<presence to='%s'/>" % romeo.jid)
    assert rest(c) == []
    c.available()
    assert ids(rest(c)) == ["m1"]


def test_again_after_unavailable(romeo, juliet, connect):
    c, _ = fetch(connect, juliet)
    c.unavailable()
    leave(romeo, juliet)
    c.available()
    assert ids(rest(c)) == ["m1"]


def test_malformed_priority(romeo, juliet, connect):
    """Whatever becomes of it, nothing is lost."""
    leave(romeo, juliet)
    c = connect(juliet)
    c.send("<presence><priority>x</priority></presence>")
    got = ids(rest(c))
    if not got:
        c.available()
        got = ids(rest(c))
    assert got == ["m1"]


def test_two_clients_at_once(romeo, juliet, connect):
    """Each message to one of them."""
    for k in range(60):
        romeo.message(juliet.jid, "x", id_="n%d" % k)
    settle(romeo, juliet)
    a, b = connect(juliet), connect(juliet)
    for c in (a, b):
        c.send("<presence/>")
    got = ids(rest(a)) + ids(rest(b))
    assert sorted(got) == sorted("n%d" % k for k in range(60))


def test_second_client_gets_nothing(romeo, juliet, connect):
    leave(romeo, juliet)
    assert len(fetch(connect, juliet, "a")[1]) == 1
    assert len(fetch(connect, juliet, "b")[1]) == 0


# ---- 3: types, XEP-0334 ---------------------------------------------------------------------

KINDS = [
    # stored, error, type, payload
    (True, None, None, BODY),
    (True, None, "normal", BODY),
    (True, None, "chat", BODY),
    (True, None, "unheard-of", BODY),
    (False, None, "chat", "<active xmlns='http://jabber.org/protocol/chatstates'/>"),
    (False, None, "chat", "<composing xmlns='http://jabber.org/protocol/chatstates'/>"
     "<thread>t</thread><no-store xmlns='%s'/>" % HINTS),
    (True, None, "chat", BODY + "<active xmlns='http://jabber.org/protocol/chatstates'/>"),
    (False, "service-unavailable", "groupchat", BODY),
    (False, None, "headline", BODY),
    (False, None, "error", "<error type='cancel'><gone xmlns='%s'/></error>" % NS.STANZAS),
    (False, "service-unavailable", "chat", BODY + "<no-store xmlns='%s'/>" % HINTS),
    (True, None, "chat", BODY + "<no-permanent-store xmlns='%s'/>" % HINTS),
    (True, None, "chat", "<x xmlns='mk:unknown'/><store xmlns='%s'/>" % HINTS),
    (False, "service-unavailable", "chat", "<x xmlns='mk:unknown'/>"),
    (False, "service-unavailable", "normal", ""),
    (False, None, "error", "<store xmlns='%s'/>" % HINTS),
    (True, None, "chat", "<received xmlns='urn:xmpp:receipts' id='1'/>"),
    (True, None, "chat", "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>"),
    (True, None, "chat", "<encrypted xmlns='urn:xmpp:omemo:2'><header sid='1'/></encrypted>"),
    (True, None, None, "<x xmlns='jabber:x:conference' jid='room@muc.test'/>"),
    (True, None, "chat", "<reactions xmlns='urn:xmpp:reactions:0' id='1'/>"),
]


@pytest.mark.parametrize("stored,error,type_,payload", KINDS, ids=range(len(KINDS)))
def test_kinds(romeo, juliet, connect, stored, error, type_, payload):
    back = leave(romeo, juliet, payload, type_)
    assert [error_of(m) for m in back] == ([error] if error else [])
    assert len(fetch(connect, juliet)[1]) == int(stored)


def test_presence_and_iq_are_not_stored(romeo, juliet, connect):
    romeo.send("<presence to='%s'/>" % juliet.jid)
    romeo.send("<iq type='set' id='q' to='%s/x'><y xmlns='mk:1'/></iq>" % juliet.jid)
    assert romeo.answer("q").get("type") == "error"
    settle(romeo, juliet)
    c = connect(juliet)
    c.available()
    assert [e for e in c.barrier() if e.get("from", "").startswith(romeo.bare)] == []


def test_no_such_user(romeo):
    """S-16, RFC 6121 8.5.1: nothing tells them from one who is offline."""
    assert leave(romeo, "nobody-at-all@meerkat.test") == []


def test_disco(romeo):
    """Examples 4 and 5."""
    q = child(romeo.iq("get", "<query xmlns='%s'/>" % NS.DISCO_INFO, to="meerkat.test"), "query")
    assert "msgoffline" in [f.get("var") for f in children(q, "feature")]


# ---- limits ---------------------------------------------------------------------------------


def settings(**kw):
    return {"host_types": {"people": {"plugins": {"offline": kw}}}}


def test_full(make_server, connect):
    """2, 3: service-unavailable to the sender; what is there stays; live."""
    s = make_server(settings(max_messages=3))
    juliet, romeo = s.account(), connect(s.account(), server=s)
    for k in range(3):
        assert leave(romeo, juliet, id_="n%d" % k) == []
    m, = leave(romeo, juliet, id_="n3")
    assert m.get("type") == "error" and m.get("id") == "n3" and m.get("from") == juliet.jid
    assert error_of(m) == "service-unavailable"
    s.config["host_types"]["people"]["plugins"]["offline"] = {"max_messages": 4}
    s.write_config()
    s.ctl("reload")
    assert leave(romeo, juliet, id_="n4") == []
    c, got = fetch(connect, juliet, server=s)
    assert ids(got) == ["n0", "n1", "n2", "n4"]
    c.close()
    assert leave(romeo, juliet, id_="n5") == []
    out = s.ctl("metrics").stdout
    for m in ("stored", "delivered", "full"):
        assert "meerkat_offline_%s_total" % m in out


def test_zero_is_no_limit_to_set(make_server):
    s = make_server()
    s.config["host_types"]["people"]["plugins"]["offline"] = {"max_messages": 0}
    s.write_config()
    p = s.ctl("reload", check=False)
    assert p.returncode != 0 and "max_messages" in p.stdout + p.stderr


def test_anonymous_users_have_no_store(make_server, connect):
    s = make_server()
    romeo = connect(s.account(), server=s)
    assert leave(romeo, "somebody@" + s.anon) == []


# ---- what it survives -------------------------------------------------------------------------


@pytest.mark.parametrize("hard", [False, True])
def test_restart(make_server, connect, hard):
    s = make_server()
    juliet, romeo = s.account(), connect(s.account(), server=s)
    for k in range(40):
        romeo.message(juliet.jid, "x", id_="n%d" % k)
    settle(romeo, juliet)
    s.restart(hard)
    c, got = fetch(connect, juliet, server=s)
    # What the journal handed back is written first, which a barrier doesn't wait for.
    while len(ids(got)) < 40:
        got.append(c.recv())
    got += rest(c)
    assert ids(got) == ["n%d" % k for k in range(40)]
    c.close()
    s.restart(hard)
    assert fetch(connect, juliet, server=s)[1] == []


def test_acknowledged_is_kept_once(make_server, connect):
    """An acknowledged message outlives kill -9, and is stored once though it is in
    the journal, too."""
    s = make_server()
    juliet = s.account()
    romeo = SmClient(s, s.account())
    romeo.login()
    romeo.enable()
    for k in range(50):
        romeo.message(juliet.jid, "x", id_="n%d" % k)
    romeo.h(at_least=50)
    romeo.kill()
    s.restart(hard=True)
    s.restart(hard=True)
    assert ids(fetch(connect, juliet, server=s)[1]) == ["n%d" % k for k in range(50)]


def test_unacknowledged_by_the_recipient(server, connect, account):
    """XEP-0198: what a session was given from the store and did not acknowledge
    goes back there when it ends, once."""
    juliet, romeo = account(), connect(account())
    for k in range(40):
        romeo.message(juliet.jid, "x", id_="n%d" % k)
    settle(romeo, juliet)
    c = SmClient(server, juliet)
    c.login()
    c.enable()
    c.answers = False
    c.available()
    got = [c.until(lambda e: name(e) == "message") for _ in range(40)]
    assert len(ids(got)) == 40
    c.ack(h=c.handled - 10)
    c.send("</stream:stream>")
    c.expect_closed()
    _, again = fetch(connect, juliet)
    assert ids(again) == ["n%d" % k for k in range(30, 40)]
    assert all(len(children(m, "delay", NS.DELAY)) == 1 for m in again)
    assert [child(m, "delay", NS.DELAY).get("stamp") for m in again] == \
        [child(m, "delay", NS.DELAY).get("stamp") for m in got[30:]]


def test_unacknowledged_through_a_crash(make_server, connect):
    s = make_server()
    juliet, romeo = s.account(), connect(s.account(), server=s)
    for k in range(40):
        romeo.message(juliet.jid, "x", id_="n%d" % k)
    settle(romeo, juliet)
    c = SmClient(s, juliet)
    c.login()
    c.enable()
    c.answers = False
    c.available()
    for _ in range(40):
        c.until(lambda e: name(e) == "message")
    c.barrier()
    c.kill()
    s.restart(hard=True)
    c, got = fetch(connect, juliet, server=s)
    # She may be there before all that the journal handed back is.
    while len(got) < 40:
        got += messages([c.recv()])
    assert ids(got + rest(c)) == ["n%d" % k for k in range(40)]


def test_lost_while_it_comes_and_resumed(server, connect, account):
    juliet, romeo = account(), connect(account())
    for k in range(100):
        romeo.message(juliet.jid, "x" * 5000, id_="n%d" % k)
    settle(romeo, juliet)
    c = SmClient(server, juliet)
    c.login()
    c.enable()
    c.send("<presence/>")
    got = [c.until(lambda e: name(e) == "message") for _ in range(5)]
    c.reset()
    c2 = SmClient(server, juliet)
    c2.authenticate()
    assert name(c2.resume_of(c)) == "resumed"
    while len(got) < 100:
        got.append(c2.until(lambda e: name(e) == "message"))
    assert ids(got) == ["n%d" % k for k in range(100)]
    assert rest(c2) == []
    c2.ack()
    c2.close()
    assert fetch(connect, juliet)[1] == []


def test_erased_with_the_user(make_server, connect):
    s = make_server()
    juliet, romeo = s.account(), connect(s.account(), server=s)
    leave(romeo, juliet)
    s.ctl("account", "unregister", juliet.jid)
    juliet = s.account(juliet.user)
    assert fetch(connect, juliet, server=s)[1] == []


def test_plugin_stopped_and_started(make_server, connect):
    s = make_server()
    juliet, romeo = s.account(), connect(s.account(), server=s)
    leave(romeo, juliet, id_="1")
    s.ctl("plugin", "stop", "offline", "people")
    m, = leave(romeo, juliet, id_="2")
    assert error_of(m) == "service-unavailable"
    c, got = fetch(connect, juliet, server=s)
    assert got == []
    s.ctl("plugin", "start", "offline", "people")
    c.unavailable()
    c.available()
    assert ids(rest(c)) == ["1"]


# ---- order with what is new, and slow clients ----------------------------------------------------


def test_nothing_overtakes(romeo, juliet, connect):
    """What is sent while the store is delivered comes behind it."""
    total = 400
    for k in range(total):
        romeo.message(juliet.jid, str(k))
        if k == 200:
            settle(romeo, juliet)
            c = connect(juliet)
            c.send("<presence/>")
    got = []
    while len(got) < total:
        got.append(c.until(lambda e: name(e) == "message"))
    assert [text(m, "body") for m in got] == [str(k) for k in range(total)]
    assert rest(c) == []


BIG = 150


def slow(connect, server, juliet, romeo):
    """A client that has much to get, and does not read."""
    for k in range(BIG):
        romeo.message(juliet.jid, "x" * 100000, id_="n%d" % k)
    settle(romeo, juliet)
    c = connect()
    c.account, c.domain = juliet, juliet.domain
    c.connect(port=server.port_plain, rcvbuf=4096)
    c.open()
    c.scram()
    c.bind()
    c.send("<presence/>")
    return c


def test_slow_client(server, romeo, juliet, connect):
    """As fast as it reads, however much there is; what is new waits behind it, and
    nobody else does."""
    c = slow(connect, server, juliet, romeo)
    for k in range(5):
        assert leave(romeo, juliet, id_="new%d" % k) == []
    romeo.ping()
    got = []
    while len(got) < BIG + 5:
        got.append(c.until(lambda e: name(e) == "message", timeout=30))
    assert ids(got) == ["n%d" % k for k in range(BIG)] + ["new%d" % k for k in range(5)]
    assert rest(c) == []
    leave(romeo, juliet, id_="live")
    m = c.until(lambda e: name(e) == "message")
    assert m.get("id") == "live" and child(m, "delay", NS.DELAY) is None


def test_slow_client_that_dies(server, romeo, juliet, connect):
    """What the connection did not take is still there; order holds."""
    c = slow(connect, server, juliet, romeo)
    first = c.until(lambda e: name(e) == "message", timeout=30)
    assert first.get("id") == "n0"
    c.reset()
    c = connect(juliet, presence="")
    # A client that is faster than we look at it may see pauses: wait for the last.
    got = [c.until(lambda e: name(e) == "message", timeout=30).get("id")]
    while got[-1] != "n%d" % (BIG - 1):
        got.append(c.until(lambda e: name(e) == "message", timeout=30).get("id"))
    assert rest(c) == []
    assert got == ["n%d" % k for k in range(BIG - len(got), BIG)]
    # Some tens of them were on their way; more than a connection holds must be left.
    assert len(got) > BIG // 4


def test_another_client_goes_on(server, romeo, juliet, connect):
    """The one that dies had one that is there beside it."""
    c = slow(connect, server, juliet, romeo)
    assert c.until(lambda e: name(e) == "message", timeout=30).get("id") == "n0"
    other = connect(juliet, "other", presence="")
    c.reset()
    got = [other.until(lambda e: name(e) == "message", timeout=30)]
    while got[-1].get("id") != "n%d" % (BIG - 1):
        got.append(other.until(lambda e: name(e) == "message", timeout=30))
    assert ids(got) == ["n%d" % k for k in range(BIG - len(got), BIG)]


def test_stopped_during_a_delivery(make_server, connect):
    """The plugin, then the server: nothing is lost, nobody waits for ever."""
    s = make_server()
    juliet, romeo = s.account(), connect(s.account(), server=s)
    c = slow(connect, s, juliet, romeo)
    got = [c.until(lambda e: name(e) == "message", timeout=30)]
    s.ctl("plugin", "stop", "offline", "people")
    romeo.message(juliet.jid, "x", id_="live")
    while got[-1].get("id") != "live":
        got.append(c.until(lambda e: name(e) == "message", timeout=30))
    s.ctl("plugin", "start", "offline", "people")
    c.unavailable()
    c.send("<presence/>")
    got.append(c.until(lambda e: name(e) == "message", timeout=30))
    c.reset()
    s.restart()
    c = connect(juliet, server=s, presence="")
    while not {"n%d" % k for k in range(BIG)} <= set(ids(got)):
        got.append(c.until(lambda e: name(e) == "message", timeout=30))


def test_many_users_at_once(server, romeo, connect):
    """Deliveries beside each other, while more is being left."""
    users = [server.account() for _ in range(8)]
    for k in range(30):
        for u in users:
            romeo.message(u.jid, str(k))
    for u in users:
        settle(romeo, u)
    failures = []

    def one(u):
        try:
            _, got = fetch(connect, u)
            assert [text(m, "body") for m in got] == [str(k) for k in range(30)]
        except BaseException as e:
            failures.append("%s: %r" % (u.jid, e))
    threads = [threading.Thread(target=one, args=(u,)) for u in users]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures, failures


def test_it_is_nobody_elses(romeo, juliet, account, connect):
    leave(romeo, juliet)
    assert fetch(connect, account())[1] == []
    m, = fetch(connect, juliet)[1]
    assert m.get("id") == "m1", to_str(m)


def test_fence_holds_after_delivery(romeo, juliet, connect):
    leave(romeo, juliet)
    c, got = fetch(connect, juliet)
    assert len(got) == 1
    romeo.message(juliet.jid, "live", id_="live")
    got, _ = fence(romeo, c)
    m, = messages(got)
    assert m.get("id") == "live" and child(m, "delay", NS.DELAY) is None
