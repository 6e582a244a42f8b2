"""XEP-0030, XEP-0128, XEP-0157: what the server and accounts tell about themselves."""

import pytest

from mk import NS, child, children, name, text, to_str

DATA = "jabber:x:data"
CONTACTS = {
    "abuse": ["mailto:abuse@shakespeare.lit", "xmpp:abuse@shakespeare.lit"],
    "admin": ["mailto:xmpp@shakespeare.lit", "xmpp:admins@shakespeare.lit"],
    "feedback": ["http://shakespeare.lit/feedback.php", "xmpp:feedback@shakespeare.lit"],
    "sales": ["xmpp:bard@shakespeare.lit"],
    "security": ["xmpp:security@shakespeare.lit"],
    "status": ["https://status.shakespeare.lit"],
    "support": ["http://shakespeare.lit/support.php", "xmpp:support@shakespeare.lit"],
}


def ask(c, xmlns=NS.DISCO_INFO, to="meerkat.test", node=None, type_="get"):
    return c.iq(type_, "<query xmlns='%s'%s/>" % (
        xmlns, " node='%s'" % node if node is not None else ""), to=to)


def result(*args, **kw):
    a = ask(*args, **kw)
    assert a.get("type") == "result", to_str(a)
    return a[0]


def error(a):
    assert a.get("type") == "error", to_str(a)
    return name(child(a, "error")[0])


def identities(q):
    return [(i.get("category"), i.get("type")) for i in children(q, "identity")]


def features(q):
    return [f.get("var") for f in children(q, "feature")]


def configured(make_server, **settings):
    return make_server({"host_types": {"people": {"plugins": {"disco": settings}}}})


def befriend(a, b):
    """b gets a's presence (RFC 6121 3.1), and a not b's."""
    b.send("<presence type='subscribe' to='%s'/>" % a.bare)
    a.until(lambda e: name(e) == "presence" and e.get("type") == "subscribe")
    a.send("<presence type='subscribed' to='%s'/>" % b.bare)
    b.until(lambda e: name(e) == "presence" and e.get("from") == a.jid)


def test_server_info(account, connect):
    """3.1: identities with category and type, then features, each once."""
    c = connect(account())
    a = ask(c)
    q = child(a, "query", NS.DISCO_INFO)
    assert a.get("from") == "meerkat.test" and a.get("to") == c.jid
    assert identities(q) == [("server", "im")]
    f = features(q)
    assert NS.DISCO_INFO in f and NS.DISCO_ITEMS in f and len(f) == len(set(f))
    assert [name(e) for e in q] == ["identity"] * 1 + ["feature"] * len(f)
    assert f == sorted(f), "a fixed order, so that hashes of it (XEP-0115) hold"


def test_server_items(make_server, connect):
    """4.1: none is an empty list, no error."""
    s = make_server({"host_types": {"people": {"plugins": {"muc": None}}}})
    q = result(connect(s.account(), server=s), NS.DISCO_ITEMS)
    assert len(q) == 0


@pytest.mark.parametrize("to", [None, "own"])
def test_own_account(account, connect, to):
    """3.1: the account's first identity; 'to' may be left out."""
    c = connect(account())
    a = ask(c, to=c.bare if to else None)
    assert a.get("type") == "result" and a.get("from") == (c.bare if to else None)
    q = child(a, "query", NS.DISCO_INFO)
    assert identities(q)[0] == ("account", "registered")
    assert {NS.DISCO_INFO, NS.DISCO_ITEMS} <= set(features(q))


def test_own_resources(account, connect):
    """4.1: "available resources as appropriate"."""
    user = account()
    c, d = connect(user, "balcony", presence=""), connect(user, "chamber", presence="")
    connect(user, "silent")
    q = result(c, NS.DISCO_ITEMS, to=c.bare)
    assert sorted(i.get("jid") for i in q) == [c.jid, d.jid]


def test_strangers_and_missing_users(account, connect):
    """8: no info, no items, and nothing that tells whether the account exists."""
    c, other = connect(account()), connect(account(), presence="")
    for jid in (other.bare, "nobody-at-all@meerkat.test", "nobody@strange.test"):
        assert error(ask(c, to=jid)) == "service-unavailable"
        assert error(ask(c, to=jid, node="x")) == "service-unavailable"
        assert len(result(c, NS.DISCO_ITEMS, to=jid)) == 0
        q = result(c, NS.DISCO_ITEMS, to=jid, node="x")
        assert len(q) == 0 and q.get("node") == "x"


@pytest.mark.parametrize("online", [True, False])
def test_subscribers(account, connect, online):
    """8: those who get the account's presence; not those whose presence it gets."""
    a, b = connect(account(), "res", presence=""), connect(account(), presence="")
    befriend(a, b)
    bare, jids = a.bare, [a.jid]
    assert error(ask(a, to=b.bare)) == "service-unavailable"
    if not online:
        a.close()
        b.until(lambda e: name(e) == "presence" and e.get("type") == "unavailable")
        jids = []
    q = result(b, to=bare)
    assert identities(q) == [("account", "registered")]
    assert [i.get("jid") for i in result(b, NS.DISCO_ITEMS, to=bare)] == jids


def test_resource_answers_for_itself(pair):
    """3.1, "a specific connected resource": the client, not the server."""
    a, b = pair
    a.send("<iq type='get' id='info4' to='%s'><query xmlns='%s'/></iq>" % (b.jid, NS.DISCO_INFO))
    q = b.expect("iq", id="info4", type="get")
    assert child(q, "query", NS.DISCO_INFO) is not None


@pytest.mark.parametrize("xmlns", [NS.DISCO_INFO, NS.DISCO_ITEMS])
@pytest.mark.parametrize("to", ["meerkat.test", "own"])
def test_unknown_node(account, connect, xmlns, to):
    """7"""
    c = connect(account())
    assert error(ask(c, xmlns, c.bare if to == "own" else to, "mk:nothing")) == "item-not-found"


@pytest.mark.parametrize("xmlns", [NS.DISCO_INFO, NS.DISCO_ITEMS])
def test_nothing_can_be_set(account, connect, xmlns):
    """5: publishing was removed."""
    c = connect(account())
    for to in ("meerkat.test", c.bare):
        assert error(ask(c, xmlns, to, type_="set")) == "service-unavailable"


def test_contact_addresses(make_server, connect):
    """XEP-0157, its example."""
    s = configured(make_server, **{k + "_addresses": v for k, v in CONTACTS.items()})
    c = connect(s.account(), server=s)
    x = child(result(c), "x", DATA)
    assert x.get("type") == "result"
    fields = children(x, "field")
    assert fields[0].get("var") == "FORM_TYPE" and fields[0].get("type") == "hidden"
    assert text(fields[0], "value", DATA) == "http://jabber.org/network/serverinfo"
    assert [f.get("var") for f in fields[1:]] == [k + "-addresses" for k in sorted(CONTACTS)]
    for f in fields[1:]:
        assert [v.text for v in f] == CONTACTS[f.get("var").split("-")[0]]
    # Of the server, not of accounts, nor of a node.
    assert child(result(c, to=c.bare), "x", DATA) is None
    assert error(ask(c, node="x")) == "item-not-found"


def test_no_addresses_no_form(account, connect):
    assert child(result(connect(account())), "x", DATA) is None


def test_items_of_settings(make_server, connect):
    """4.1, its example; a change counts at once."""
    s = configured(make_server, items=["people.shakespeare.lit Directory of Characters",
                                       "plays.shakespeare.lit"])
    c = connect(s.account(), server=s)
    q = result(c, NS.DISCO_ITEMS)
    items = [(i.get("jid"), i.get("name")) for i in q]
    assert [i for i in items if not i[0].startswith("conference.")] == [
        ("people.shakespeare.lit", "Directory of Characters"), ("plays.shakespeare.lit", None)]
    assert all(len(i) == 0 and not i.text for i in q)
    s.config["host_types"]["people"]["plugins"]["disco"] = {"items": ["mim.shakespeare.lit"]}
    s.write_config()
    s.ctl("reload")
    assert [i.get("jid") for i in result(c, NS.DISCO_ITEMS)
            if not i.get("jid").startswith("conference.")] == ["mim.shakespeare.lit"]


@pytest.mark.parametrize("settings", [
    {"items": ["@nowhere"]}, {"items": [" name only"]}, {"admin_addresses": ["admin"]},
    {"abuse_addresses": ["mailto:a b@c"]}])
def test_settings_are_checked(make_server, settings):
    s = make_server()
    s.config["host_types"]["people"]["plugins"]["disco"] = settings
    s.write_config()
    p = s.ctl("reload", check=False)
    assert p.returncode != 0 and list(settings)[0] in p.stdout + p.stderr


def test_what_stops_is_no_longer_told(make_server, connect):
    s = make_server()
    c = connect(s.account(), server=s)
    assert "urn:xmpp:time" in features(result(c))
    s.ctl("plugin", "stop", "time", "people")
    assert "urn:xmpp:time" not in features(result(c))
