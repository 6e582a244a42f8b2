"""S-01: entity expansion, DTD, external entities, comments, processing instructions.
CVE-2011-1753, CVE-2011-1755, CVE-2011-2205, CVE-2011-2206, CVE-2004-1378,
CVE-2022-0217, CVE-2026-43507; CVE-2026-6653 of libxml2.

Each payload, whole and byte by byte, before and after login, ends the stream with the error
that the RFC names, at once; nothing is opened or connected to; a healthy client goes on.
"""

import socket
import time

import pytest

import mk
from mk import StreamClosed, StreamError
from mk.ws import WsClient, frame

LAUGHS = "<!DOCTYPE lolz [<!ENTITY lol 'lol'>%s]><message><body>&lol9;</body></message>" % "".join(
    "<!ENTITY lol%d '%s'>" % (i, ("&lol%s;" % (i - 1 if i > 1 else "")) * 10)
    for i in range(1, 10))

# Payloads after a good stream header. %(port)d is a port where nobody may call.
PAYLOADS = [
    LAUGHS,
    "<!DOCTYPE a [<!ENTITY b '%s'>]><message><body>%s</body></message>" % ("x" * 3000, "&b;" * 500),
    "<!DOCTYPE a SYSTEM 'http://127.0.0.1:%(port)d/x.dtd'><message/>",
    "<!DOCTYPE a PUBLIC '-//X//Y' 'http://127.0.0.1:%(port)d/x.dtd'><message/>",
    "<!DOCTYPE a SYSTEM 'file:///etc/passwd'><message/>",
    "<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><message><body>&x;</body></message>",
    "<!DOCTYPE a [<!ENTITY x SYSTEM 'http://127.0.0.1:%(port)d/'>]><message>&x;</message>",
    "<!DOCTYPE a [<!ENTITY %% p SYSTEM 'http://127.0.0.1:%(port)d/'> %%p;]><message/>",
    "<!DOCTYPE a [<!ENTITY %% p '<!ENTITY q \"r\">'> %%p;]><message>&q;</message>",
    "<!DOCTYPE a>", "<!DOCTYPE", "<!doctype a>", "<!D", "<!DOCTYPE a []>",
    "<!ELEMENT a ANY>", "<!ENTITY a 'b'>", "<!ATTLIST a b CDATA 'c'>", "<!NOTATION a SYSTEM 'b'>",
    "<message><!DOCTYPE a></message>", "<message><!ENTITY a 'b'></message>",
    "<message><body>&x;</body></message>", "<message a='&x;'/>", "<message><body>&nbsp;</body></message>",
    "<message><body>&lt</body></message>", "<message><body>&;</body></message>",
    "<message><body>&</body></message>", "<message><body>& </body></message>",
    "<message><body>&AMP;</body></message>", "<message><body>&amp</body></message>",
    "<message><body>&#0;</body></message>", "<message><body>&#x0;</body></message>",
    "<message><body>&#xFFFE;</body></message>", "<message><body>&#xD800;</body></message>",
    "<message><body>&#x110000;</body></message>", "<message><body>&#99999999999999999999;</body></message>",
    "<message><body>&#1;</body></message>", "<message a='&#8;'/>", "<message><body>&#x;</body></message>",
    "<message><body>&#;</body></message>", "<message><body>&#xG;</body></message>",
    "<message><body>&#-1;</body></message>", "<message><body>&#38</body></message>",
    "<!-- comment -->", "<!---->", "<!-- - -- -->", "<!-", "<message><!-- --></message>",
    "<message><body>a<!-- -->b</body></message>", "<message <!-- --> />",
    "<?php echo 1 ?>", "<?x?>", "<?xml version='1.0'?>", "<?xml-stylesheet href='a'?>",
    "<message><?x y?></message>", "<message><body><?xml version='1.0'?></body></message>",
    "<?", "<message><![INCLUDE[<!ENTITY a 'b'>]]></message>", "<![CDATA[x]]>",
    "<message><![cdata[x]]></message>", "<message><body>]]></body></message>",
    "<message><body><![CDATA[<![CDATA[]]>]]></body></message>",
]
ERRORS = ("restricted-xml", "not-well-formed", "bad-format", "invalid-xml")


@pytest.fixture(scope="module")
def trap():
    """A listener that must not be called."""
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    s.listen()
    s.setblocking(False)
    yield s
    with pytest.raises(BlockingIOError):
        s.accept()
    s.close()


def payload(n, trap):
    return PAYLOADS[n].replace("%(port)d", str(trap.getsockname()[1])).replace("%%", "%")


def refused(c, data, by_byte):
    """The stream error that data leads to."""
    begun = time.monotonic()
    data = data.encode() if isinstance(data, str) else data
    # Something harmless that ends what may be unfinished, so that the error is due.
    data += b" ></x></message><presence/>"
    try:
        if by_byte:
            for i in range(0, len(data), max(1, len(data) // 300)):
                c.send(data[i:i + max(1, len(data) // 300)])
        else:
            c.send(data)
    except OSError:
        pass
    with pytest.raises(StreamClosed) as e:
        while True:
            c.recv(timeout=5)
    assert time.monotonic() - begun < 5
    if isinstance(e.value, StreamError):
        return e.value.condition
    return None


@pytest.mark.parametrize("by_byte", [False, True], ids=["whole", "bytes"])
@pytest.mark.parametrize("n", range(len(PAYLOADS)))
def test_before_login(connect, server, trap, n, by_byte):
    c = connect().connect(server.port_plain)
    c.open()
    condition = refused(c, payload(n, trap), by_byte)
    assert condition in ERRORS + ("not-authorized", "policy-violation"), condition


@pytest.mark.parametrize("by_byte", [False, True], ids=["whole", "bytes"])
@pytest.mark.parametrize("n", range(len(PAYLOADS)))
def test_after_login(account, connect, trap, n, by_byte):
    c = connect(account())
    condition = refused(c, payload(n, trap), by_byte)
    assert condition in ERRORS + ("policy-violation", "unsupported-stanza-type"), condition


@pytest.fixture(scope="module")
def over_websocket():
    """Of CVE-2022-0217: there the second transport had a parser of its own."""
    s = mk.Server()
    s.ws_port = s.new_port()
    s.config["listeners"].append({"kind": "http", "address": "127.0.0.1", "port": s.ws_port,
                                  "tls": "none", "unsafe_plain_without_tls": True})
    s.config["host_types"]["people"]["plugins"]["websocket"] = {}
    s.start()
    s.one = s.account()
    yield s
    s.close()


@pytest.mark.parametrize("logged_in", [False, True], ids=["before login", "after login"])
@pytest.mark.parametrize("n", range(len(PAYLOADS)))
def test_websocket(over_websocket, trap, n, logged_in):
    with WsClient(over_websocket, over_websocket.one) as c:
        if logged_in:
            c.login()
        else:
            c.start()
        data = payload(n, trap).encode()
        half = len(data) // 2
        c.frames(frame(data[:half], fin=False), frame(data[half:], 0))
        with pytest.raises(StreamError) as e:
            c.recv()
        assert e.value.condition in ERRORS + ("policy-violation",), e.value
        c.kill()


PROLOGS = [
    "<!DOCTYPE stream>", "<?xml version='1.0'?><!DOCTYPE stream [<!ENTITY a 'b'>]>",
    "<?xml version='1.0'?><!-- hello -->", "<!-- hello -->", "<?pi?>",
    "<?xml version='1.0'?><?xml version='1.0'?>", "<?xml version='1.1'?>", "<?xml?>",
    "<?xml version='1.0' standalone='no'?><!DOCTYPE a SYSTEM 'file:///etc/passwd'>",
    " <?xml version='1.0'?>", "<?XML version='1.0'?>", "<?xml version='1.0' foo='bar'?>",
    "<?xml encoding='UTF-8'?>", "<?xml version='1.0' encoding='UTF-8'",
]


@pytest.mark.parametrize("prolog", PROLOGS)
def test_prolog(connect, prolog):
    c = connect().connect()
    try:
        c.send(prolog + c.stream_header(prolog=""))
        with pytest.raises(StreamClosed) as e:
            c.open(features=False)
            while True:
                c.recv(timeout=5)
    except OSError:
        return
    assert not isinstance(e.value, StreamError) or e.value.condition in ERRORS + (
        "unsupported-encoding", "unsupported-version"), e.value


@pytest.mark.parametrize("bom,codec", [
    (b"\xfe\xff", "utf-16-be"), (b"\xff\xfe", "utf-16-le"), (b"", "utf-16-be"),
    (b"\0\0\xfe\xff", "utf-32-be"), (b"\xff\xfe\0\0", "utf-32-le"), (b"+/v8-", "utf-7"),
    (b"", "cp037"),
])
def test_other_encodings(connect, bom, codec):
    """A document that another encoding would hide a DTD in."""
    c = connect().connect()
    text = "<?xml version='1.0' encoding='%s'?><!DOCTYPE a>" % codec + c.stream_header(prolog="")
    c.send(bom + text.encode(codec))
    with pytest.raises(StreamClosed):
        c.recv(timeout=5)


def test_memory_is_given_back(make_server, connect):
    """The laughs, a hundred times: nothing grows."""
    s = make_server()

    def round_():
        for _ in range(50):
            c = connect(server=s).connect(s.port_plain)
            c.open()
            refused(c, LAUGHS, False)
            c.kill()
    round_()
    before = s.rss()
    round_()
    assert s.rss() - before < 2 << 20 or s.sanitized
    connect(s.account(), server=s).ping()


def test_healthy_clients_go_on(healthy, connect, server, trap):
    for n in range(12):
        c = connect().connect(server.port_plain)
        c.open()
        refused(c, payload(n, trap), False)
