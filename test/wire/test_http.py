"""HTTP/1.1 (RFC 9110, 9112) on listeners of kind http: metrics, health, host-meta
(RFC 6415, XEP-0156); requests one after another."""

import base64
import json
import os
import subprocess
import time
import xml.etree.ElementTree as ET

import pytest

from mk.http import Http

XRD = "{http://docs.oasis-open.org/ns/xri/xrd-1.0}"


def add_http(server, **settings):
    port = server.new_port()
    server.config["listeners"].append(dict(
        {"kind": "http", "address": "127.0.0.1", "port": port, "tls": "none"}, **settings))
    return port


@pytest.fixture(scope="module")
def module_server():
    import mk
    s = mk.Server()
    s.http = add_http(s)
    s.https = add_http(s, tls="direct")
    s.guarded = add_http(s, trusted=["192.0.2.0/24"], admin_user="root",
                         admin_password="geheim", cors_origins=["https://web.example"])
    s.some = add_http(s, routes=["health"])
    s.quick = add_http(s, header_timeout="3s", idle_timeout="3s")
    s.proxied = add_http(s, proxy_protocol=True)
    s.start()
    yield s
    s.close()


@pytest.fixture
def s(module_server):
    assert module_server.alive()
    return module_server


# ---- what it answers ---------------------------------------------------------------

def test_health(s):
    with Http(s.http) as h:
        a = h.get("/health")
        assert (a.status, a.body) == (200, b"alive\n")
        assert a["x-content-type-options"] == "nosniff"
        assert time.strptime(a["date"], "%a, %d %b %Y %H:%M:%S GMT")


def test_ready(s):
    with Http(s.http) as h:
        a = h.get("/ready")
        assert (a.status, a.body) == (200, b"ready\n")


def test_metrics_are_what_meerkatctl_prints(s):
    with Http(s.http) as h:
        a = h.get("/metrics")
        assert a.status == 200
        assert a["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
        names = {line.split()[2] for line in a.body.decode().splitlines()
                 if line.startswith("# TYPE")}
        printed = {line.split()[2] for line in s.ctl("metrics").stdout.splitlines()
                   if line.startswith("# TYPE")}
        assert names == printed and "meerkat_http_requests" in str(names)
        assert a.body.endswith(b"# EOF\n")


def test_metrics_are_for_the_trusted(s):
    with Http(s.guarded) as h:
        a = h.get("/metrics")
        assert a.status == 401 and a["www-authenticate"].startswith("Basic ")

        def auth(text):
            return h.get("/metrics", Authorization="Basic " + base64.b64encode(text).decode())
        assert auth(b"root:geheim").status == 200
        for wrong in b"root:geheim2", b"root:", b"Root:geheim", b"rootgeheim", b":", b"":
            assert auth(wrong).status == 401, wrong
        assert h.get("/metrics", Authorization="Bearer x").status == 401
        assert h.get("/metrics", Authorization="Basic !!").status == 401
        assert h.get("/health").status == 200


def test_trust_is_of_the_client_that_a_proxy_names(s):
    for peer, status in ("192.0.2.7", 403), ("127.0.0.5", 200):
        with Http(s.proxied) as h:
            h.send("PROXY TCP4 %s 192.0.2.1 50000 80\r\n" % peer)
            assert h.get("/metrics").status == status, peer


def test_routes_that_are_not_named_are_not_there(s):
    with Http(s.some) as h:
        assert h.get("/health").status == 200
        assert h.get("/metrics").status == 404
        assert h.get("/.well-known/host-meta").status == 404


def test_host_meta(s):
    with Http(s.http) as h:
        a = h.get("/.well-known/host-meta")
        assert a.status == 200 and a["content-type"].startswith("application/xrd+xml")
        assert a["access-control-allow-origin"] == "*"
        root = ET.fromstring(a.body)
        assert root.tag == XRD + "XRD"
        a = h.get("/.well-known/host-meta.json")
        assert a["content-type"] == "application/json"
        assert json.loads(a.body) == {"links": []}
        assert h.get("/.well-known/host-meta", host="Second.TEST:80").status == 200
        for other in "example.org", "127.0.0.1", "", "a@meerkat.test":
            assert h.get("/.well-known/host-meta", host=other).status in (400, 404), other
            if "@" in other:
                break


def test_over_tls(s):
    with Http(s.https, s.cafile, s.domain) as h:
        assert h.sock.selected_alpn_protocol() == "http/1.1"
        assert h.get("/health").status == 200
        assert h.get("/ready").status == 200


def test_not_found(s):
    with Http(s.http) as h:
        for path in "/", "/healt", "/health/", "/HEALTH", "//health", "/health%00":
            status = h.get(path).status
            assert status == (400 if "%" in path else 404), path
            if status == 400:
                h.expect_end()


# ---- methods -----------------------------------------------------------------------

def test_head_has_the_fields_of_get(s):
    with Http(s.http) as h:
        got = h.get("/health")
        a = h.get("/health", method="HEAD")
        assert a.status == 200 and a["content-length"] == got["content-length"] == "6"
        assert h.get("/health").body == b"alive\n"


def test_methods(s):
    with Http(s.http) as h:
        a = h.get("/health", method="DELETE")
        assert a.status == 405 and a["allow"] == "GET, HEAD, OPTIONS"
        assert h.get("/health", method="BREW").status == 501
        a = h.get("/health", method="OPTIONS")
        assert a.status == 204 and a["allow"] == "GET, HEAD, OPTIONS"
        assert a.get("content-length") is None
        assert h.get("*", method="OPTIONS").status == 204
        assert h.get("meerkat.test:443", method="CONNECT").status == 501
        h.expect_end()


def test_cors(s):
    with Http(s.guarded) as h:
        a = h.get("/health", Origin="https://web.example")
        assert a["access-control-allow-origin"] == "https://web.example"
        assert a["vary"] == "Origin"
        assert h.get("/health", Origin="https://evil.example").get(
            "access-control-allow-origin") is None
        a = h.get("/health", method="OPTIONS", Origin="https://web.example",
                  Access_Control_Request_Method="GET",
                  Access_Control_Request_Headers="authorization")
        assert a.status == 204
        assert a["access-control-allow-origin"] == "https://web.example"
        assert a["access-control-allow-headers"] == "authorization"
    with Http(s.http) as h:
        assert h.get("/health", Origin="https://web.example").get(
            "access-control-allow-origin") is None


# ---- connections -------------------------------------------------------------------

def test_keep_alive_and_close(s):
    with Http(s.http) as h:
        for _ in range(50):
            assert h.get("/health").status == 200
        assert h.get("/health", Connection="close")["connection"] == "close"
        h.expect_end()


def test_http_1_0_is_one_request(s):
    with Http(s.http) as h:
        h.send("GET /health HTTP/1.0\r\n\r\n")
        assert h.answer().status == 200
        h.expect_end()


def test_pipelining(s):
    with Http(s.http) as h:
        h.send("GET /health HTTP/1.1\r\nHost: a\r\n\r\nGET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
               "GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n" * 20)
        for _ in range(20):
            assert [h.answer().status for _ in range(3)] == [200, 200, 404]


def test_absolute_form(s):
    with Http(s.http) as h:
        h.send("GET http://meerkat.test/.well-known/host-meta HTTP/1.1\r\nHost: other\r\n\r\n")
        assert h.answer().status == 200


def test_byte_by_byte(s):
    with Http(s.http) as h:
        for b in b"GET /health HTTP/1.1\r\nHost: meerkat.test\r\n\r\n":
            h.send(bytes([b]))
        assert h.answer().status == 200


def test_a_body_that_nobody_wants(s):
    for body in "Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n":
        with Http(s.http) as h:
            h.send("GET /health HTTP/1.1\r\nHost: a\r\n" + body)
            a = h.answer()
            assert a.status == (413 if "Length" in body else 200), (a, body)
            if "Length" in body:
                assert a["connection"] == "close"
                h.expect_end()


def test_expect_is_answered_by_the_refusal(s):
    with Http(s.http) as h:
        h.send("POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert h.answer().status == 405
        h.expect_end()


def test_time_for_a_head_and_between(s):
    with Http(s.quick) as slow, Http(s.quick) as silent, Http(s.quick) as idle:
        assert idle.get("/health").status == 200
        slow.send("GET /health HTTP/1.1\r\n")
        assert slow.answer().status == 408
        for h in slow, silent, idle:
            h.expect_end()


def test_stop_ends_connections(make_server):
    s = make_server(start=False)
    port = add_http(s)
    s.start()
    with Http(port) as h, Http(port) as idle:
        assert h.get("/health").status == 200
        s.stop()
        h.expect_end()
        idle.expect_end()


# ---- settings ------------------------------------------------------------------------

def check(s):
    s.write_config()
    p = subprocess.run([os.path.join(s.build, "meerkatd"), "--check", "-c",
                        s.path("meerkat.yml")], capture_output=True, text=True)
    assert p.returncode != 0
    return p.stdout + p.stderr


def test_mistakes_name_their_place(make_server):
    s = make_server(start=False)
    add_http(s, trusted=["10.0.0.0/33"], public_url="http://a", admin_user="x", rutes=["a"],
             idle_timeout="1ms")
    out = check(s)
    assert "listeners[3].rutes" in out and "did you mean 'routes'" in out, out
    assert "listeners[3].idle_timeout" in out
    del s.config["listeners"][3]["rutes"], s.config["listeners"][3]["idle_timeout"]
    out = check(s)
    for setting in "trusted", "public_url", "admin_user":
        assert "meerkat.yml" in out and "listeners[3]." + setting in out, out
    s.config["listeners"][3] = {"kind": "roster", "port": s.new_port()}
    assert "no kind of listener" in check(s)


def test_reload_changes_listeners(make_server):
    s = make_server(start=False)
    port = add_http(s, routes=["health"])
    s.start()
    with Http(port) as before:
        assert before.get("/ready").status == 404
        s.config["listeners"][3]["routes"] = ["health", "ready"]
        s.write_config()
        s.ctl("reload")
        with Http(port) as h:
            assert h.get("/ready").status == 200
        assert before.get("/ready").status == 404     # as it was when it came
        s.ctl("plugin", "reload", "http")
        before.expect_end()
        with Http(port) as h:
            assert h.get("/ready").status == 200
        del s.config["listeners"][3]
        s.write_config()
        s.ctl("reload")
        with pytest.raises(OSError):
            Http(port)
