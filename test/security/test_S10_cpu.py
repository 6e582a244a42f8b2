"""S-10: input that costs more to handle than to send.
CVE-2021-32920, CVE-2011-4320, CVE-2017-18265; quadratic hashing of attributes.
"""

import subprocess
import threading
import time

import pytest

import mk
from mk import StreamClosed


def cost(server, c, data, repeat=1):
    """CPU seconds of the server for data, which ends the stream or is answered by a ping."""
    before = server.cpu_seconds()
    for _ in range(repeat):
        try:
            c.send(data)
        except OSError:
            break
    try:
        c.ping()
    except (StreamClosed, OSError):
        pass
    return server.cpu_seconds() - before


HARD = {
    "nested": "<message>" + "<a>" * 10000 + "</a>" * 10000 + "</message>",
    "nested within the limit": "<message>" + "<a>" * 60 + "</a>" * 60 + "</message>",
    "attribute of 10 MB": "<message a='" + "x" * (10 << 20) + "'/>",
    "name of 10 MB": "<" + "x" * (10 << 20) + "/>",
    "attributes": "<message " + " ".join("a%d='x'" % i for i in range(5000)) + "/>",
    "attributes within the limit": "<message " + " ".join("a%d='x'" % i for i in range(60)) + "/>",
    "namespaces": "<message " + " ".join("xmlns:a%d='mk:%d'" % (i, i) for i in range(5000)) + "/>",
    "prefixes": "<message>" + "".join("<p:a xmlns:p='mk:%d'><p:b/></p:a>" % i
                                      for i in range(1500)) + "</message>",
    "elements": "<message>" + "<a/>" * 60000 + "</message>",
    "references": "<message><body>" + "&lt;" * 60000 + "</body></message>",
    "sections": "<message><body>" + "<![CDATA[]]>" * 20000 + "</body></message>",
    "equal attributes": "<message " + "a='1' " * 5000 + "/>",
    "quotes": "<message a='" + "&apos;" * 40000 + "'/>",
    "hash of names": "<message>" + "".join("<%s/>" % ("a" * (i % 200 + 1)) for i in range(2000)) +
                     "</message>",
    "brackets": "<message><body>" + "]]" * 100000 + "</body></message>",
    "unfinished": "<message><body>" + "<" * 100000,
}


@pytest.mark.parametrize("what", HARD)
def test_hard_stanzas(own_server, connect, bystanders, what):
    server = own_server
    c = connect(server.account(), server=server)
    used = cost(server, c, HARD[what])
    # What is over a limit is refused when the limit is reached, so even 10 MB cost little.
    assert used < (20.0 if server.sanitized else 2.0), used
    for h in bystanders:
        h.ping()


def spellings(jid, n):
    """A JID in n writings, which are all the same address."""
    letters = [i for i, c in enumerate(jid) if c.isalpha()]
    for k in range(n):
        up = {i for j, i in enumerate(letters) if k >> j & 1}
        yield "".join(c.upper() if i in up else c for i, c in enumerate(jid))


def test_ids_that_are_forged_in_many_writings(own_server, connect):
    """Each id to be removed (XEP-0359 3) once cost a walk over all before it."""
    server = own_server
    a, b = (connect(server.account(), server=server, presence="") for _ in range(2))
    by = ["o%d@other.example" % k for k in range(1500)] + list(spellings(b.bare, 1500))
    a.send("<message type='chat' id='m' to='%s'><body>x</body>%s</message>" % (b.jid, "".join(
        "<stanza-id xmlns='urn:xmpp:sid:0' by='%s' id='1'/>" % x for x in by)))
    m = b.expect("message")
    ids = mk.children(m, "stanza-id", "urn:xmpp:sid:0")
    assert len(ids) == 1501 and [e for e in ids if e.get("by") == b.bare] == ids[-1:]
    before = server.cpu_seconds()
    for _ in range(5):
        a.send("<message type='chat' to='%s'><body>x</body>%s</message>" % (b.jid, "".join(
            "<stanza-id xmlns='urn:xmpp:sid:0' by='%s' id='1'/>" % x for x in by)))
        b.expect("message")
    used = server.cpu_seconds() - before
    assert used < (10.0 if server.sanitized else 0.7), used


@pytest.fixture(scope="module")
def own_server():
    """A server of this file's own: its CPU time must not be others'."""
    s = mk.Server().start()
    yield s
    s.close()


@pytest.fixture(scope="module")
def bystanders(own_server):
    s = own_server
    clients = [mk.Client(s, s.account()).login(presence="") for _ in range(2)]
    yield clients
    a, b = clients
    a.message(b.jid, "x")
    b.expect("message")
    for c in clients:
        c.kill()


def test_slow_reader_is_not_waited_for(make_server, connect):
    """A client that does not read gets its limit of output, then its end."""
    s = make_server({"limits": {"output": "64KB"}})
    reader = connect(server=s)
    reader.account = s.account()
    reader.connect(s.port_plain, rcvbuf=4096)
    reader.open()
    reader.plain()
    reader.bind()
    reader.send("<presence/>")
    writer = connect(s.account(), server=s)
    for i in range(300):
        writer.message(reader.jid, "x" * 10000)
    writer.ping()
    grown = s.rss()
    for i in range(300):
        writer.message(reader.jid, "x" * 10000)
    writer.ping()
    assert s.rss() - grown < 8 << 20 or s.sanitized


def test_no_renegotiation(server):
    """CVE-2021-32920."""
    p = subprocess.Popen(
        ["openssl", "s_client", "-connect", "127.0.0.1:%d" % server.port_tls, "-tls1_2",
         "-servername", "meerkat.test", "-alpn", "xmpp-client"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        out, _ = p.communicate(b"R\n" * 3, timeout=15)
    except subprocess.TimeoutExpired:
        p.kill()
        out, _ = p.communicate()
    # Refused by an alert, or by the end of the connection; never done.
    assert out.count(b"Certificate chain") <= 1
    assert b"RENEGOTIATING" not in out or b"no renegotiation" in out or b"error" in out


def test_pings_of_one_do_not_starve_another(account, connect):
    """A turn has a budget per connection."""
    noisy, other = connect(account()), connect(account())
    n = 20000
    flood = "".join("<iq type='get' id='f%d'><ping xmlns='urn:xmpp:ping'/></iq>" % i
                    for i in range(n)).encode()
    sent = threading.Event()

    def send():
        try:
            noisy.send(flood)
        finally:
            sent.set()

    def drain():
        for _ in range(n):
            noisy.recv(timeout=60)
    threads = [threading.Thread(target=send), threading.Thread(target=drain)]
    for t in threads:
        t.start()
    worst = 0
    while any(t.is_alive() for t in threads):
        begun = time.perf_counter()
        other.ping()
        worst = max(worst, time.perf_counter() - begun)
    for t in threads:
        t.join()
    assert worst < 1, worst
