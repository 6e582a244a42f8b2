"""RFC 6121 4: exchanging presence information."""

import glob
import sqlite3

import pytest

from mk import NS, child, name, settled, text, to_str


def befriend(a, b):
    """Both interested and available; afterwards each is subscribed to the other."""
    for x in (a, b):
        x.roster()
        x.available()
    subscribe(a, b)
    subscribe(b, a)
    settled(a, b)


def subscribe(a, b):
    """b lets a see its presence."""
    a.send("<presence type='subscribe' to='%s'/>" % b.bare)
    b.until(lambda e: e.get("type") == "subscribe" and e.get("from") == a.bare)
    b.send("<presence type='subscribed' to='%s'/>" % a.bare)
    a.until(lambda e: name(e) == "presence" and e.get("from") == b.jid)


def presences(got):
    return [(p.get("from"), p.get("type")) for p in got if name(p) == "presence"]


def edit(server, statement, *values):
    """Changes a row of a stopped server's database."""
    if server.config["storage"]["default"] != "sqlite":
        pytest.skip("changes the database itself")
    (path,) = glob.glob(server.path("data", "*.db"))
    db = sqlite3.connect(path)
    with db:
        assert db.execute(statement, values).rowcount == 1
    db.close()


@pytest.fixture
def friends(account, connect):
    """Two accounts that are subscribed to each other, nobody online."""
    a, b = account(), account()
    x, y = connect(a), connect(b)
    befriend(x, y)
    x.close()
    y.close()
    return a, b


# ---- 4.2: initial presence -------------------------------------------------------------

def test_initial_presence(friends, connect, account):
    """4.2.2: to contacts who are subscribed, to the user's own resources, also the sender;
    4.2.3: delivered to all the contact's available resources."""
    a, b = friends
    x, y, z = connect(a, "one"), connect(b, "one"), connect(b, "two")
    quiet, stranger = connect(b, "quiet"), connect(account())
    for c in (y, z, stranger):
        c.available()
    settled(x, y, z)
    x.send("<presence id='p1' xml:lang='it'><show>away</show><status>ciao</status>"
           "<priority>5</priority><c xmlns='mk:ext'/></presence>")
    own = x.expect("presence", from_=x.jid, id="p1")
    assert own.get("to") in (x.jid, x.bare)
    for c in (y, z):
        p = c.until(lambda e: name(e) == "presence" and e.get("from") == x.jid)
        assert p.get("type") is None and p.get("id") == "p1" and p.get("to") in (c.bare, c.jid)
        assert text(p, "show") == "away" and text(p, "status") == "ciao"
        assert text(p, "priority") == "5" and child(p, "c", "mk:ext") is not None
        assert p.get("{%s}lang" % NS.XML) == "it"
    got = settled(x, y, z, quiet, stranger)
    assert sorted(presences(got[0])) == sorted([(y.jid, None), (z.jid, None)])
    assert [presences(g) for g in got[1:]] == [[], [], [], []]


def test_a_second_resource_learns_of_the_first(account, connect):
    a = account()
    x, y = connect(a, "one"), connect(a, "two")
    x.available("<show>dnd</show>")
    y.send("<presence/>")
    got = settled(y)[0]
    assert sorted(presences(got)) == [(x.jid, None), (y.jid, None)]
    assert [text(p, "show") for p in got if p.get("from") == x.jid] == ["dnd"]
    assert presences(settled(x)[0]) == [(y.jid, None)]


def test_contacts_with_other_states_are_not_told(account, connect):
    """4.2.2: `from` and `both` only."""
    a, b = connect(account()), connect(account())
    for x in (a, b):
        x.roster()
        x.available()
    subscribe(a, b)            # a sees b; b doesn't see a
    settled(a, b)
    a.send("<presence><show>chat</show></presence>")
    assert presences(settled(a, b)[1]) == []
    b.send("<presence><show>chat</show></presence>")
    assert presences(settled(b, a)[1]) == [(b.jid, None)]


def test_initial_presence_without_asking_for_the_roster(friends, connect):
    """2.2, 4.2: they have nothing to do with each other."""
    a, b = friends
    x, y = connect(a), connect(b)
    x.available()
    y.available()
    assert (y.jid, None) in presences(settled(x)[0])
    assert (x.jid, None) in presences(settled(y)[0])


# ---- 4.3: probes ------------------------------------------------------------------------

def test_a_probe_is_answered_from_each_available_resource(friends, connect):
    """4.3.2: with the last presence of each, whole, to the resource that asks."""
    a, b = friends
    y, z = connect(b, "one"), connect(b, "two")
    connect(b, "quiet")
    y.available("<show>xa</show>")
    y.send("<presence><show>dnd</show><x xmlns='mk:ext'>&lt;&amp;'</x></presence>")
    z.available("<priority>-1</priority>")
    settled(y, z)
    x, idle = connect(a, "asks"), connect(a, "idle")
    x.available()
    got = [p for p in settled(x)[0] if name(p) == "presence"]
    assert sorted(presences(got)) == sorted([(y.jid, None), (z.jid, None)])
    p = [p for p in got if p.get("from") == y.jid][0]
    assert p.get("to") == x.jid
    assert text(p, "show") == "dnd" and text(p, "x", "mk:ext") == "<&'"
    idle.expect_nothing()


def test_a_probe_of_somebody_who_is_not_there(friends, connect):
    """4.3.2: unavailable, from the bare JID."""
    a, b = friends
    x = connect(a)
    x.available()
    assert presences(settled(x)[0]) == [(b.jid, "unavailable")]
    # Neither is one who is connected and not available.
    quiet = connect(b)
    late = connect(a)
    late.available()
    assert sorted(presences(settled(late)[0])) == sorted([(x.jid, None), (b.jid, "unavailable")])
    quiet.expect_nothing()


def test_updates_do_not_probe_again(friends, connect):
    a, b = friends
    x = connect(a)
    x.available()
    settled(x)
    x.send("<presence><show>away</show></presence>")
    assert presences(settled(x)[0]) == [(x.jid, None)]


def test_a_clients_own_probe_goes_nowhere(friends, connect):
    """4.3: servers probe for their users."""
    a, b = friends
    x, y = connect(a), connect(b)
    y.available()
    for to in ("", " to='%s'" % y.bare, " to='%s'" % y.jid, " to='nobody@meerkat.test'"):
        x.send("<presence type='probe'%s/>" % to)
    got = settled(x, y)
    assert presences(got[0]) == []
    assert ("probe" not in [t for _, t in presences(got[1])])


def test_a_probe_without_a_subscription_ends_it(make_server, connect):
    """4.3.2: `unsubscribed`, so that the other side learns of it (3.2.3). The rosters are made
    to disagree behind the server's back."""
    s = make_server()
    a, b = s.account(), s.account()
    x, y = connect(a, server=s), connect(b, server=s)
    befriend(x, y)
    x.close(), y.close()
    s.stop()
    edit(s, "delete from roster where user = ? and contact = ?", b.user, a.jid)
    s.start()
    x = connect(a, server=s)
    x.roster()
    x.available()
    p = x.until(lambda e: name(e) == "presence")
    assert (p.get("from"), p.get("to"), p.get("type")) == (b.jid, a.jid, "unsubscribed")
    settled(x)
    assert x.roster()[b.jid].get("subscription") == "from"


# ---- 4.4: updates -------------------------------------------------------------------------

def test_updates_go_to_those_who_are_subscribed_now(friends, connect):
    """4.4.2, 4.4.3"""
    a, b = friends
    x, other, y = connect(a, "one"), connect(a, "two"), connect(b)
    for c in (x, other, y):
        c.available()
    settled(x, other, y)
    x.send("<presence><show>away</show></presence>")
    for c in (x, other, y):
        p = c.expect("presence", from_=x.jid)
        assert text(p, "show") == "away"
        c.expect_nothing()
    # Cancelled: no more (3.2).
    x.roster()
    x.send("<presence type='unsubscribed' to='%s'/>" % y.bare)
    settled(x, y)
    x.send("<presence><show>xa</show></presence>")
    assert presences(settled(x, y)[1]) == []


def test_order_of_updates(friends, connect):
    a, b = friends
    x, y = connect(a), connect(b)
    y.available()
    settled(y)
    x.send("<presence id='0'/>" + "".join("<presence id='%d'/>" % k for k in range(1, 100)) +
           "<presence type='unavailable' id='100'/>")
    got = settled(x, y)[1]
    assert [p.get("id") for p in got if p.get("from") == x.jid] == [str(k) for k in range(101)]


# ---- 4.5: unavailable ------------------------------------------------------------------------

def test_unavailable(friends, connect):
    """4.5.2: to contacts and own resources, with its payload; then nothing more is told."""
    a, b = friends
    x, other, y = connect(a, "one"), connect(a, "two"), connect(b)
    for c in (x, other, y):
        c.available()
    settled(x, other, y)
    x.send("<presence type='unavailable' id='u'><status>bye</status></presence>")
    for c in (x, other, y):
        p = c.expect("presence", from_=x.jid, type="unavailable", id="u")
        assert text(p, "status") == "bye"
    y.send("<presence><show>dnd</show></presence>")
    got = settled(y, x, other)
    assert presences(got[1]) == [] and presences(got[2]) == [(y.jid, None)]
    # Twice is once; and the end of the stream is no news any more.
    x.send("<presence type='unavailable'/>")
    x.close()
    assert [presences(g) for g in settled(other, y)] == [[], []] or \
        presences(settled(y)[0]) == []


@pytest.mark.parametrize("how", ["close", "kill", "reset", "conflict", "kick"])
def test_the_server_says_it_for_who_is_lost(make_server, connect, how):
    """4.5.2: however the session ends."""
    s = make_server({"host_types": {"people": {"plugins": {"sm": None}}}})
    a, b = s.account(), s.account()
    x, other, y = (connect(a, "one", server=s), connect(a, "two", server=s), connect(b, server=s))
    befriend(x, y)
    other.available()
    settled(x, y, other)
    x.send("<presence/>")
    settled(x, y, other)
    if how == "conflict":
        connect(a, "one", server=s)
    elif how == "kick":
        s.ctl("session", "kick", x.jid)
    else:
        getattr(x, how)()
    for c in (y, other):
        p = c.until(lambda e: name(e) == "presence")
        assert (p.get("from"), p.get("type")) == (x.jid, "unavailable")
        c.expect_nothing()


def test_who_never_was_available_leaves_silently(friends, connect):
    a, b = friends
    x, y = connect(a), connect(b)
    y.available()
    settled(y)
    x.send("<presence type='unavailable'/>")
    x.close()
    y.expect_nothing()


def test_available_again(friends, connect):
    """After unavailable the next presence is initial again: probes and all."""
    a, b = friends
    x, y = connect(a), connect(b)
    y.available()
    x.available()
    settled(x, y)
    x.unavailable()
    settled(x, y)
    x.available()
    assert presences(settled(x)[0]) == [(y.jid, None)]
    assert presences(settled(y)[0]) == [(x.jid, None)]


# ---- 4.6: directed presence ------------------------------------------------------------------

def test_directed_presence_goes_as_it_is(pair):
    """4.6.3"""
    a, b = pair
    a.send("<presence to='%s' id='d'><show>chat</show><x xmlns='mk:ext'/></presence>" % b.jid)
    p = b.expect("presence", from_=a.jid, to=b.jid, id="d")
    assert text(p, "show") == "chat" and child(p, "x", "mk:ext") is not None


@pytest.mark.parametrize("initial", [True, False])
@pytest.mark.parametrize("how", ["unavailable", "close", "kill"])
@pytest.mark.parametrize("full", [True, False])
def test_the_end_is_told_to_those_who_were_told(account, connect, initial, how, full):
    """4.6.3: whether or not the user has sent initial presence."""
    a, b, c = connect(account()), connect(account()), connect(account())
    b.available()
    c.available()
    if initial:
        a.available()
    a.send("<presence to='%s'/>" % (b.jid if full else b.bare))
    assert presences(settled(a, b, c)[1]) == [(a.jid, None)]
    # Updates are not for them.
    if initial:
        a.send("<presence><show>away</show></presence>")
        assert presences(settled(a, b)[1]) == []
    if how == "unavailable":
        a.send("<presence type='unavailable'><status>x</status></presence>")
    else:
        getattr(a, how)()
    p = b.expect("presence", from_=a.jid, type="unavailable")
    assert text(p, "status") == ("x" if how == "unavailable" else None)
    assert presences(settled(b, c)[0]) == []


def test_once_unavailable_was_directed_the_end_is_not_told(account, connect):
    a, b = connect(account()), connect(account())
    b.available()
    a.available()
    a.send("<presence to='%s'/><presence to='%s' type='unavailable'/>" % (b.bare, b.bare))
    assert presences(settled(a, b)[1]) == [(a.jid, None), (a.jid, "unavailable")]
    a.close()
    assert presences(settled(b)[0]) == []


def test_a_contact_is_told_once(friends, connect):
    """4.6.3: who gets the broadcast needs no copy."""
    a, b = friends
    x, y = connect(a), connect(b)
    x.available()
    y.available()
    settled(x, y)
    x.send("<presence to='%s'/>" % y.bare)
    settled(x, y)
    x.send("<presence type='unavailable'/>")
    assert presences(settled(x, y)[1]) == [(x.jid, "unavailable")]


def test_who_got_directed_presence_may_probe(account, connect):
    """4.3.2, 4.6: not as a subscriber; here by a subscriber whose subscription is one-way, so
    that its server probes and it has got more than that."""
    a, b = connect(account(), "one"), connect(account())
    for x in (a, b):
        x.roster()
        x.available()
    subscribe(b, a)
    settled(a, b)
    a.unavailable()
    settled(a, b)
    a.send("<presence to='%s'/>" % b.bare)
    settled(a, b)
    b.unavailable()
    b.available()
    assert (a.bare, "unavailable") in presences(settled(b)[0])


def test_directed_presence_has_a_limit(make_server, connect):
    s = make_server({"host_types": {"people": {"plugins": {"presence": {"max_directed": 3}}}}})
    a, b = connect(s.account(), server=s), connect(s.account(), server=s)
    for k in range(3):
        a.send("<presence to='%s/r%d'/>" % (b.bare, k))
    a.expect_nothing()
    a.send("<presence id='over' to='%s/r3'/>" % b.bare)
    p = a.expect("presence", type="error", id="over")
    assert child(child(p, "error"), "resource-constraint") is not None
    a.send("<presence to='%s/r0'/>" % b.bare)
    a.send("<presence type='unavailable' to='%s/r1'/>" % b.bare)
    a.send("<presence to='%s/r3'/>" % b.bare)
    a.expect_nothing()


def test_directed_to_oneself(account, connect):
    a = account()
    x, y = connect(a, "one"), connect(a, "two")
    x.available()
    y.available()
    settled(x, y)
    x.send("<presence to='%s' id='s'/>" % x.bare)
    for c in (x, y):
        c.expect("presence", id="s", from_=x.jid)


# ---- errors -------------------------------------------------------------------------------------

def test_presence_errors_end_the_broadcasts(friends, connect):
    """4.2.2, 4.4.2: nobody is told again who answered with an error, in this session."""
    a, b = friends
    x, y = connect(a), connect(b)
    x.available()
    y.available()
    settled(x, y)
    error = ("<presence type='error' to='%s'><error type='cancel'><gone xmlns='%s'/></error>"
             "</presence>" % (x.jid, NS.STANZAS))
    y.send(error)
    assert presences(settled(y, x)[1]) == [(y.jid, "error")]
    x.send("<presence><show>away</show></presence>")
    assert presences(settled(x, y)[1]) == []
    # The first one is enough.
    y.send(error)
    assert presences(settled(y, x)[1]) == []
    # The client's own wish counts.
    x.send("<presence to='%s'/>" % y.bare)
    settled(x, y)
    x.send("<presence><show>dnd</show></presence>")
    assert presences(settled(x, y)[1]) == [(x.jid, None)]
    # And a new session is a new session.
    y.send(error)
    settled(y, x)
    x.close()
    assert presences(settled(y)[0]) == []
    late = connect(a)
    late.available()
    assert presences(settled(late, y)[1]) == [(late.jid, None)]


def test_contacts_whose_server_cannot_be_reached(make_server, connect):
    """4.2.2: one error in a session, and from the contact."""
    s = make_server()
    a = s.account()
    x = connect(a, server=s)
    x.roster()
    x.available()
    x.send("<presence type='subscribe' to='romeo@unreachable.example'/>")
    p = x.until(lambda e: name(e) == "presence")
    assert (p.get("from"), p.get("type")) == ("romeo@unreachable.example", "error")
    assert child(child(p, "error"), "remote-server-not-found") is not None
    x.close()
    s.stop()
    edit(s, "update roster set subscription = 3, ask = 0 where user = ?", a.user)
    s.start()
    x = connect(a, server=s)
    x.send("<presence/>")
    assert sorted(presences(settled(x)[0]), key=str) == sorted(
        [(x.jid, None), ("romeo@unreachable.example", "error")], key=str)
    x.send("<presence><show>away</show></presence>")
    assert presences(settled(x)[0]) == [(x.jid, None)]


# ---- 4.7: syntax ----------------------------------------------------------------------------------

@pytest.mark.parametrize("priority,good", [
    ("127", True), ("-128", True), ("0", True), ("-0", None), ("128", False), ("-129", False),
    ("1.0", False), ("", False), ("ten", False), ("9" * 40, False)])
def test_priority(account, connect, priority, good):
    """4.7.2.3"""
    c = connect(account())
    c.send("<presence id='p'><priority>%s</priority></presence>" % priority)
    p = c.expect("presence", id="p")
    if good is None:
        return
    assert p.get("type") == (None if good else "error")
    if not good:
        assert child(child(p, "error"), "bad-request") is not None
    c.expect_nothing()


@pytest.mark.parametrize("type_", ["available", "invisible", "", "UNAVAILABLE"])
def test_types_that_do_not_exist(friends, connect, type_):
    a, b = friends
    x, y = connect(a), connect(b)
    y.available()
    settled(y)
    x.send("<presence type='%s' id='t'/>" % type_)
    got = settled(x, y)
    assert all(t == "error" for f, t in presences(got[0]) if f != b.jid), got[0]
    y.expect_nothing()


# ---- what goes together ----------------------------------------------------------------------------

def test_storage_is_only_asked_when_it_must(make_server, connect):
    """Metrics tell how often presence was told, and that the plugin has none to tell twice."""
    s = make_server()
    c = connect(s.account(), server=s)
    c.available()
    for _ in range(10):
        c.send("<presence/>")
    c.unavailable()
    out = s.ctl("metrics").stdout
    assert 'meerkat_presence_broadcasts_total{type="people"} 12' in out


def test_storage_that_fails(make_server, connect):
    """An error to try again later; nobody's subscription ends, and nothing is half done."""
    s = make_server()
    if s.config["storage"]["default"] != "sqlite":
        pytest.skip("takes a table away")
    a, b = s.account(), s.account()
    x, y = connect(a, server=s), connect(b, server=s)
    befriend(x, y)
    x.close()
    assert y.until(lambda e: e.get("type") == "unavailable").get("from") == x.jid
    y.close()
    (path,) = glob.glob(s.path("data", "*.db"))
    db = sqlite3.connect(path, timeout=10)
    db.execute("alter table roster rename to away")
    x = connect(a, server=s)
    answer = x.iq("get", "<query xmlns='jabber:iq:roster'/>")
    assert answer.get("type") == "error" and child(answer, "error").get("type") == "wait"
    assert child(child(answer, "error"), "internal-server-error") is not None
    x.send("<presence id='p'/>")
    p = x.expect("presence", id="p", type="error")
    assert child(child(p, "error"), "internal-server-error") is not None
    x.send("<presence type='subscribe' id='s' to='other@meerkat.test'/>")
    x.expect("presence", id="s", type="error")
    x.send("<presence type='unsubscribe' to='%s'/>" % b.jid)
    x.barrier()
    db.execute("alter table away rename to roster")
    db.close()
    x.available()
    assert presences(settled(x)[0]) == [(b.jid, "unavailable")]
    assert {j: i.get("subscription") for j, i in x.roster().items()} == {b.jid: "both"}
    assert not [e for e in x.barrier() if e.get("type") == "unsubscribed"]


def test_reloading_the_roster_keeps_presence_going(make_server, connect):
    """What is in memory goes with the plugin; it is loaded again when it is needed."""
    s = make_server()
    a, b = s.account(), s.account()
    x, y = connect(a, server=s), connect(b, server=s)
    befriend(x, y)
    p = s.ctl("plugin", "reload", "roster", check=False)
    if p.returncode != 0:
        pytest.skip("plugins that others need can't be reloaded: " + p.stderr)
    settled(x, y)
    x.kill()
    assert y.until(lambda e: e.get("type") == "unavailable").get("from") == x.jid


def test_many_contacts(make_server, connect):
    s = make_server()
    a = s.account()
    hub = connect(a, server=s)
    hub.roster()
    hub.available()
    others = [connect(s.account(), server=s) for _ in range(30)]
    for c in others:
        c.roster()
        c.available()
        c.send("<presence type='subscribe' to='%s'/>" % hub.bare)
        hub.until(lambda e: e.get("type") == "subscribe")
        hub.send("<presence type='subscribed' to='%s'/>" % c.bare)
        c.until(lambda e: name(e) == "presence" and e.get("from") == hub.jid)
    hub.send("<presence><show>away</show></presence>")
    for c in others:
        p = c.until(lambda e: name(e) == "presence" and child(e, "show") is not None)
        assert p.get("from") == hub.jid and p.get("to") in (c.bare, c.jid)
    hub.kill()
    for c in others:
        assert c.until(lambda e: e.get("type") == "unavailable").get("from") == hub.jid
