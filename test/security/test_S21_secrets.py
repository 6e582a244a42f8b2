"""S-21: secrets in logs, in answers of the tools, in traces."""

import base64
import re
import time

import pytest

from mk import Account, AuthFailed, NS, StreamClosed, name, slapd
from mk.http import Http
from mk.ws import WsClient, frame

MARKER = "PlantedSecret-c41d"


def test_logs_at_every_level(make_server, connect):
    s = make_server({"log": {"level": "debug"}})
    a = s.account(password=MARKER)
    b = connect(a, server=s, mechanism="PLAIN", presence="")
    c = connect(server=s)
    c.account = a
    c.start()
    with pytest.raises(AuthFailed):
        c.plain(password=MARKER + "-wrong")
    c.scram("SCRAM-SHA-512")
    # Malformed requests are logged, but not their data.
    c2 = connect(server=s)
    c2.account = a
    c2.start()
    c2.auth("PLAIN", ("\0%s\0%s\0x" % (a.user, MARKER)).encode())
    c2.recv()
    c2.send("<auth xmlns='%s' mechanism='PLAIN'><x>%s</x></auth>" % (NS.SASL, MARKER))
    try:
        c2.recv()
    except StreamClosed:
        pass
    b.message(b.jid, "a private text-9981")
    b.expect("message")
    s.stop()
    log = s.log()
    assert MARKER not in log
    assert "private text-9981" not in log, "bodies are nobody's business"
    assert base64.b64encode(("\0%s\0%s" % (a.user, MARKER)).encode()).decode()[:20] not in log


def test_tools_do_not_show_them(make_server):
    s = make_server()
    a = s.account(password=MARKER)
    for words in (("account", "list", s.domain), ("session", "list"), ("stats",), ("metrics",)):
        p = s.ctl(*words, check=False)
        assert MARKER not in p.stdout + p.stderr
    bad = s.ctl("account", "register", a.jid, MARKER, check=False)
    assert bad.returncode != 0 and MARKER not in bad.stdout + bad.stderr


# ---- what stays in memory ------------------------------------------------------------

def forms(password):
    """A password as it may lie in memory: itself, and inside base64, where how it looks
    depends on where it begins; the digits at both ends also hold their neighbours."""
    p = password.encode()
    return [p] + [base64.b64encode(b"\0" * k + p)[4 if k else 0:-4].rstrip(b"=") for k in range(3)]


def found_in_memory(s, *passwords):
    wanted = re.compile(b"|".join(re.escape(f) for p in passwords for f in forms(p)))
    hits = []
    with open("/proc/%d/maps" % s.pid) as maps, open("/proc/%d/mem" % s.pid, "rb", 0) as mem:
        for line in maps:
            area, rights, rest = line.split(None, 2)
            begin, end = (int(x, 16) for x in area.split("-"))
            if not rights.startswith("rw") or "[vvar]" in rest:
                continue
            tail = b""
            while begin < end:
                n = min(1 << 20, end - begin)
                try:
                    mem.seek(begin)
                    data = tail + mem.read(n)
                except OSError:
                    break
                hits += [(rest.split()[-1], hex(begin - len(tail) + m.start()),
                          data[max(0, m.start() - 40):m.end() + 20])
                         for m in wanted.finditer(data)]
                tail = data[-256:]
                begin += n
    return hits


def wait_gone(s, n):
    deadline = time.monotonic() + 20
    while int(re.search(r"^meerkat_streams_open (\d+)", s.ctl("metrics").stdout, re.M)[1]) > n:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def readable(s):
    try:
        with open("/proc/%d/mem" % s.pid, "rb"):
            return True
    except PermissionError:
        return False


def plain(a, password):
    return base64.b64encode(("\0%s\0%s" % (a.user, password)).encode()).decode()


def auth(a, password):
    return "<auth xmlns='%s' mechanism='PLAIN'>%s</auth>" % (NS.SASL, plain(a, password))


def log_in(c, a, password):
    c.send(auth(a, password))
    c.expect("success", NS.SASL)
    c.open()
    c.bind()


def in_pieces(c, a, password):
    data = auth(a, password)
    for i in range(0, len(data), 7):
        c.send(data[i:i + 7])
        time.sleep(0.005)          # reads of its own: not what is waited for
    c.expect("success", NS.SASL)
    c.open()
    c.bind()


def with_all_that_follows(c, a, password):
    """In one piece with what the client says when it has logged in."""
    c.send(auth(a, password) + c.stream_header() +
           "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
    answers, c.reader = b"", None      # of two streams, after each other
    c.sock.settimeout(20)
    while b"</jid>" not in answers:
        data = c.sock.recv(65536)
        assert data, answers
        answers += data


def asked_for(c, a, password):
    c.send("<auth xmlns='%s' mechanism='PLAIN'/>" % NS.SASL)
    c.expect("challenge", NS.SASL)
    c.send("<response xmlns='%s'>%s</response>" % (NS.SASL, plain(a, password)))
    c.expect("success", NS.SASL)


def sasl2(c, a, password):
    c.send("<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'><initial-response>%s"
           "</initial-response><bind xmlns='urn:xmpp:bind:0'/></authenticate>" % plain(a, password))
    c.expect("success", "urn:xmpp:sasl:2")


def in_odd_xml(c, a, password):
    data = plain(a, password)
    c.send("<auth xmlns='%s' mechanism='PLAIN'>%s<![CDATA[%s]]>&#x%x;%s</auth>" % (
        NS.SASL, data[:7], data[7:25], ord(data[25]), data[26:]))
    c.expect("success", NS.SASL)


def wrong(c, a, password):
    """Refused, cut off, and no base64 at all: they may be right for another server."""
    c.send(auth(a, password + "-wrong"))
    c.expect("failure", NS.SASL)
    c.send("<auth xmlns='%s' mechanism='PLAIN'>%s!</auth>" % (NS.SASL, plain(a, password)))
    c.expect("failure", NS.SASL)
    c.send("<auth xmlns='%s' mechanism='NONE'>%s</auth>" % (NS.SASL, plain(a, password)))
    c.expect("failure", NS.SASL)
    c.send(auth(a, password)[:-9])


@pytest.mark.parametrize("tls", ["starttls", "direct", "none"])
@pytest.mark.parametrize("how", [log_in, in_pieces, with_all_that_follows, asked_for, sasl2,
                                 in_odd_xml, wrong], ids=lambda f: f.__name__)
def test_memory_after_logout(make_server, connect, how, tls):
    s = make_server()
    a = s.account(password=MARKER)
    # The tools' way of making accounts is another story.
    s.restart()
    if not readable(s) or s.sanitized:
        pytest.skip("memory can't be looked into, or is kept by a sanitizer")
    for _ in range(2):                 # once from storage, once from what is in memory
        c = connect(server=s)
        c.account = a
        if tls == "none":
            c.connect(s.port_plain)
            c.open()
        else:
            c.start(tls=tls)
        how(c, a, MARKER)
        c.kill()
        wait_gone(s, 0)
    assert found_in_memory(s, MARKER) == []


def in_fragments(c, a, password):
    data = auth(a, password).encode()
    parts = [data[i:i + 5] for i in range(0, len(data), 5)]
    c.frames(*(frame(x, 0 if i else 1, fin=i == len(parts) - 1) for i, x in enumerate(parts[:60])),
             *([frame(b"".join(parts[60:]), 0)] if len(parts) > 60 else []))
    c.expect("success", NS.SASL)


def frame_in_pieces(c, a, password):
    data = frame(auth(a, password))
    for i in range(0, len(data), 7):
        c.frames(data[i:i + 7])
        time.sleep(0.005)
    c.expect("success", NS.SASL)


def all_behind_the_request(c, a, password):
    """Before the connection is one of WebSocket at all."""
    c.kill()
    c.handshake(behind=frame(c.stream_header()) + frame(auth(a, password)) +
                frame(c.stream_header()))
    c.opened()
    c.expect("success", NS.SASL)
    c.opened()


@pytest.mark.parametrize("how", [log_in, asked_for, sasl2, in_odd_xml, wrong, in_fragments,
                                 frame_in_pieces, all_behind_the_request],
                         ids=lambda f: f.__name__)
def test_memory_after_logout_from_websocket(make_server, how):
    s = make_server(start=False)
    s.add_websocket(plain=True)
    s.start()
    a = s.account(password=MARKER)
    s.restart()
    if not readable(s) or s.sanitized:
        pytest.skip("memory can't be looked into, or is kept by a sanitizer")
    for _ in range(2):
        c = WsClient(s, a).start()
        how(c, a, MARKER)
        c.kill()
        wait_gone(s, 0)
    assert found_in_memory(s, MARKER) == []


def pieces(data, n=7):
    return [data[i:i + n] for i in range(0, len(data), n)]


def register(username, password, id_="reg"):
    return ("<iq xmlns='jabber:client' type='set' id='%s'><query xmlns='jabber:iq:register'><username>%s</username>"
            "<password>%s</password></query></iq>" % (id_, username, password))


@pytest.mark.parametrize("transport", ["tcp", "tls", "websocket"])
@pytest.mark.parametrize("in_pieces", [False, True])
@pytest.mark.parametrize("when", ["before login", "after it"])
def test_memory_after_a_password_was_set(make_server, connect, transport, in_pieces, when):
    """XEP-0077: a new account's, and a new one of an old account; one that is refused, too."""
    s = make_server({"host_types": {"people": {"plugins": {"register": {
        "registration": True, "without_tls": True, "per_address": 0, "password_min": 2}}}}},
        start=False)
    s.add_websocket(plain=True)
    s.start()
    a = s.account()
    if not readable(s) or s.sanitized:
        pytest.skip("memory can't be looked into, or is kept by a sanitizer")
    if transport == "websocket":
        c = WsClient(s, a).start()
    else:
        c = connect(server=s)
        c.account = a
        if transport == "tls":
            c.start()
        else:
            c.connect(s.port_plain)
            c.open()
    user = a.user
    if when == "before login":
        user = "new-" + a.user
    else:
        log_in(c, a, a.password)
    # Names it may not have, words it may not have, and what is right.
    for name_, password in (("postmaster", MARKER), (user, MARKER + "&#xe000;"),
                            (user, MARKER)):
        data = register(name_, password)
        if in_pieces and transport == "websocket":
            data = frame(data)
            for part in pieces(data):
                c.frames(part)
                time.sleep(0.002)
        elif in_pieces:
            for part in pieces(data):
                c.send(part)
                time.sleep(0.002)      # reads of its own: not what is waited for
        else:
            c.send(data)
        answer = c.expect("iq")
        assert (answer.get("type") == "result") == (name_ == user and password == MARKER)
    c.kill()
    wait_gone(s, 0)
    assert found_in_memory(s, MARKER) == []


@pytest.mark.parametrize("right", [True, False])
def test_memory_after_http_basic(make_server, right):
    """The administrator's password is in the settings; a wrong one is nowhere."""
    s = make_server(start=False)
    port = s.new_port()
    s.config["listeners"].append({"kind": "http", "address": "127.0.0.1", "port": port,
                                  "tls": "none", "trusted": [], "admin_user": "root",
                                  "admin_password": "other"})
    s.start()
    if not readable(s) or s.sanitized:
        pytest.skip("memory can't be looked into, or is kept by a sanitizer")
    with Http(port) as h:
        word = base64.b64encode(("root:" + ("other" if right else MARKER)).encode()).decode()
        assert h.get("/metrics", Authorization="Basic " + word).status == (200 if right else 401)
    with Http(port) as h:
        h.send("GET /metrics HTTP/1.1\r\nHost: a\r\nAuthorization: Basic " + word + "\r\n")
    assert found_in_memory(s, MARKER) == []


@pytest.mark.skipif(not slapd.PROGRAM, reason="no slapd")
@pytest.mark.parametrize("tls", [True, False])
def test_memory_after_a_directory_was_asked(make_server, connect, tls):
    """A password also goes through libldap, which wipes what it frees."""
    d = slapd.Slapd(slapd.person("alice", MARKER))
    try:
        d.start()
        s = make_server({"host_types": {"people": {"auth": ["ldap"], "plugins": {
            "ldap": d.settings(starttls=tls)}}}})
        if not readable(s) or s.sanitized:
            pytest.skip("memory can't be looked into, or is kept by a sanitizer")
        for password in (MARKER, MARKER + "-wrong"):
            c = connect(server=s)
            c.account = Account("alice", s.domain, password)
            c.start()
            c.send(auth(c.account, password))
            assert (name(c.recv()) == "success") == (password == MARKER)
            c.kill()
            wait_gone(s, 0)
        assert found_in_memory(s, MARKER) == []
    finally:
        d.close()


def test_what_is_looked_for_would_be_found(make_server, connect):
    s = make_server()
    if not readable(s) or s.sanitized:
        pytest.skip("memory can't be looked into, or is kept by a sanitizer")
    c = connect(s.account(), server=s)
    texts = ["x" * k + base64.b64encode(b"\0" * k + MARKER.encode() + b"\0\0").decode()
             for k in range(3)] + [MARKER]
    found = set()
    for text in texts:
        c.message(c.jid, text)
        c.expect("message")
        # Before the next one takes its place.
        for _, _, data in found_in_memory(s, MARKER):
            found |= {f for f in forms(MARKER) if f in data}
    assert found == set(forms(MARKER))
