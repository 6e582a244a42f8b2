"""XEP-0280 1.0.1: message carbons. Forged copies: also test/security/test_S07_forged.py."""

import pytest

from mk import NS, child, children, fence, name, text, to_str
from mk.sm import SmClient

HINTS = "urn:xmpp:hints"
STATES = "http://jabber.org/protocol/chatstates"
MUC = "http://jabber.org/protocol/muc#user"
BODY = "<body>Neither, fair saint, if either thee dislike.</body>"
DISLIKE = "<error type='cancel'><gone xmlns='%s'/></error>" % NS.STANZAS


def enable(c):
    a = c.iq("set", "<enable xmlns='%s'/>" % NS.CARBONS)
    assert a.get("type") == "result", to_str(a)
    return c


class World:
    """Romeo with two clients that want copies, and one that doesn't; Juliet."""

    def __init__(self, account, connect):
        self.romeo, self.juliet = account(), connect(account(), "balcony", presence="")
        self.home = enable(connect(self.romeo, "home", presence=""))
        self.garden = enable(connect(self.romeo, "garden", presence=""))
        self.old = connect(self.romeo, "old", presence="")
        for c in (self.home, self.garden, self.old):
            c.barrier()


@pytest.fixture
def w(account, connect):
    return World(account, connect)


def messages(elements):
    return [e for e in elements if name(e) == "message"]


def copies(elements, which=None):
    """The messages that were copied."""
    out = []
    for m in messages(elements):
        for c in children(m, which, NS.CARBONS):
            if name(c) in ("sent", "received"):
                out.append(child(child(c, "forwarded", NS.FORWARD), "message", NS.CLIENT))
    return out


def send(a, to, payload=BODY, type_="chat", id_="m1", more=""):
    a.send("<message to='%s' id='%s'%s%s>%s</message>" % (
        to, id_, " type='%s'" % type_ if type_ else "", more, payload))


# ---- 4: discovery ----------------------------------------------------------------


def test_disco(pair):
    """Examples 1 and 2."""
    a, _ = pair
    q = child(a.iq("get", "<query xmlns='%s'/>" % NS.DISCO_INFO, to="meerkat.test"), "query")
    features = [f.get("var") for f in children(q, "feature")]
    assert NS.CARBONS in features
    assert "urn:xmpp:carbons:rules:0" in features


# ---- 5, 6: enabling, disabling ----------------------------------------------------


def test_enable_and_disable(w):
    """Examples 3, 4, 6, 7."""
    a = w.home.iq("set", "<disable xmlns='%s'/>" % NS.CARBONS)
    assert a.get("type") == "result" and len(a) == 0
    assert a.get("from") in (None, w.home.bare) and a.get("to") == w.home.jid
    send(w.juliet, w.garden.jid)
    got, _ = fence(w.juliet, w.home)
    assert not messages(got)
    enable(w.home)
    send(w.juliet, w.garden.jid)
    got, _ = fence(w.juliet, w.home)
    assert len(copies(got, "received")) == 1


def test_to_ones_bare_jid(w):
    a = w.home.iq("set", "<enable xmlns='%s'/>" % NS.CARBONS, to=w.home.bare)
    assert a.get("type") == "result"


def test_repeated_requests(w):
    """9.1: no errors, and one copy."""
    for _ in range(3):
        enable(w.home)
    send(w.juliet, w.garden.jid)
    got, _ = fence(w.juliet, w.home)
    assert len(copies(got)) == 1
    for _ in range(3):
        a = w.home.iq("set", "<disable xmlns='%s'/>" % NS.CARBONS)
        assert a.get("type") == "result"
    send(w.juliet, w.garden.jid)
    got, _ = fence(w.juliet, w.home)
    assert not copies(got)


@pytest.mark.parametrize("word", ["enable", "disable"])
def test_for_somebody_else(w, word):
    """5.1, 6.1: refused; the same for everybody (S-16)."""
    for to in (w.home.bare, "nobody@meerkat.test"):
        a = w.juliet.iq("set", "<%s xmlns='%s'/>" % (word, NS.CARBONS), to=to)
        assert a.get("type") == "error", to_str(a)
        assert name(child(a, "error")[0]) in ("not-allowed", "service-unavailable", "forbidden")
    send(w.juliet, w.garden.jid)
    got, _ = fence(w.juliet, w.home)
    assert len(copies(got)) == 1


def test_get_is_no_request(w):
    a = w.home.iq("get", "<enable xmlns='%s'/>" % NS.CARBONS)
    assert a.get("type") == "error"


def test_unknown_word(w):
    a = w.home.iq("set", "<enhance xmlns='%s'/>" % NS.CARBONS)
    assert a.get("type") == "error"


def test_bind2(w, connect, account):
    """XEP-0386 4.2: from the first moment, without an answer."""
    c = connect(None)
    c.account, c.domain = w.romeo, w.romeo.domain
    c.start()
    inline = child(child(c.features, "authentication", NS.SASL2), "inline", NS.SASL2)
    bind = child(child(inline, "bind", NS.BIND2), "inline", NS.BIND2)
    assert NS.CARBONS in [f.get("var") for f in children(bind, "feature")]
    success = c.sasl2("SCRAM-SHA-1", inline="<bind xmlns='%s'><enable xmlns='%s'/></bind>" % (
        NS.BIND2, NS.CARBONS))
    assert child(child(success, "bound", NS.BIND2), None, NS.CARBONS) is None
    c.jid = text(success, "authorization-identifier", NS.SASL2)
    c.recv()
    send(w.juliet, w.home.jid)
    got, _ = fence(w.juliet, c)
    assert len(copies(got, "received")) == 1


# ---- 7: receiving ------------------------------------------------------------------


def test_received(w):
    """Examples 9 and 10."""
    send(w.juliet, w.garden.jid, "<body>What man art thou</body><thread>0e31</thread>",
         more=" xml:lang='en'")
    got, _ = fence(w.juliet, w.garden)
    m, = messages(got)
    assert m.get("from") == w.juliet.jid and not copies([m])
    got, _ = fence(w.juliet, w.home)
    m, = messages(got)
    assert m.get("from") == w.home.bare
    assert m.get("to") == w.home.jid
    assert m.get("type") == "chat"
    inner, = copies([m], "received")
    assert inner.get("from") == w.juliet.jid
    assert inner.get("to") == w.garden.jid
    assert inner.get("type") == "chat" and inner.get("id") == "m1"
    assert inner.get("{%s}lang" % NS.XML) == "en"
    assert text(inner, "body", NS.CLIENT) == "What man art thou"
    assert text(inner, "thread", NS.CLIENT) == "0e31"
    got, _ = fence(w.juliet, w.old)
    assert not messages(got)


def test_bare_jid_reaches_all_and_is_not_copied(w):
    """7: not to those that got it by RFC 6121."""
    send(w.juliet, w.home.bare)
    for c in (w.home, w.garden, w.old):
        got, _ = fence(w.juliet, c)
        m, = messages(got)
        assert m.get("to") == c.bare and not copies([m])


def test_bare_jid_with_a_resource_that_gets_none(w, connect):
    """A negative priority, or no presence: a copy instead."""
    low = enable(connect(w.romeo, "low", presence="<priority>-1</priority>"))
    quiet = enable(connect(w.romeo, "quiet"))
    low.barrier()
    send(w.juliet, w.home.bare)
    for c in (low, quiet):
        got, _ = fence(w.juliet, c)
        inner, = copies(got, "received")
        assert inner.get("to") == w.home.bare
    got, _ = fence(w.juliet, w.home)
    assert len(messages(got)) == 1 and not copies(got)


def test_a_copy_does_not_keep_the_message_from_the_store(account, connect):
    """Nobody took it: a copy is not the message (XEP-0160)."""
    romeo, juliet = account(), connect(account(), presence="")
    low = enable(connect(romeo, "low", presence="<priority>-1</priority>"))
    send(juliet, romeo.jid)
    got, back = fence(juliet, low)
    assert len(copies(got, "received")) == 1
    assert not messages(back)
    c = connect(romeo, presence="")
    m = c.until(lambda e: name(e) == "message")
    assert text(m, "body") == BODY[6:-7]


def test_not_back_to_the_sender(w):
    """From one of one's own clients to another."""
    send(w.home, w.garden.jid)
    got, back = fence(w.home, w.garden)
    assert len(messages(got)) == 1 and not copies(got)
    assert not messages(back)
    third = w.old
    enable(third)
    send(w.home, w.garden.jid)
    got, _ = fence(w.home, third)
    assert len(copies(got)) == 1


def test_to_oneself(w):
    """To one's own bare JID: each client gets it once."""
    for c in (w.home, w.garden, w.old):
        c.barrier()
    send(w.home, w.home.bare)
    for c in (w.garden, w.old):
        got, _ = fence(w.home, c)
        assert len(messages(got)) == 1, [to_str(g) for g in got]


@pytest.mark.parametrize("to", ["balcony", "bare", "other"])
def test_conversation_in_one_account_of_two_domains(w, to, server, connect):
    other = connect(server.account(domain=server.other), presence="")
    send(other, w.home.jid)
    got, _ = fence(other, w.garden)
    assert len(copies(got, "received")) == 1
    send(w.home, other.jid)
    got, _ = fence(w.home, w.garden)
    assert len(copies(got, "sent")) == 1


# ---- 8: sending ---------------------------------------------------------------------


@pytest.mark.parametrize("wants", [True, False])
def test_sent(w, wants):
    """Examples 12 and 13, whether the sender has carbons or not."""
    sender, to = (w.home, w.juliet.jid) if wants else (w.old, w.juliet.bare)
    send(sender, to, BODY + "<thread>0e31</thread>")
    got, _ = fence(sender, w.juliet)
    m, = messages(got)
    assert m.get("from") == sender.jid and not copies([m])
    got, back = fence(sender, w.garden)
    assert not messages(back)
    m, = messages(got)
    assert m.get("from") == w.garden.bare and m.get("to") == w.garden.jid
    assert m.get("type") == "chat"
    inner, = copies([m], "sent")
    assert inner.get("from") == sender.jid and inner.get("to") == to
    assert text(inner, "body", NS.CLIENT) == BODY[6:-7]
    assert text(inner, "thread", NS.CLIENT) == "0e31"


def test_sent_to_nobody(w):
    """The copy tells what was sent, not that it arrived."""
    send(w.home, "nobody@meerkat.test")
    send(w.home, "somebody@elsewhere.test")
    got, _ = fence(w.home, w.garden)
    assert [c.get("to") for c in copies(got, "sent")] == [
        "nobody@meerkat.test", "somebody@elsewhere.test"]


def test_order(w):
    for k in range(50):
        send(w.home, w.juliet.jid, "<body>%d</body>" % k, id_="o%d" % k)
    got, _ = fence(w.home, w.garden)
    assert [text(c, "body") for c in copies(got)] == [str(k) for k in range(50)]


# ---- 6.1: what is copied -------------------------------------------------------------

INVITE = "<x xmlns='%s'><invite from='crone1@shakespeare.lit/desktop'/></x>" % MUC
RULES = [
    # copied, type, payload
    (True, "chat", BODY),
    (True, "chat", "<x xmlns='mk:unknown'/>"),
    (True, "chat", "<composing xmlns='%s'/>" % STATES),
    (True, "normal", BODY),
    (True, None, BODY),
    (True, "unheard-of", BODY),
    (False, "normal", "<x xmlns='mk:unknown'/>"),
    (False, None, "<subject>x</subject>"),
    (True, None, "<received xmlns='urn:xmpp:receipts' id='1'/>"),
    (True, None, "<request xmlns='urn:xmpp:receipts'/>"),
    (True, "normal", "<active xmlns='%s'/>" % STATES),
    (True, None, "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>"),
    (False, "groupchat", BODY),
    (False, "groupchat", "<composing xmlns='%s'/>" % STATES),
    (False, "headline", BODY),
    (True, None, "<x xmlns='jabber:x:conference' jid='darkcave@macbeth.shakespeare.lit'/>"),
    (True, "normal", INVITE),
    (False, "chat", BODY + "<private xmlns='%s'/>" % NS.CARBONS),
    (False, "chat", BODY + "<no-copy xmlns='%s'/>" % HINTS),
    (False, "chat", BODY + "<private xmlns='%s'/><no-copy xmlns='%s'/>" % (NS.CARBONS, HINTS)),
    (False, "normal", INVITE + "<private xmlns='%s'/>" % NS.CARBONS),
]


@pytest.mark.parametrize("way", ["sent", "received"])
@pytest.mark.parametrize("copied,type_,payload", RULES, ids=range(len(RULES)))
def test_rules(w, way, copied, type_, payload):
    a, b = (w.home, w.juliet) if way == "sent" else (w.juliet, w.home)
    send(a, b.jid, payload, type_)
    got, _ = fence(a, w.garden)
    assert len(copies(got, way)) == int(copied)
    assert len(messages(got)) == int(copied)
    got, _ = fence(a, b)
    assert len(messages(got)) == 1
    if copied and type_ in ("chat", "normal"):
        assert not copies(got)


def test_private_message_of_a_room(w):
    """6.1: from a participant (a full JID, <x/> of muc#user): the room sends it to
    each client itself. To a participant: copied."""
    muc = "<x xmlns='%s'/>" % MUC
    send(w.juliet, w.home.jid, BODY + muc)
    got, _ = fence(w.juliet, w.garden)
    assert not copies(got)
    send(w.home, w.juliet.jid, BODY + muc)
    got, _ = fence(w.home, w.garden)
    assert len(copies(got, "sent")) == 1


def test_private_stays_in_the_message(w):
    """9, examples 14 and 15."""
    send(w.home, w.juliet.jid, BODY + "<private xmlns='%s'/><no-copy xmlns='%s'/>" % (
        NS.CARBONS, HINTS))
    got, _ = fence(w.home, w.juliet)
    m, = messages(got)
    assert child(m, "private", NS.CARBONS) is not None
    assert child(m, "no-copy", HINTS) is not None
    got, _ = fence(w.home, w.garden)
    assert not messages(got)


def test_private_to_a_bare_jid(w):
    """9, note: RFC 6121 goes on."""
    send(w.juliet, w.home.bare, BODY + "<private xmlns='%s'/>" % NS.CARBONS)
    for c in (w.home, w.garden, w.old):
        got, _ = fence(w.juliet, c)
        assert len(messages(got)) == 1


@pytest.mark.parametrize("payload,copied", [
    (BODY, True), (BODY + "<private xmlns='%s'/>" % NS.CARBONS, False)])
def test_error_that_comes_back(w, payload, copied):
    """6.1: copied if what it answers was, though it need not quote that."""
    send(w.home, w.juliet.jid, payload, id_="e1")
    fence(w.home, w.garden)
    send(w.juliet, w.home.jid, DISLIKE, "error", id_="e1")
    got, _ = fence(w.juliet, w.garden)
    assert len(copies(got, "received")) == int(copied)
    got, _ = fence(w.juliet, w.home)
    assert [m.get("type") for m in messages(got)] == ["error"]


def test_error_of_the_server(w):
    """The sender's other clients learn that it was not delivered."""
    send(w.home, w.juliet.bare + "/nowhere", BODY, "normal", id_="e2")
    assert w.home.until(lambda e: name(e) == "message").get("type") == "error"
    got, _ = fence(w.home, w.garden)
    assert [c.get("type") for c in copies(got)] == [None, "error"] or \
        [c.get("type") for c in copies(got)] == ["normal", "error"]


def test_error_to_nothing(w):
    send(w.juliet, w.home.jid, DISLIKE, "error", id_="never-sent")
    got, _ = fence(w.juliet, w.garden)
    assert not messages(got)


def test_error_that_is_sent(w):
    send(w.juliet, w.home.jid, id_="e3")
    fence(w.juliet, w.garden)
    send(w.home, w.juliet.jid, DISLIKE, "error", id_="e3")
    got, _ = fence(w.home, w.garden)
    assert [c.get("type") for c in copies(got, "sent")] == ["error"]
    send(w.home, w.juliet.jid, DISLIKE, "error", id_="e4")
    got, _ = fence(w.home, w.garden)
    assert not messages(got)


# ---- 9.3: errors about copies --------------------------------------------------------


def test_bounced_copy_does_not_reach_the_sender(w):
    send(w.juliet, w.home.jid, id_="c1")
    m = w.garden.until(lambda e: name(e) == "message")
    w.garden.send("<message type='error' to='%s' id='c1'>%s</message>" % (m.get("from"), DISLIKE))
    w.garden.barrier()
    for c in (w.juliet, w.home):
        assert not [e for e in messages(c.barrier()) if e.get("type") == "error"]


# ---- forged copies, 11 -----------------------------------------------------------------


@pytest.mark.parametrize("word", ["sent", "received"])
def test_impersonation(w, word):
    """Example 11."""
    forged = ("<%s xmlns='%s'><forwarded xmlns='%s'><message xmlns='jabber:client' from='%s' "
              "to='%s' type='chat'><body>meet me</body></message></forwarded></%s>" % (
                  word, NS.CARBONS, NS.FORWARD, "boss@meerkat.test/x", w.home.bare, word))
    for to in (w.home.bare, w.home.jid, w.home.bare + "/nowhere"):
        send(w.juliet, to, forged, id_="f1")
        m = w.juliet.expect("message", type_="error", id="f1")
        assert child(child(m, "error"), "not-allowed", NS.STANZAS) is not None
        assert m.get("from") == to
    got, _ = fence(w.juliet, w.home)
    assert not messages(got)


# ---- with resumption --------------------------------------------------------------------


def test_copies_wait_for_a_lost_client(w, server):
    c = SmClient(server, w.romeo)
    c.login("phone", presence="")
    enable(c)
    c.enable()
    c.barrier()
    c.reset()
    send(w.juliet, w.home.jid, id_="r1")
    w.juliet.barrier()
    c2 = SmClient(server, w.romeo)
    c2.authenticate()
    assert name(c2.resume_of(c)) == "resumed"
    m = c2.until(lambda e: name(e) == "message")
    assert copies([m], "received")[0].get("id") == "r1"
    # What it asked for once is still so.
    send(w.juliet, w.home.jid, id_="r2")
    m = c2.until(lambda e: name(e) == "message")
    assert copies([m], "received")[0].get("id") == "r2"
    c2.kill()


def test_copies_of_an_ended_session_go_nowhere(w, server):
    """Not to the account's other clients, which had theirs."""
    c = SmClient(server, w.romeo)
    c.login("phone", presence="")
    enable(c)
    c.enable()
    c.answers = False
    for other in (w.home, w.garden):
        other.barrier()
    send(w.juliet, w.home.jid, id_="r1")
    c.until(lambda e: name(e) == "message")
    c.close()
    got, _ = fence(w.juliet, w.garden)
    assert len(messages(got)) == 1
    got, back = fence(w.juliet, w.home)
    assert len(messages(got)) == 1 and not messages(back)
