"""A client over WebSocket (RFC 6455, RFC 7395): frames written out, so that a test
can also write wrong ones. The server's are read strictly."""

import base64
import hashlib
import os
import re
import socket
import ssl
import struct
import xml.etree.ElementTree as ET

from .client import TIMEOUT, Client
from .sm import SmClient
from .xml import NS, esc

FRAMING = "urn:ietf:params:xml:ns:xmpp-framing"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
PATH = "/xmpp-websocket"


def frame(payload, opcode=TEXT, fin=True, mask=True, rsv=0, length=None):
    """length: what the frame says it has, if that isn't true."""
    if isinstance(payload, str):
        payload = payload.encode()
    n = len(payload) if length is None else length
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    bit = 0x80 if mask else 0
    if n < 126:
        head += bytes([bit | n])
    elif n < 65536:
        head += bytes([bit | 126]) + struct.pack(">H", n)
    else:
        head += bytes([bit | 127]) + struct.pack(">Q", n)
    if not mask:
        return head + payload
    key = os.urandom(4)
    return head + key + bytes(b ^ key[i % 4] for i, b in enumerate(payload))


class WsReader:
    def __init__(self):
        self.data = b""
        self.events = []
        self.messages = []       # as text
        self.pongs, self.pings = [], 0
        self.code = None         # of the server's close frame; 0: it had none

    def pop(self):
        return self.events.pop(0) if self.events else None

    def feed(self, data):
        self.data += data
        while self._frame():
            pass

    def _frame(self):
        d = self.data
        if len(d) < 2:
            return False
        n, at = d[1], 2
        assert not n & 0x80, "the server masks"
        if n == 126:
            if len(d) < 4:
                return False
            n, at = struct.unpack(">H", d[2:4])[0], 4
            assert n >= 126
        elif n == 127:
            if len(d) < 10:
                return False
            n, at = struct.unpack(">Q", d[2:10])[0], 10
            assert n >= 65536
        if len(d) < at + n:
            return False
        payload, self.data = d[at:at + n], d[at + n:]
        assert self.code is None, "something behind the close frame: %r" % payload
        assert d[0] & 0xf0 == 0x80, "fragments or reserved bits: %#x" % d[0]
        opcode = d[0] & 15
        if opcode == TEXT:
            self._message(payload.decode())
        elif opcode == PING:
            self.pings += 1
        elif opcode == PONG:
            self.pongs.append(payload)
        elif opcode == CLOSE:
            self.code = struct.unpack(">H", payload[:2])[0] if payload else 0
        else:
            raise AssertionError("opcode %d" % opcode)
        return True

    def _message(self, text):
        assert text.startswith("<") and not text.startswith("<?"), text
        self.messages.append(text)
        el = ET.fromstring(text)
        if el.tag == "{%s}open" % FRAMING:
            attrs = {k.replace("{%s}" % NS.XML, "xml:"): v for k, v in el.attrib.items()}
            self.events.append(("open", attrs))
        elif el.tag == "{%s}close" % FRAMING:
            self.events.append(("close", el))
        else:
            self.events.append(("element", el))


class WsMixin:
    """Of a Client: what is sent as text is one message."""

    path = PATH
    origin = None
    ws_port = None               # else server.ws_port

    def connect(self, port=None, host="127.0.0.1", rcvbuf=None):
        self.handshake(port)
        return self

    def raw(self, port=None):
        s = socket.create_connection(("127.0.0.1", port or self.ws_port or self.server.ws_port),
                                     TIMEOUT)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = s

    def handshake(self, port=None, behind=b"", tls=False):
        """behind: bytes that are sent with the request."""
        self.raw(port)
        if tls:
            c = ssl.create_default_context(cafile=self.server.cafile)
            self.sock = c.wrap_socket(self.sock, server_hostname=self.domain)
        key = base64.b64encode(os.urandom(16)).decode()
        self.sock.sendall((
            "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Protocol: xmpp\r\n"
            "Sec-WebSocket-Version: 13\r\n%s\r\n" % (
                self.path, self.domain, key,
                "Origin: %s\r\n" % self.origin if self.origin else "")).encode() + behind)
        data = b""
        while b"\r\n\r\n" not in data:
            more = self.sock.recv(65536)
            assert more, data
            data += more
        head, rest = data.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        fields = {k.lower(): v for k, v in (x.split(": ", 1) for x in lines[1:])}
        assert lines[0] == "HTTP/1.1 101 Switching Protocols", data
        digest = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        assert fields["sec-websocket-accept"] == base64.b64encode(digest).decode()
        assert fields["sec-websocket-protocol"] == "xmpp"
        assert fields["upgrade"] == "websocket" and fields["connection"] == "Upgrade"
        assert "sec-websocket-extensions" not in fields
        self.reader = WsReader()
        self.reader.feed(rest)
        self.closed = False
        return fields

    def send(self, data):
        """A stanza gets its namespace, which it must have here."""
        if isinstance(data, bytes):
            data = data.decode()
        data = re.sub(r"^<(iq|message|presence)(?=[ />])(?![^>]*\bxmlns=)",
                      r"<\1 xmlns='jabber:client'", data)
        self.sock.sendall(frame(data))

    def frames(self, *frames):
        self.sock.sendall(b"".join(frames))

    def stream_header(self, to=None, version="1.0", lang=None, **attrs):
        more = "".join(" %s='%s'" % (k.rstrip("_").replace("__", ":"), esc(v))
                       for k, v in attrs.items() if v is not None)
        return "<open xmlns='%s' to='%s'%s%s%s/>" % (
            FRAMING, esc(to or self.domain), " version='%s'" % version if version else "",
            " xml:lang='%s'" % lang if lang else "", more)

    def open(self, features=True, **kw):
        self.send(self.stream_header(**kw))
        return self.opened() if features else None

    def start(self, tls=None, **kw):
        self.connect()
        self.open(**kw)
        return self

    def close(self):
        self.send("<close xmlns='%s'/>" % FRAMING)
        got = []
        while True:
            kind, value = self.event()
            if kind != "element":
                break
            got.append(value)
        assert kind == "close"
        self.expect_close()
        self.kill()
        return got

    def expect_close(self, code=1000):
        """The server's close frame, and the end of the connection when it was
        answered (RFC 6455 7.1.1)."""
        while self.reader.code is None:
            kind, value = self.event()
            assert kind != "element", value
            if kind == "end":
                break
        assert self.reader.code == code, self.reader.code
        try:
            self.frames(frame(struct.pack(">H", code or 1000), CLOSE))
            while self.sock.recv(65536):
                pass
        except OSError:
            pass

    def expect_pong(self, payload):
        while payload not in self.reader.pongs:
            data = self.sock.recv(65536)
            assert data
            self.reader.feed(data)


class WsClient(WsMixin, Client):
    pass


class WsSmClient(WsMixin, SmClient):
    pass
