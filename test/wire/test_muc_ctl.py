"""meerkatctl muc: rooms for operators; and a user's affiliations in its export."""

import json
import os

import pytest

from mk import child, name, text
from mk.muc import MUC, Stage, codes, error, nick, reason, status, user


@pytest.fixture
def stage(make_server, connect):
    server = make_server({"host_types": {"people": {"plugins": {"muc": {"hibernate": "1s"}}}}})
    return Stage(server, server.account, connect)


def fails(server, *words):
    p = server.ctl(*words, check=False)
    assert p.returncode != 0
    return p.stderr


def rooms(stage, *more):
    return stage.server.ctl_json("muc", "list", stage.server.domain, *more)


def test_list(stage):
    """All of them, in order: stored and in memory, hidden and locked too; in pages."""
    a = stage.room("a", roomname="Heath", persistentroom=1, publicroom=0)
    b = stage.room("b", publicroom=1)
    c = stage.address("c")
    c.join(stage.person("x"))
    d = stage.room("d", persistentroom=1, publicroom=1)
    found = rooms(stage)
    assert [(r["room"], r["name"], r["persistent"], r["public"]) for r in found] == [
        (a.jid, "Heath", True, False), (b.jid, None, False, True), (c.jid, None, False, False),
        (d.jid, None, True, True)]
    assert [r["room"] for r in rooms(stage, a.jid, "2")] == [b.jid, c.jid]
    assert "not served" in fails(stage.server, "muc", "list", "elsewhere.example")
    assert "limit" in fails(stage.server, "muc", "list", stage.server.domain, a.jid, "0")


def test_info(stage):
    room = stage.room(roomname="Heath", moderatedroom=1, persistentroom=1)
    room.send_subject(stage.owner, "Fire Burn")
    room.join(stage.person("x"))
    room.settled(stage.owner)
    row, = stage.server.ctl_json("muc", "info", room.jid)
    assert row["room"] == room.jid and row["name"] == "Heath" and row["subject"] == "Fire Burn"
    assert (row["occupants"], row["clients"], row["affiliations"]) == (2, 2, 1)
    assert row["moderated"] is True and row["persistent"] is True and row["password"] is False
    none = stage.address("nothing")
    assert "no such room" in fails(stage.server, "muc", "info", none.jid)
    assert 201 in none.join(stage.owner, "owner").codes        # asking made none
    for bad in (stage.server.domain, stage.service, "a@elsewhere.example", room.at("x")):
        assert "address of a room" in fails(stage.server, "muc", "info", bad)


def test_a_room_that_sleeps_is_read(stage):
    room = stage.room(persistentroom=1, roomname="Heath")
    room.leave(stage.owner)
    stage.server.restart()
    row, = stage.server.ctl_json("muc", "info", room.jid)
    assert row["name"] == "Heath" and row["occupants"] == 0


def test_occupants_and_a_kick(stage):
    room, x = stage.populated("x", whois="anyone")
    found = {r["nick"]: r for r in stage.server.ctl_json("muc", "occupants", room.jid)}
    assert found["x"] == {"nick": "x", "jid": x.jid, "role": "participant", "affiliation": "none"}
    assert found["owner"]["role"] == "moderator"
    stage.server.ctl("muc", "kick", room.jid, "owner", "Avaunt!")
    p = stage.owner.until(lambda e: name(e) == "presence" and e.get("type") == "unavailable")
    assert codes(p) == {110, 307} and reason(p) == "Avaunt!"
    assert "nobody of that name" in fails(stage.server, "muc", "kick", room.jid, "nobody")


def test_configuration(stage):
    room, x = stage.populated("x")
    stage.server.ctl("muc", "config", room.jid, "roomname=A Dark Cave", "moderatedroom=1",
                     "presencebroadcast=moderator", "presencebroadcast=participant",
                     "muc#maxhistoryfetch=7")
    m = x.until(lambda e: name(e) == "message")
    assert 104 in codes(m)
    now = {r["field"]: r["value"] for r in stage.server.ctl_json("muc", "config", room.jid)}
    assert now["muc#roomconfig_roomname"] == "A Dark Cave"
    assert now["muc#roomconfig_moderatedroom"] == "1" and now["muc#maxhistoryfetch"] == "7"
    assert now["muc#roomconfig_presencebroadcast"] == "moderator participant"
    assert room.config(stage.owner)["muc#roomconfig_roomname"] == ["A Dark Cave"]
    stage.server.ctl("muc", "config", room.jid, "passwordprotectedroom=1", "roomsecret=hush")
    assert "hush" not in stage.server.ctl("muc", "config", room.jid).stdout
    for bad in ("roomname", "=x", "maxusers=many", "moderatedroom=perhaps"):
        assert fails(stage.server, "muc", "config", room.jid, bad)
    assert status(room.join(stage.person("y"), password="hush").self) == ("none", "visitor")


def test_affiliations(stage):
    """An operator is an owner of every room; all are told as of any change."""
    room, x = stage.populated("x", persistentroom=1)
    ctl = stage.server.ctl
    ctl("muc", "affiliation", room.jid, x.bare, "admin", "trusted")
    p = x.until(lambda e: name(e) == "presence")
    assert status(p) == ("admin", "moderator") and reason(p) == "trusted"
    found = {r["jid"]: r for r in stage.server.ctl_json("muc", "affiliation", room.jid)}
    assert found[x.bare]["affiliation"] == "admin" and found[x.bare]["reason"] == "trusted"
    assert found[stage.owner.bare]["affiliation"] == "owner" and len(found) == 2
    assert "king" not in fails(stage.server, "muc", "affiliation", room.jid, x.bare, "king")
    assert "conflict" in fails(stage.server, "muc", "affiliation", room.jid, stage.owner.bare,
                               "none")
    ctl("muc", "affiliation", room.jid, x.bare, "outcast")
    assert 301 in codes(x.until(lambda e: e.get("type") == "unavailable"))


def test_making_and_ending_a_room(stage):
    room, other = stage.address("made"), stage.address("other")
    x = stage.person("x")
    ctl = stage.server.ctl
    assert "FIELD=VALUE" in fails(stage.server, "muc", "create", room.jid, x.bare, "nonsense")
    assert rooms(stage) == []
    ctl("muc", "create", room.jid, x.bare, "roomname=Heath", "publicroom=1")
    (row,) = rooms(stage)
    assert row == {"room": room.jid, "name": "Heath", "persistent": True, "public": True}
    assert fails(stage.server, "muc", "create", room.jid, stage.owner.bare)
    j = room.join(x)
    assert 201 not in j.codes and status(j.self) == ("owner", "moderator")
    assert room.jids(x, "owner") == [x.bare]
    ctl("muc", "destroy", room.jid, "Macbeth doth come.", other.jid)
    p = x.until(lambda e: name(e) == "presence" and e.get("type") == "unavailable")
    d = child(user(p), "destroy", MUC.USER)
    assert d.get("jid") == other.jid and text(d, "reason", MUC.USER) == "Macbeth doth come."
    assert nick(p) == "x" and rooms(stage) == []
    assert "no such room" in fails(stage.server, "muc", "destroy", room.jid)


def test_nobody_else_asks_like_an_operator(stage):
    """The request that commands make of themselves is of no use to clients."""
    room, x = stage.populated("x")
    for c in (x, stage.owner):
        for what in ("info", "occupants", "affiliations", "create"):
            a = c.iq("set", "<%s xmlns='urn:meerkat:muc:operator' owner='%s'/>" % (what, c.bare),
                     to=room.jid)
            assert error(a) == ("cancel", "service-unavailable")
    a = x.iq("set", "<create xmlns='urn:meerkat:muc:operator' owner='%s'/>" % x.bare,
             to=stage.address().jid)
    assert error(a)[1] == "service-unavailable"


def test_affiliations_are_in_the_export_of_a_user(stage):
    """And erased with all else that is stored of it."""
    x = stage.server.account()
    made = [stage.room("e%d" % k, persistentroom=1) for k in range(3)]
    for r, a in zip(made, ("member", "admin", "outcast")):
        r.set(stage.owner, affiliation=a, jid=x.jid)

    def exported():
        return [r for r in stage.server.ctl_json("storage", "export", x.jid)
                if r["table"] == "muc_affiliation"]

    found = exported()
    assert len(found) == 3 and all(room.jid in json.dumps(found) for room in made)
    assert stage.owner.bare not in json.dumps(found)
    stage.server.ctl("storage", "erase", x.jid)
    assert exported() == []
    if os.environ.get("MEERKAT_TEST_STORAGE") != "memory":
        stage.server.restart()
        owner = stage.person("owner", stage.owner.account)
        assert made[0].jids(owner, "member") == [] and made[0].jids(owner, "owner") == [owner.bare]
