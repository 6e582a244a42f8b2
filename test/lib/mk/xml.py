"""An incremental reader of XMPP streams, on expat: a parser that shares
nothing with the server's, so that what both accept is really XML."""

import xml.etree.ElementTree as ET
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr


class NS:
    CLIENT = "jabber:client"
    STREAM = "http://etherx.jabber.org/streams"
    STREAMS = "urn:ietf:params:xml:ns:xmpp-streams"
    STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"
    TLS = "urn:ietf:params:xml:ns:xmpp-tls"
    SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
    SASL2 = "urn:xmpp:sasl:2"
    BIND = "urn:ietf:params:xml:ns:xmpp-bind"
    BIND2 = "urn:xmpp:bind:0"
    CB = "urn:xmpp:sasl-cb:0"
    SESSION = "urn:ietf:params:xml:ns:xmpp-session"
    ROSTER = "jabber:iq:roster"
    PING = "urn:xmpp:ping"
    SM = "urn:xmpp:sm:3"
    CARBONS = "urn:xmpp:carbons:2"
    DELAY = "urn:xmpp:delay"
    DISCO_INFO = "http://jabber.org/protocol/disco#info"
    DISCO_ITEMS = "http://jabber.org/protocol/disco#items"
    SID = "urn:xmpp:sid:0"
    FORWARD = "urn:xmpp:forward:0"
    XML = "http://www.w3.org/XML/1998/namespace"


def ns(el):
    """'{jabber:client}iq' -> 'jabber:client'"""
    return el.tag[1:].rsplit("}", 1)[0] if el.tag.startswith("{") else ""


def name(el):
    return el.tag.split("}")[-1]


def children(el, local=None, xmlns=None):
    return [c for c in el if (local is None or name(c) == local)
            and (xmlns is None or ns(c) == xmlns)]


def child(el, local=None, xmlns=None):
    """The first such child, or None."""
    found = children(el, local, xmlns)
    return found[0] if found else None


def text(el, local=None, xmlns=None):
    """The text of el, or of its child; None without one."""
    if local is not None:
        el = child(el, local, xmlns)
    return None if el is None else (el.text or "")


def to_str(el):
    return ET.tostring(el, encoding="unicode")


def element(tag, xmlns=None, content="", **attrs):
    """Text of an element; 'type_' and 'from_' name attributes that Python keeps
    for itself; attributes that are None are left out. content is XML."""
    out = "<" + tag
    if xmlns:
        out += " xmlns=" + quoteattr(xmlns)
    for key, value in attrs.items():
        if value is not None:
            out += " %s=%s" % (key.rstrip("_"), quoteattr(str(value)))
    return out + ("/>" if content == "" else ">%s</%s>" % (content, tag))


def esc(s):
    return escape(s, {'"': "&quot;", "'": "&apos;"})


class StreamReader:
    """feed() bytes; events are ('open', attributes), ('element', Element),
    ('close', None), in order. Anything that isn't XML raises expat.ExpatError."""

    def __init__(self):
        self.events = []
        self._depth = 0
        self._builder = None
        # A character that no namespace can hold: expat refuses one that does.
        self._p = expat.ParserCreate(namespace_separator="\x01")
        self._p.buffer_text = True
        self._p.StartElementHandler = self._start
        self._p.EndElementHandler = self._end
        self._p.CharacterDataHandler = self._data
        self._p.StartNamespaceDeclHandler = self._xmlns
        for forbidden in ("StartDoctypeDeclHandler", "ProcessingInstructionHandler",
                          "CommentHandler"):
            setattr(self._p, forbidden, self._forbidden(forbidden))
        self.xmlns = {}      # prefixes that the stream header declares
        self.stray = ""      # text between elements, whitespace left out
        self.whitespace = 0  # bytes of it

    def _forbidden(self, what):
        def handler(*args):
            raise AssertionError("RFC 6120 11.1: the server sent what is forbidden: "
                                 "%s %r" % (what, args))
        return handler

    def feed(self, data):
        self._p.Parse(data, False)

    def pop(self):
        return self.events.pop(0) if self.events else None

    @staticmethod
    def _tag(tag):
        return "{" + tag.replace("\x01", "}", 1) if "\x01" in tag else tag

    def _xmlns(self, prefix, uri):
        if self._depth == 0:
            self.xmlns[prefix] = uri

    def _start(self, tag, attrs):
        tag = self._tag(tag)
        attrs = {self._tag(k): v for k, v in attrs.items()}
        if self._depth == 0:
            self.root = tag
            self.events.append(("open", attrs))
        else:
            if self._depth == 1:
                self._builder = ET.TreeBuilder()
            self._builder.start(tag, attrs)
        self._depth += 1

    def _end(self, tag):
        self._depth -= 1
        if self._depth == 0:
            self.events.append(("close", None))
        else:
            self._builder.end(self._tag(tag))
            if self._depth == 1:
                self.events.append(("element", self._builder.close()))
                self._builder = None

    def _data(self, data):
        if self._builder is not None:
            self._builder.data(data)
        elif data.strip():
            self.stray += data
        else:
            self.whitespace += len(data)
