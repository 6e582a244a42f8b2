"""S-09: memory and time of those who have not logged in.
CVE-2021-32918, CVE-2026-43506, CVE-2004-0953, CVE-2010-0305.
"""

import base64
import os
import socket
import time

import pytest

from mk import NS, StreamClosed, StreamError, Timeout


def refused(c, *conditions):
    with pytest.raises(StreamClosed) as e:
        while True:
            c.recv()
    if isinstance(e.value, StreamError):
        assert e.value.condition in conditions, e.value
    return e.value


def push(c, data):
    try:
        c.send(data)
    except OSError:
        pass


AUTH = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>"


@pytest.fixture
def opened(connect, server):
    c = connect().connect(server.port_plain)
    c.open()
    return c


@pytest.mark.parametrize("data", [
    AUTH + "A" * 9000 + "</auth>",                                   # 8 KB
    "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='%s'/>" % ("M" * 9000),
    AUTH + "".join("<e%d/>" % i for i in range(40)) + "</auth>",       # 32 elements
    AUTH + "<a>" * 10 + "</a>" * 10 + "</auth>",                       # depth 8
    "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' %s/>" % " ".join(
        "a%d='1'" % i for i in range(20)),                             # 16 attributes
    "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' %s/>" % " ".join(
        "xmlns:a%d='mk:%d'" % (i, i) for i in range(40)),
    "<" + "a" * 9000, "<a " + "b" * 9000, "<a b='" + "c" * 9000, "<a>" + "&lt;" * 3000,
    "<a>" * 3000,
], ids=range(11))
def test_limits(opened, data):
    push(opened, data)
    refused(opened, "policy-violation", "not-well-formed", "not-authorized")


@pytest.mark.parametrize("data", [
    "<stream:stream %s xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>" % (
        "to='" + "a" * 9000 + "'"),
    "<?xml version='1.0'?>" + " " * 20000, "<" * 9000, "<a", "<a:" + "b" * 9000,
    "<stream:stream xmlns:stream='http://etherx.jabber.org/streams' %s>" % " ".join(
        "xmlns:n%d='mk:%d'" % (i, i) for i in range(200)),
])
def test_limits_of_the_header(connect, server, data):
    c = connect().connect()
    push(c, data)
    if data == "<a":
        c.kill()
        return
    try:
        refused(c, "policy-violation", "not-well-formed", "host-unknown", "improper-addressing",
                "bad-format", "invalid-namespace", "restricted-xml")
    except Timeout:
        # White space alone may be let pass, as long as nothing is kept of it.
        assert data.endswith(" ")


def test_what_is_within_the_limits(opened):
    opened.send(AUTH + "A" * 7000 + "</auth>")
    assert opened.recv().tag == "{%s}failure" % NS.SASL


def test_a_drip_feed_does_not_renew_the_time(make_server, connect):
    s = make_server({"limits": {"auth_timeout": "2s"}})
    c = connect(server=s).connect()
    begun = time.monotonic()
    data = c.stream_header(prolog="<?xml version='1.0'?>" + " " * 1000)
    try:
        for byte in data:
            c.send(byte)
            c.sock.settimeout(0.02)
            try:
                if not c.sock.recv(4096):
                    break
            except socket.timeout:
                pass
    except OSError:
        pass
    assert time.monotonic() - begun < 8


@pytest.mark.parametrize("stage", ["connected", "header", "starttls", "handshake", "tls", "auth"])
def test_each_stage_ends_in_time(make_server, connect, stage):
    s = make_server({"limits": {"auth_timeout": "1s"}})
    c = connect(server=s).connect()
    if stage != "connected":
        c.open()
    if stage in ("starttls", "handshake"):
        c.send("<starttls xmlns='%s'/>" % NS.TLS)
        c.recv()
        if stage == "handshake":
            c.send(b"\x16\x03\x01\x02\x00\x01\x00")
    elif stage in ("tls", "auth"):
        c.starttls()
        if stage == "auth":
            c.auth("SCRAM-SHA-1", b"n,,n=user,r=abcdefgh")
            c.recv()
    begun = time.monotonic()
    c.sock.settimeout(10)
    try:
        while c.sock.recv(4096):
            pass
    except ConnectionError:
        pass
    assert time.monotonic() - begun < 9


def test_connections_of_one_address(make_server, connect):
    """The 65th that has not logged in is turned away; whoever has logged in does not count."""
    s = make_server({"limits": {"preauth_per_address": 10}})
    a = s.account()
    users = [connect(a, server=s) for _ in range(5)]
    waiting = [connect(server=s).connect() for _ in range(10)]
    for c in waiting:
        c.open()
    extra = connect(server=s)
    refused_ = 0
    for _ in range(3):
        try:
            extra.connect()
            extra.open()
        except (StreamClosed, AssertionError, OSError):
            refused_ += 1
    assert refused_ == 3
    for u in users:
        u.ping()
    # Another address is not concerned.
    other = connect(server=s)
    other.sock = socket.create_connection(("127.0.0.1", s.port), timeout=10,
                                          source_address=("127.0.0.77", 0))
    other.reader = None
    other.open()
    for c in waiting:
        c.kill()
    # And there is room again.
    deadline = time.monotonic() + 30
    while True:
        try:
            c = connect(server=s).connect()
            c.open()
            break
        except (StreamClosed, AssertionError, OSError):
            assert time.monotonic() < deadline


def test_memory_of_those_who_wait(make_server, connect):
    """Before the first byte a connection costs less than 4 KB; when they have gone, it is given
    back."""
    s = make_server({"limits": {"preauth_per_address": 5000, "preauth_total": 5000}})
    a = connect(s.account(), server=s)
    socks = [socket.create_connection(("127.0.0.1", s.port)) for _ in range(50)]
    a.barrier()
    before, fds = s.rss(), s.descriptors()
    for _ in range(450):
        socks.append(socket.create_connection(("127.0.0.1", s.port)))
    deadline = time.monotonic() + 20
    while s.descriptors() < fds + 450:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    a.barrier()
    each = (s.rss() - before) / 450
    assert each < 6000 or s.sanitized, each
    for x in socks:
        x.close()
    while s.descriptors() > fds - 40:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    a.ping()


def test_when_too_many_wait_the_oldest_makes_room(make_server, connect):
    """So those who fill the server with connections can't keep others out. Whoever has
    logged in is not among them."""
    s = make_server({"limits": {"preauth_total": 4}, "server": {"workers": 1}})
    a = connect(s.account(), server=s)
    first = connect(server=s).connect()
    first.open()
    waiting = [connect(server=s).connect() for _ in range(3)]
    for c in waiting:
        c.open()
    late = connect(server=s)
    late.account = s.account()
    late.start()
    assert refused(first, "resource-constraint").condition == "resource-constraint"
    # One in the middle of a handshake goes as well, without a word.
    shaking = waiting.pop(0)
    shaking.send("<starttls xmlns='%s'/>" % NS.TLS)
    shaking.expect("proceed")
    another = connect(server=s).connect()
    another.open()
    shaking.sock.settimeout(20)
    assert shaking.sock.recv(100) == b""
    late.plain()
    late.bind()
    late.ping()
    for c in waiting + [another]:
        c.starttls()
    a.ping()


def sockets(s):
    """Files are opened with each job thread's database, when it is first needed."""
    folder, n = "/proc/%d/fd" % s.pid, 0
    for fd in os.listdir(folder):
        try:
            n += os.readlink(os.path.join(folder, fd)).startswith("socket:")
        except FileNotFoundError:
            pass
    return n


def test_descriptors_are_given_back(make_server, connect):
    s = make_server()
    a = connect(s.account(), server=s)
    before = sockets(s)
    for i in range(100):
        c = connect(server=s).connect()
        if i % 4:
            c.open()
        if i % 4 > 1:
            c.starttls()
        if i % 4 > 2:
            c.auth("PLAIN", b"\0a\0b")
        c.reset() if i % 2 else c.kill()
    deadline = time.monotonic() + 20
    while sockets(s) > before:
        assert time.monotonic() < deadline, (before, sockets(s))
        time.sleep(0.02)
    a.ping()


def test_long_names(opened):
    """CVE-2004-0953."""
    for n in (1023, 1024, 1025, 4096):
        opened.auth("PLAIN", base64.b64encode(b"\0" + b"u" * n + b"\0p").decode())
        assert opened.recv().tag == "{%s}failure" % NS.SASL
