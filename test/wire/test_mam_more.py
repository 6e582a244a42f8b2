"""XEP-0313 once more: what its rules say beyond the examples of test_mam.py; groupchat messages in
a user's own archive (4.1.4); retractions (XEP-0424) from elsewhere and to who is away."""

import os
import sys
import time

import pytest

import mk
from mk import NS, child, children, name, text, to_str
from mk.muc import Stage

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from test_mam import (FULLTEXT, MAM, RETRACT, SID, _mam, ask, features, form,  # noqa: E402,F401
                      mam, new, prefs, query, refused, retract, rsm, talk)


def message(c):
    return c.until(lambda e: name(e) == "message")


# ---- 3.4: the archive's id -----------------------------------------------------------

def test_senders_id_is_not_told_to_others(new):
    """3.4: not "a user's outgoing messages to their contacts"."""
    a, b = new(), new()
    a.message(b.jid, "x")
    sid, = children(message(b), "stanza-id", SID)
    assert sid.get("by") == b.bare


def test_carbons_have_the_id(new, mam, connect):
    """3.4: "servers SHOULD include the element as a child of the forwarded message when using"
    carbons (XEP-0280)."""
    a, b = new(), new()
    others = {}
    for c in (a, b):
        others[c] = connect(c.account, server=mam, presence="")
        others[c].iq("set", "<enable xmlns='urn:xmpp:carbons:2'/>")
    a.message(b.jid, "x")
    for c, direction in ((b, "received"), (a, "sent")):
        m = others[c].until(lambda e: child(e, direction, "urn:xmpp:carbons:2") is not None)
        forwarded = child(child(m, direction, "urn:xmpp:carbons:2"), "forwarded",
                          "urn:xmpp:forward:0")
        inner = child(forwarded, "message", NS.CLIENT)
        ids = {s.get("by"): s.get("id") for s in children(inner, "stanza-id", SID)}
        assert ids == {c.bare: query(c).ids[0]}, direction


# ---- 4: queries ------------------------------------------------------------------------

def test_archive_of_the_domain(new, mam):
    """4, its last example: another entity's archive is asked by its address; the server itself
    has none."""
    a = new()
    _, iq = ask(a, to=mam.domain)
    assert iq.get("type") == "error" and iq.get("from") == mam.domain


def test_two_matching_messages(new):
    """4.2, "Server returns two matching messages": one that came, one that went."""
    juliet, romeo = new(), new()
    romeo.send("<message to='%s' type='chat'><body>Call me but love</body></message>" % juliet.jid)
    message(juliet)
    juliet.send("<message to='%s' type='chat' id='8a54s'><body>What man art thou</body></message>"
                % romeo.jid)
    message(romeo)
    p = query(juliet, form(with_=romeo.bare), queryid="f27 <&'\">".replace(
        "&", "&amp;").replace("<", "&lt;").replace("'", "&apos;").replace('"', "&quot;"))
    one, two = p.results
    assert one.queryid == two.queryid == "f27 <&'\">"
    assert (one.message.get("from"), one.message.get("to")) == (romeo.jid, juliet.jid)
    assert (two.message.get("from"), two.message.get("to")) == (juliet.jid, romeo.jid)
    assert one.message.get("id") is None and two.message.get("id") == "8a54s"
    for r in p.results:
        assert r.el.get("to") == juliet.jid and r.el.get("type") in (None, "normal")
        assert children(r.el, "body") == []


def test_all_filters_together(new):
    """4.1: each one narrows the set."""
    a, b, c = new(), new(), new()
    ids = []
    for k in range(4):
        ids += talk(a, b, 1, "a%d-" % k) + talk(c, b, 1, "c%d-" % k)
    everything = dict(with_=a.bare, start="2010-08-07T00:00:00Z", end="2099-08-07T00:00:00Z",
                      after_id=ids[0], before_id=ids[7], groupchat="true")
    p = query(b, form(**everything))
    assert p.bodies == ["a1-0", "a2-0", "a3-0"] and p.complete and p.count == 3
    p = query(b, form(**everything) + rsm(2, before=""))
    assert p.bodies == ["a2-0", "a3-0"] and p.index == "1"
    assert query(b, form(words="a2", **everything)).bodies == ["a2-0"]
    assert query(b, form(**dict(everything, end="2010-09-07T00:00:00Z"))).bodies == []


def test_field_said_twice(new):
    """What can't be meant is refused, and nothing breaks."""
    a = new()
    for var in ("ids", "after-id"):
        fields = "".join("<field var='%s'><value>%d</value></field>" % (var, k) for k in (1, 2, 3))
        results, iq = ask(a, "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'>"
                          "<value>%s</value></field>%s</x>" % (MAM, fields))
        assert iq.get("type") == "error"
    assert query(a, form(with_=["a@b", "c@d"])).results == []
    assert query(a, form(ids=[])).results == []


def test_pages_at_any_time(new, mam, connect):
    """4.3.2: there is no "open query": any session may ask for any page."""
    a, b = new(), new()
    ids = talk(a, b, 9)
    last = query(b, rsm(3)).last
    account = b.account
    b.close()
    b = connect(account, server=mam)
    p = query(b, rsm(3, after=last))
    assert p.ids == ids[3:6] and p.index == "3" and not p.complete
    assert query(b, rsm(3, before=ids[2])).ids == ids[:2]


def test_ids_of_what_was_deleted_are_not_found(make_server, connect):
    """3.2, 4.3.2: what is gone is the oldest, and no page begins at it; its id never
    comes again (6.2)."""
    s = make_server({"host_types": {"people": {"plugins": {"mam": {"quota_messages": 3}}}}})
    a, b = (connect(s.account(), server=s, presence="") for _ in range(2))
    ids = talk(a, b, 9)
    deadline = time.monotonic() + 60
    while query(b).ids != ids[6:]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    refused(b, rsm(3, after=ids[2]), "item-not-found")
    refused(b, form(after_id=ids[2]), "item-not-found")
    refused(b, form(ids=ids[2]), "item-not-found")
    p = query(b, rsm(2))
    assert p.ids == ids[6:8] and p.index == "0" and p.count == 3
    more = talk(a, b, 2)
    assert not set(more) & set(ids)


# ---- 4.1.4: groupchat messages -----------------------------------------------------------

@pytest.fixture(scope="module")
def _rooms():
    s = mk.Server({"host_types": {"people": {"plugins": {
        "mam": {"groupchat": True}, "muc": {}}}}}).start()
    yield s
    s.close()


@pytest.fixture
def stage(_rooms, connect):
    yield Stage(_rooms, _rooms.account, connect)
    assert _rooms.alive(), _rooms.log()[-4000:]


def test_groupchat_messages_in_a_users_archive(stage):
    """4.1.4, both examples; 6.1.1: each once, under the account's own id."""
    room, witch = stage.populated("witch")
    other = stage.person("other")
    room.say(stage.owner, "thrice")
    room.settled(stage.owner, witch)
    other.message(witch.jid, "chat")
    message(witch)
    seen = query(witch, form(groupchat="true"))
    assert [b for b in seen.bodies if b] == ["thrice", "chat"]
    m = [r.message for r in seen.results if r.body == "thrice"][0]
    assert m.get("type") == "groupchat" and m.get("from") == room.jid + "/owner"
    assert query(witch, form(groupchat="false")).bodies == ["chat"]
    assert query(witch, form(with_=room.jid, groupchat="1")).bodies == ["thrice"]
    assert query(witch, form(with_=room.jid, groupchat="0")).bodies == []
    # With and without: pages are full, and are told to be complete, by what is asked for.
    for k in range(5):
        room.say(stage.owner, "g%d" % k)
    other.message(witch.jid, "chat 2")
    room.settled(stage.owner, witch)
    other.settle(witch.bare)
    p = query(witch, form(groupchat="false") + rsm(2))
    assert p.bodies == ["chat", "chat 2"] and p.complete
    p = query(witch, form(groupchat="true") + rsm(3))
    assert len(p.results) == 3 and not p.complete and p.count == 8
    # Who sent it has it once, as it came back.
    mine = [r for r in query(stage.owner, form(groupchat="true")).results if r.body == "thrice"]
    assert len(mine) == 1 and mine[0].message.get("from") == room.jid + "/owner"
    assert {MAM + "#groupchat-field", MAM + "#groupchat-available"} <= features(witch, witch.bare)


# ---- XEP-0424 -------------------------------------------------------------------------------

def test_retraction_from_another_device(new, mam, connect):
    """XEP-0424 6: "from the same bare JID"."""
    a, b = new(), new()
    two = connect(a.account, server=mam, presence="")
    a.message(b.jid, "oops", id_="d-1")
    message(b)
    retract(two, b, "d-1", "d-2")
    for c in (a, b):
        gone, wish = query(c).results
        assert child(gone.message, "retracted", RETRACT).get("id") == "d-2"
        assert child(wish.message, "retract", RETRACT).get("id") == "d-1"


def test_retraction_before_its_recipient_comes(new, mam, connect):
    """XEP-0424 6: a retracted message is not distributed further; the retraction is."""
    a, b = new(), mam.account()
    a.message(b.jid, "not for your eyes", id_="e-1")
    a.settle(b.jid)
    a.send("<message type='chat' to='%s' id='e-2'><retract id='e-1' xmlns='%s'/>"
           "<store xmlns='urn:xmpp:hints'/></message>" % (b.jid, RETRACT))
    a.settle(b.jid)
    c = connect(b, server=mam, presence="")
    got = [e for e in c.barrier() if name(e) == "message"]
    while not any(e.get("id") == "e-2" for e in got):
        got.append(message(c))
    for e in got:
        assert "not for your eyes" not in to_str(e)
    gone, wish = query(c).results
    assert child(gone.message, "retracted", RETRACT) is not None and gone.body is None
    assert child(wish.message, "retract", RETRACT) is not None


def test_retraction_of_what_is_not_there(new):
    """Of nothing, of the retraction itself, twice: it is kept, and changes nothing else."""
    a, b = new(), new()
    a.message(b.jid, "stays", id_="s-1")
    message(b)
    retract(a, b, "nothing", "s-2")
    retract(a, b, "s-2", "s-3")
    retract(a, b, "s-3", "s-3")
    assert query(b).results[0].body == "stays"
    a.message(b.jid, "goes", id_="g-1")
    message(b)
    retract(a, b, "g-1", "g-2")
    retract(a, b, "g-1", "g-3")
    tomb = [r for r in query(b).results if r.message.get("id") == "g-1"]
    assert len(tomb) == 1
    assert child(tomb[0].message, "retracted", RETRACT).get("id") in ("g-2", "g-3")


def test_newest_of_one_id_is_retracted(new):
    """XEP-0424 7.1: ids need not be unique; what was said last is meant."""
    a, b = new(), new()
    for body in ("old", "new"):
        a.message(b.jid, body, id_="same")
        message(b)
    retract(a, b, "same", "r")
    assert [r.body for r in query(b).results][:2] == ["old", None]


# ---- XEP-0441 ---------------------------------------------------------------------------

def test_preferences_survive_a_restart(make_server, connect):
    s = make_server({"host_types": {"people": {"plugins": {"mam": {}}}}})
    if s.config["storage"]["default"] == "memory":
        pytest.skip("memory is not durable")
    a = connect(s.account(), server=s)
    wanted = ("never", ["romeo@montague.lit", "mercutio@montague.lit/x"], [])
    assert prefs(a, *wanted) == wanted
    s.restart()
    assert prefs(connect(a.account, server=s)) == wanted


def test_preferences_that_are_wrong(new):
    """2.1: one of the three values, JIDs, once each; nothing is changed by what is refused."""
    a = new()
    wanted = ("roster", ["x@y"], [])
    assert prefs(a, *wanted) == wanted
    for payload, condition in (("<prefs xmlns='%s'/>", "bad-request"),
                               ("<prefs xmlns='%s' default='ALWAYS'/>", "bad-request"),
                               ("<prefs xmlns='%s' default='never'><always><jid/></always></prefs>",
                                "jid-malformed")):
        iq = a.iq("set", payload % MAM)
        assert child(child(iq, "error"), condition, NS.STANZAS) is not None, payload
    assert prefs(a) == wanted
    # Prepared as addresses are.
    assert prefs(a, "never", ["RoMeo@Montague.LIT/Orchard"])[1] == ["romeo@montague.lit/Orchard"]


# ---- 7: a server without ------------------------------------------------------------------

def test_without_an_archive(server, connect, account):
    """7: only who hosts archives says so; and who asks all the same is told."""
    a = connect(account())
    have = features(a, a.bare) | features(a, server.domain)
    assert not {MAM, MAM + "#extended", FULLTEXT, RETRACT + "#tombstone"} & have
    for tag in ("query", "metadata", "prefs"):
        _, iq = ask(a, type_="get", tag=tag)
        assert child(child(iq, "error"), "service-unavailable", NS.STANZAS) is not None
