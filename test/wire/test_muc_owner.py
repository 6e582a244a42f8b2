"""XEP-0045 10.1 (creating), 10.2 (configuring), 10.9 (destroying)."""

import pytest

from mk import NS, child, children, name, text, to_str
from mk.muc import MUC, codes, error, fields, messages, nick, presences, status, submit, user

FIELDS = {
    "muc#roomconfig_roomname": "text-single", "muc#roomconfig_roomdesc": "text-single",
    "muc#roomconfig_lang": "text-single", "muc#roomconfig_changesubject": "boolean",
    "muc#roomconfig_allowinvites": "boolean",
    "muc#roomconfig_allowpm": "list-single", "muc#roomconfig_maxusers": "list-single",
    "muc#roomconfig_presencebroadcast": "list-multi",
    "muc#roomconfig_getmemberlist": "list-multi", "muc#roomconfig_publicroom": "boolean",
    "muc#roomconfig_persistentroom": "boolean", "muc#roomconfig_moderatedroom": "boolean",
    "muc#roomconfig_membersonly": "boolean",
    "muc#roomconfig_passwordprotectedroom": "boolean",
    "muc#roomconfig_roomsecret": "text-private", "muc#roomconfig_whois": "list-single",
    "muc#maxhistoryfetch": "text-single", "muc#roomconfig_roomadmins": "jid-multi",
    "muc#roomconfig_roomowners": "jid-multi",
}


# ---- 10.1: creating ------------------------------------------------------------------------

def test_instant_room(muc):
    """10.1.1, 10.1.2: 201, owner and moderator; an empty submission unlocks it."""
    room = muc.address()
    j = room.join(muc.owner, "owner")
    assert j.codes >= {110, 201} and status(j.self) == ("owner", "moderator")
    assert j.others == []
    a = muc.owner.iq("set", "<query xmlns='%s'><x xmlns='jabber:x:data' type='submit'/></query>"
                     % MUC.OWNER, to=room.jid)
    assert a.get("type") == "result" and a.get("from") == room.jid
    assert 201 not in room.join(muc.person("x")).codes


def test_form(muc):
    """10.1.3: every field of the registered form that means something here, with its type
    and value."""
    room = muc.address()
    room.join(muc.owner, "owner")
    form = room.form(muc.owner)
    assert fields(form)["FORM_TYPE"] == [MUC.CONFIG]
    types = {f.get("var"): f.get("type") for f in children(form, "field")}
    assert types["FORM_TYPE"] == "hidden"
    assert types.get("muc#roomconfig_enablelogging", "boolean") == "boolean"
    for var, type_ in FIELDS.items():
        assert types.get(var) == type_, var
    for f in children(form, "field"):
        if f.get("type", "").startswith("list-"):
            options = [text(o, "value", MUC.DATA) for o in children(f, "option", MUC.DATA)]
            values = [v.text for v in children(f, "value", MUC.DATA)]
            assert options and set(values) <= set(options), to_str(f)
        if f.get("type") != "hidden" and f.get("type") != "fixed":
            assert f.get("label"), to_str(f)


SUBMITTED = dict(
    roomname="A Dark Cave", roomdesc="The place for all good witches!", lang="en",
    changesubject="1", allowinvites="1", allowpm="participants", maxusers="10",
    publicroom="0", persistentroom="1", moderatedroom="1", membersonly="1",
    passwordprotectedroom="1", roomsecret="cauldronburn", whois="anyone",
    maxhistoryfetch="7", presencebroadcast=["moderator"], getmemberlist=["moderator"])


def test_reserved_room(muc):
    """10.1.3: locked until the form comes; then all of it is so."""
    room = muc.address()
    room.join(muc.owner, "owner")
    x = muc.person("x")
    room.refused(x)
    domain = muc.server.domain
    room.configure(muc.owner, roomadmins=["wiccarocks@" + domain, "hecate@" + domain],
                   **SUBMITTED)
    now = room.config(muc.owner)
    for k, v in SUBMITTED.items():
        var = "muc#" + k if k == "maxhistoryfetch" else "muc#roomconfig_" + k
        assert now[var] == (v if isinstance(v, list) else [v]) or \
            now[var] == ["true" if v == "1" else "false"], var
    assert sorted(now["muc#roomconfig_roomadmins"]) == ["hecate@" + domain,
                                                         "wiccarocks@" + domain]
    assert now["muc#roomconfig_roomowners"] == [muc.owner.bare]
    assert room.jids(muc.owner, "admin") == ["hecate@" + domain, "wiccarocks@" + domain]


def test_what_is_not_submitted_stays(muc):
    """XEP-0004: fields that the form doesn't have are left as they were."""
    room = muc.room(**SUBMITTED)
    before = room.config(muc.owner)
    room.configure(muc.owner, roomname="Heath")
    now = room.config(muc.owner)
    assert now.pop("muc#roomconfig_roomname") == ["Heath"]
    before.pop("muc#roomconfig_roomname")
    assert now == before


@pytest.mark.parametrize("config", [
    {"passwordprotectedroom": 1, "roomsecret": ""}, {"maxusers": "many"},
    {"maxusers": "-3"}, {"whois": "nobody-at-all"}, {"allowpm": "kings"},
    {"moderatedroom": "perhaps"}, {"maxhistoryfetch": "-1"}, {"roomadmins": ["@@"]},
    {"presencebroadcast": ["king"]}, {"roomowners": []},
    {"roomname": "x" * 100000}, {"maxusers": "99999999999999999999"},
])
def test_unacceptable(muc, config):
    """10.1.3: not-acceptable (or bad-request); nothing is changed."""
    room = muc.room(roomname="Heath", moderatedroom=0)
    before = room.config(muc.owner)
    a = room.send_config(muc.owner, **config)
    assert a.get("type") == "error", to_str(a)
    assert error(a)[1] in ("not-acceptable", "bad-request", "conflict", "jid-malformed")
    assert room.config(muc.owner) == before


def test_cancelling_the_creation(muc):
    """10.1.3: the room is destroyed, its owner told."""
    room = muc.address()
    room.join(muc.owner, "owner")
    a = room.owner_iq(muc.owner, "set", "<x xmlns='jabber:x:data' type='cancel'/>")
    assert a.get("type") == "result"
    x = muc.person("x")
    assert 201 in room.join(x).codes


def test_cancelling_tells_the_owner(muc):
    room = muc.address()
    room.join(muc.owner, "owner")
    muc.owner.send("<iq type='set' id='c1' to='%s'><query xmlns='%s'><x xmlns='jabber:x:data' "
                   "type='cancel'/></query></iq>" % (room.jid, MUC.OWNER))
    p = muc.owner.until(lambda e: name(e) == "presence")
    assert p.get("type") == "unavailable" and status(p)[1] == "none"


def test_not_an_owner(muc):
    """10.2: forbidden to read and to change."""
    room, x = muc.populated("x")
    admin, z = muc.people("admin", "z")
    room.set(muc.owner, affiliation="admin", jid=admin.bare)
    room.join(admin)
    for c in (x, admin, z):
        assert error(room.owner_iq(c, "get")) == ("auth", "forbidden")
        assert error(room.send_config(c, moderatedroom=1)) == ("auth", "forbidden")
        assert error(room.destroy(c)) == ("auth", "forbidden")
    assert room.config(muc.owner)["muc#roomconfig_moderatedroom"] in (["0"], ["false"])


def test_no_such_room(muc):
    room = muc.address()
    for a in (room.owner_iq(muc.owner, "get"), room.send_config(muc.owner, moderatedroom=1),
              room.destroy(muc.owner)):
        assert error(a) == ("cancel", "item-not-found")


@pytest.mark.parametrize("inner", ["<x xmlns='jabber:x:data' type='result'/>", "",
                                   "<x xmlns='jabber:x:data'/>", "<other xmlns='mk:x'/>",
                                   submit("http://example.org/other", {"a": "b"})])
def test_bad_submissions(muc, inner):
    room = muc.room()
    a = room.owner_iq(muc.owner, "set", inner)
    assert a.get("type") == "error"
    assert error(a)[1] in ("bad-request", "not-acceptable")


# ---- 10.2: configuring ------------------------------------------------------------------------

def test_cancelling_a_change(muc):
    """Everything stays."""
    room, x = muc.populated("x", roomname="Heath")
    before = room.config(muc.owner)
    a = room.owner_iq(muc.owner, "set", "<x xmlns='jabber:x:data' type='cancel'/>")
    assert a.get("type") == "result"
    assert room.config(muc.owner) == before
    assert room.settled(x)[0] == []


def configured(room, owner, *clients, **config):
    """Status codes that each client is told of by messages."""
    room.configure(owner, **config)
    told = []
    for got in room.settled(owner, *clients)[1:]:
        ms = [m for m in messages(got) if user(m) is not None and codes(m)]
        for m in ms:
            assert m.get("from") == room.jid and m.get("type") == "groupchat"
            assert child(m, "body", NS.CLIENT) is None
        told.append(set().union(set(), *[codes(m) for m in ms]))
    return told


def test_codes(muc):
    """10.2.1: 104 for what concerns no privacy, 172 and 173 for who sees JIDs; 170 and 171
    for the log; to all occupants."""
    room, x, y = muc.populated("x", "y", whois="moderators")
    assert configured(room, muc.owner, x, y, roomname="Heath") == [{104}] * 2
    for got in configured(room, muc.owner, x, y, whois="anyone"):
        assert 172 in got and 173 not in got
    for got in configured(room, muc.owner, x, y, whois="moderators"):
        assert 173 in got and 172 not in got
    room.configure(muc.owner, enablelogging=1)
    if room.config(muc.owner).get("muc#roomconfig_enablelogging") in (["1"], ["true"]):
        room.settled(muc.owner, x, y)
        for got in configured(room, muc.owner, x, y, enablelogging=0):
            assert 171 in got
        for got in configured(room, muc.owner, x, y, enablelogging=1):
            assert 170 in got


def test_no_change_no_code(muc):
    room, x = muc.populated("x", roomname="Heath")
    assert configured(room, muc.owner, x, roomname="Heath") in ([set()], [{104}])


def test_becoming_members_only(muc):
    """10.2: non-members are removed with 322; all are told."""
    room, x = muc.populated("x")
    m = muc.person("m")
    room.set(muc.owner, affiliation="member", jid=m.bare)
    room.enter(m)
    room.settled(x, muc.owner)
    room.configure(muc.owner, membersonly=1)
    for c in (x, m, muc.owner):
        p = c.until(lambda e: name(e) == "presence")
        assert nick(p) == "x" and p.get("type") == "unavailable"
        assert status(p) == ("none", "none") and codes(p) - {110} == {322}
    room.settled(m, muc.owner)
    assert room.join(muc.owner).nicks == ["m"]


def test_admins_by_the_form(muc):
    """10.2: the full list; who gains or loses is told to all."""
    room, x, y = muc.populated("x", "y")
    room.configure(muc.owner, roomadmins=[x.bare])
    p = y.until(lambda e: name(e) == "presence")
    assert nick(p) == "x" and status(p) == ("admin", "moderator")
    room.configure(muc.owner, roomadmins=[y.bare])
    seen = {}
    while len(seen) < 2:
        p = muc.owner.until(lambda e: name(e) == "presence" and status(e)[0] != "owner")
        if (nick(p), status(p)) != ("x", ("admin", "moderator")):
            seen[nick(p)] = status(p)
    assert seen["y"] == ("admin", "moderator")
    assert seen["x"][0] in ("none", "member") and seen["x"][1] == "participant"
    assert room.jids(muc.owner, "admin") == [y.bare]


def test_owners_by_the_form(muc):
    room, x = muc.populated("x")
    room.configure(muc.owner, roomowners=[muc.owner.bare, x.bare])
    assert status(x.until(lambda e: name(e) == "presence")) == ("owner", "moderator")
    room.configure(x, roomowners=[x.bare])
    assert room.jids(x, "owner") == [x.bare]
    p = x.until(lambda e: name(e) == "presence" and nick(e) == "owner")
    assert status(p)[0] in ("admin", "member", "none")


def test_becoming_moderated(muc):
    """Who comes in afterwards has no voice; the password holds at once, too."""
    room, x = muc.populated("x")
    room.configure(muc.owner, moderatedroom=1, passwordprotectedroom=1, roomsecret="s")
    z = muc.person("z")
    assert error(room.refused(z)) == ("auth", "not-authorized")
    assert status(room.join(z, password="s").self) == ("none", "visitor")


# ---- 10.9: destroying ---------------------------------------------------------------------------

def test_destroying(muc):
    """One unavailable presence to each, of itself, with <destroy/>; then the answer."""
    room, x, y = muc.populated("x", "y", persistentroom=1)
    other = muc.address()
    muc.owner.send(
        "<iq type='set' id='begone' to='%s'><query xmlns='%s'><destroy jid='%s'><reason>Macbeth "
        "doth come.</reason><password>p</password></destroy></query></iq>" % (
            room.jid, MUC.OWNER, other.jid))
    for c in (x, y, muc.owner):
        p = c.until(lambda e: name(e) == "presence")
        assert nick(p) == c.nick and p.get("type") == "unavailable"
        assert status(p) == ("none", "none")
        d = child(user(p), "destroy", MUC.USER)
        assert d.get("jid") == other.jid
        assert text(d, "reason", MUC.USER) == "Macbeth doth come."
        assert text(d, "password", MUC.USER) == "p"
    assert muc.owner.answer("begone").get("type") == "result"
    assert [presences(g) for g in room.settled(x, y, muc.owner)] == [[], [], []]
    assert error(room.owner_iq(muc.owner, "get")) == ("cancel", "item-not-found")
    z = muc.person("z")
    assert 201 in room.join(z).codes


def test_destroying_without_words(muc):
    """<destroy/> is there all the same."""
    room, x = muc.populated("x")
    assert room.destroy(muc.owner).get("type") == "result"
    p = x.until(lambda e: name(e) == "presence")
    d = child(user(p), "destroy", MUC.USER)
    assert d is not None and d.get("jid") is None


def test_destroying_from_outside(muc):
    """The owner need not be in the room."""
    room, x = muc.populated("x")
    room.leave(muc.owner)
    assert room.destroy(muc.owner).get("type") == "result"
    assert child(user(x.until(lambda e: nick(e) == "x")), "destroy", MUC.USER) is not None


def test_destroyed_affiliations_are_gone(muc):
    room = muc.room(persistentroom=1)
    x = muc.person("x")
    room.set(muc.owner, affiliation="outcast", jid=x.bare)
    room.destroy(muc.owner)
    room.create(x)
    assert room.jids(x, "outcast") == [] and room.jids(x, "owner") == [x.bare]
