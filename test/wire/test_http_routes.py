"""Routes that a plugin of a host type offers to http: bodies, jobs, answers that come
later, who may, and what happens when the plugin or the client goes meanwhile."""

import base64
import os

import pytest

import mk
from mk.http import Http


@pytest.fixture(scope="module")
def module_server():
    s = mk.Server()
    s.http = s.new_port()
    s.config["server"]["plugin_dirs"] = [os.path.join(s.build, "modules-test"),
                                         os.path.join(s.build, "modules")]
    s.config["listeners"].append({"kind": "http", "address": "127.0.0.1", "port": s.http,
                                  "tls": "none", "admin_user": "root",
                                  "admin_password": "geheim", "body_timeout": "5s"})
    s.config["host_types"]["people"]["plugins"]["echo"] = {"gate": s.path("gate")}
    s.start()
    yield s
    s.close()


@pytest.fixture
def s(module_server):
    if os.path.exists(module_server.path("gate")):
        os.unlink(module_server.path("gate"))
    yield module_server
    open(module_server.path("gate"), "w").close()
    assert module_server.alive()


@pytest.fixture
def h(s):
    with Http(s.http) as h:
        yield h


def post(h, path, body, chunks=None, host="meerkat.test", method="POST", more=""):
    h.send("%s %s HTTP/1.1\r\nHost: %s\r\n%s" % (method, path, host, more))
    if chunks is None:
        h.send("Content-Length: %d\r\n\r\n" % len(body))
        h.send(body)
    else:
        h.send("Transfer-Encoding: chunked\r\n\r\n")
        for i in range(0, len(body), chunks):
            part = body[i:i + chunks]
            h.send(b"%x;ext\r\n%s\r\n" % (len(part), part))
        h.send("0\r\nTrailer: x\r\n\r\n")
    return h.answer()


def test_bodies(h):
    for n in 0, 1, 100, 8192, 20000:
        body = os.urandom(n)
        for chunks in None, 1000, 7 if n < 1000 else 8192:
            a = post(h, "/echo?a=b&c", body, chunks)
            assert (a.status, a.body) == (200, body), (n, chunks)
            assert (a["x-host"], a["x-path"], a["x-query"]) == ("meerkat.test", "/echo", "a=b&c")


def test_a_body_is_no_request(h):
    inner = b"GET /health HTTP/1.1\r\nHost: meerkat.test\r\n\r\n"
    for chunks in None, 10:
        assert post(h, "/echo", inner, chunks).body == inner
    assert h.get("/nothing").status == 404


def test_pipelined_bodies(h):
    h.send(b"".join(b"POST /echo HTTP/1.1\r\nHost: meerkat.test\r\nContent-Length: 3\r\n\r\n%03d"
                    b"POST /echo/job HTTP/1.1\r\nHost: meerkat.test\r\nTransfer-Encoding: chunked"
                    b"\r\n\r\n3\r\n%03d\r\n0\r\n\r\n" % (i, i) for i in range(50)))
    for i in range(50):
        for status in 200, 202:
            a = h.answer()
            assert (a.status, a.body) == (status, b"%03d" % i)


@pytest.mark.parametrize("chunks", [None, 5000])
def test_too_large(s, chunks):
    with Http(s.http) as h:
        try:
            a = post(h, "/echo", b"x" * 20001, chunks)
        except OSError:
            a = h.answer()
        assert a.status == 413
        h.expect_end()


def test_expect_100(h):
    h.send("PUT /echo HTTP/1.1\r\nHost: meerkat.test\r\nContent-Length: 5\r\n"
           "Expect: 100-continue\r\n\r\n")
    assert h.answer().status == 100
    h.send("hello")
    assert h.answer().body == b"hello"


def test_a_slow_body(h):
    h.send("POST /echo HTTP/1.1\r\nHost: meerkat.test\r\nContent-Length: 5\r\n\r\nhel")
    assert h.answer().status == 408
    h.expect_end()


def test_jobs(h):
    for i in range(20):
        a = post(h, "/echo/job", b"%d" % i)
        assert (a.status, a.body) == (202, b"%d" % i)


def test_later(h):
    h.send("GET /echo/later?1 HTTP/1.1\r\nHost: meerkat.test\r\n\r\n"
           "GET /echo?2 HTTP/1.1\r\nHost: meerkat.test\r\n\r\n")
    assert h.answer()["x-query"] == "1"
    assert h.answer()["x-query"] == "2"


def test_prefixes_and_paths(h):
    for path, decoded in ("/tree/", "/tree/"), ("/tree/a/b%20c", "/tree/a/b c"):
        assert h.get(path)["x-path"] == decoded
    assert h.get("/tree").status == 404
    assert h.get("/tree/../echo").status == 400
    h.expect_end()


def test_of_this_host_type_only(h):
    assert h.get("/echo", host="second.test:80").status == 200
    for host in "strange.test", "example.org", "127.0.0.1", "[::1]":
        assert h.get("/echo", host=host).status == 404


def test_administrator(h):
    assert h.get("/echo/admin").status == 401
    for text, status in (b"root:geheim", 200), (b"root:x", 401):
        assert h.get("/echo/admin", Authorization="Basic " + base64.b64encode(
            text).decode()).status == status


def test_nothing_that_came_ends_a_field(h):
    for value, ok in ((b"fine", True), (b"a\r\nSet-Cookie: b", False), (b"a\nb", False),
                      (b"a\0b", True), (b"\x7f", False), (b"caf\xc3\xa9", True)):
        a = post(h, "/echo/field", value)
        assert a.body == (b"set" if ok else b"refused"), value
        assert a.get("set-cookie") is None


def test_a_client_that_goes_meanwhile(s):
    with Http(s.http) as h:
        h.send("POST /echo/job?wait HTTP/1.1\r\nHost: meerkat.test\r\nContent-Length: 1\r\n\r\nx")
        s.wait_log("job waits")
    with Http(s.http) as h:
        h.send("GET /echo/later HTTP/1.1\r\nHost: meerkat.test\r\n\r\n")
    open(s.path("gate"), "w").close()
    with Http(s.http) as h:
        assert post(h, "/echo/job", b"x").status == 202
        assert h.get("/echo/later").status == 200


def test_plugins_that_go_meanwhile(make_server):
    for what in "echo", "http":
        s = make_server(start=False)
        port = s.new_port()
        s.config["server"]["plugin_dirs"] = [os.path.join(s.build, "modules-test"),
                                             os.path.join(s.build, "modules")]
        s.config["listeners"].append({"kind": "http", "address": "127.0.0.1", "port": port,
                                      "tls": "none"})
        s.config["host_types"]["people"]["plugins"]["echo"] = {"gate": s.path("gate")}
        s.start()
        with Http(port) as h, Http(port) as other:
            h.send("POST /echo/job?wait HTTP/1.1\r\nHost: meerkat.test\r\n"
                   "Content-Length: 1\r\n\r\nx")
            s.wait_log("job waits")
            if what == "http":
                # The connection goes; the job has its request still.
                s.ctl("plugin", "reload", "http")
                h.expect_end()
                open(s.path("gate"), "w").close()
            else:
                import threading
                t = threading.Thread(target=s.ctl, args=("plugin", "stop", "echo"))
                t.start()
                while other.get("/tree/").status != 404:
                    pass
                open(s.path("gate"), "w").close()
                assert h.answer().status == 202
                t.join()
                assert h.get("/echo").status == 404
        s.stop()
