"""XEP-0317: hats, made, given, shown, taken and destroyed by commands of the room."""

import pytest

from mk import child, children, element, name, text, to_str
from mk.muc import MUC, codes, error, fields, nick, submit

HATS = "urn:xmpp:hats:0"
COMMANDS = "http://jabber.org/protocol/commands"
FORM = "urn:xmpp:hats:commands"
HOST, SCRIBE = "http://example.com/hats#host", "http://example.com/hats#scribe"


def command(room, c, node, values=None, **attrs):
    return c.iq("set", element(
        "command", COMMANDS, "" if values is None else submit(
            FORM, {"hats#" + k: v for k, v in values.items()}),
        node=FORM + ":" + node, **attrs), to=room.jid)


def done(a):
    assert a.get("type") == "result", to_str(a)
    c = child(a, "command", COMMANDS)
    assert c.get("status") == "completed" and c.get("sessionid")
    return c


def listed(room, c, node="list"):
    x = child(done(command(room, c, node)), "x", MUC.DATA)
    assert x.get("type") == "result"
    return [{k: v[0] for k, v in fields(i).items()} for i in children(x, "item", MUC.DATA)]


def worn(presence):
    """{uri: (title, hue)}"""
    found = children(presence, "hats", HATS)
    assert len(found) <= 1
    return {h.get("uri"): (h.get("title"), h.get("hue"))
            for hats in found for h in children(hats, "hat", HATS)}


def presence_of(c, who):
    return c.until(lambda e: name(e) == "presence" and nick(e) == who)


def test_commands_ask_for_a_form(muc):
    """3.2 to 3.6: without a form, the form."""
    room = muc.room()
    for node, wanted in (("create", {"hats#title", "hats#uri", "hats#hue"}),
                         ("destroy", {"hats#uri"}), ("assign", {"hats#jid", "hats#uri"}),
                         ("unassign", {"hats#jid", "hats#uri"})):
        a = command(room, muc.owner, node, action="execute")
        c = child(a, "command", COMMANDS)
        assert c.get("status") == "executing" and c.get("node") == FORM + ":" + node
        x = child(c, "x", MUC.DATA)
        assert x.get("type") == "form" and fields(x)["FORM_TYPE"] == [FORM]
        assert set(fields(x)) - {"FORM_TYPE"} == wanted
    a = command(room, muc.owner, "create", action="cancel", sessionid="s1")
    c = child(a, "command", COMMANDS)
    assert c.get("status") == "canceled" and c.get("sessionid") == "s1"


def test_a_hat_is_made_worn_and_destroyed(muc):
    room, x, y = muc.populated("x", "y")
    assert room.disco(y)[2].get("hats#hash") is None
    done(command(room, muc.owner, "create", {"title": "Host", "uri": HOST, "hue": "327.25"}))
    assert 104 in codes(y.until(lambda e: name(e) == "message"))
    before = room.disco(y)[2]["hats#hash"]
    done(command(room, muc.owner, "create", {"title": "Scribe", "uri": SCRIBE}))
    assert room.disco(y)[2]["hats#hash"] != before
    assert listed(room, y) == [
        {"hats#title": "Host", "hats#uri": HOST, "hats#hue": "327.25"},
        {"hats#title": "Scribe", "hats#uri": SCRIBE}]
    for uri in (HOST, SCRIBE):
        done(command(room, muc.owner, "assign", {"jid": x.bare, "uri": uri}))
    seen = {}
    while len(seen) < 2:
        seen = worn(presence_of(y, "x"))
    assert seen == {HOST: ("Host", "327.25"), SCRIBE: ("Scribe", None)}
    assert listed(room, muc.owner, "list-assigned")[0] == {
        "hats#jid": x.bare, "hats#title": "Host", "hats#uri": HOST, "hats#hue": "327.25"}
    # Who comes in, and what x says of himself later.
    z = muc.person("z")
    (p,) = [p for p in room.join(z).others if nick(p) == "x"]
    assert set(worn(p)) == {HOST, SCRIBE}
    room.presence(x, "<show>away</show>")
    assert set(worn(z.until(lambda e: name(e) == "presence" and text(e, "show")))) == {
        HOST, SCRIBE}
    room.settled(x, y, z, muc.owner)
    # Changed, taken away, destroyed: each is told.
    done(command(room, muc.owner, "create", {"title": "Master", "uri": HOST}))
    assert worn(presence_of(y, "x"))[HOST] == ("Master", None)
    done(command(room, muc.owner, "unassign", {"jid": x.bare, "uri": HOST}))
    assert set(worn(presence_of(y, "x"))) == {SCRIBE}
    done(command(room, muc.owner, "destroy", {"uri": SCRIBE}))
    assert worn(presence_of(y, "x")) == {}
    assert listed(room, muc.owner, "list-assigned") == []


def test_hats_are_for_admins_to_manage(muc):
    room, x = muc.populated("x", whois="moderators")
    z = muc.person("z")
    done(command(room, muc.owner, "create", {"title": "Host", "uri": HOST}))
    for c in (x, z):
        for node in ("create", "destroy", "assign", "unassign", "list-assigned"):
            a = command(room, c, node, {"title": "t", "uri": HOST, "jid": x.bare})
            assert error(a) == ("auth", "forbidden")
    assert error(command(room, z, "list")) == ("auth", "forbidden")
    assert len(listed(room, x)) == 1
    assert error(command(room, muc.owner, "other")) == ("cancel", "item-not-found")


@pytest.mark.parametrize("node,values", [
    ("create", {"title": "t"}), ("create", {"uri": HOST}),
    ("create", {"title": "t", "uri": "not a uri"}),
    ("create", {"title": "t", "uri": HOST, "hue": "red"}),
    ("assign", {"jid": "a@b", "uri": SCRIBE}), ("assign", {"jid": "@", "uri": HOST}),
    ("destroy", {"uri": SCRIBE}), ("unassign", {"jid": "a@b", "uri": SCRIBE}),
])
def test_nonsense(muc, node, values):
    room = muc.room()
    done(command(room, muc.owner, "create", {"title": "Host", "uri": HOST}))
    a = command(room, muc.owner, node, values)
    assert error(a)[1] in ("bad-request", "item-not-found", "jid-malformed")
    assert [h["hats#uri"] for h in listed(room, muc.owner)] == [HOST]


def test_nobody_puts_on_a_hat_himself(muc):
    """S-06."""
    room, x, y = muc.populated("x", "y")
    room.presence(x, "<show>away</show><hats xmlns='%s'><hat title='King' uri='urn:king'/></hats>"
                  % HATS)
    assert worn(y.until(lambda e: name(e) == "presence" and text(e, "show"))) == {}
