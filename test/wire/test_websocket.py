"""XMPP over WebSocket: RFC 7395 example by example, RFC 6455 and who breaks it."""

import struct
import time

import pytest

import mk
from mk import NS, StreamClosed, StreamError, child, name, ns, text
from mk.http import Http
from mk.ws import (BINARY, CLOSE, FRAMING, PATH, PING, PONG, TEXT, WsClient, WsSmClient,
                   frame)

OPEN = "<open xmlns='%s' to='meerkat.test' version='1.0'/>" % FRAMING


@pytest.fixture(scope="module")
def module_server():
    s = mk.Server()
    s.ws_port, s.wss_port, s.plain_port = (s.new_port() for _ in range(3))
    s.config["listeners"] += [
        {"kind": "http", "address": "127.0.0.1", "port": s.ws_port, "tls": "none",
         "unsafe_plain_without_tls": True, "public_url": "https://chat.meerkat.test/x"},
        {"kind": "http", "address": "127.0.0.1", "port": s.wss_port, "tls": "direct"},
        {"kind": "http", "address": "127.0.0.1", "port": s.plain_port, "tls": "none",
         "routes": ["websocket"]}]
    s.config["host_types"]["people"]["plugins"]["websocket"] = {"ping": 0}
    s.start()
    yield s
    s.close()


@pytest.fixture
def server(module_server):
    assert module_server.alive()
    yield module_server
    assert module_server.alive(), module_server.log()[-4000:]


@pytest.fixture
def ws(server):
    made = []

    def make(account=None, cls=WsClient, **kw):
        c = cls(server, account, **kw)
        made.append(c)
        return c
    yield make
    for c in made:
        c.kill()


@pytest.fixture
def c(ws, server):
    return ws(server.account()).login()


# ---- RFC 7395 ------------------------------------------------------------------------

def test_3_1_handshake(ws):
    ws().handshake()


def test_3_1_the_example(server):
    with Http(server.ws_port) as h:
        h.send("GET /xmpp-websocket HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n"
               "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
               "Origin: http://example.com\r\nSec-WebSocket-Protocol: chat, xmpp\r\n"
               "Sec-WebSocket-Version: 13\r\n\r\n")
        assert h.line() == "HTTP/1.1 101 Switching Protocols"
        fields = []
        while True:
            line = h.line()
            if not line:
                break
            fields.append(line)
        assert "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in fields
        assert "Sec-WebSocket-Protocol: xmpp" in fields


def test_3_4_open(ws):
    c = ws().connect()
    c.open(features=False, lang="de")
    kind, header = c.event()
    assert kind == "open"
    assert header["from"] == "meerkat.test" and header["version"] == "1.0"
    assert header["xml:lang"] == "en" and len(header["id"]) >= 16
    el = c.recv()
    assert el.tag == "{%s}features" % NS.STREAM
    assert child(el, "mechanisms", NS.SASL) is not None
    assert child(el, "starttls", NS.TLS) is None            # 3.9
    for m in c.reader.messages:
        assert m.startswith("<open xmlns=") or m.startswith("<stream:features xmlns:stream=")


def test_login_and_chat(ws, server):
    a, b = (ws(server.account()).login(presence="") for _ in range(2))
    a.message(b.jid, "hällo")
    m = b.expect("message", NS.CLIENT, from_=a.jid)
    assert text(m, "body") == "hällo"
    assert b.reader.messages[-1].startswith("<message xmlns='jabber:client' ")
    assert child(m, "body", NS.CLIENT) is not None


def test_login_of_each_kind(ws, server):
    account = server.account()
    for mechanism in "PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512":
        ws(account).login(mechanism=mechanism).ping()
    c = ws(account).start()
    el = c.sasl2(inline="<bind xmlns='%s'/>" % NS.BIND2)
    assert child(el, "bound", NS.BIND2) is not None
    el = c.recv()
    assert el.tag == "{%s}features" % NS.STREAM
    c.ping()


def test_wrong_password(ws, server):
    c = ws(server.account()).start()
    with pytest.raises(mk.AuthFailed):
        c.plain(password="wrong")
    c.plain()
    c.bind()
    c.ping()


def test_between_tcp_and_websocket(ws, server):
    with server.client(server.account()) as t:
        t.login(presence="")
        w = ws(server.account()).login(presence="")
        w.message(t.jid, "one")
        assert text(t.expect("message"), "body") == "one"
        t.message(w.jid, "two")
        assert text(w.expect("message"), "body") == "two"
        # what is rendered once for all is right for each
        with server.client(t.account) as t2, WsClient(server, t.account) as w2:
            t2.login(presence="")
            w2.login(presence="")
            for x in t, t2, w2:
                x.barrier()
            w.message(t.bare, "all")
            for x in t, t2, w2:
                assert text(x.until(lambda e: name(e) == "message"), "body") == "all"


def test_over_tls(ws, server):
    account = server.account()
    c = ws(account)
    c.handshake(server.wss_port, tls=True)
    c.open()
    assert "SCRAM-SHA-256-PLUS" in c.mechanisms and "PLAIN" in c.mechanisms
    c.scram("SCRAM-SHA-256-PLUS", binding="tls-exporter")
    c.bind()
    c.ping()


def test_plain_is_not_offered_without_tls(ws, server):
    c = ws(server.account())
    c.handshake(server.plain_port)
    c.open()
    assert "PLAIN" not in c.mechanisms and "SCRAM-SHA-256" in c.mechanisms
    c.scram()
    c.bind()


def test_3_5_stream_error(ws):
    c = ws().connect()
    c.send("<open xmlns='%s' to='nobody.example' version='1.0'/>" % FRAMING)
    with pytest.raises(StreamError) as e:
        c.recv()
    assert e.value.condition == "host-unknown"
    kind, _ = c.event()
    assert kind == "close"
    c.expect_close()
    assert c.reader.messages[1].startswith(
        "<stream:error xmlns:stream='http://etherx.jabber.org/streams'>")


def test_3_6_closing(c):
    c.close()


def test_3_6_closing_answers_first(c):
    c.frames(frame("<iq xmlns='jabber:client' type='get' id='last'><ping xmlns='%s'/></iq>" % NS.PING),
             frame("<close xmlns='%s'/>" % FRAMING), frame(b"", CLOSE))
    c.expect("iq", id_="last")
    kind, _ = c.event()
    assert kind == "close"
    c.expect_close()


def test_3_6_closing_before_opening(ws):
    c = ws().connect()
    c.close()


def test_3_6_1_see_other_uri(make_server):
    s = make_server(start=False)
    s.add_websocket(path="/there", see_other_uri="wss://other.example/xmpp?a=b&c=d")
    s.start()
    with WsClient(s) as c:
        c.path = "/there"
        c.connect()
        c.open(features=False)
        assert c.event()[0] == "open"
        kind, el = c.event()
        assert kind == "close" and el.get("see-other-uri") == "wss://other.example/xmpp?a=b&c=d"
        c.expect_close()


def test_3_7_restart_needs_open(ws, server):
    c = ws(server.account()).start()
    c.scram(restart=False)
    c.send("<iq type='set' id='1'><bind xmlns='%s'/></iq>" % NS.BIND)
    c.expect_stream_error_ws("not-authorized")


def test_3_8_pings(make_server):
    s = make_server(start=False)
    s.add_websocket(ping="1s")
    s.start()
    with WsClient(s, s.account()) as c:
        c.login()
        deadline = time.monotonic() + 20
        while c.reader.pings < 2:
            assert time.monotonic() < deadline
            c.reader.feed(c.sock.recv(65536))
        c.ping()


def test_3_8_client_pings(c):
    c.frames(frame(b"hello", PING), frame(b"", PING), frame(b"\0" * 125, PING), frame(b"x", PONG))
    c.expect_pong(b"\0" * 125)
    assert c.reader.pongs == [b"hello", b"", b"\0" * 125]
    c.ping()


def test_3_10_resumption(ws, server):
    account = server.account()
    a = ws(account, WsSmClient).login()
    a.enable()
    id_ = a.id
    b = ws(server.account()).login()
    a.reset()
    b.message(a.jid, "while away")
    a2 = ws(account, WsSmClient).start()
    a2.scram()
    a2.send("<resume xmlns='%s' previd='%s' h='%d'/>" % (NS.SM, id_, a.handled))
    el = a2.until(lambda e: ns(e) == NS.SM)
    assert name(el) == "resumed"
    assert text(a2.until(lambda e: name(e) == "message"), "body") == "while away"
    # and by TCP, of the session that was made over WebSocket
    a2.kill()
    with mk.sm.SmClient(server, account) as t:
        t.start()
        t.scram()
        t.send("<resume xmlns='%s' previd='%s' h='%d'/>" % (NS.SM, id_, a.handled + 1))
        el = t.until(lambda e: ns(e) == NS.SM)
        assert name(el) == "resumed"


def test_connection_lost_without_close_is_resumable(ws, server):
    account = server.account()
    a = ws(account, WsSmClient).login()
    a.enable()
    a.frames(frame(struct.pack(">H", 1001), CLOSE))       # a browser that goes to another page
    a.expect_close(1001)
    a2 = ws(account, WsSmClient).start()
    a2.scram()
    a2.send("<resume xmlns='%s' previd='%s' h='0'/>" % (NS.SM, a.id))
    assert name(a2.until(lambda e: ns(e) == NS.SM)) == "resumed"


# ---- elements ------------------------------------------------------------------------

def stream_error(c, condition):
    try:
        while True:
            c.recv()
    except StreamError as e:
        assert e.condition == condition, e
    kind, _ = c.event()
    assert kind == "close"


WsClient.expect_stream_error_ws = stream_error

BEFORE = [
    ("<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' "
     "to='meerkat.test' version='1.0'>", "not-well-formed"),
    ("<open xmlns='jabber:client' to='meerkat.test' version='1.0'/>", "invalid-namespace"),
    ("<open to='meerkat.test' version='1.0'/>", "invalid-namespace"),
    ("<open xmlns='%s' to='meerkat.test'/>" % FRAMING, "unsupported-version"),
    ("<open xmlns='%s' version='1.0'/>" % FRAMING, "host-unknown"),
    ("<message xmlns='jabber:client'/>", "not-authorized"),
    (" " + OPEN, "bad-format"), (OPEN + " ", "bad-format"), (OPEN + OPEN, "bad-format"),
    (" ", "bad-format"), ("", "not-well-formed"), ("x", "not-well-formed"),
    ("<?xml version='1.0'?>" + OPEN, "restricted-xml"),
    ("<!-- x -->" + OPEN, "restricted-xml"), ("<!DOCTYPE open>" + OPEN, "restricted-xml"),
    (OPEN[:-2], "not-well-formed"), ("<open", "not-well-formed"),
    ("</open>", "not-well-formed"), ("<a b='&x;'/>", "restricted-xml"),
]


@pytest.mark.parametrize("message,condition", BEFORE, ids=range(len(BEFORE)))
def test_messages_that_are_no_open(ws, message, condition):
    c = ws().connect()
    c.frames(frame(message))
    stream_error(c, condition)
    c.expect_close()


AFTER = [
    ("<message/>", "invalid-namespace"), ("<x/>", "invalid-namespace"),
    (OPEN, "unsupported-stanza-type"), ("<x xmlns='%s'/>" % FRAMING, "unsupported-stanza-type"),
    ("<x xmlns='mk:x'/>", "unsupported-stanza-type"),
    ("<stream:error/>", "not-well-formed"), ("</stream:stream>", "not-well-formed"),
    ("<message xmlns='jabber:client'>", "not-well-formed"),
    ("<message xmlns='jabber:client'/><message xmlns='jabber:client'/>", "bad-format"),
    ("<message xmlns='jabber:client'/>\n", "bad-format"),
    (" ", "bad-format"),
    ("<message xmlns='jabber:client'><!-- --></message>", "restricted-xml"),
    ("<starttls xmlns='%s'/>" % NS.TLS, "unsupported-stanza-type"),
]


@pytest.mark.parametrize("message,condition", AFTER, ids=range(len(AFTER)))
def test_messages_that_are_no_stanza(c, message, condition):
    c.frames(frame(message))
    stream_error(c, condition)
    c.expect_close()


def test_starttls_before_login(ws):
    c = ws().start()
    c.send("<starttls xmlns='%s'/>" % NS.TLS)
    c.expect("failure", NS.TLS)
    assert c.event()[0] == "close"
    c.expect_close()


# ---- fragments, sizes ------------------------------------------------------------------

def ping(id_, more=""):
    return "<iq xmlns='jabber:client' type='get' id='%s'><ping xmlns='%s'/>%s</iq>" % (
        id_, NS.PING, more)


def test_fragments(c):
    p = ping("f").encode()
    c.frames(frame(p[:10], fin=False), frame(p[10:20], 0, fin=False), frame(b"", PING),
             frame(b"", 0, fin=False), frame(p[20:], 0))
    c.expect("iq", id_="f", type_="result")
    assert c.reader.pongs == [b""]


def test_every_byte_alone(c):
    for b in frame(ping("f")) + frame(b"p", PING) + frame(ping("g")):
        c.frames(bytes([b]))
    c.expect("iq", id_="f")
    c.expect("iq", id_="g")


def test_64_fragments_and_no_more(ws, server):
    p = ping("f").encode()
    for n, ok in (64, True), (65, False):
        c = ws(server.account()).login()
        parts = [p[i:i + 1] for i in range(n - 1)] + [p[n - 1:]]
        c.frames(*(frame(x, 0 if i else TEXT, fin=i == n - 1) for i, x in enumerate(parts)))
        if ok:
            c.expect("iq", id_="f")
        else:
            c.expect_close(1008)


def test_behind_the_request(ws, server):
    account = server.account()
    c = ws(account)
    c.handshake(behind=frame(OPEN))
    c.opened()
    c.plain()
    c.bind()


def test_all_at_once(ws, server):
    """What follows a login waits for it, wherever it has come to."""
    import base64
    account = server.account()
    c = ws(account)
    data = base64.b64encode(("\0%s\0%s" % (account.user, account.password)).encode()).decode()
    c.handshake(behind=frame(OPEN) + frame(
        "<auth xmlns='%s' mechanism='PLAIN'>%s</auth>" % (NS.SASL, data)) + frame(OPEN) + frame(
        "<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='%s'/></iq>" % NS.BIND) +
        b"".join(frame(ping("p%d" % i, "<x>%s</x>" % ("y" * 300))) for i in range(300)))
    c.opened()
    c.expect("success", NS.SASL)
    c.opened()
    c.expect("iq", id_="b", type_="result")
    for i in range(300):
        c.expect("iq", id_="p%d" % i)


def test_a_big_stanza(ws, server):
    a, b = (ws(server.account()).login(presence="") for _ in range(2))
    for n in 100, 126, 4090, 5000, 65535, 65536, 200000:
        a.message(b.jid, "x" * n)
        assert len(text(b.expect("message"), "body")) == n


def test_too_big(ws, c):
    c.frames(frame(b"<a", length=2 ** 62))
    stream_error(c, "policy-violation")
    c.expect_close(1009)
    for first in b"<" * 9000, b"<open x='%s'" % (b"y" * 8000):
        d = ws().connect()
        d.frames(frame(first, fin=False), frame(b"y" * 2000, 0, fin=False))
        stream_error(d, "policy-violation")
        d.expect_close(1009)


def test_the_limit_is_of_all_fragments(ws):
    c = ws().connect()
    for i in range(9):
        c.frames(frame(b"<" if i == 0 else b"a" * 1000, 0 if i else TEXT, fin=False))
    c.frames(frame(b"a" * 1000, 0, fin=False))
    stream_error(c, "policy-violation")
    c.expect_close(1009)


# ---- RFC 6455 ------------------------------------------------------------------------

BROKEN = [
    (frame(OPEN, mask=False), 1002), (frame(OPEN, rsv=4), 1002), (frame(OPEN, rsv=1), 1002),
    (frame(OPEN, BINARY), 1003), (frame(OPEN, 3), 1002), (frame(OPEN, 7), 1002),
    (frame(b"", 11), 1002), (frame(b"", 15), 1002), (frame(OPEN, 0), 1002),
    (frame("<", fin=False) + frame("a"), 1002), (frame(b"", PING, fin=False), 1002),
    (frame(b"x" * 126, PING), 1002), (frame(b"x", CLOSE), 1002),
    (frame(b"\xff", TEXT), 1007), (frame(b"<a>\xc3</a>", TEXT), 1007),
    (frame(b"<a>\xed\xa0\x80</a>", TEXT), 1007),
    (frame(b"\xc3", fin=False) + frame(b"(", 0), 1007),
    (frame(struct.pack(">H", 999), CLOSE), 1002), (frame(struct.pack(">H", 1005), CLOSE), 1002),
    (frame(struct.pack(">H", 1006), CLOSE), 1002), (frame(struct.pack(">H", 2999), CLOSE), 1002),
    (frame(struct.pack(">H", 5000), CLOSE), 1002),
    (frame(struct.pack(">H", 1000) + b"\xff", CLOSE), 1007),
    (bytes([0x81, 0xff]) + b"\xff" * 8 + b"abcd", 1002),          # 2^64 - 1
    (bytes([0x81, 0xfe, 0, 5]) + b"abcd" + b"abcde", 1002),       # not the shortest length
    (bytes([0x81, 0xff, 0, 0, 0, 0, 0, 0, 0, 5]) + b"abcdabcde", 1002),
]


@pytest.mark.parametrize("bytes_,code", BROKEN, ids=range(len(BROKEN)))
def test_broken_frames(ws, bytes_, code):
    c = ws().connect()
    c.frames(bytes_)
    c.expect_close(code)


@pytest.mark.parametrize("bytes_,code", BROKEN, ids=range(len(BROKEN)))
def test_broken_frames_of_a_session(c, bytes_, code):
    c.frames(bytes_)
    c.expect_close(code)


def test_close_frames_are_answered(ws):
    for code in 1000, 1001, 3000, 4999, 1014:
        c = ws().connect()
        c.frames(frame(struct.pack(">H", code) + b"bye", CLOSE))
        c.expect_close(code)
    c = ws().connect()
    c.frames(frame(b"", CLOSE))
    c.expect_close(0)


GOOD = {"Upgrade": "websocket", "Connection": "keep-alive, Upgrade", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "xmpp"}
HANDSHAKES = [
    ({}, 101), ({"Upgrade": "WebSocket"}, 101), ({"Upgrade": None}, 426),
    ({"Upgrade": "h2c"}, 426), ({"Connection": None}, 426), ({"Connection": "keep-alive"}, 426),
    ({"Sec-WebSocket-Version": None}, 400), ({"Sec-WebSocket-Version": "12"}, 426),
    ({"Sec-WebSocket-Key": None}, 400), ({"Sec-WebSocket-Key": "c2hvcnQ="}, 400),
    ({"Sec-WebSocket-Key": "!" * 24}, 400), ({"Sec-WebSocket-Protocol": None}, 400),
    ({"Sec-WebSocket-Protocol": "chat"}, 400), ({"Sec-WebSocket-Protocol": "xmpp2, chat"}, 400),
    ({"Sec-WebSocket-Protocol": "chat,XMPP"}, 101),
    ({"Sec-WebSocket-Extensions": "permessage-deflate"}, 101),
]


@pytest.mark.parametrize("changes,status", HANDSHAKES, ids=range(len(HANDSHAKES)))
def test_handshakes(server, changes, status):
    fields = dict(GOOD, **changes)
    with Http(server.ws_port) as h:
        h.send("GET %s HTTP/1.1\r\nHost: meerkat.test\r\n%s\r\n" % (PATH, "".join(
            "%s: %s\r\n" % f for f in fields.items() if f[1] is not None)))
        if status == 101:
            assert h.line().split()[1] == "101"
            return
        a = h.answer()
        assert a.status == status
        if status == 426 and changes.get("Sec-WebSocket-Version"):
            assert a["sec-websocket-version"] == "13"
        assert h.get("/health").status == 200         # it is HTTP still


def test_other_methods(server):
    with Http(server.ws_port) as h:
        assert h.get(PATH, method="POST").status == 405
        assert h.get(PATH, method="OPTIONS").status == 204


def test_origins(make_server):
    s = make_server(start=False)
    s.add_websocket(origins=["https://web.example"])
    s.start()
    for origin, ok in (None, True), ("https://web.example", True), ("https://evil.example", False), \
            ("https://web.example.evil", False), ("null", False):
        with WsClient(s) as c:
            c.origin = origin
            if ok:
                c.connect()
                c.open()
            else:
                with pytest.raises(AssertionError, match="403"):
                    c.connect()


# ---- with the rest of the server -----------------------------------------------------------

def test_host_meta_links(server):
    with Http(server.ws_port) as h:
        a = h.get("/.well-known/host-meta")
        assert (b'<Link rel="urn:xmpp:alt-connections:websocket"' in a.body.replace(b"'", b'"') and
                b"wss://chat.meerkat.test/x/xmpp-websocket" in a.body), a.body
    with Http(server.wss_port, server.cafile, server.domain) as h:
        a = h.get("/.well-known/host-meta.json", host="meerkat.test:443")
        assert a.body == (b'{"links":[{"rel":"urn:xmpp:alt-connections:websocket",'
                          b'"href":"wss://meerkat.test:443/xmpp-websocket"}]}\n')


def test_auth_timeout_and_preauth_limits(make_server):
    s = make_server({"limits": {"auth_timeout": "5s", "preauth_per_address": 3}}, start=False)
    s.add_websocket()
    s.start()
    with WsClient(s) as c:
        c.connect()
        c.open()
        stream_error(c, "connection-timeout")
    account = s.account()
    many = [WsClient(s, account).login() for _ in range(6)]
    for c in many:
        c.ping()
        c.kill()


def test_a_stream_that_waits_counts_for_its_address(make_server):
    """As one over TCP does, until it has logged in or gone; not twice, and not longer."""
    s = make_server({"limits": {"preauth_per_address": 3}}, start=False)
    s.add_websocket(plain=True)
    s.start()
    account = s.account()

    def refused():
        try:
            with mk.Client(s) as c:
                c.connect().open()
            return False
        except (StreamClosed, AssertionError, OSError):
            return True
    waiting = [WsClient(s, account).start() for _ in range(3)]
    assert refused()
    for c in waiting:
        c.plain()
        c.bind()
    again = [WsClient(s, account).start() for _ in range(3)]
    assert refused()
    for c in again:
        c.close()
        c.kill()
    deadline = time.monotonic() + 20
    while refused():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for c in waiting:
        c.ping()
        c.kill()


def test_the_plugin_stops_and_starts(make_server):
    s = make_server(start=False)
    s.add_websocket()
    s.start()
    account = s.account()
    for what in "websocket", "http":
        a, b = WsClient(s, account).login(), WsClient(s).start()
        s.ctl("plugin", "reload", what)
        if what == "http":
            # What was handed over is the other's.
            a.ping()
        else:
            for c in a, b:
                stream_error(c, "system-shutdown")
        a.kill()
        b.kill()
        with WsClient(s, account) as c:
            c.login()
            c.ping()


def test_shutdown(make_server):
    s = make_server(start=False)
    s.add_websocket()
    s.start()
    a, b, c = WsClient(s, s.account()).login(), WsClient(s).start(), WsClient(s).connect()
    s.stop()
    for x in a, b, c:
        stream_error(x, "system-shutdown")
        x.expect_close()


def test_a_session_that_is_replaced(ws, server):
    account = server.account()
    a = ws(account).login("same")
    b = ws(account).login("same")
    stream_error(a, "conflict")
    a.expect_close()
    b.ping()


def test_rates(make_server):
    s = make_server({"shapers": {"slow": {"stanza_rate": 20, "stanza_burst": 5}}}, start=False)
    s.ws_port = s.new_port()
    s.config["listeners"].append({"kind": "http", "address": "127.0.0.1", "port": s.ws_port,
                                  "tls": "none", "shaper": "slow"})
    s.config["host_types"]["people"]["plugins"]["websocket"] = {}
    s.start()
    with WsClient(s, s.account()) as c:
        c.login()
        start = time.monotonic()
        c.frames(*(frame(ping("p%d" % i)) for i in range(25)))
        for i in range(25):
            c.expect("iq", id_="p%d" % i)
        assert time.monotonic() - start > 0.7


def test_settings(make_server):
    import os
    import subprocess
    s = make_server(start=False)
    s.config["host_types"]["people"]["plugins"]["websocket"] = {"path": "there/"}

    def check():
        s.write_config()
        p = subprocess.run([os.path.join(s.build, "meerkatd"), "--check", "-c",
                            s.path("meerkat.yml")], capture_output=True, text=True)
        assert p.returncode != 0
        return p.stdout + p.stderr
    assert "plugins.websocket.path" in check()
    s.config["host_types"]["people"]["plugins"]["websocket"] = {}
    assert "'websocket' needs 'http'" in check()


def test_closed_is_not_read_on(ws):
    c = ws().connect()
    c.frames(frame(b"", CLOSE), frame(OPEN))
    c.expect_close(0)
    assert c.reader.messages == []


def test_bad_address_of_a_stanza(c):
    with pytest.raises(StreamClosed):
        c.send("<message from='other@meerkat.test'/>")
        c.recv()
