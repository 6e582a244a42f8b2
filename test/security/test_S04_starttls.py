"""S-04: what was sent in the clear must not count under TLS; states before login.
CVE-2011-0411, CVE-2011-1926, CVE-2016-10027, CVE-2022-45197, CVE-2018-10847.
"""

import base64
import random
import ssl

import pytest

from mk import NS, AuthFailed, StreamClosed, child, name
from mk.scram import Scram

STARTTLS = b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"


def never_served(c):
    """The connection ends, at the latest in the handshake; nothing of the injected bytes is
    ever answered under TLS."""
    with pytest.raises((StreamClosed, ssl.SSLError, ConnectionError)):
        c.expect("proceed", NS.TLS)
        c.tls()
        c.open()


@pytest.mark.parametrize("injected", [
    b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAYg==</auth>",
    b"<?xml version='1.0'?><stream:stream to='meerkat.test' version='1.0' xmlns='jabber:client' "
    b"xmlns:stream='http://etherx.jabber.org/streams'>",
    STARTTLS, b" ", b"\n", b"<", b"\x16",
])
def test_injection(connect, injected):
    c = connect().connect()
    c.open()
    c.send(STARTTLS + injected)
    never_served(c)


def test_injection_split_at_every_byte(connect):
    """Also when it comes in parts, as long as it comes before the handshake."""
    data = STARTTLS + b"<auth/>"
    for i in range(len(STARTTLS) - 3, len(data)):
        c = connect().connect()
        c.open()
        c.send(data[:i])
        c.send(data[i:])
        never_served(c)
        c.kill()


def test_starttls_in_pieces(connect):
    """The same, without an injection, works."""
    for i in range(1, len(STARTTLS), 7):
        c = connect().connect()
        c.open()
        c.send(STARTTLS[:i])
        c.send(STARTTLS[i:])
        c.expect("proceed", NS.TLS)
        c.tls()
        c.open()
        c.kill()


@pytest.mark.parametrize("change", ["domain", "xmlns"])
def test_restart_after_login_as_something_else(account, connect, change):
    """CVE-2018-10847: the host must not change with the restart after SASL."""
    c = connect()
    c.account = account()
    c.start()
    c.plain(restart=False)
    with pytest.raises(StreamClosed):
        if change == "domain":
            c.open(to="second.test")
            c.bind()
        else:
            c.open(xmlns="jabber:server")
            c.bind()


def test_an_exchange_begun_in_the_clear_ends_there(make_server, connect):
    """Nothing of the clear stream counts after STARTTLS (RFC 6120 5.4.3.3): whoever was in
    the middle of logging in begins anew; or a login to one domain would be one to another."""
    s = make_server(start=False)
    port = s.new_port()
    s.config["listeners"].append({"kind": "c2s", "address": "127.0.0.1", "port": port,
                                  "tls": "starttls-optional"})
    s.start()
    for to in (s.domain, s.other):
        c = connect(server=s).connect(port)
        c.account = s.account()
        c.open()
        x = Scram("SCRAM-SHA-1", c.account.user, c.account.password)
        c.auth("SCRAM-SHA-1", x.first())
        challenge = base64.b64decode(c.expect("challenge", NS.SASL).text)
        c.domain = to
        c.starttls()
        c.respond(x.final(challenge))
        with pytest.raises(AuthFailed) as e:
            c.sasl_result(restart=False)
        assert e.value.condition == "malformed-request"


# ---- a walk through the states, against a model --------------------------------

class Model:
    """What is served when; all else must fail, or end the stream."""

    def __init__(self):
        self.tls = self.authed = self.bound = False

    def serves(self, action):
        return {
            "starttls": not self.tls,
            "auth": self.tls and not self.authed,
            "bind": self.authed and not self.bound,
        }.get(action, self.bound)


ACTIONS = ["starttls", "auth", "bind", "ping", "roster", "message"]


def do(c, model, action, account):
    """Performs it; whether it was served."""
    if action == "starttls":
        c.send(STARTTLS)
        c.until(lambda e: name(e) == "proceed")
        c.tls()
        c.open()
        model.tls = True
    elif action == "auth":
        c.auth("PLAIN", ("\0%s\0%s" % (account.user, account.password)).encode())
        if name(c.until(lambda e: name(e) in ("success", "failure"))) == "failure":
            return False
        c.open()
        model.authed = True
    elif action == "bind":
        a = c.iq("set", "<bind xmlns='%s'/>" % NS.BIND)
        if a.get("type") != "result":
            return False
        c.jid = child(child(a, "bind", NS.BIND), "jid").text
        model.bound = True
    elif action == "message":
        c.send("<message to='%s' type='chat' id='walk'><body>x</body></message>" % account.jid)
        # Messages to oneself without presence are kept; a ping shows the stream lives.
        return c.iq("get", "<ping xmlns='urn:xmpp:ping'/>").get("type") == "result"
    else:
        payload = {"ping": "<ping xmlns='urn:xmpp:ping'/>",
                   "roster": "<query xmlns='jabber:iq:roster'/>"}[action]
        if c.iq("get", payload).get("type") != "result":
            return False
    return True


@pytest.mark.parametrize("seed", range(30))
def test_random_walk(account, connect, seed):
    r = random.Random(seed)
    a = account()
    for _ in range(6):
        c = connect().connect()
        c.account = a
        c.open()
        model = Model()
        for _ in range(12):
            # Mostly what is served, or the walk would never get far.
            fit = [x for x in ACTIONS if model.serves(x)]
            action = r.choice(fit if r.random() < 0.75 else ACTIONS)
            expected = model.serves(action)
            ended = False
            try:
                served = do(c, model, action, a)
            except (StreamClosed, OSError):
                served, ended = False, True
            assert served == expected, (seed, action, vars(model))
            if ended:
                break
        c.kill()
