"""S-02: two parsers that differ, or a parser and a printer that do.
CVE-2022-25235, CVE-2022-25236, CVE-2026-113867, CVE-2026-114713, CVE-2006-1214.

What a peer's parser (expat, here) sees of what we wrote is what we routed: as many stanzas,
and each with the content it came with. Invalid UTF-8 never gets in.
"""

import itertools
import random
import xml.etree.ElementTree as ET

import pytest

from mk import NS, StreamClosed, StreamError, child, fence, name, to_str

INVALID_UTF8 = [
    b"\x80", b"\xbf", b"\xc0\x80", b"\xc1\xbf", b"\xc2", b"\xc2\x20", b"\xe0\x80\x80",
    b"\xe0\x9f\xbf", b"\xe2\x82", b"\xe2\x82\x20", b"\xed\xa0\x80", b"\xed\xbf\xbf",
    b"\xef\xbf\xbe", b"\xef\xbf\xbf", b"\xf0\x80\x80\x80", b"\xf0\x8f\xbf\xbf", b"\xf0\x9f\x98",
    b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80",
    b"\xfe", b"\xff", b"\x00", b"\x01", b"\x08", b"\x0b", b"\x0c", b"\x0e", b"\x1f",
]
PLACES = [b"<message to='x@meerkat.test'><body>%s</body></message>",
          b"<message to='x@meerkat.test' id='%s'><body>x</body></message>",
          b"<message to='x@meerkat.test'><%s/></message>",
          b"<message to='x@meerkat.test' %s='1'/>",
          b"<message to='x@meerkat.test'><a xmlns='%s'/></message>",
          b"<message to='x@meerkat.test'><a><![CDATA[%s]]></a></message>",
          b"%s<presence/>"]


def plain_client(account, connect):
    c = connect()
    c.account = account
    c.connect(c.server.port_plain)
    c.open()
    c.plain()
    c.bind()
    return c


@pytest.mark.parametrize("bad", INVALID_UTF8, ids=lambda b: b.hex())
def test_invalid_characters(account, connect, bad):
    a = account()
    for place in PLACES:
        data = place.replace(b"%s", b"a" + bad + b"b")
        c = plain_client(a, connect)
        c.send(data + b"<presence/>")
        with pytest.raises(StreamClosed) as e:
            while True:
                c.recv(timeout=5)
        assert isinstance(e.value, StreamError), data
        assert e.value.condition in ("not-well-formed", "unsupported-encoding", "bad-format",
                                     "invalid-xml"), e.value
        c.kill()


def test_invalid_characters_at_every_split(account, connect):
    a = account()
    for bad in (b"\xc0\x80", b"\xe2\x82\x20", b"\xed\xa0\x80", b"\xf0\x9f\x98\x20"):
        data = b"<message><body>a" + bad + b"b</body></message>"
        for i in range(len(data) - 14 - len(bad) - 2, len(data) - 14):
            c = plain_client(a, connect)
            c.send(data[:i])
            c.send(data[i:] + b"<presence/>")
            with pytest.raises(StreamError):
                while True:
                    c.recv(timeout=5)
            c.kill()


GOOD = ["\u007f", "\u0080", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\ufffd", "\U00010000",
        "\U0010ffff", "\u0085", "\u2028", "\u200b", "\t", "\u00e9", "e\u0301", "\ufeff"]


def test_valid_characters_arrive(pair):
    a, b = pair
    for good in GOOD:
        a.message(b.jid, "x%sy" % good)
        assert child(b.expect("message"), "body").text == "x%sy" % good


# What looks like markup once somebody forgets to escape it.
EVIL = ["</body></message><message to='x'><body>smuggled", "</message>", "]]>", "<![CDATA[x]]>",
        "&amp;lt;", "&lt;", "' from='admin@meerkat.test' x='", "\" from=\"admin@meerkat.test", "<",
        "<!--", "-->", "<?xml?>", "</stream:stream>", "\n\t ", "&#x3c;", "&#10;", "a\nb", "a\tb"]


@pytest.mark.parametrize("evil", EVIL)
def test_text_and_attributes_are_escaped_again(pair, evil):
    a, b = pair
    escaped = "".join("&#%d;" % ord(ch) for ch in evil)
    a.send("<message to='%s' type='chat' id='%s'><body>%s</body><x xmlns='mk:x' y='%s'/></message>"
           % (b.jid, escaped, escaped, escaped))
    m = b.expect("message", id=evil, from_=a.jid)
    assert child(m, "body").text == evil
    assert child(m, "x", "mk:x").get("y") == evil
    got, _ = fence(a, b)
    assert not got, [to_str(g) for g in got]


@pytest.mark.parametrize("evil", EVIL)
def test_namespaces_are_escaped_again(pair, evil):
    """CVE-2022-25236: a name space may hold what a parser uses as its separator."""
    a, b = pair
    # Whitespace in an attribute is normalised unless written as a reference.
    escaped = "".join("&#%d;" % ord(ch) for ch in "mk:" + evil)
    a.send("<message to='%s' type='chat' id='n'><x xmlns='%s'><y/></x></message>" % (b.jid, escaped))
    try:
        m = b.until(lambda e: name(e) == "message")
    except StreamClosed:
        raise AssertionError("the receiver's stream ended") from None
    x = m[0]
    assert x.tag == "{mk:%s}x" % evil, to_str(m)
    assert x[0].tag == "{mk:%s}y" % evil


@pytest.mark.parametrize("uri", ["jabber:client}x", "mk:a mk:b", "mk:\u000ca".replace("\u000c", ""),
                                 "http://www.w3.org/XML/1998/namespace",
                                 "http://www.w3.org/2000/xmlns/", "mk:|", "mk:\u00ff"])
def test_odd_namespaces(pair, connect, account, uri):
    """Either refused, or passed on as it was."""
    a, b = pair
    a.send("<message to='%s' type='chat' id='u'><x xmlns='%s'/></message>" % (b.jid, uri))
    try:
        a.ping()
        got, _ = fence(a, b)
        for m in got:
            assert m[0].tag in ("{%s}x" % uri, "x"), to_str(m)
    except StreamError as e:
        assert e.condition in ("not-well-formed", "bad-namespace-prefix", "invalid-namespace",
                               "bad-format", "restricted-xml")
    b.ping()


def random_tree(r, depth=0):
    """XML text, with prefixes and defaults as confusing as allowed."""
    uris = ["mk:a", "mk:b", "jabber:client", "jabber:server", ""]
    prefix = r.choice(["", "", "p", "q"])
    declare = " xmlns%s='%s'" % (":" + prefix if prefix else "",
                                 r.choice(uris[:4] if prefix else uris))
    attrs = "".join(" %s='%s'" % (k, r.choice(["1", "&lt;", "&apos;", "\u00e9", "&#10;"]))
                    for k in r.sample(["x", "y", "xml:lang"], r.randrange(3)))
    if r.random() < 0.3:
        attrs += " z:a='1' xmlns:z='%s'" % r.choice(uris[:3])
    content = "".join(r.choice([lambda: "t&amp;t", lambda: "\u20ac", lambda: " ",
                                lambda: random_tree(r, depth + 1)])()
                      for _ in range(r.randrange(4) if depth < 4 else 0))
    tag = (prefix + ":" if prefix else "") + r.choice(["a", "b", "body", "message"])
    return "<%s%s%s>%s</%s>" % (tag, declare, attrs, content, tag)


@pytest.mark.parametrize("seed", range(20))
def test_random_trees_arrive_as_they_were(pair, seed):
    """Differential: expat's reading of what was sent equals its reading of what arrived."""
    a, b = pair
    r = random.Random(seed)
    trees = [random_tree(r) for _ in range(50)]
    sent = []
    for i, tree in enumerate(trees):
        stanza = "<message to='%s' type='chat' id='t%d'>%s</message>" % (b.jid, i, tree)
        sent.append(ET.fromstring("<m xmlns='jabber:client'>%s</m>" % tree)[0])
        a.send(stanza)
    got, _ = fence(a, b)
    assert [g.get("id") for g in got] == ["t%d" % i for i in range(50)]
    for want, m in zip(sent, got):
        # Children may follow that the server added (stanza-id, ...).
        assert ET.canonicalize(ET.tostring(want, encoding="unicode")) == \
            ET.canonicalize(ET.tostring(m[0], encoding="unicode"))
