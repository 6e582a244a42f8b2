"""A blocking XMPP client for tests: one socket, every step on its own.

Nothing is done behind the test's back: what the server sends is handed out in
order, stream errors and ends raise. All waiting has a deadline.
"""

import base64
import itertools
import os
import socket
import ssl
import time

from . import tlsbind
from .scram import Scram
from .xml import NS, StreamReader, child, children, element, esc, name, ns, text, to_str

# For a server that works, a second is long; but a machine may have ten other things
# to do, and a deadline tells nothing then.
TIMEOUT = float(os.environ.get("MEERKAT_TEST_TIMEOUT", "30"))
_ids = itertools.count(1)


class Timeout(AssertionError):
    """The server did not send what a test waits for."""


class StreamClosed(Exception):
    """The server ended the stream or the connection."""


class StreamError(StreamClosed):
    def __init__(self, el):
        conditions = [c for c in children(el, xmlns=NS.STREAMS) if name(c) != "text"]
        self.element = el
        self.condition = name(conditions[0]) if conditions else None
        self.text = text(el, "text", NS.STREAMS)
        super().__init__("stream error %s (%s)" % (self.condition, self.text))


class AuthFailed(Exception):
    def __init__(self, el):
        conditions = [c for c in el if name(c) != "text"]
        self.element = el
        self.condition = name(conditions[0]) if conditions else None
        super().__init__("authentication failed: %s" % to_str(el))


class Client:
    """server: a mk.Server; account: a mk.Account, or None for a stream that
    isn't to log in. domain: what `to` of the stream names."""

    def __init__(self, server, account=None, domain=None):
        self.server = server
        self.account = account
        self.domain = domain or (account.domain if account else server.domain)
        self.sock = None
        self.jid = None          # full, after bind
        self.features = None
        self.header = None       # attributes of the server's stream header
        self.reader = None
        self.closed = False      # the server's </stream:stream> came
        self.lang = None
        self.cert = None         # (domain, file) of another CA than the server's

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.kill()

    def __repr__(self):
        return "<Client %s>" % (self.jid or self.domain)

    # ---- the connection ---------------------------------------------------

    def connect(self, port=None, host="127.0.0.1", rcvbuf=None):
        s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        if rcvbuf:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        s.settimeout(TIMEOUT)
        s.connect((host, port or self.server.port))
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = s
        self.reader = StreamReader()
        self.closed = False
        return self

    def connect_tls(self, alpn=("xmpp-client",), port=None, **kw):
        self.connect(port or self.server.port_tls)
        self.tls(alpn=list(alpn) if alpn else None, **kw)
        return self

    def tls(self, alpn=None, sni=None, minimum=None, maximum=None):
        """sni: the domain, unless given; "" sends none."""
        c = tlsbind.context(self.server.cafile, alpn, minimum, maximum)
        if sni == "":
            c.check_hostname = False
        name = self.domain if sni is None else sni or None
        self.sock = c.wrap_socket(self.sock, server_hostname=name)
        self.sock.settimeout(TIMEOUT)

    def kill(self):
        """Ends the connection without a word."""
        if self.sock:
            try:
                self.sock.close()
            except OSError:
                pass
            self.sock = None

    def reset(self):
        """Ends it with a TCP reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                             b"\x01\0\0\0\0\0\0\0")
        self.kill()

    def close(self):
        """Ends the stream as RFC 6120 4.4 asks, and waits for the server's end;
        returns the elements that came before it."""
        self.send("</stream:stream>")
        got = []
        try:
            while True:
                got.append(self.recv())
        except StreamError:
            raise
        except StreamClosed:
            pass
        finally:
            self.kill()
        return got

    def send(self, data):
        if isinstance(data, str):
            data = data.encode()
        self.sock.sendall(data)

    # ---- what comes in ----------------------------------------------------

    def event(self, timeout=TIMEOUT):
        """The next ('open'|'element'|'close', value); 'end' when the connection
        is closed."""
        deadline = time.monotonic() + timeout
        while True:
            e = self.reader.pop()
            if e:
                return e
            left = deadline - time.monotonic()
            if left <= 0:
                raise Timeout("%r: nothing came within %g s" % (self, timeout))
            self.sock.settimeout(left)
            try:
                data = self.sock.recv(65536)
            except socket.timeout:
                continue
            except (ConnectionError, ssl.SSLError):
                data = b""
            if not data:
                return ("end", None)
            self.reader.feed(data)

    def recv(self, timeout=TIMEOUT):
        """The next element of the stream; StreamError, StreamClosed."""
        kind, value = self.event(timeout)
        if kind == "open":
            self.header = value
            return self.recv(timeout)
        if kind == "element":
            if value.tag == "{%s}error" % NS.STREAM:
                raise StreamError(value)
            return value
        self.closed = self.closed or kind == "close"
        raise StreamClosed("closed by the server" if kind == "close" else "connection ended")

    def expect(self, local, xmlns=None, timeout=TIMEOUT, **attrs):
        """The next element, which must be this one."""
        el = self.recv(timeout)
        self.is_(el, local, xmlns, **attrs)
        return el

    @staticmethod
    def is_(el, local, xmlns=None, **attrs):
        assert name(el) == local, to_str(el)
        if xmlns is not None:
            assert ns(el) == xmlns, to_str(el)
        for k, v in attrs.items():
            assert el.get(k.rstrip("_")) == v, "%s of %s" % (k, to_str(el))

    def until(self, wanted, timeout=TIMEOUT):
        """Reads on to the first element that wanted(el) accepts; what came
        before it is dropped."""
        deadline = time.monotonic() + timeout
        seen = []
        while True:
            try:
                el = self.recv(max(0.001, deadline - time.monotonic()))
            except Timeout:
                raise Timeout("%r: not within %g s; came: %s" % (
                    self, timeout, [to_str(s) for s in seen])) from None
            if wanted(el):
                return el
            seen.append(el)

    def expect_stream_error(self, condition, timeout=TIMEOUT):
        """This stream error, then the server's end of stream and connection
        (RFC 6120 4.9.1.1). Elements before it are passed over."""
        try:
            while True:
                self.recv(timeout)
        except StreamError as e:
            assert e.condition == condition, "%s, not %s" % (e, condition)
            self.expect_end(timeout)
            return e
        except StreamClosed as e:
            raise AssertionError("%s instead of <%s/>" % (e, condition)) from None

    def expect_end(self, timeout=TIMEOUT):
        """End of stream and connection."""
        kind, value = self.event(timeout)
        if kind == "close":
            self.closed = True
            kind, value = self.event(timeout)
        assert kind == "end", (kind, to_str(value) if kind == "element" else value)

    def expect_closed(self, timeout=TIMEOUT):
        """The connection ends; what came before does not matter."""
        try:
            while True:
                self.recv(timeout)
        except StreamClosed:
            pass

    # ---- negotiation ------------------------------------------------------

    def stream_header(self, to=None, version="1.0", lang=None, xmlns=NS.CLIENT,
                      stream_ns=NS.STREAM, prolog="<?xml version='1.0'?>", **attrs):
        more = "".join(" %s='%s'" % (k.rstrip("_").replace("__", ":"), esc(v))
                       for k, v in attrs.items() if v is not None)
        return "%s<stream:stream%s%s%s xmlns='%s' xmlns:stream='%s'%s>" % (
            prolog, "" if to == "" else " to='%s'" % esc(to or self.domain),
            " version='%s'" % version if version else "",
            " xml:lang='%s'" % lang if lang else "", xmlns, stream_ns, more)

    def open(self, features=True, **kw):
        """A new stream (after a restart: on the same connection)."""
        self.reader = StreamReader()
        self.send(self.stream_header(**kw))
        return self.opened() if features else None

    def opened(self):
        kind, self.header = self.event()
        assert kind == "open", "no stream header but %s" % kind
        el = self.recv()
        self.is_(el, "features", NS.STREAM)
        self.features = el
        return el

    def starttls(self, **kw):
        self.send("<starttls xmlns='%s'/>" % NS.TLS)
        self.expect("proceed", NS.TLS)
        self.tls(**kw)
        return self.open()

    def start(self, tls="starttls", **kw):
        """Connects and negotiates up to the features under TLS."""
        if tls == "direct":
            self.connect_tls()
            self.open(**kw)
        else:
            self.connect()
            self.open(**kw)
            if tls == "starttls":
                self.starttls()
        return self

    @property
    def mechanisms(self):
        m = child(self.features, "mechanisms", NS.SASL)
        return [x.text for x in children(m, "mechanism")] if m is not None else []

    @property
    def mechanisms2(self):
        m = child(self.features, "authentication", NS.SASL2)
        return [x.text for x in children(m, "mechanism")] if m is not None else []

    @property
    def bindings(self):
        m = child(self.features, "sasl-channel-binding", NS.CB)
        return [x.get("type") for x in children(m)] if m is not None else []

    def auth(self, mechanism, data=None):
        """<auth/>; data as bytes: base64 is made of it; str: sent as it is."""
        self.send("<auth xmlns='%s' mechanism='%s'%s" % (
            NS.SASL, mechanism, "/>" if data is None else ">%s</auth>" % self._b64(data)))

    def respond(self, data=b""):
        self.send("<response xmlns='%s'>%s</response>" % (NS.SASL, self._b64(data)))

    @staticmethod
    def _b64(data):
        if isinstance(data, str):
            return data
        return base64.b64encode(data).decode() or "="

    def sasl_result(self, restart=True):
        """success (then the stream is opened anew), or AuthFailed."""
        el = self.recv()
        if name(el) == "failure":
            raise AuthFailed(el)
        self.is_(el, "success", NS.SASL)
        if restart:
            self.open()
        return el

    def plain(self, user=None, password=None, authzid="", restart=True):
        user = self.account.user if user is None else user
        password = self.account.password if password is None else password
        self.auth("PLAIN", ("%s\0%s\0%s" % (authzid, user, password)).encode())
        return self.sasl_result(restart)

    def binding(self, kind):
        if kind == "tls-exporter":
            return tlsbind.exporter(self.sock)
        return tlsbind.server_end_point(self.sock)

    def scram(self, mechanism="SCRAM-SHA-1", user=None, password=None, binding=None,
              restart=True, **kw):
        """binding: the type, for -PLUS. Returns the exchange."""
        cb = (binding, self.binding(binding)) if binding else None
        x = Scram(mechanism, self.account.user if user is None else user,
                  self.account.password if password is None else password, cb, **kw)
        self.auth(mechanism, x.first())
        el = self.recv()
        if name(el) == "failure":
            raise AuthFailed(el)
        self.is_(el, "challenge", NS.SASL)
        self.respond(x.final(base64.b64decode(el.text)))
        el = self.sasl_result(restart=False)
        x.check(base64.b64decode(el.text or ""))
        if restart:
            self.open()
        return x

    def sasl2(self, mechanism="SCRAM-SHA-256", inline="", user_agent="", **kw):
        """XEP-0388; inline: further XML in <authenticate/>. Returns <success/>;
        features follow it on the same stream."""
        x = None
        if mechanism == "PLAIN":
            first = ("\0%s\0%s" % (self.account.user, self.account.password)).encode()
        else:
            x = Scram(mechanism, self.account.user, self.account.password, **kw)
            first = x.first()
        self.send("<authenticate xmlns='%s' mechanism='%s'><initial-response>%s"
                  "</initial-response>%s%s</authenticate>" % (
                      NS.SASL2, mechanism, self._b64(first), user_agent, inline))
        el = self.recv()
        if name(el) == "challenge":
            self.send("<response xmlns='%s'>%s</response>" % (
                NS.SASL2, self._b64(x.final(base64.b64decode(el.text)))))
            el = self.recv()
        if name(el) == "failure":
            raise AuthFailed(el)
        self.is_(el, "success", NS.SASL2)
        if x:
            x.check(base64.b64decode(text(el, "additional-data", NS.SASL2)))
        return el

    def bind(self, resource=None):
        answer = self.iq("set", "<bind xmlns='%s'>%s</bind>" % (
            NS.BIND, "<resource>%s</resource>" % esc(resource) if resource is not None else ""))
        assert answer.get("type") == "result", to_str(answer)
        self.jid = text(child(answer, "bind", NS.BIND), "jid", NS.BIND)
        return self.jid

    def login(self, resource=None, tls="starttls", mechanism="SCRAM-SHA-1", presence=None):
        """From nothing to a bound session; presence: XML inside an initial
        presence, which is sent if it isn't None."""
        self.start(tls)
        if mechanism == "PLAIN":
            self.plain()
        else:
            self.scram(mechanism)
        self.bind(resource)
        if presence is not None:
            self.available(presence)
        return self

    # ---- sessions ---------------------------------------------------------

    @property
    def bare(self):
        return self.jid.split("/")[0]

    @property
    def resource(self):
        return self.jid.split("/", 1)[1]

    def iq(self, type_, payload="", to=None, id_=None, timeout=TIMEOUT):
        """Sends an IQ and returns its answer. Other stanzas that come first stay
        for recv, in their order."""
        id_ = id_ or "q%d" % next(_ids)
        self.send(element("iq", None, payload, type_=type_, id=id_, to=to))
        return self.answer(id_, timeout)

    def answer(self, id_, timeout=TIMEOUT):
        """The IQ that answers id_; what came before it stays for recv."""
        others = []
        try:
            while True:
                el = self.recv(timeout)
                if name(el) == "iq" and el.get("id") == id_ and \
                        el.get("type") in ("result", "error"):
                    return el
                others.append(el)
        finally:
            self.reader.events[:0] = [("element", o) for o in others]

    def available(self, payload="", wait=True):
        """Initial presence; waits for the server's echo to ourselves (RFC 6121
        4.2.2), so that what follows finds us available."""
        self.send("<presence>%s</presence>" % payload)
        if wait:
            self.until(lambda e: name(e) == "presence" and e.get("from") == self.jid)
        return self

    def unavailable(self):
        self.send("<presence type='unavailable'/>")
        self.until(lambda e: name(e) == "presence" and e.get("type") == "unavailable"
                   and e.get("from") == self.jid)

    def message(self, to, body, type_="chat", id_=None, more=""):
        id_ = id_ or "m%d" % next(_ids)
        self.send(element("message", None, "<body>%s</body>%s" % (esc(body), more),
                          type_=type_, id=id_, to=to))
        return id_

    def ping(self, to=None):
        a = self.iq("get", "<ping xmlns='%s'/>" % NS.PING, to=to)
        assert a.get("type") == "result", to_str(a)

    def settle(self, bare):
        """Everything that came until what we sent to this account of the server (which need
        not be online, nor exist) has been handled: a request to it that its home answers, in
        order with the rest."""
        id_ = "s%d" % next(_ids)
        self.send("<iq type='get' id='%s' to='%s'><query xmlns='mk:settle'/></iq>" % (id_, esc(bare)))
        got = []
        while True:
            el = self.recv()
            if name(el) == "iq" and el.get("id") == id_:
                return got
            got.append(el)

    def barrier(self):
        """Everything that came until the server has answered what we sent it so far
        (and what waited in its workers' mailboxes at that time): two pings. What we
        sent to others may still be under way: fence, settle."""
        got = []
        for _ in range(2):
            id_ = "b%d" % next(_ids)
            self.send(element("iq", None, "<ping xmlns='%s'/>" % NS.PING, type_="get", id=id_))
            while True:
                el = self.recv()
                if name(el) == "iq" and el.get("id") == id_:
                    break
                got.append(el)
        return got

    def expect_nothing(self):
        got = self.barrier()
        assert not got, [to_str(e) for e in got]

    def roster(self):
        """{jid: item} of the roster."""
        a = self.iq("get", "<query xmlns='%s'/>" % NS.ROSTER)
        assert a.get("type") == "result", to_str(a)
        return {i.get("jid"): i for i in child(a, "query", NS.ROSTER)}


def settled(*clients):
    """What each of the clients got, when nothing is under way any more of what they have
    caused among the accounts of this test: a request to each account is handled in turn
    with the rest, and as each step is caused by a stanza that was there before it, three
    rounds see to the end of it."""
    got = [[] for _ in clients]
    for _ in range(3):
        for k, c in enumerate(clients):
            for a in c.server.accounts:
                got[k] += c.settle(a.jid)
            got[k] += c.barrier()
    return got


def fence(a, b):
    """Both are bound. Returns (what b got, what a got) of all that a has caused
    so far: from one to the other order holds, so when a marker of a has reached
    b and one of b's has come back, nothing earlier is still under way."""
    def pass_(x, y):
        mark = "fence%d" % next(_ids)
        x.send("<message to='%s' id='%s' type='headline'><fence xmlns='mk:test'/></message>"
               % (esc(y.jid), mark))
        got = []
        while True:
            el = y.recv()
            if name(el) == "message" and el.get("id") == mark:
                return got
            got.append(el)
    return pass_(a, b), pass_(b, a)
