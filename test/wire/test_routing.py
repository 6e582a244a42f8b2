"""RFC 6121 8.5: who gets a stanza for a local user. Its table 1, row by row, and
the same for presence and IQs.

An outcome is a letter of the table: A all resources, D the matching one, M the
most available one (or all of them), O offline storage, E an error, S silence
(or an error: 8.5.2.1.1, 8.5.3.2.1 leave that to the server). A resource with a
negative priority never gets what is for the bare JID.
"""

import itertools

import pytest

from mk import NS, child, children, fence, name, to_str

_n = itertools.count(1)

# The recipient's resources: name -> priority (None: bound, but not available).
SITUATIONS = {
    "no account": None,
    "no session": {},
    "nobody available": {"quiet": None},
    "one negative": {"low": -1},
    "two negative": {"low": -1, "lower": -128},
    "one": {"home": 0},
    "one and a negative": {"home": 1, "low": -5},
    "two equal": {"home": 5, "work": 5},
    "two unequal": {"home": 5, "work": 10},
}


class World:
    """The recipient in a situation, and a sender."""

    def __init__(self, situation, account, connect):
        self.sender = connect(account(), presence="")
        self.resources = SITUATIONS[situation]
        self.exists = self.resources is not None
        self.clients = {}
        if not self.exists:
            self.bare = "nobody-%d@meerkat.test" % next(_n)
            return
        self.account = account()
        self.bare = self.account.jid
        for resource, priority in self.resources.items():
            c = connect(self.account, resource)
            if priority is not None:
                c.available("<priority>%d</priority>" % priority)
            self.clients[resource] = c
        for c in self.clients.values():
            c.barrier()
        self.connect = connect

    def nonnegative(self):
        return {r for r, p in (self.resources or {}).items() if p is not None and p >= 0}

    def available(self):
        return {r for r, p in (self.resources or {}).items() if p is not None}

    def send(self, stanza, to, type_=None, payload="", id_=None):
        """(who got it, the error's condition or None)"""
        id_ = id_ or "r%d" % next(_n)
        self.id = id_
        self.sender.send("<%s%s id='%s' to='%s'>%s</%s>" % (
            stanza, " type='%s'" % type_ if type_ else "", id_, to, payload, stanza))
        got = set()
        back = []
        if self.clients:
            for resource, c in self.clients.items():
                to_c, to_sender = fence(self.sender, c)
                back += to_sender
                if [m for m in to_c if m.get("id") == id_]:
                    assert len([m for m in to_c if m.get("id") == id_]) == 1, "twice"
                    got.add(resource)
        else:
            back = self.sender.settle(self.bare)
        errors = [e for e in back if e.get("id") == id_]
        assert len(errors) <= 1
        if not errors:
            return got, None
        assert errors[0].get("type") == "error", to_str(errors[0])
        assert errors[0].get("from") == to, to_str(errors[0])
        return got, name(child(errors[0], "error")[0])

    def was_stored(self):
        """Whether the last message waits for a new resource. A marker is stored behind it, so
        that its absence can be seen. (Nobody else there may take the marker.)"""
        marker = self.sender.message(self.bare, "marker")
        self.sender.settle(self.bare)
        c = self.connect(self.account, "later")
        c.available(wait=False)
        seen = []
        while marker not in seen:
            seen.append(c.until(lambda e: name(e) == "message").get("id"))
        return self.id in seen


MESSAGES = {
    # situation: {kind of address: normal, chat, groupchat, headline}
    "no account": {"bare": "SSES", "no match": "SSSS"},
    "no session": {"bare": "OOES", "no match": "SOSS"},
    "nobody available": {"bare": "OOES", "match": "DDDD", "no match": "SOSS"},
    "one negative": {"bare": "OOES", "match": "DDDD", "no match": "SOSS"},
    "two negative": {"bare": "OOES", "match": "DDDD", "no match": "SOSS"},
    "one": {"bare": "DDED", "match": "DDDD", "no match": "SDSS"},
    "one and a negative": {"bare": "DDED", "match": "DDDD", "no match": "SDSS"},
    "two equal": {"bare": "MMEA", "match": "DDDD", "no match": "SMSS"},
    "two unequal": {"bare": "MMEA", "match": "DDDD", "no match": "SMSS"},
}
ROWS = [(situation, address, type_, outcome)
        for situation, addresses in MESSAGES.items()
        for address, outcomes in addresses.items()
        for type_, outcome in zip(("normal", "chat", "groupchat", "headline"), outcomes)]


@pytest.mark.parametrize("situation,address,type_,outcome", ROWS,
                         ids=["-".join(r[:3]).replace(" ", "_") for r in ROWS])
def test_message(account, connect, situation, address, type_, outcome):
    w = World(situation, account, connect)
    target = None
    to = w.bare
    if address == "match":
        target = next(iter(w.resources))
        to += "/" + target
    elif address == "no match":
        to += "/nobody-is-here"
    got, error = w.send("message", to, type_, "<body>x</body>")
    able = w.nonnegative()
    if outcome == "D":
        assert got == ({target} if target else able) and error is None, (got, error)
    elif outcome == "A":
        assert got == able and error is None, (got, error)
    elif outcome == "M":
        assert got and got <= able and error is None, (got, error)
        best = max(p for p in w.resources.values() if p is not None)
        if type_ == "normal" or got != able:
            assert any(w.resources[r] == best for r in got), got
    elif outcome == "E":
        assert not got and error == "service-unavailable", (got, error)
    elif outcome == "S":
        assert not got and error in (None, "service-unavailable"), (got, error)
    else:
        assert not got and error is None, (got, error)
        assert w.was_stored()
    if outcome in "ES" and w.exists and not able:
        assert not w.was_stored()


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("address", ["bare", "full"])
def test_message_of_type_error(account, connect, situation, address):
    """8.5.2.1.1, 8.5.3.2.1: an error nobody waits for is dropped; a resource that
    matches gets it."""
    w = World(situation, account, connect)
    match = address == "full" and bool(w.resources)
    to = w.bare + ("" if address == "bare" else "/" + next(iter(w.resources or ["x"])))
    got, error = w.send("message", to, "error", "<error type='cancel'><gone "
                        "xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>")
    assert error is None
    assert got == ({next(iter(w.resources))} if match else set())


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("type_", [None, "unavailable"])
def test_directed_presence_to_a_bare_jid(account, connect, situation, type_):
    """8.5.2.1.2 and its relatives: to all available resources; else silence."""
    w = World(situation, account, connect)
    if type_ == "unavailable" and w.clients:
        w.send("presence", w.bare)
    got, error = w.send("presence", w.bare, type_)
    assert error is None
    assert got == w.available()


@pytest.mark.parametrize("situation", SITUATIONS)
def test_directed_presence_to_a_full_jid(account, connect, situation):
    """8.5.3.1: to the one that matches; 8.5.3.2.2: else silence."""
    w = World(situation, account, connect)
    for resource in list(w.resources or []):
        got, error = w.send("presence", w.bare + "/" + resource)
        assert got == {resource} and error is None
    got, error = w.send("presence", w.bare + "/nobody-is-here")
    assert not got and error is None


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("type_", ["get", "set"])
def test_iq_to_a_bare_jid(account, connect, situation, type_):
    """8.5.2.1.3: the server answers for the user, and no resource sees it."""
    w = World(situation, account, connect)
    got, error = w.send("iq", w.bare, type_, "<query xmlns='mk:unknown'/>")
    assert not got and error == "service-unavailable"


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("type_", ["get", "set"])
def test_iq_to_a_full_jid(account, connect, situation, type_):
    """8.5.3.1: to the one that matches, whatever its priority; 8.5.3.2.3: else an error."""
    w = World(situation, account, connect)
    for resource in list(w.resources or []):
        got, error = w.send("iq", w.bare + "/" + resource, type_, "<query xmlns='mk:unknown'/>")
        assert got == {resource} and error is None
    got, error = w.send("iq", w.bare + "/nobody-is-here", type_, "<query xmlns='mk:unknown'/>")
    assert not got and error == "service-unavailable"


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("type_", ["result", "error"])
def test_answers_to_nobody(account, connect, situation, type_):
    w = World(situation, account, connect)
    for to in (w.bare, w.bare + "/nobody-is-here"):
        got, error = w.send("iq", to, type_)
        assert not got and error is None
    for resource in list(w.resources or []):
        got, error = w.send("iq", w.bare + "/" + resource, type_)
        assert got == {resource} and error is None


@pytest.mark.parametrize("situation", ["no account", "no session", "one", "two equal"])
def test_probe_of_a_stranger(account, connect, situation):
    """RFC 6121 4.3.2: without a subscription nothing is told (or `unsubscribed`,
    which a missing user gets as well)."""
    w = World(situation, account, connect)
    w.sender.send("<presence type='probe' to='%s'/>" % w.bare)
    got = [p for p in w.sender.settle(w.bare) if name(p) == "presence"]
    assert [p.get("type") for p in got] in ([], ["unsubscribed"]), [to_str(p) for p in got]
    for c in w.clients.values():
        c.expect_nothing()


# ---- the sender's own account and the server ---------------------------------

def test_message_without_to(account, connect):
    """RFC 6120 10.3.1: as if for the sender's own bare JID."""
    c = connect(account(), presence="")
    c.send("<message type='chat' id='me'><body>x</body></message>")
    m = c.expect("message", id="me")
    assert m.get("from") == c.jid


def test_message_to_ones_own_full_jid(account, connect):
    c = connect(account())
    c.send("<message type='chat' id='me' to='%s'><body>x</body></message>" % c.jid)
    assert c.expect("message", id="me").get("to") == c.jid


def test_iq_without_to_is_for_the_account(account, connect):
    c = connect(account())
    a = c.iq("get", "<query xmlns='jabber:iq:roster'/>")
    assert a.get("type") == "result"
    # RFC 6120 8.1.2.1: from the account (or with no from at all, which means the same)
    assert a.get("from") in (None, c.bare)


@pytest.mark.parametrize("type_", ["chat", "normal", "headline"])
def test_message_to_the_server(account, connect, type_):
    c = connect(account())
    c.send("<message type='%s' id='s' to='meerkat.test'><body>x</body></message>" % type_)
    for el in c.barrier():
        assert el.get("type") == "error" and el.get("id") == "s", to_str(el)


def test_message_to_a_resource_of_the_server(account, connect):
    """RFC 6120 10.5.2: handled, or an error; presence is of no use to it."""
    a = connect(account(), presence="")
    for type_ in ("chat", "normal", "headline", "groupchat"):
        a.send("<message to='meerkat.test/res' type='%s' id='h'><body>x</body></message>" % type_)
        e = a.expect("message", type="error", id="h")
        assert e.get("from") == "meerkat.test/res"
        assert child(child(e, "error"), "service-unavailable", NS.STANZAS) is not None
    a.send("<presence to='meerkat.test/res'/>")
    assert a.iq("get", "<ping xmlns='urn:xmpp:ping'/>", to="meerkat.test/res").get("type") == "error"


def test_to_of_another_domain_of_ours(account, connect, server):
    a = connect(account(), presence="")
    for domain in (server.other, server.strange):
        b = connect(account(domain=domain), presence="")
        a.message(b.jid, "over")
        assert b.expect("message").get("from") == a.jid
        b.message(a.bare, "and back")
        assert a.expect("message").get("from") == b.jid


def test_jid_is_prepared_before_it_is_looked_up(account, connect):
    """RFC 6122: case folded in node and domain, kept in the resource."""
    a, b = connect(account()), connect(account(), "Res", presence="")
    user = b.bare.split("@")[0]
    a.message("%s@MEERKAT.test/Res" % user.upper(), "x")
    b.expect("message")
    a.message("%s@MEERKAT.test/res" % user.upper(), "x", type_="headline")
    got, _ = fence(a, b)
    assert not got


def test_priority_changes_who_gets_it(account, connect):
    r = account()
    a = connect(account())
    x, y = connect(r, "x"), connect(r, "y")
    x.available("<priority>1</priority>")
    y.available("<priority>2</priority>")
    x.barrier()
    a.message(r.jid, "1")
    y.until(lambda e: name(e) == "message")
    y.available("<priority>-1</priority>")
    a.message(r.jid, "2")
    m = x.until(lambda e: name(e) == "message" and child(e, "body").text == "2")
    assert m.get("from") == a.jid
    got, _ = fence(a, y)
    assert "2" not in [child(e, "body").text for e in got if child(e, "body") is not None]


@pytest.mark.parametrize("priority", ["-129", "128", "x", "", "1.5", "99999999999"])
def test_priority_that_is_none(account, connect, priority):
    """RFC 6121 4.7.2.3: bad-request, or as 0; no harm in either."""
    c = connect(account())
    c.send("<presence id='p'><priority>%s</priority></presence>" % priority)
    for el in c.barrier():
        assert name(el) == "presence"
    c.ping()


def test_order_between_two(pair):
    """RFC 6120 10.1: in order, whatever the kind."""
    a, b = pair
    for i in range(200):
        kind = i % 3
        if kind == 0:
            a.send("<message to='%s' id='o%d' type='chat'><body>x</body></message>" % (b.jid, i))
        elif kind == 1:
            a.send("<presence to='%s' id='o%d'/>" % (b.jid, i))
        else:
            a.send("<iq type='get' to='%s' id='o%d'><q xmlns='mk:q'/></iq>" % (b.jid, i))
    got, _ = fence(a, b)
    assert [g.get("id") for g in got] == ["o%d" % i for i in range(200)]


def test_offline_message_carries_a_delay(account, connect):
    """XEP-0160, XEP-0203."""
    r = account()
    a = connect(account())
    a.message(r.jid, "later", id_="off1")
    a.settle(r.jid)
    b = connect(r)
    b.available(wait=False)
    m = b.until(lambda e: name(e) == "message")
    assert m.get("id") == "off1" and m.get("from") == a.jid
    delays = children(m, "delay", NS.DELAY)
    assert len(delays) == 1 and delays[0].get("stamp").endswith("Z")
    # Once delivered they are gone: the next to come is another.
    b.close()
    a.message(r.jid, "even later", id_="off2")
    a.settle(r.jid)
    c = connect(r)
    c.available(wait=False)
    assert c.until(lambda e: name(e) == "message").get("id") == "off2"
