"""S-11: HTTP requests that two readers could understand in two ways, and sizes.

Peers hit: libevent's evhttp CVE-2026-63382, CVE-2026-63385 (smuggling); every request
below is refused and its connection closed, so that nothing behind it is read as a
request.
"""

import pytest

from mk.http import Http

H = "Host: meerkat.test\r\n"
BEHIND = "GET /health HTTP/1.1\r\nHost: meerkat.test\r\n\r\n"


@pytest.fixture(scope="module")
def module_server():
    import mk
    s = mk.Server()
    s.http = s.new_port()
    s.config["listeners"].append(
        {"kind": "http", "address": "127.0.0.1", "port": s.http, "tls": "none"})
    s.start()
    yield s
    s.close()


@pytest.fixture
def s(module_server):
    assert module_server.alive()
    return module_server


BAD = [
    "POST /health HTTP/1.1\r\n" + H + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
    "POST /health HTTP/1.1\r\n" + H + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n",
    "POST /health HTTP/1.1\r\n" + H + "Content-Length: 4\r\nContent-Length: 4\r\n\r\n",
    "POST /health HTTP/1.1\r\n" + H + "Content-Length: 4\r\nContent-Length: 40\r\n\r\n",
    "POST /health HTTP/1.1\r\n" + H + "Content-Length: 4, 4\r\n\r\n",
    "POST /health HTTP/1.1\r\n" + H + "Content-Length: 4\n\r\n",
    "POST /health HTTP/1.1\r\n" + H + "Content-Length : 4\r\n\r\n",
    "POST /health HTTP/1.1\r\n" + H + "Content-Length: +4\r\n\r\n",
    "POST /health HTTP/1.1\r\n" + H + "Content-Length: 0x4\r\n\r\n",
    "POST /health HTTP/1.1\r\n" + H + "Content-Length: 4\x00\r\n\r\n",
    "POST /health HTTP/1.1\r\n" + H + "Content-Length:\r\n 4\r\n\r\n",
    "POST /health HTTP/1.1\r\n" + H + "Transfer-Encoding: xchunked\r\n\r\n",
    "POST /health HTTP/1.1\r\n" + H + "Transfer-Encoding : chunked\r\n\r\n",
    "POST /health HTTP/1.1\r\n" + H + "Transfer-Encoding: chunked, identity\r\n\r\n",
    "POST /health HTTP/1.1\r\n" + H + "Transfer-Encoding: identity, chunked\r\n\r\n",
    "POST /health HTTP/1.1\r\n" + H + "Transfer-Encoding:\x0bchunked\r\n\r\n",
    "POST /health HTTP/1.1\r\n" + H + "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n",
    "POST /health HTTP/1.1\r\n" + H + "Transfer-Encoding:\r\n chunked\r\n\r\n",
    "POST /health HTTP/1.0\r\n" + H + "Transfer-Encoding: chunked\r\n\r\n",
    "GET /health HTTP/1.1\n" + H + "\r\n",
    "GET /health HTTP/1.1\r\nHost: a\n\n",
    "GET /health HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
    "GET /health HTTP/1.1\r\n" + H + "X: a\r\n b\r\n\r\n",
    "GET /health HTTP/1.1\r\n" + H + "X\r\n\r\n",
    "GET /health HTTP/1.1\r\n\r\n",
    "GET /health HTTP/1.1\r\n" + H + H + "\r\n",
    "GET /health HTTP/1.1\r\n" + H + "Host: b\r\n\r\n",
    "GET /health HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "GET /health HTTP/1.1\r\nHost: a b\r\n\r\n",
    "GET /health\r\n\r\n",
    "GET /health HTTP/1.1 \r\n" + H + "\r\n",
    "GET  /health HTTP/1.1\r\n" + H + "\r\n",
    "GET /a b HTTP/1.1\r\n" + H + "\r\n",
    "GET\x0b/health HTTP/1.1\r\n" + H + "\r\n",
    "GET /health HTTP/1.12\r\n" + H + "\r\n",
    "GET /health HTTP/9.9\r\n" + H + "\r\n",
    "\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "GET /.%2e/health HTTP/1.1\r\n" + H + "\r\n",
    "GET /../etc/passwd HTTP/1.1\r\n" + H + "\r\n",
    "GET /health%0d%0aX: HTTP/1.1\r\n" + H + "\r\n",
    "GET /" + "a" * 9000 + " HTTP/1.1\r\n" + H + "\r\n",
    "GET /health HTTP/1.1\r\n" + H + "X: " + "a" * 9000 + "\r\n\r\n",
    "GET /health HTTP/1.1\r\n" + H + "X: a\r\n" * 64 + "\r\n",
    "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n",
]


@pytest.mark.parametrize("request_", BAD, ids=range(len(BAD)))
def test_refused_and_closed(s, request_):
    with Http(s.http) as h:
        h.send(request_ + BEHIND)
        a = h.answer()
        assert a.status in (400, 408, 413, 414, 417, 431, 501, 505), a
        assert a["connection"] == "close"
        h.expect_end()


@pytest.mark.parametrize("body", [
    "3\nabc\r\n0\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n", "+3\r\nabc\r\n0\r\n\r\n",
    "0x3\r\nabc\r\n0\r\n\r\n", "fffffffff\r\n", "-1\r\n", "\r\n", "3;\n\r\nabc\r\n0\r\n\r\n",
    "1;" + "x" * 2000 + "\r\n", "0\r\n X: y\r\n\r\n",
], ids=range(10))
def test_bad_chunks(s, body):
    with Http(s.http) as h:
        h.send("GET /health HTTP/1.1\r\n" + H + "Transfer-Encoding: chunked\r\n\r\n" + body + BEHIND)
        assert h.answer().status in (400, 413)
        h.expect_end()


def test_many_connections_that_say_nothing_cost_little(s):
    before = s.rss()
    many = [Http(s.http) for _ in range(500)]
    for h in many:
        h.send("G")
    with Http(s.http) as h:
        assert h.get("/health").status == 200
    if not s.sanitized:
        assert s.rss() - before < 500 * 4096
    for h in many:
        h.close()
    with Http(s.http) as h:
        assert h.get("/health").status == 200
