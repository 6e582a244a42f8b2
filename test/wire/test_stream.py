"""RFC 6120 4: streams, their headers, their errors, their end."""

import pytest

from mk import NS, StreamClosed, StreamError, Timeout, child, name, to_str


def opened_with(connect, **header):
    """What the server makes of a header: a client whose stream got features."""
    c = connect().connect()
    c.open(**header)
    return c


# ---- headers (4.7) -----------------------------------------------------------

def test_response_header(connect):
    c = opened_with(connect)
    assert c.reader.root == "{%s}stream" % NS.STREAM
    assert c.reader.xmlns.get(None) == NS.CLIENT
    assert c.header["from"] == c.domain
    assert c.header["version"] == "1.0"
    assert c.header["{%s}lang" % NS.XML]
    assert len(c.header["id"]) >= 16
    assert "to" not in c.header


def test_response_header_names_the_sender(connect):
    c = opened_with(connect, from_="juliet@meerkat.test")
    assert c.header["to"] == "juliet@meerkat.test"


def test_stream_ids_differ(connect):
    ids = {opened_with(connect).header["id"] for _ in range(20)}
    assert len(ids) == 20


def test_new_id_after_each_restart(account, connect):
    c = connect(account()) and connect()
    c.connect()
    c.open()
    ids = [c.header["id"]]
    c.starttls()
    ids.append(c.header["id"])
    c.account = account()
    c.plain()
    ids.append(c.header["id"])
    assert len(set(ids)) == 3


def test_domain_is_case_folded(connect):
    c = opened_with(connect, to="MEERKAT.Test")
    assert c.header["from"] == "meerkat.test"


@pytest.mark.parametrize("prolog", [
    "", "<?xml version='1.0'?>", '<?xml version="1.0" encoding="UTF-8"?>',
    "<?xml version='1.0' encoding='utf-8' standalone='yes'?>\r\n", "<?xml version='1.0'?>\n\n ",
])
def test_prologs_that_are_fine(connect, prolog):
    opened_with(connect, prolog=prolog)


def test_byte_order_mark_is_text(connect):
    """RFC 6120 11.6: U+FEFF is a no-break space, also at the beginning, where
    XML has no place for text."""
    c = connect().connect()
    c.send(b"\xef\xbb\xbf" + c.stream_header().encode())
    with pytest.raises(StreamError) as e:
        c.recv(timeout=3)
    assert e.value.condition == "not-well-formed"


def test_other_prefix_for_the_stream_namespace(connect):
    c = connect().connect()
    c.send("<?xml version='1.0'?><s:stream to='%s' version='1.0' xmlns='jabber:client' "
           "xmlns:s='%s'>" % (c.domain, NS.STREAM))
    c.opened()


@pytest.mark.parametrize("prefix", ["", "c:"])
def test_content_namespace_by_prefix(account, connect, prefix):
    """RFC 6120 4.8.3: a client may declare the content namespace at each stanza."""
    c = connect(account())
    c.send("<%siq %s='jabber:client' type='get' id='x'><ping xmlns='urn:xmpp:ping'/></%siq>"
           % (prefix, "xmlns" + (":c" if prefix else ""), prefix))
    assert c.answer("x").get("type") == "result"


def test_lang_is_taken_over(account, connect):
    """RFC 6120 4.7.4: a stanza without xml:lang has that of the stream."""
    b = connect(account(), presence="")
    a = connect()
    a.account = account()
    a.start(lang="en")
    a.plain(restart=False)
    a.open(lang="de")
    a.bind()
    a.message(b.jid, "hallo")
    assert b.expect("message").get("{%s}lang" % NS.XML) == "de"
    a.send("<message to='%s' type='chat' xml:lang='fr'><body>salut</body></message>" % b.jid)
    assert b.expect("message").get("{%s}lang" % NS.XML) == "fr"


# ---- errors of the header (4.9.3) --------------------------------------------

def expect_header_error(connect, conditions, data=None, **header):
    """4.9.1.2: even then the server opens its own stream first."""
    c = connect().connect()
    c.send(data if data is not None else c.stream_header(**header))
    with pytest.raises(StreamError) as e:
        c.recv()
    assert e.value.condition in conditions
    assert c.header["id"] and c.header["version"]
    c.expect_end()


@pytest.mark.parametrize("to", ["no-such.test", "a@meerkat.test", "sub.meerkat.test"])
def test_host_unknown(connect, to):
    expect_header_error(connect, ["host-unknown"], to=to)


@pytest.mark.parametrize("to", ["", "\u3002", "-" * 1100, "a b", "/", "@"])
def test_to_that_is_no_domain(connect, to):
    expect_header_error(connect, ["host-unknown", "improper-addressing"], to=to)


def test_invalid_stream_namespace(connect):
    expect_header_error(connect, ["invalid-namespace"], stream_ns="http://wrong.namespace.test/")


@pytest.mark.parametrize("xmlns", ["jabber:nonsense", "jabber:server",
                                   "jabber:component:accept"])
def test_invalid_content_namespace(connect, xmlns):
    expect_header_error(connect, ["invalid-namespace"], xmlns=xmlns)


def test_wrong_root_element(connect):
    expect_header_error(
        connect, ["invalid-namespace", "bad-format", "unsupported-stanza-type"],
        data="<stream:flood to='meerkat.test' version='1.0' xmlns='jabber:client' "
             "xmlns:stream='%s'>" % NS.STREAM)


@pytest.mark.parametrize("data", [
    "<stream to='meerkat.test' version='1.0' xmlns='jabber:client'>",
    "<message xmlns='jabber:client'/>",
    "<html><body>",
])
def test_root_in_no_stream_namespace(connect, data):
    expect_header_error(connect, ["invalid-namespace", "bad-format", "bad-namespace-prefix"],
                        data=data)


def test_undeclared_stream_prefix(connect):
    expect_header_error(connect,
                        ["bad-namespace-prefix", "not-well-formed", "invalid-namespace"],
                        data="<stream:stream to='meerkat.test' version='1.0' "
                             "xmlns='jabber:client'>")


@pytest.mark.parametrize("data", [
    "GET / HTTP/1.1\r\nHost: meerkat.test\r\n\r\n", "hello", "\x16\x03\x01\x02\0\x01\0",
    "<<<", "</stream:stream>", "<stream:stream to=meerkat.test>", "&lt;", "]]>",
])
def test_no_xml(connect, data):
    expect_header_error(connect, ["not-well-formed", "bad-format", "invalid-xml"], data=data)


@pytest.mark.parametrize("encoding", ["UTF-16", "ISO-8859-1", "us-ascii", "UTF-7", "x" * 100])
def test_unsupported_encoding(connect, encoding):
    expect_header_error(connect, ["unsupported-encoding"],
                        prolog="<?xml version='1.0' encoding='%s'?>" % encoding)


@pytest.mark.parametrize("mark", [b"\xfe\xff", b"\xff\xfe"])
def test_utf16_is_refused(connect, mark):
    c = connect().connect()
    codec = "utf-16-be" if mark[0] == 0xfe else "utf-16-le"
    c.send(mark + c.stream_header().encode(codec))
    with pytest.raises(StreamError) as e:
        c.recv()
    assert e.value.condition in ("unsupported-encoding", "not-well-formed", "bad-format")


def test_version_of_the_past(connect):
    """No version means 0.9 (4.7.5), whose features nobody needs any more."""
    c = connect().connect()
    c.send(c.stream_header(version=None))
    with pytest.raises(StreamError) as e:
        c.recv(timeout=3)
    assert e.value.condition == "unsupported-version"


@pytest.mark.parametrize("version", ["0.9", "0.0", "abc", "-1.0", "1", "99999999999999999999.0"])
def test_unsupported_version(connect, version):
    expect_header_error(connect, ["unsupported-version"], version=version)


@pytest.mark.parametrize("version", ["1.1", "1.25", "11.0"])
def test_higher_version_gets_the_lower_one(connect, version):
    """4.7.5 point 2: the answer is the highest that both understand."""
    c = connect().connect()
    c.send(c.stream_header(version=version))
    c.opened()
    assert c.header["version"] == "1.0"


# ---- errors within a stream --------------------------------------------------

@pytest.fixture
def bound(account, connect):
    return connect(account())


@pytest.mark.parametrize("data", [
    "<message><body>No closing tag!</message>", "</message>", "<message to=x/>",
    "<message to='a' to='b'/>", "<message a:b='c'/>", "<1/>", "<message/", "<message>\x01",
    "<message>]]></message>", "<message x='<'/>", "<message xmlns:='a'/>",
])
def test_not_well_formed(bound, data):
    bound.send(data + ">" if data.endswith("/") else data)
    if data == "<message/":
        # That one is well-formed once it ends.
        bound.ping()
        return
    e = None
    try:
        bound.send("<presence/>")
        while True:
            bound.recv()
    except StreamError as error:
        e = error
    assert e.condition in ("not-well-formed", "bad-namespace-prefix", "bad-format")
    bound.expect_end()


@pytest.mark.parametrize("data", [
    "<!-- comment -->", "<?pi data?>", "<message><!-- --><body>x</body></message>",
    "<message><?pi?></message>", "<!DOCTYPE a>", "<message>&foo;</message>",
    "<!DOCTYPE lolz [<!ENTITY lol 'lol'>]>", "<message a='&foo;'/>",
    "<?xml version='1.0'?>", "<message><![IGNORE[]]></message>",
])
def test_restricted_xml(bound, data):
    """RFC 6120 11.1."""
    bound.send(data)
    e = None
    try:
        while True:
            bound.recv()
    except StreamError as error:
        e = error
    assert e.condition in ("restricted-xml", "not-well-formed" if "xml version" in data
                           or "IGNORE" in data else "restricted-xml")
    bound.expect_end()


@pytest.mark.parametrize("data", ["&lt;&gt;&amp;&quot;&apos;", "&#65;&#x42;", "<![CDATA[<a>]]>"])
def test_allowed_escapes(account, connect, data):
    b = connect(account(), presence="")
    a = connect(account())
    a.send("<message to='%s' type='chat'><body>%s</body></message>" % (b.jid, data))
    want = {"&lt;": "<>&\"'", "&#65": "AB", "<![C": "<a>"}[data[:4]]
    assert child(b.expect("message"), "body").text == want


@pytest.mark.parametrize("data", [
    "<foo/>", "<pubsub xmlns='jabber:client'/>", "<message xmlns='jabber:server'/>",
    "<message xmlns=''/>", "<iq xmlns='jabber:component:accept' type='get' id='1'><a/></iq>",
    "<stream:features/>", "<stream:message/>",
])
def test_unsupported_stanza_type(bound, data):
    bound.send(data)
    e = None
    try:
        while True:
            bound.recv()
    except StreamError as error:
        e = error
    assert e.condition in ("unsupported-stanza-type", "invalid-namespace", "bad-format")
    bound.expect_end()


def test_text_between_stanzas(bound):
    bound.send("<presence/>garbage<presence/>")
    with pytest.raises(StreamError) as e:
        while True:
            bound.recv()
    assert e.value.condition in ("bad-format", "not-well-formed", "invalid-xml")


@pytest.mark.parametrize("from_", [
    "somebody@else.test", "meerkat.test", "nobody@meerkat.test",
])
def test_invalid_from(bound, from_):
    """RFC 6120 8.1.2.1: a client can't speak for somebody else."""
    bound.send("<message from='%s' to='%s'><body>x</body></message>" % (from_, bound.jid))
    bound.expect_stream_error("invalid-from")


def test_invalid_from_of_another_resource(bound):
    bound.send("<message from='%s/other' to='%s'><body>x</body></message>" % (
        bound.bare, bound.jid))
    bound.expect_stream_error("invalid-from")


@pytest.mark.parametrize("bare", [False, True])
def test_own_from_is_allowed(bound, bare):
    bound.send("<iq from='%s' type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>" % (
        bound.bare if bare else bound.jid))
    assert bound.answer("p").get("type") == "result"


def test_stanza_too_big(bound):
    bound.send("<message><body>")
    try:
        for _ in range(40):
            bound.send("x" * 16384)
    except OSError:
        pass
    with pytest.raises(StreamClosed) as e:
        while True:
            bound.recv()
    if isinstance(e.value, StreamError):
        assert e.value.condition == "policy-violation"


def test_error_carries_the_right_namespace(bound):
    bound.send("<foo/>")
    with pytest.raises(StreamError) as e:
        bound.recv()
    first = e.value.element[0]
    assert first.tag.startswith("{%s}" % NS.STREAMS), to_str(e.value.element)
    # 4.9.2: nothing but a text and an application's condition may stand beside it
    assert len([c for c in e.value.element if c.tag.startswith("{%s}" % NS.STREAMS)
                and name(c) != "text"]) == 1


# ---- the end (4.4) -----------------------------------------------------------

def test_end_of_stream_is_answered(bound):
    bound.send("</stream:stream>")
    kind, _ = bound.event()
    assert kind == "close"
    assert bound.event()[0] == "end"


@pytest.mark.parametrize("state", ["open", "tls"])
def test_end_of_stream_before_login(connect, state):
    c = connect().connect()
    c.open()
    if state == "tls":
        c.starttls()
    c.send("</stream:stream>")
    assert c.event()[0] == "close"
    c.expect_end()


def test_what_comes_before_the_end_counts(account, connect):
    """The answer may be lost, but what was asked is done."""
    a = account()
    c = connect(a)
    c.send("<iq type='set' id='last'><query xmlns='jabber:iq:roster'><item jid='x@y.test'/></query>"
           "</iq></stream:stream>")
    c.expect_closed()
    again = connect(a)
    assert "x@y.test" in again.roster()


def test_nothing_counts_after_the_end(account, connect):
    b = connect(account(), presence="")
    a = connect(account())
    a.send("<message to='%s' type='chat' id='1'><body>1</body></message></stream:stream>"
           "<message to='%s' type='chat' id='2'><body>2</body></message>" % (b.jid, b.jid))
    assert b.expect("message").get("id") == "1"
    a.expect_closed()
    b.expect_nothing()


# ---- bytes -------------------------------------------------------------------

@pytest.mark.parametrize("space", [" ", "\n", "\r\n\t ", " " * 5000])
def test_whitespace_keepalive(bound, space):
    """4.6.1"""
    for _ in range(3):
        bound.send(space)
    bound.ping()


def test_whitespace_before_login(connect):
    c = connect().connect()
    c.open()
    c.send("\n \n")
    c.starttls()


STANZA = ("<message to='%s' id='sp&#108;it' type='chat'>"
          "<body>\u00e9\u4e2d\U0001f600 &lt;&amp;&gt; <![CDATA[]] x ]]>"
          "</body><x:y xmlns:x='mk:test' x:z=\"'1'\"/></message>")


def test_stanza_split_at_every_byte(account, connect):
    b = connect(account(), presence="")
    a = connect()
    a.account = account()
    a.connect(a.server.port_plain)
    a.open()
    a.plain()
    a.bind()
    data = (STANZA % b.jid).encode()
    for i in range(1, len(data)):
        a.send(data[:i])
        # The answer shows that the first part was read on its own. It can't be had
        # from within a stanza, so the other client's turn serves: it lets the
        # server run between the parts.
        b.ping()
        a.send(data[i:])
        m = b.expect("message", id="split")
        assert child(m, "body").text == "\u00e9\u4e2d\U0001f600 <&> ]] x "
        assert child(m, "y", "mk:test").get("{mk:test}z") == "'1'"


def test_login_byte_by_byte(account, connect):
    c = connect()
    c.account = account()
    c.connect(c.server.port_plain)
    whole = c.send

    def slowly(data):
        for byte in (data.encode() if isinstance(data, str) else data):
            whole(bytes([byte]))
    c.send = slowly
    c.open()
    c.scram()
    c.bind()
    c.ping()
    c.close()


def test_many_stanzas_in_one_segment(account, connect):
    b = connect(account(), presence="")
    a = connect(account())
    a.send("".join("<message to='%s' type='chat' id='n%d'><body>%d</body></message>"
                   % (b.jid, i, i) for i in range(500)))
    assert [b.expect("message").get("id") for _ in range(500)] == ["n%d" % i for i in range(500)]


def test_big_stanza_arrives_whole(account, connect):
    b = connect(account(), presence="")
    a = connect(account())
    body = "\u20ac" * 60000
    a.message(b.jid, body)
    assert child(b.expect("message"), "body").text == body


# ---- who is connected --------------------------------------------------------

def test_connection_timeout(make_server, connect):
    """A client that does not log in is not waited for, however busy it looks."""
    s = make_server({"limits": {"auth_timeout": "2s"}})
    c = connect(server=s).connect()
    c.open()
    with pytest.raises(StreamError) as e:
        for _ in range(100):
            c.send(" ")
            try:
                c.recv(timeout=0.1)
            except Timeout:
                pass
    assert e.value.condition in ("connection-timeout", "policy-violation")
    c.expect_end()


def test_system_shutdown(make_server, connect):
    s = make_server()
    a = connect(s.account(), server=s, presence="")
    half = connect(server=s).connect()
    half.open()
    s.process.terminate()
    a.expect_stream_error("system-shutdown")
    half.expect_closed()
    s.stop()


def test_silent_client_gets_keepalives(make_server, connect):
    s = make_server({"limits": {"keepalive": "1s"}})
    c = connect(s.account(), server=s)
    before = c.reader.whitespace
    with pytest.raises(Timeout):
        c.event(timeout=3.5)
    assert c.reader.whitespace > before


def test_idle_client_is_closed(make_server, connect):
    s = make_server({"limits": {"idle_timeout": "1s"}})
    c = connect(s.account(), server=s)
    c.expect_stream_error("connection-timeout")
