"""XEP-0359: ids that the server gives, and that nobody else can."""

import pytest

import mk
from mk import NS, child, children, name, to_str

SID = "urn:xmpp:sid:0"


@pytest.fixture
def chat(account, connect):
    """a sends to b; both with priority, so that a bare JID reaches them."""
    return connect(account(), presence=""), connect(account(), presence="")


def sids(el):
    return [(s.get("by"), s.get("id")) for s in children(el, "stanza-id", SID)]


def sent(a, b, more="", type_="chat", to=None, body="<body>x</body>"):
    a.send("<message type='%s' id='m' to='%s'>%s%s</message>" % (type_, to or b.jid, body, more))
    return b.until(lambda e: name(e) == "message" and e.get("id") == "m")


def forged(by, id_="forged"):
    return "<stanza-id xmlns='%s' by='%s' id='%s'/>" % (SID, by, id_)


def test_message_gets_an_id(chat):
    """3, rules 4 to 7: one, by the account, with an id and nothing else in it."""
    a, b = chat
    seen = []
    for to in (b.jid, b.bare):
        m = sent(a, b, to=to)
        (by, id_), = sids(m)
        assert by == b.bare and id_
        el = child(m, "stanza-id", SID)
        assert len(el) == 0 and not el.text and set(el.keys()) == {"by", "id"}
        seen.append(int(id_))
    assert seen[0] < seen[1]


def test_ids_are_unique(chat):
    a, b = chat
    n = 200
    a.send("".join("<message to='%s' type='chat'><body>%d</body></message>" % (b.jid, k)
                   for k in range(n)))
    ids = [int(sids(b.expect("message"))[0][1]) for _ in range(n)]
    assert len(set(ids)) == n and ids == sorted(ids)


@pytest.mark.parametrize("count", [1, 2, 50])
def test_forged_ids_are_removed(chat, count):
    """3, rule 2; S-06: all of them."""
    a, b = chat
    user, domain = b.bare.split("@")
    writings = [b.bare, user.upper() + "@" + domain.upper(), user.title() + "@" + domain,
                domain, domain.title()]
    more = "".join(forged(writings[k % 5], "forged%d" % k) for k in range(count))
    m = sent(a, b, more)
    (by, id_), = sids(m)
    assert by == b.bare and "forged" not in id_, to_str(m)


@pytest.mark.parametrize("type_,body", [
    ("chat", "<body>x</body>"), ("headline", "<body>x</body>"), ("normal", ""), ("error", "")])
def test_forged_ids_are_removed_even_if_none_is_added(chat, type_, body):
    """3, rule 2: "even if they are not adding their own"."""
    a, b = chat
    m = sent(a, b, forged(b.bare) + "<x xmlns='mk:x'/>", type_, body=body)
    assert not [i for by, i in sids(m) if i == "forged"], to_str(m)
    if type_ in ("headline", "error"):
        assert not sids(m)
    assert child(m, "x", "mk:x") is not None


def test_ids_of_others_stay(chat):
    """3, rule 3"""
    a, b = chat
    others = [("room@muc.example.org", "1"), ("example.org", "2"), (b.jid, "3")]
    m = sent(a, b, "".join(forged(*o) for o in others))
    assert [s for s in sids(m) if s[0] != b.bare] == others


def test_ids_that_lack_something_do_no_harm(chat):
    a, b = chat
    m = sent(a, b, "<stanza-id xmlns='%s' id='x'/><stanza-id xmlns='%s' by='@@'/>" % (SID, SID))
    assert len([s for s in sids(m) if s[0] == b.bare]) == 1


def test_own_id_is_removed_from_what_one_sends(chat):
    """The sender's account gives ids too: its archive and its other resources have copies."""
    a, b = chat
    m = sent(a, b, forged(a.bare))
    assert [by for by, _ in sids(m)] == [b.bare]


def test_origin_id_stays(chat):
    """2.2"""
    a, b = chat
    m = sent(a, b, "<origin-id xmlns='%s' id='de305d54'/>" % SID)
    assert child(m, "origin-id", SID).get("id") == "de305d54" and len(sids(m)) == 1


@pytest.mark.parametrize("more", ["<no-store xmlns='urn:xmpp:hints'/>"])
def test_what_is_not_stored_has_none(chat, more):
    a, b = chat
    assert not sids(sent(a, b, more))


def test_two_recipients_two_ids(account, connect):
    """Ids are the accounts' own; the same for all resources of one."""
    a = connect(account(), presence="")
    user = account()
    b1, b2 = connect(user, "one", presence=""), connect(user, "two", presence="")
    a.message(b1.bare, "x", id_="m")
    one, two = (c.until(lambda e: name(e) == "message" and e.get("id") == "m") for c in (b1, b2))
    assert sids(one) == sids(two) and len(sids(one)) == 1


def first_is_lost(connect, server, user, a):
    """A message that a resource of user gets and does not acknowledge (XEP-0198) before its
    connection breaks; its ids."""
    b = connect(user, "lost", presence="")
    b.send("<enable xmlns='%s'/>" % NS.SM)
    b.until(lambda e: name(e) == "enabled")
    ids = sids(sent(a, b, forged(b.bare)))
    assert len(ids) == 1
    b.kill()
    return ids


def test_redelivery_keeps_the_id(account, connect, server):
    """To another resource."""
    a, user = connect(account(), presence=""), account()
    other = connect(user, "other", presence="")
    ids = first_is_lost(connect, server, user, a)
    m = other.until(lambda e: name(e) == "message" and e.get("id") == "m")
    assert sids(m) == ids, to_str(m)


def test_stored_message_keeps_the_id(account, connect, server):
    """To the offline store, and from there."""
    a, user = connect(account(), presence=""), account()
    ids = first_is_lost(connect, server, user, a)
    b = connect(user, "later", presence="")
    m = b.until(lambda e: name(e) == "message" and e.get("id") == "m")
    assert sids(m) == ids, to_str(m)


def test_to_oneself(account, connect):
    a = connect(account(), presence="")
    m = sent(a, a, forged(a.bare))
    (by, id_), = sids(m)
    assert by == a.bare and id_ != "forged"


def test_feature(account, connect):
    """5"""
    c = connect(account())
    for to in ("meerkat.test", c.bare):
        q = child(c.iq("get", "<query xmlns='%s'/>" % NS.DISCO_INFO, to=to), "query")
        assert SID in {f.get("var") for f in q}
