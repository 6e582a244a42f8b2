"""RFC 6121 2: managing the roster. Sections in the names of the groups and docstrings."""

import pytest

from mk import NS, child, children, name, text, to_str

Q = "<query xmlns='jabber:iq:roster'%s>%s</query>"
FEATURE = "urn:xmpp:features:rosterver"


def item_xml(jid, name_=None, groups=(), subscription=None, more=""):
    return "<item jid='%s'%s%s%s>%s</item>" % (
        jid, " name='%s'" % name_ if name_ is not None else "",
        " subscription='%s'" % subscription if subscription else "", more,
        "".join("<group>%s</group>" % g for g in groups))


def set_(c, *items, to=None):
    return c.iq("set", Q % ("", "".join(items)), to=to)


def ok(answer):
    assert answer.get("type") == "result", to_str(answer)
    return answer


def error(answer):
    assert answer.get("type") == "error", to_str(answer)
    e = child(answer, "error")
    return e.get("type"), [name(c) for c in e if name(c) != "text"][0]


def get(c, ver=None):
    """The query of a roster get's answer, or None if it has none."""
    return child(ok(c.iq("get", Q % (" ver='%s'" % ver if ver is not None else "", ""))),
                 "query", NS.ROSTER)


def push(c):
    """The next element, which must be a push: its query."""
    el = c.recv()
    assert name(el) == "iq" and el.get("type") == "set", to_str(el)
    assert el.get("to") == c.jid and el.get("from") in (None, c.bare) and el.get("id")
    q = child(el, "query", NS.ROSTER)
    assert q is not None and len(el) == 1 and len(q) == 1, to_str(el)
    return q


def as_tuple(item):
    return (item.get("jid"), item.get("name"), item.get("subscription"), item.get("ask"),
            sorted(g.text for g in children(item, "group", NS.ROSTER)))


# ---- 2.1, 2.2: asking for it ----------------------------------------------------

def test_a_new_account_has_an_empty_roster(account, connect):
    q = get(connect(account()))
    assert q is not None and len(q) == 0


def test_get_with_to_the_own_bare_jid(account, connect):
    c = connect(account())
    a = c.iq("get", Q % ("", ""), to=c.bare)
    assert ok(a).get("from") == c.bare


@pytest.mark.parametrize("type_,payload", [
    ("get", Q % ("", "")), ("set", Q % ("", item_xml("x@y.test")))])
def test_nobody_reads_or_writes_anothers_roster(pair, type_, payload):
    """2.1.5, 2.3.3: whether there is such an account isn't told either (S-16)."""
    a, b = pair
    answers = [error(a.iq(type_, payload, to=to)) for to in (b.bare, "nobody@meerkat.test")]
    assert answers == [("cancel", "service-unavailable")] * 2
    assert len(get(b)) == 0
    b.expect_nothing()


# ---- 2.3: adding ------------------------------------------------------------------

def test_adding_an_item(account, connect):
    """2.3.1, 2.3.2: the result, and pushes to interested resources, the asking one too."""
    a = account()
    c, other, uninterested = connect(a, "balcony"), connect(a, "chamber"), connect(a, "hall")
    get(c)
    get(other)
    uninterested.available()
    for x in (c, other):
        x.barrier()
    ok(set_(c, item_xml("nurse@example.com", "Nurse", ["Servants"])))
    for x in (c, other):
        assert as_tuple(push(x)[0]) == ("nurse@example.com", "Nurse", "none", None, ["Servants"])
        x.expect_nothing()
    uninterested.expect_nothing()
    assert as_tuple(get(uninterested)[0]) == (
        "nurse@example.com", "Nurse", "none", None, ["Servants"])


def test_an_uninterested_resource_can_add_and_gets_no_push(account, connect):
    c = connect(account())
    ok(set_(c, item_xml("a@b.test")))
    c.expect_nothing()
    assert [as_tuple(i) for i in get(c)] == [("a@b.test", None, "none", None, [])]


def test_what_the_client_may_not_say_is_ignored(account, connect):
    """2.1.2.1, 2.1.2.2, 2.1.2.5: approved, ask, and any subscription but remove."""
    c = connect(account())
    for k, subscription in enumerate(("both", "to", "from", "none", "sideways")):
        jid = "c%d@example.com" % k
        ok(set_(c, item_xml(jid, subscription=subscription, more=" ask='subscribe' approved='true'")))
        item = c.roster()[jid]
        assert item.get("subscription") == "none" and item.get("ask") is None
        assert item.get("approved") is None


def test_answers_to_pushes_are_taken_silently(account, connect):
    """2.1.6: clients answer pushes, or don't."""
    c = connect(account())
    get(c)
    for type_ in ("result", "error"):
        ok(set_(c, item_xml("a@b.test", type_)))
        el = c.recv()
        c.send("<iq type='%s' id='%s'/>" % (type_, el.get("id")))
        c.expect_nothing()


@pytest.mark.parametrize("jid,stored", [
    ("Romeo@Example.NET", "romeo@example.net"), ("example.net", "example.net"),
    ("romeo@example.net/orchard", "romeo@example.net"),
    ("r&amp;j\\20@example.net", "r&j\\20@example.net"), ("ὀδυσσεύς@example.net", None)])
def test_addresses_are_prepared(account, connect, jid, stored):
    c = connect(account())
    a = set_(c, item_xml(jid))
    if stored == "r&j\\20@example.net":     # nodeprep forbids &
        assert error(a) == ("modify", "jid-malformed")
        return
    ok(a)
    assert len(c.roster()) == 1
    if stored:
        assert stored in c.roster()


@pytest.mark.parametrize("query,condition", [
    ("", ("modify", "bad-request")),
    (item_xml("a@b.test") + item_xml("c@d.test"), ("modify", "bad-request")),
    ("<item/>", ("modify", "bad-request")),
    ("<item name='x'/>", ("modify", "bad-request")),
    ("<thing jid='a@b.test'/>", ("modify", "bad-request")),
    (item_xml("a@b.test", groups=["G", "H", "G"]), ("modify", "bad-request")),
    (item_xml("a@b.test", groups=["G", ""]), ("modify", "not-acceptable")),
    (item_xml("a@b.test", groups=["g" * 1024]), ("modify", "not-acceptable")),
    (item_xml("a@b.test", groups=["g%d" % k for k in range(51)]), ("modify", "not-acceptable")),
    (item_xml("a@b.test", "n" * 1024), ("modify", "not-acceptable")),
    (item_xml("@b.test"), ("modify", "jid-malformed")),
    (item_xml(""), ("modify", "jid-malformed")),
    (item_xml("a" * 1024 + "@b.test"), ("modify", "jid-malformed")),
    (item_xml("OWN"), ("cancel", "not-allowed")),
    (item_xml("OWN/res"), ("cancel", "not-allowed")),
])
def test_errors_of_a_set(account, connect, query, condition):
    """2.3.3"""
    c = connect(account())
    get(c)
    assert error(set_(c, query.replace("OWN", c.bare))) == condition
    c.expect_nothing()
    assert c.roster() == {}


def test_names_and_groups_up_to_the_limits(account, connect):
    c = connect(account())
    groups = ["g" * 1023, "a\nb", "\\", "ü ⛵", " "] + ["n%d" % k for k in range(45)]
    ok(set_(c, item_xml("a@b.test", "n" * 1023, groups)))
    item = c.roster()["a@b.test"]
    assert item.get("name") == "n" * 1023
    assert sorted(g.text for g in item) == sorted(groups)


def test_limits_are_settings_and_change_while_running(make_server, connect):
    s = make_server({"host_types": {"people": {"plugins": {"roster": {
        "max_items": 3, "max_groups": 1, "max_name": 4}}}}})
    c = connect(s.account(), server=s)
    for k in range(3):
        ok(set_(c, item_xml("c%d@example.com" % k)))
    assert error(set_(c, item_xml("c3@example.com"))) == ("wait", "resource-constraint")
    ok(set_(c, item_xml("c2@example.com", "four", ["g"])))
    assert error(set_(c, item_xml("c2@example.com", "fives"))) == ("modify", "not-acceptable")
    assert error(set_(c, item_xml("c2@example.com", groups=["a", "b"]))) == (
        "modify", "not-acceptable")
    ok(set_(c, item_xml("c0@example.com", subscription="remove")))
    ok(set_(c, item_xml("c3@example.com")))
    assert error(set_(c, item_xml("c4@example.com"))) == ("wait", "resource-constraint")
    # A subscription makes an item as well (3.1.2).
    c.send("<presence type='subscribe' id='s' to='c5@meerkat.test'/>")
    p = c.expect("presence", type="error", id="s")
    assert child(child(p, "error"), "resource-constraint") is not None
    s.config["host_types"]["people"]["plugins"]["roster"]["max_items"] = 4
    s.write_config()
    s.ctl("reload")
    ok(set_(c, item_xml("c4@example.com")))


# ---- 2.4: updating ------------------------------------------------------------------

def test_updating_an_item(account, connect):
    """2.4.1, 2.4.2: what is sent replaces name and groups, and nothing else."""
    c = connect(account())
    get(c)
    ok(set_(c, item_xml("romeo@example.net", "Romeo", ["Friends", "Lovers"])))
    assert as_tuple(push(c)[0])[4] == ["Friends", "Lovers"]
    c.send("<presence type='subscribe' to='romeo@example.net'/>")
    assert push(c)[0].get("ask") == "subscribe"
    ok(set_(c, item_xml("romeo@example.net", "Romeo", ["Friends"])))
    assert as_tuple(push(c)[0]) == ("romeo@example.net", "Romeo", "none", "subscribe", ["Friends"])
    ok(set_(c, item_xml("romeo@example.net")))
    assert as_tuple(push(c)[0]) == ("romeo@example.net", None, "none", "subscribe", [])
    ok(set_(c, item_xml("romeo@example.net", "")))
    assert push(c)[0].get("name") is None
    assert len(c.roster()) == 1


def test_pipelined_sets_are_done_in_order(account, connect):
    a = account()
    c, other = connect(a), connect(a)
    get(c), get(other)
    for k in range(50):
        c.send("<iq type='set' id='p%d'>%s</iq>" % (k, Q % ("", item_xml("a@b.test", "n%d" % k))))
    for x in (c, other):
        names = [child(el, "query")[0].get("name") for el in x.barrier() if el.get("type") == "set"]
        assert names == ["n%d" % k for k in range(50)]
    assert c.roster()["a@b.test"].get("name") == "n49"


def test_two_resources_write_at_once(account, connect):
    a = account()
    clients = [connect(a) for _ in range(4)]
    for k in range(25):
        for n, c in enumerate(clients):
            c.send("<iq type='set' id='w%d'>%s</iq>" % (k, Q % ("", item_xml(
                "c%d-%d@example.com" % (n, k)))))
    for c in clients:
        for k in range(25):
            ok(c.answer("w%d" % k))
    assert len(clients[0].roster()) == 100


# ---- 2.5: removing --------------------------------------------------------------------

def test_removing_an_item(account, connect):
    a = account()
    c, other = connect(a), connect(a)
    get(c), get(other)
    ok(set_(c, item_xml("nurse@example.com", "Nurse", ["Servants"])))
    push(c), push(other)
    ok(set_(c, item_xml("nurse@example.com", subscription="remove")))
    for x in (c, other):
        item = push(x)[0]
        assert item.get("jid") == "nurse@example.com" and item.get("subscription") == "remove"
        x.expect_nothing()
    assert c.roster() == {}


def test_removing_what_is_not_there(account, connect):
    """2.5.3"""
    c = connect(account())
    assert error(set_(c, item_xml("a@b.test", subscription="remove"))) == (
        "cancel", "item-not-found")
    # A request that waits is none of the roster's items, as far as clients see.
    other = connect(account())
    c.available()
    other.send("<presence type='subscribe' to='%s'/>" % c.bare)
    c.until(lambda e: e.get("type") == "subscribe")
    assert c.roster() == {}
    assert error(set_(c, item_xml(other.bare, subscription="remove"))) == (
        "cancel", "item-not-found")


# ---- 2.6: versions ----------------------------------------------------------------------

def test_the_feature_is_announced(account, connect):
    """2.6.1, after authentication"""
    c = connect(account())
    assert child(c.features, "ver", FEATURE) is not None


def test_versions_can_be_switched_off(make_server, connect):
    s = make_server({"host_types": {"people": {"plugins": {"roster": {"versioning": False}}}}})
    c = connect(s.account(), server=s)
    assert child(c.features, "ver", FEATURE) is None
    assert get(c, "").get("ver") is None
    ok(set_(c, item_xml("a@b.test")))
    assert push(c).get("ver") is None
    assert len(get(c, "1")) == 1


def test_who_has_it_gets_nothing(account, connect):
    """2.6.2, 2.6.3"""
    a = account()
    c = connect(a)
    q = get(c, "")
    empty = q.get("ver")
    assert empty
    assert get(c, empty) is None
    ok(set_(c, item_xml("a@b.test")))
    ver = push(c).get("ver")
    assert ver != empty
    assert get(c).get("ver") == ver
    assert get(c, ver) is None
    # A client that cached an empty roster, after it has been written.
    q = get(c, empty)
    assert q is not None and len(q) == 1
    # Nothing of it is in the memory of the connection.
    late = connect(a)
    assert get(late, ver) is None
    ok(set_(c, item_xml("a@b.test", "x")))
    push(late)


def test_only_what_changed_is_sent(account, connect):
    """2.6.3: an empty result, then pushes, oldest first, each with its version."""
    a = account()
    c = connect(a)
    for k in range(10):
        ok(set_(c, item_xml("c%d@example.com" % k)))
    old = get(c).get("ver")
    for k in (7, 3, 7, 5):
        ok(set_(c, item_xml("c%d@example.com" % k, "new")))
    late = connect(a)
    assert get(late, old) is None
    pushes = [push(late) for _ in range(3)]
    assert [p[0].get("jid")[:2] for p in pushes] == ["c3", "c7", "c5"]
    assert all(p[0].get("name") == "new" for p in pushes)
    late.expect_nothing()
    ver = pushes[-1].get("ver")
    assert len({p.get("ver") for p in pushes}) == 3
    assert ver == get(c).get("ver")
    assert get(late, ver) is None
    # From the middle of the pushes (a connection that broke): the rest.
    again = connect(a)
    assert get(again, pushes[0].get("ver")) is None
    assert [push(again)[0].get("jid")[:2] for _ in range(2)] == ["c7", "c5"]
    again.expect_nothing()


def test_after_a_removal_all_is_sent(account, connect):
    a = account()
    c = connect(a)
    for k in range(4):
        ok(set_(c, item_xml("c%d@example.com" % k)))
    before = get(c).get("ver")
    ok(set_(c, item_xml("c1@example.com", subscription="remove")))
    removed = push(c)
    assert removed[0].get("subscription") == "remove"
    late = connect(a)
    q = get(late, before)
    assert sorted(i.get("jid")[:2] for i in q) == ["c0", "c2", "c3"]
    assert q.get("ver") == removed.get("ver")
    assert get(connect(a), removed.get("ver")) is None
    late.expect_nothing()


@pytest.mark.parametrize("ver", ["x", "-1", "99999999999999999999", "9223372036854775807", " 1"])
def test_a_version_never_given_gets_all(account, connect, ver):
    c = connect(account())
    ok(set_(c, item_xml("a@b.test")))
    q = get(c, ver)
    assert len(q) == 1 and q.get("ver")


def test_versions_survive_a_restart_and_a_new_account_has_new_ones(make_server, connect):
    s = make_server()
    if s.config["storage"]["default"] == "memory":
        pytest.skip("nothing survives")
    a = s.account()
    c = connect(a, server=s)
    ok(set_(c, item_xml("a@b.test", "N", ["G"])))
    q = get(c)
    ver = q.get("ver")
    c.kill()
    s.restart()
    c = connect(a, server=s)
    assert get(c, ver) is None
    c.kill()
    s.ctl("account", "unregister", a.jid)
    s.account(a.user, password=a.password)
    c = connect(a, server=s)
    q = get(c, ver)
    assert q is not None and len(q) == 0
    ok(set_(c, item_xml("other@b.test")))
    assert [i.get("jid") for i in get(c, ver)] == ["other@b.test"]


def test_pending_requests_do_not_move_the_version(account, connect):
    """2.6: nothing that a client could see has changed."""
    c, other = connect(account()), connect(account())
    c.available()
    ver = get(c).get("ver")
    other.send("<presence type='subscribe' to='%s'/>" % c.bare)
    c.expect("presence", type="subscribe")
    assert get(c, ver) is None
    c.send("<presence type='unsubscribed' to='%s'/>" % other.bare)
    c.expect_nothing()
    assert get(c, ver) is None


# ---- S-07: forged pushes ------------------------------------------------------------------

def test_forged_pushes_are_refused(account, connect):
    """From another user, from another resource of the same; to bare and full."""
    a = account()
    victim, own, other = connect(a, "victim"), connect(a, "other"), connect(account())
    victim.available()
    get(victim)
    forged = Q % ("", item_xml("evil@meerkat.test", "Mallory", subscription="both"))
    for sender, to in ((other, victim.jid), (other, victim.bare), (own, victim.jid)):
        assert error(sender.iq("set", forged, to=to)) == ("cancel", "service-unavailable")
    victim.barrier()
    assert victim.roster() == {}
    # A get of a client's own making between resources is nobody's business.
    own.send("<iq type='get' id='g' to='%s'>%s</iq>" % (victim.jid, Q % ("", "")))
    assert victim.until(lambda e: name(e) == "iq").get("from") == own.jid


def test_a_removed_accounts_contacts_are_told(make_server, connect):
    """XEP-0077 3.2: as if it had cancelled its subscriptions."""
    s = make_server()
    gone = s.account()
    a, b = connect(s.account(), server=s), connect(gone, server=s)
    for x in (a, b):
        x.roster()
        x.available()
    a.send("<presence type='subscribe' to='%s'/>" % b.bare)
    b.until(lambda e: e.get("type") == "subscribe")
    b.send("<presence type='subscribed' to='%s'/><presence type='subscribe' to='%s'/>"
           % (a.bare, a.bare))
    a.until(lambda e: e.get("type") == "subscribe")
    a.send("<presence type='subscribed' to='%s'/>" % b.bare)
    b.until(lambda e: name(e) == "presence" and e.get("from") == a.jid)
    a.barrier()
    assert a.roster()[b.bare].get("subscription") == "both"
    s.ctl("account", "unregister", gone.jid)
    seen = set()
    while not {"unsubscribe", "unsubscribed"} <= seen:
        seen.add(a.recv().get("type"))
    a.barrier()
    assert a.roster()[gone.jid].get("subscription") == "none"


def test_metrics_count(make_server, connect):
    s = make_server()
    c = connect(s.account(), server=s)
    get(c)
    ok(set_(c, item_xml("a@b.test")))
    out = s.ctl("metrics").stdout
    assert 'meerkat_roster_gets_total{type="people"} 1' in out
    assert 'meerkat_roster_sets_total{type="people"} 1' in out
    assert 'meerkat_roster_pushes_total{type="people"} 1' in out
