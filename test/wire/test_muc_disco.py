"""XEP-0045 6 (discovery of service, rooms, occupants), 7.12."""

import pytest

from mk import NS, child, children, element, name, text, to_str
from mk.muc import MUC, error

RSM = "http://jabber.org/protocol/rsm"


def items(c, to, node=None, rsm=""):
    a = c.iq("get", element("query", NS.DISCO_ITEMS, rsm, node=node), to=to)
    assert a.get("type") == "result", to_str(a)
    return child(a, "query", NS.DISCO_ITEMS)


def jids(query):
    return [i.get("jid") for i in children(query, "item")]


def all_rooms(c, service):
    """{jid: name} of all pages (XEP-0059)."""
    found, after = {}, None
    while True:
        q = items(c, service, rsm="" if after is None else
                  "<set xmlns='%s'><after>%s</after></set>" % (RSM, after))
        found.update((i.get("jid"), i.get("name")) for i in children(q, "item"))
        s = child(q, "set", RSM)
        if s is None or not jids(q) or text(s, "last", RSM) == after:
            return found
        after = text(s, "last", RSM)
        if after is None:
            return found


def test_the_server_names_the_service(muc):
    """6.1."""
    assert muc.service in jids(items(muc.owner, muc.server.domain))


def test_service(muc):
    """6.2."""
    a = muc.owner.iq("get", "<query xmlns='%s'/>" % NS.DISCO_INFO, to=muc.service)
    assert a.get("from") == muc.service and a.get("type") == "result"
    q = child(a, "query", NS.DISCO_INFO)
    found = {(i.get("category"), i.get("type")) for i in children(q, "identity")}
    assert found == {("conference", "text")} and child(q, "identity").get("name")
    features = {f.get("var") for f in children(q, "feature")}
    assert {MUC.JOIN, MUC.STABLE_ID, NS.DISCO_INFO, NS.DISCO_ITEMS} <= features


def test_rooms(muc):
    """6.3: public ones with their names; hidden ones not."""
    shown = muc.room(publicroom=1, roomname="A Lonely Heath")
    hidden = muc.room(publicroom=0, roomname="A Dark Cave")
    found = all_rooms(muc.person(), muc.service)
    assert found[shown.jid].startswith("A Lonely Heath")
    assert hidden.jid not in found


def test_rooms_without_occupants(muc):
    """A persistent one is there all the same; a temporary one is gone."""
    kept = muc.room(publicroom=1, persistentroom=1)
    lost = muc.room(publicroom=1, persistentroom=0)
    for r in (kept, lost):
        r.leave(muc.owner)
        r.settled(muc.owner)
    found = all_rooms(muc.owner, muc.service)
    assert kept.jid in found and lost.jid not in found


def test_pages_of_rooms(muc):
    """6.3, XEP-0059: a page of what was asked for, with the total."""
    made = {muc.room(publicroom=1).jid for _ in range(5)}
    q = items(muc.owner, muc.service, rsm="<set xmlns='%s'><max>2</max></set>" % RSM)
    s = child(q, "set", RSM)
    assert len(jids(q)) == 2 and s is not None
    assert text(s, "first", RSM) and text(s, "last", RSM)
    seen, after = list(jids(q)), text(s, "last", RSM)
    while True:
        q = items(muc.owner, muc.service,
                  rsm="<set xmlns='%s'><max>2</max><after>%s</after></set>" % (RSM, after))
        if not jids(q):
            break
        assert len(jids(q)) <= 2
        seen += jids(q)
        after = text(child(q, "set", RSM), "last", RSM)
    assert len(seen) == len(set(seen)) and made <= set(seen)


FEATURES = [
    (dict(passwordprotectedroom=1, roomsecret="s"), "muc_passwordprotected", "muc_unsecured"),
    (dict(passwordprotectedroom=0), "muc_unsecured", "muc_passwordprotected"),
    (dict(publicroom=0), "muc_hidden", "muc_public"),
    (dict(publicroom=1), "muc_public", "muc_hidden"),
    (dict(persistentroom=0), "muc_temporary", "muc_persistent"),
    (dict(persistentroom=1), "muc_persistent", "muc_temporary"),
    (dict(membersonly=0), "muc_open", "muc_membersonly"),
    (dict(membersonly=1), "muc_membersonly", "muc_open"),
    (dict(moderatedroom=0), "muc_unmoderated", "muc_moderated"),
    (dict(moderatedroom=1), "muc_moderated", "muc_unmoderated"),
    (dict(whois="anyone"), "muc_nonanonymous", "muc_semianonymous"),
    (dict(whois="moderators"), "muc_semianonymous", "muc_nonanonymous"),
]


@pytest.mark.parametrize("config,there,missing", FEATURES,
                         ids=lambda v: v if isinstance(v, str) else "")
def test_room(muc, config, there, missing):
    """6.4: identity and features."""
    room = muc.room(roomname="A Dark Cave", **config)
    identities, features, _ = room.disco(muc.person())
    assert identities == [("conference", "text", "A Dark Cave")]
    assert {MUC.JOIN, MUC.STABLE_ID, there} <= features and missing not in features


def test_room_information(muc):
    """6.4: the form muc#roominfo."""
    room, x = muc.populated("x", roomdesc="The place for all good witches!", lang="en",
                            changesubject=1)
    room.send_subject(muc.owner, "Spells")
    room.settled(muc.owner)
    _, _, info = room.disco(muc.person())
    assert info["FORM_TYPE"] == [MUC.INFO]
    assert info["muc#roominfo_description"] == ["The place for all good witches!"]
    assert info["muc#roominfo_occupants"] == ["2"]
    assert info["muc#roominfo_subject"] == ["Spells"]
    assert info["muc#roominfo_lang"] == ["en"]


def test_no_such_room(muc):
    a = muc.owner.iq("get", "<query xmlns='%s'/>" % NS.DISCO_INFO, to=muc.address().jid)
    assert error(a) == ("cancel", "item-not-found")


def test_asking_makes_no_room(muc):
    room = muc.address()
    muc.owner.iq("get", "<query xmlns='%s'/>" % NS.DISCO_INFO, to=room.jid)
    muc.owner.iq("get", "<query xmlns='%s'/>" % NS.DISCO_ITEMS, to=room.jid)
    assert 201 in room.join(muc.owner).codes


def test_room_items(muc):
    """6.5: occupants if that is public, else nothing."""
    room, x = muc.populated("x")
    got = jids(items(x, room.jid))
    assert got == [] or sorted(got) == sorted([room.at("owner"), room.at("x")])
    assert jids(items(muc.person(), room.jid)) in ([], got)


def test_occupant(muc):
    """6.6: from outside bad-request; from inside it is passed on (or answered)."""
    room, x, y = muc.populated("x", "y")
    a = muc.person().iq("get", "<query xmlns='%s'/>" % NS.DISCO_INFO, to=room.at("x"))
    assert error(a)[1] in ("bad-request", "not-acceptable")
    x.send("<iq type='get' id='d1' to='%s'><query xmlns='%s'/></iq>" % (room.at("y"),
                                                                       NS.DISCO_INFO))
    q = y.until(lambda e: name(e) == "iq")
    assert q.get("from") == room.at("x") and x.bare not in to_str(q)
    y.send("<iq type='result' id='%s' to='%s'><query xmlns='%s'><identity category='client' "
           "type='pc'/></query></iq>" % (q.get("id"), q.get("from"), NS.DISCO_INFO))
    a = x.answer("d1")
    assert a.get("from") == room.at("y")
    assert child(child(a, "query"), "identity").get("category") == "client"


def test_unknown_nodes(muc):
    """XEP-0030 3.2, 7: item-not-found; muc#traffic as 18.1.1 has it: all is allowed."""
    room = muc.room()
    for node, conditions in (("no-such-node", ("item-not-found", "feature-not-implemented")),
                             ("http://jabber.org/protocol/muc#traffic",
                              ("service-unavailable", "feature-not-implemented"))):
        a = muc.owner.iq("get", element("query", NS.DISCO_INFO, node=node), to=room.jid)
        assert error(a)[1] in conditions


def test_reserved_nick(muc):
    """7.12."""
    room = muc.room()
    x = muc.person("x")
    room.set(muc.owner, affiliation="member", jid=x.bare, nick="thirdwitch")
    identities, _, _ = room.disco(x, "x-roomuser-item")
    assert identities == [("conference", "text", "thirdwitch")]
    assert room.disco(muc.owner, "x-roomuser-item")[0] == []


def test_other_requests(muc):
    """What neither the service nor a room knows."""
    room = muc.room()
    for to in (muc.service, room.jid):
        a = muc.owner.iq("get", "<query xmlns='mk:unknown'/>", to=to)
        assert error(a)[1] in ("service-unavailable", "feature-not-implemented")
        assert a.get("from") == to


def test_messages_to_the_service(muc):
    muc.owner.message(muc.service, "hello")
    m = muc.owner.until(lambda e: name(e) == "message")
    assert m.get("type") == "error" and m.get("from") == muc.service
