"""Connections: the PROXY protocol, too few descriptors, addresses, orderly ends."""

import os
import resource
import signal
import socket
import struct
import time

import pytest

from mk import StreamClosed, name
from mk.xml import StreamReader


# ---- PROXY protocol (v1, v2) ----------------------------------------------------

@pytest.fixture
def proxied(make_server):
    s = make_server(start=False)
    s.port_proxy = s.new_port()
    s.config["listeners"].append({
        "kind": "c2s", "address": "127.0.0.1", "port": s.port_proxy, "tls": "none",
        "unsafe_plain_without_tls": True, "proxy_protocol": True,
        "proxy_from": ["127.0.0.1/32"]})
    s.start()
    return s


def v2(command, family, addresses, tlvs=b""):
    return (b"\r\n\r\n\0\r\nQUIT\n" + bytes([0x20 | command, family]) +
            struct.pack(">H", len(addresses) + len(tlvs)) + addresses + tlvs)


TCP4 = bytes([192, 0, 2, 7, 192, 0, 2, 1]) + struct.pack(">HH", 56324, 5222)
TCP6 = (socket.inet_pton(socket.AF_INET6, "2001:db8::7") +
        socket.inet_pton(socket.AF_INET6, "2001:db8::1") + struct.pack(">HH", 56324, 5222))
HEADERS = {
    "v1": (b"PROXY TCP4 192.0.2.7 192.0.2.1 56324 5222\r\n", "192.0.2.7"),
    "v1 of IPv6": (b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 5222\r\n", "2001:db8::7"),
    "v2": (v2(1, 0x11, TCP4), "192.0.2.7"),
    "v2 of IPv6": (v2(1, 0x21, TCP6), "2001:db8::7"),
    "v2 with TLVs": (v2(1, 0x11, TCP4, b"\x01\x00\x03abc\x04\x00\x00"), "192.0.2.7"),
    "v2 local": (v2(0, 0, b""), None),
}


@pytest.mark.parametrize("header", HEADERS)
def test_proxy_header(proxied, connect, header):
    data, address = HEADERS[header]
    c = connect(server=proxied)
    c.account = proxied.account()
    c.connect(proxied.port_proxy)
    c.send(data)
    c.open()
    c.plain()
    c.bind("proxied")
    sessions = proxied.ctl_json("session", "info", c.account.jid)
    if address:
        assert address in sessions[0]["address"]


def test_proxy_header_split(proxied, connect):
    for data, _ in HEADERS.values():
        for i in range(1, len(data), 5):
            c = connect(server=proxied).connect(proxied.port_proxy)
            c.send(data[:i])
            c.send(data[i:] + c.stream_header().encode())
            c.opened()
            c.kill()


@pytest.mark.parametrize("data", [
    b"PROXY TCP4 1.2.3.4 5.6.7.8 99999 5222\r\n", b"PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n",
    b"PROXY TCP4 192.0.2.7 192.0.2.1 56324 5222\n", b"PROXY FOO a b 1 2\r\n", b"PROXY \r\n",
    b"PROXY TCP4 " + b"1" * 600, b"proxy TCP4 192.0.2.7 192.0.2.1 1 2\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c" + TCP4, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x01x",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff" + b"x" * 2000, b"\r\n\r\n\0\r\nQUIX\n\x21\x11\0\x0c" + TCP4,
    b"<?xml version='1.0'?><stream:stream to='meerkat.test' version='1.0' xmlns='jabber:client' "
    b"xmlns:stream='http://etherx.jabber.org/streams'>",
])
def test_bad_proxy_header(proxied, connect, data):
    """No stream without a good header: the listener is for the proxy alone."""
    c = connect(server=proxied).connect(proxied.port_proxy)
    try:
        c.send(data + c.stream_header().encode())
        c.sock.settimeout(15)
        assert c.sock.recv(100) == b""
    except ConnectionError:
        pass


def test_proxy_header_from_somebody_else(proxied, connect):
    c = connect(server=proxied)
    c.sock = socket.create_connection(("127.0.0.1", proxied.port_proxy), timeout=10,
                                      source_address=("127.0.0.9", 0))
    c.reader = StreamReader()
    c.send(HEADERS["v1"][0] + c.stream_header().encode())
    # Not believed: the header is just text that no stream begins with.
    c.expect_closed()


# ---- too few descriptors ---------------------------------------------------------

def test_no_descriptors_left(make_server, connect):
    """EMFILE: the server neither spins nor dies; who is there goes on; when some leave, others
    come in."""
    s = make_server()
    a = connect(s.account(), server=s)
    used = s.descriptors()
    resource.prlimit(s.pid, resource.RLIMIT_NOFILE, (used + 15, used + 15))
    crowd = []
    for _ in range(60):
        x = socket.socket()
        x.settimeout(5)
        try:
            x.connect(("127.0.0.1", s.port))
        except OSError:
            pass
        crowd.append(x)
    a.ping()
    before, begun = s.cpu_seconds(), time.monotonic()
    while time.monotonic() - begun < 1:
        a.ping()
        time.sleep(0.05)
    assert s.cpu_seconds() - before < 0.5, "spinning"
    for x in crowd:
        x.close()
    deadline = time.monotonic() + 15
    while True:
        c = connect(server=s)
        try:
            c.connect().open()
            break
        except (StreamClosed, AssertionError, OSError):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    a.ping()


# ---- addresses --------------------------------------------------------------------

def test_limit_of_connections_per_address(make_server, connect):
    s = make_server({"limits": {"connections_per_address": 5}})
    a = s.account()
    there = [connect(a, server=s) for _ in range(5)]
    c = connect(server=s)
    with pytest.raises((StreamClosed, AssertionError, OSError)):
        c.connect().open()
    there[0].close()
    deadline = time.monotonic() + 30
    while True:
        try:
            connect(server=s).connect().open()
            break
        except (StreamClosed, AssertionError, OSError):
            assert time.monotonic() < deadline


def test_ipv6(make_server, connect):
    if not os.path.exists("/proc/net/if_inet6") or "00000001" not in open("/proc/net/if_inet6").read():
        pytest.skip("no IPv6 here")
    s = make_server(start=False)
    port = s.new_port()
    s.config["listeners"].append({"kind": "c2s", "address": "::1", "port": port,
                                  "tls": "starttls"})
    s.start()
    c = connect(server=s)
    c.account = s.account()
    c.connect(port, host="::1")
    c.open()
    c.starttls()
    c.plain()
    c.bind()


def test_listens_on_all_addresses_by_default(make_server, connect):
    s = make_server(start=False)
    port = s.new_port()
    s.config["listeners"].append({"kind": "c2s", "port": port, "tls": "starttls"})
    s.start()
    connect(server=s).connect(port, host="127.0.0.3").open()


# ---- orderly ends -----------------------------------------------------------------

def test_stop_is_quick_and_clean(make_server, connect):
    """Every stream is told; clients that do not answer are not waited for long."""
    s = make_server()
    a = s.account()
    clients = [connect(a, server=s, presence="") for _ in range(5)]
    deaf = connect(server=s).connect()
    begun = time.monotonic()
    s.process.terminate()
    for c in clients:
        c.expect_stream_error("system-shutdown")
    s.stop()
    assert time.monotonic() - begun < 20
    deaf.kill()


def test_restart_finds_everything_again(make_server, connect):
    s = make_server()
    a, b = s.account(), s.account()
    c = connect(a, server=s)
    c.iq("set", "<query xmlns='jabber:iq:roster'><item jid='%s' name='B'/></query>" % b.jid)
    c.message(b.jid, "later", id_="kept")
    c.settle(b.jid)
    s.restart()
    c = connect(a, server=s)
    assert c.roster()[b.jid].get("name") == "B"
    d = connect(b, server=s)
    d.available(wait=False)
    assert d.until(lambda e: name(e) == "message").get("id") == "kept"


def test_sighup_reloads(make_server, connect):
    s = make_server()
    c = connect(s.account(), server=s)
    s.config["limits"]["stanza"] = "64KB"
    s.write_config()
    s.process.send_signal(signal.SIGHUP)
    s.wait_log("reload|configuration")
    c.ping()
    c2 = connect(s.account(), server=s)
    with pytest.raises((StreamClosed, OSError)):
        c2.message(c.jid, "x" * 100000)
        c2.recv()


def test_reload_of_a_bad_file_changes_nothing(make_server, connect):
    s = make_server()
    c = connect(s.account(), server=s)
    s.config["limits"]["no_such_limit"] = 1
    s.write_config()
    p = s.ctl("reload", check=False)
    assert p.returncode != 0 and "no_such_limit" in p.stdout + p.stderr
    c.ping()
    connect(s.account(), server=s)
