"""RFC 6121 3: managing presence subscriptions. Every cell of the tables of Appendix A is in
test_subscription_table.py; here are the stories."""

import time

import pytest

from mk import NS, child, name, settled, text, to_str


def kinds(got):
    """What came, in order: presence by (from, type), pushes by (jid, subscription, ask)."""
    out = []
    for el in got:
        if name(el) == "presence":
            out.append((el.get("from"), el.get("type")))
        elif child(el, "query", NS.ROSTER) is not None:
            item = child(el, "query", NS.ROSTER)[0]
            out.append((item.get("jid"), item.get("subscription"), item.get("ask")))
    return out


def send(c, type_, to, payload="", id_=None):
    c.send("<presence type='%s' to='%s'%s>%s</presence>" % (
        type_, to, " id='%s'" % id_ if id_ else "", payload))


def wait_metric(server, line, timeout=30):
    """The recipient is not there to tell that the server is done."""
    deadline = time.monotonic() + timeout
    while line not in server.ctl("metrics").stdout.splitlines():
        assert time.monotonic() < deadline, line
        time.sleep(0.02)


@pytest.fixture
def ready(account, connect):
    """Logs an account in: interested and available."""
    def make(a=None, resource=None, **kw):
        c = connect(a or account(), resource, **kw)
        c.roster()
        c.available()
        c.barrier()
        return c
    return make


def remove(c, jid):
    a = c.iq("set", "<query xmlns='jabber:iq:roster'><item jid='%s' subscription='remove'/></query>"
             % jid)
    assert a.get("type") == "result", to_str(a)


# ---- 3.1: requesting -----------------------------------------------------------------

def test_the_feature_of_pre_approval_is_announced(account, connect):
    """3.4.1"""
    c = connect(account())
    assert child(c.features, "sub", "urn:xmpp:features:pre-approval") is not None


def test_a_subscription_from_beginning_to_end(account, ready, connect):
    """3.1.1 to 3.1.6, and that it is stamped with bare JIDs whatever the client wrote."""
    juliet = account()
    romeo, r2 = ready(), None
    r2 = ready(romeo.account)
    settled(romeo)
    balcony, chamber = ready(juliet), ready(juliet)
    settled(balcony)
    send(romeo, "subscribe", balcony.jid, "<status>Hi</status><nick xmlns='mk:nick'>R</nick>", "xk3h1v69")
    got = settled(romeo, r2, balcony, chamber)
    for g in got[:2]:
        assert kinds(g) == [(juliet.jid, "none", "subscribe")]
    for g in got[2:]:
        (p,) = g
        assert p.get("from") == romeo.bare and p.get("to") == juliet.jid
        assert p.get("type") == "subscribe" and p.get("id") == "xk3h1v69"
        assert text(p, "status") == "Hi" and text(p, "nick", "mk:nick") == "R"
    send(balcony, "subscribed", romeo.jid, id_="h4v1c4kj")
    got = settled(balcony, chamber, romeo, r2)
    for g in got[:2]:
        assert kinds(g) == [(romeo.bare, "from", None)]
    for g in got[2:]:
        k = kinds(g)
        assert k[:2] == [(juliet.jid, "subscribed"), (juliet.jid, "to", None)]
        assert sorted(k[2:]) == sorted([(balcony.jid, None), (chamber.jid, None)])
        assert g[0].get("id") == "h4v1c4kj" and g[0].get("to") == romeo.bare


def test_a_request_to_nobody(ready):
    """3.1.3: there is no such user."""
    c = ready()
    send(c, "subscribe", "nobody-at-all@meerkat.test")
    assert kinds(c.settle("nobody-at-all@meerkat.test") + settled(c)[0]) in (
        [("nobody-at-all@meerkat.test", "none", "subscribe"),
         ("nobody-at-all@meerkat.test", "unsubscribed"),
         ("nobody-at-all@meerkat.test", "none", None)],)


def test_a_request_to_another_domain_of_ours(account, ready, server):
    for domain in (server.other, server.strange):
        a, b = ready(), ready(account(domain=domain))
        send(a, "subscribe", b.bare)
        b.until(lambda e: e.get("type") == "subscribe")
        send(b, "subscribed", a.bare)
        a.until(lambda e: name(e) == "presence" and e.get("from") == b.jid)
        settled(a, b)
        assert a.roster()[b.bare].get("subscription") == "to"


def test_a_request_waits_until_it_is_answered(account, ready, connect):
    """3.1.3: the complete stanza, at each next login, for each new resource; the first one."""
    b = account()
    a = ready()
    send(a, "subscribe", b.jid, "<status>first</status><x xmlns='mk:x'>&lt;y/&gt;</x>", "one")
    send(a, "subscribe", b.jid, "<status>second</status>", "two")
    settled(a)
    for _ in range(3):
        c = connect(b)
        c.barrier()
        c.send("<presence/>")
        (p,) = [e for e in c.barrier() if e.get("type") == "subscribe"]
        assert p.get("from") == a.bare and p.get("to") == b.jid and p.get("id") == "one"
        assert text(p, "status") == "first" and text(p, "x", "mk:x") == "<y/>"
        # Once for each time it comes to be available; not for each presence.
        c.send("<presence><show>away</show></presence>")
        assert not [e for e in c.barrier() if e.get("type") == "subscribe"]
        c.close()
    one, two = ready(b), connect(b)
    two.send("<presence><priority>-1</priority></presence>")
    assert [e for e in two.barrier() if e.get("type") == "subscribe"]
    send(two, "unsubscribed", a.bare)
    assert (b.jid, "unsubscribed") in kinds(settled(two, a, one)[1])
    three = connect(b)
    three.send("<presence/>")
    assert not [e for e in three.barrier() if e.get("type") == "subscribe"]


def test_requests_survive_a_restart(make_server, connect):
    s = make_server()
    if s.config["storage"]["default"] == "memory":
        pytest.skip("nothing survives")
    a, b = s.account(), s.account()
    x = connect(a, server=s)
    send(x, "subscribe", b.jid, "<status>kept</status>")
    wait_metric(s, 'meerkat_presence_requests_total{type="people"} 1')
    x.kill()
    s.restart()
    y = connect(b, server=s)
    y.send("<presence/>")
    p = y.until(lambda e: e.get("type") == "subscribe")
    assert text(p, "status") == "kept" and p.get("from") == a.jid
    x = connect(a, server=s)
    assert x.roster()[b.jid].get("ask") == "subscribe"


def test_who_is_subscribed_is_told_so(make_server, connect):
    """3.1.3: the contact isn't bothered. The user's side has forgotten, as if restored from
    an old copy; it accepts the answer, as it asks again."""
    s = make_server()
    a, b = connect(s.account(), server=s), connect(s.account(), server=s)
    for c in (a, b):
        c.roster()
        c.available()
    send(a, "subscribe", b.bare)
    b.until(lambda e: e.get("type") == "subscribe")
    send(b, "subscribed", a.bare)
    a.until(lambda e: e.get("from") == b.jid)
    settled(a, b)
    send(a, "subscribe", b.bare)
    got = settled(a, b)
    assert kinds(got[1]) == []
    assert kinds(got[0]) == []         # `To`: delivering it is forbidden (A.3.3)


@pytest.mark.parametrize("type_", ["subscribe", "subscribed", "unsubscribe", "unsubscribed"])
def test_to_oneself_and_to_nobody(ready, type_):
    c = ready()
    for to in (c.bare, c.jid):
        send(c, type_, to, id_="self")
    c.send("<presence type='%s' id='none'/>" % type_)
    for el in c.barrier():
        assert name(el) == "presence" and el.get("type") == "error", to_str(el)
        assert el.get("id") in ("self", "none")
    assert c.roster() == {}


def test_a_large_request_is_delivered_whole_and_kept_in_short(make_server, connect):
    s = make_server({"host_types": {"people": {"plugins": {"presence": {"max_request": 256}}}}})
    a, acc = connect(s.account(), server=s), s.account()
    b = connect(acc, server=s)
    b.available()
    send(a, "subscribe", b.bare, "<status>%s</status>" % ("x" * 300))
    p = b.until(lambda e: e.get("type") == "subscribe")
    assert len(text(p, "status")) == 300
    late = connect(acc, server=s)
    late.send("<presence/>")
    p = late.until(lambda e: e.get("type") == "subscribe")
    assert p.get("from") == a.bare and p.get("to") == b.bare and len(p) == 0


def test_only_so_many_requests_wait(make_server, connect):
    s = make_server({"host_types": {"people": {"plugins": {"roster": {"max_requests": 3}}}}})
    b = connect(s.account(), server=s)
    b.roster()
    b.available()
    for _ in range(5):
        a = connect(s.account(), server=s)
        send(a, "subscribe", b.bare)
        assert [n for n in kinds(settled(a)[0]) if len(n) == 2] == []   # silence
        a.close()
    waits = [k for k in kinds(settled(b)[0])]
    assert len(waits) == 3
    assert 'meerkat_presence_requests_refused_total{type="people"} 2' in s.ctl("metrics").stdout
    send(b, "unsubscribed", waits[0][0])
    a = connect(s.account(), server=s)
    send(a, "subscribe", b.bare)
    assert kinds(settled(a, b)[1]) == [(a.bare, "subscribe")]
    # They don't take the place of contacts, nor the other way round.
    r = b.iq("set", "<query xmlns='jabber:iq:roster'><item jid='x@y.test'/></query>")
    assert r.get("type") == "result"


# ---- 3.1.4 to 3.3: denying, cancelling, unsubscribing ---------------------------------------

@pytest.fixture
def both(ready):
    """Two users subscribed to each other, each with two resources."""
    a, b = ready(), ready()
    a2, b2 = ready(a.account), ready(b.account)
    for x, y in ((a, b), (b, a)):
        send(x, "subscribe", y.bare)
        y.until(lambda e: e.get("type") == "subscribe")
        send(y, "subscribed", x.bare)
        settled(a, a2, b, b2)
    return a, a2, b, b2


def test_denying(account, ready):
    """3.1.4, 3.2.3"""
    a, b = ready(), ready()
    send(a, "subscribe", b.bare)
    b.until(lambda e: e.get("type") == "subscribe")
    settled(a)
    send(b, "unsubscribed", a.bare)
    got = settled(b, a)
    assert kinds(got[0]) == []
    assert kinds(got[1]) == [(b.bare, "unsubscribed"), (b.bare, "none", None)]
    assert b.roster() == {}


def test_cancelling(both):
    """3.2.1, 3.2.3: unavailable first, from each resource, then the cancellation."""
    a, a2, b, b2 = both
    send(b, "unsubscribed", a.bare)
    got = settled(b, b2, a, a2)
    for g in got[:2]:
        assert kinds(g) == [(a.bare, "to", None)]
    for g in got[2:]:
        k = kinds(g)
        assert sorted(k[:2]) == sorted([(b.jid, "unavailable"), (b2.jid, "unavailable")])
        assert k[2:] == [(b.bare, "unsubscribed"), (b.bare, "from", None)]


def test_unsubscribing(both):
    """3.3.2, 3.3.3: the contact's resources then are unavailable to who left."""
    a, a2, b, b2 = both
    send(a, "unsubscribe", b.bare)
    got = settled(a, a2, b, b2)
    for g in got[:2]:
        k = kinds(g)
        assert k[0] == (b.bare, "from", None)
        assert sorted(k[1:]) == sorted([(b.jid, "unavailable"), (b2.jid, "unavailable")])
    for g in got[2:]:
        assert kinds(g) == [(a.bare, "unsubscribe"), (a.bare, "to", None)]


def test_removing_the_item_ends_both(both):
    """2.5.2"""
    a, a2, b, b2 = both
    remove(a, b.bare)
    got = settled(a, a2, b, b2)
    for g in got[:2]:
        k = kinds(g)
        assert k[0] == (b.bare, "remove", None)
        assert sorted(k[1:]) == sorted([(b.jid, "unavailable"), (b2.jid, "unavailable")])
    for g in got[2:]:
        k = kinds(g)
        assert {x for x in k if len(x) == 2} == {
            (a.jid, "unavailable"), (a2.jid, "unavailable"), (a.bare, "unsubscribe"),
            (a.bare, "unsubscribed")}
        assert k[-1] == (a.bare, "none", None)
    assert a.roster() == {}
    assert b.roster()[a.bare].get("subscription") == "none"


def test_removing_an_item_that_asks_or_is_asked(ready):
    a, b = ready(), ready()
    send(a, "subscribe", b.bare)
    b.until(lambda e: e.get("type") == "subscribe")
    settled(a)
    remove(a, b.bare)
    assert kinds(settled(a, b)[1]) == [(a.bare, "unsubscribe")]
    # Nothing waits any more.
    late = ready(b.account)
    assert b.roster() == {} and not [e for e in late.barrier() if e.get("type")]
    send(a, "subscribe", b.bare)
    b.until(lambda e: e.get("type") == "subscribe")
    b.iq("set", "<query xmlns='jabber:iq:roster'><item jid='%s' name='A'/></query>" % a.bare)
    settled(a, b)
    remove(b, a.bare)
    got = kinds(settled(b, a)[1])
    assert got == [(b.bare, "unsubscribed"), (b.bare, "none", None)]


def test_interested_and_available_are_two_things(account, connect):
    """3.1.3: requests go to available resources; 3.1.6, 3.2.3, 3.3.3: the rest to interested
    ones."""
    acc = account()
    a = connect(account())
    interested, available = connect(acc), connect(acc)
    interested.roster()
    available.available()
    send(a, "subscribe", interested.bare)
    got = settled(a, interested, available)
    assert kinds(got[1]) == [] and kinds(got[2]) == [(a.bare, "subscribe")]
    send(available, "subscribed", a.bare)
    got = settled(available, interested)
    assert kinds(got[0]) == [] and kinds(got[1]) == [(a.bare, "from", None)]
    send(interested, "subscribe", a.bare)
    settled(interested, a)
    a.send("<presence/>")
    a.until(lambda e: e.get("type") == "subscribe")
    send(a, "subscribed", acc.jid)
    got = settled(a, interested, available)
    assert kinds(got[1])[:2] == [(a.bare, "subscribed"), (a.bare, "both", None)]
    assert kinds(got[2]) == [(a.jid, None)]


def test_offline_users_learn_of_it_by_their_rosters(account, ready, connect):
    """The state is changed whether or not somebody is there."""
    acc = account()
    a, b = ready(), ready(acc)
    send(a, "subscribe", b.bare)
    b.until(lambda e: e.get("type") == "subscribe")
    settled(a)
    b.close()
    send(a, "unsubscribe", acc.jid)
    settled(a)
    b = connect(acc)
    assert b.roster() == {}
    b.send("<presence/>")
    assert not [e for e in b.barrier() if e.get("type") == "subscribe"]
    # And the other way round: approved while away.
    send(a, "subscribe", acc.jid)
    settled(a)
    away = a.account
    a.close()
    b.until(lambda e: e.get("type") == "subscribe")
    send(b, "subscribed", away.jid)
    settled(b)
    a = connect(away)
    assert a.roster()[acc.jid].get("subscription") == "to"
    a.send("<presence/>")
    assert (b.jid, None) in kinds(settled(a)[0])


# ---- 3.4: pre-approval ---------------------------------------------------------------------

def test_pre_approval(ready, account):
    """3.4.2: noted, pushed, not routed; then a request is answered at once."""
    a, b = ready(), ready()
    send(a, "subscribed", b.bare)
    got = settled(a, b)
    (el,) = got[0]
    item = child(el, "query", NS.ROSTER)[0]
    assert (item.get("jid"), item.get("subscription"), item.get("approved")) == (
        b.bare, "none", "true")
    assert got[1] == []
    send(b, "subscribe", a.bare)
    got = settled(b, a)
    assert kinds(got[0]) == [(a.bare, "none", "subscribe"), (a.bare, "subscribed"),
                             (a.bare, "to", None), (a.jid, None)]
    assert kinds(got[1]) == [(b.bare, "from", None)]
    assert a.roster()[b.bare].get("approved") == "true"


def test_pre_approval_of_somebody_in_the_roster(ready):
    """3.4.2: None, None + Pending Out, To: noted; Both, From, From + Pending Out: ignored."""
    a, b = ready(), ready()
    a.iq("set", "<query xmlns='jabber:iq:roster'><item jid='%s' name='B'/></query>" % b.bare)
    settled(a)
    send(a, "subscribed", b.bare)
    settled(a)
    item = a.roster()[b.bare]
    assert item.get("approved") == "true" and item.get("name") == "B"
    # Again: it changes nothing, and nothing is pushed.
    send(a, "subscribed", b.bare)
    assert settled(a, b) == [[], []]


def test_pre_approval_cancelled(ready):
    """3.4.2, 3.2.1: by `unsubscribed`, which isn't routed."""
    a, b = ready(), ready()
    send(a, "subscribed", b.bare)
    settled(a)
    send(a, "unsubscribed", b.bare)
    got = settled(a, b)
    item = child(got[0][0], "query", NS.ROSTER)[0]
    assert item.get("approved") is None and item.get("subscription") == "none"
    assert got[1] == []
    send(b, "subscribe", a.bare)
    assert (b.bare, "subscribe") in kinds(settled(b, a)[1])


def test_pre_approval_of_an_offline_user_who_then_asks(account, ready):
    acc = account()
    a, b = ready(acc), ready()
    send(a, "subscribed", b.bare)
    settled(a)
    a.close()
    send(b, "subscribe", acc.jid)
    b.until(lambda e: e.get("type") == "subscribed" and e.get("from") == acc.jid)
    assert kinds([b.recv()]) == [(acc.jid, "to", None)]
    assert ready(acc).roster()[b.bare].get("subscription") == "from"


# ---- at once ----------------------------------------------------------------------------------

def test_both_ask_at_once(ready):
    """However the stanzas cross, both end where both agree."""
    for _ in range(10):
        a, b = ready(), ready()
        send(a, "subscribe", b.bare)
        send(b, "subscribe", a.bare)
        settled(a, b)
        send(a, "subscribed", b.bare)
        send(b, "subscribed", a.bare)
        settled(a, b)
        assert a.roster()[b.bare].get("subscription") == "both"
        assert b.roster()[a.bare].get("subscription") == "both"


def test_pipelined_subscription_stanzas(ready):
    a, b = ready(), ready()
    a.send("".join("<presence type='%s' to='%s'/>" % (t, b.bare)
                   for t in ("subscribe", "unsubscribe") * 20))
    got = settled(a, b)
    assert [k[1] for k in kinds(got[1])] == ["subscribe", "unsubscribe"] * 20
    assert a.roster()[b.bare].get("ask") is None
    assert b.roster() == {}


def test_subscribing_when_memory_has_the_roster_and_when_not(account, connect):
    """A session that asks before any roster or presence."""
    a, b = connect(account()), account()
    send(a, "subscribe", b.jid)
    a.barrier()
    a.roster()
    a.available()
    assert a.roster()[b.jid].get("ask") == "subscribe"
    y = connect(b)
    y.send("<presence/>")
    y.until(lambda e: e.get("type") == "subscribe")
    send(y, "subscribed", a.bare)
    a.until(lambda e: name(e) == "presence" and e.get("type") == "subscribed")
    a.until(lambda e: name(e) == "presence" and e.get("from") == y.jid)
