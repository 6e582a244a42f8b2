"""Archives of rooms (XEP-0313 5.1.4, 6.1.2): one id for all, who may read, whose address is
seen, history after the room was read from storage again, the end of it. And affiliations
of accounts that are no more."""

import itertools
import time

import pytest

import mk
from mk import NS, child, children, name, text, to_str
from mk.muc import MUC, Stage, bodies, codes, error, item, user

MAM = "urn:xmpp:mam:2"
RSM = "http://jabber.org/protocol/rsm"
FORWARD = "urn:xmpp:forward:0"
SID = "urn:xmpp:sid:0"
_ids = itertools.count(1)


@pytest.fixture(scope="module")
def _mam():
    s = mk.Server({"host_types": {"people": {"plugins": {
        "mam": {}, "muc": {"hibernate": "1s"}}}}}).start()
    yield s
    s.close()


@pytest.fixture
def stage(_mam, connect):
    yield Stage(_mam, _mam.account, connect)
    assert _mam.alive(), _mam.log()[-4000:]


def query(c, room, form="", rsm="", type_="set"):
    """(the answer, forwarded messages by their archive ids, in order)."""
    id_ = "q%d" % next(_ids)
    c.send("<iq type='%s' id='%s' to='%s'><query xmlns='%s' queryid='%s'>%s%s</query></iq>" % (
        type_, id_, room.jid, MAM, id_, form, rsm))
    got = {}
    while True:
        el = c.recv()
        if name(el) == "iq" and el.get("id") == id_:
            return el, got
        r = child(el, "result", MAM) if name(el) == "message" else None
        if r is not None and r.get("queryid") == id_:
            assert el.get("from") == room.jid
            got[r.get("id")] = child(child(r, "forwarded", FORWARD), "message", NS.CLIENT)


def with_(jid):
    return ("<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>%s</value>"
            "</field><field var='with'><value>%s</value></field></x>" % (MAM, jid))


def archived(stage, *nicks, **config):
    config.setdefault("persistentroom", 1)
    config.setdefault("enablelogging", 1)
    return stage.populated(*nicks, **config)


def stanza_id(room, el):
    ids = [s.get("id") for s in children(el, "stanza-id", SID) if s.get("by") == room.jid]
    assert len(ids) == 1, to_str(el)
    return ids[0]


def test_ids_are_those_of_the_archive(stage):
    room, x = archived(stage, "x")
    room.say(x, "one")
    room.say(x, "two")
    seen = room.got(x)
    room.send_subject(stage.owner, "three")
    seen += room.settled(x, stage.owner)[0]
    seen = [m for m in seen if name(m) == "message"]
    a, got = query(x, room)
    assert a.get("type") == "result"
    assert [stanza_id(room, m) for m in seen] == list(got)
    assert [text(m, "body") or text(m, "subject") for m in got.values()] == \
        ["one", "two", "three"]
    for m in got.values():
        assert m.get("to") is None and m.get("type") == "groupchat"
    assert [m.get("from") for m in got.values()] == \
        [room.at("x"), room.at("x"), room.at("owner")]


def test_it_is_announced(stage):
    room, x = archived(stage, "x")
    assert MAM in room.disco(x)[1]
    y = stage.person()
    assert 170 in room.join(y).codes
    temporary = stage.room(persistentroom=0)
    assert MAM not in temporary.disco(x)[1]
    assert 170 not in temporary.join(stage.person()).codes


def test_real_addresses_are_for_those_who_see_them(stage):
    room, x = archived(stage, "x", whois="moderators")
    room.say(x, "hello")
    room.settled(x, stage.owner)
    for c, sees in ((stage.owner, True), (x, False), (stage.person(), False)):
        m, = query(c, room)[1].values()
        assert (user(m) is not None) == sees
        assert not sees or item(m).get("jid") == x.jid
        a, got = query(c, room, with_(x.bare))
        assert len(got) == 1 if sees else error(a) == ("auth", "forbidden")
    room.configure(stage.owner, whois="anyone")
    m, = query(x, room)[1].values()
    assert item(m).get("jid") == x.jid


def test_an_address_that_somebody_claims_is_not_kept(stage):
    room, x = archived(stage, "x", whois="anyone")
    x.send("<message type='groupchat' to='%s'><body>hello</body><x xmlns='%s'>"
           "<item jid='boss@meerkat.test'/></x></message>" % (room.jid, MUC.USER))
    room.settled(x)
    m, = query(x, room)[1].values()
    assert item(m).get("jid") == x.jid


def test_who_may_enter_may_read(stage):
    room, x = archived(stage, "x")
    room.say(x, "hello")
    room.settled(x)
    stranger, banned = stage.people("s", "b")
    room.set(stage.owner, affiliation="outcast", jid=banned.bare)
    assert len(query(stranger, room)[1]) == 1
    assert error(query(banned, room)[0]) == ("auth", "forbidden")
    room.set(stage.owner, affiliation="member", jid=x.bare)
    room.configure(stage.owner, membersonly=1)
    assert error(query(stranger, room)[0]) == ("auth", "forbidden")
    room.leave(x)
    assert len(query(x, room)[1]) == 1
    room.configure(stage.owner, membersonly=0, passwordprotectedroom=1, roomsecret="secret")
    assert error(query(stranger, room)[0]) == ("auth", "forbidden")
    room.join(stranger, password="secret")
    assert len(query(stranger, room)[1]) == 1


def test_no_private_messages_and_nothing_that_was_refused(stage):
    room, x, y = archived(stage, "x", "y", moderatedroom=1)
    room.say(x, "no voice")
    x.message(room.at("y"), "psst", "chat")
    room.settled(x, y, stage.owner)
    assert query(stage.owner, room)[1] == {}


def test_pages(stage):
    room, x = archived(stage, "x")
    for k in range(5):
        room.say(x, "m%d" % k)
    room.settled(x)
    a, got = query(x, room, rsm="<set xmlns='%s'><max>2</max><before/></set>" % RSM)
    assert [text(m, "body") for m in got.values()] == ["m3", "m4"]
    fin = child(a, "fin", MAM)
    first = text(child(fin, "set", RSM), "first", RSM)
    got = query(x, room, rsm="<set xmlns='%s'><max>2</max><before>%s</before></set>" % (
        RSM, first))[1]
    assert [text(m, "body") for m in got.values()] == ["m1", "m2"]


def test_history_after_the_room_was_asleep(stage):
    """The room has left memory when its gauge says so; who enters gets the end of the
    archive, each with its time and its id."""
    room, x = archived(stage, "x", maxhistoryfetch=3)
    for k in range(5):
        room.say(x, "m%d" % k)
    ids = list(query(x, room)[1])
    room.settled(x)
    room.leave(x)
    room.leave(stage.owner)

    def loaded():
        out = stage.server.ctl("metrics").stdout
        return float(next(line for line in out.splitlines()
                          if line.startswith("meerkat_muc_loaded_total")
                          and "people" in line).split()[-1])
    before = loaded()
    y = stage.person()
    while True:
        j = room.join(y)
        assert bodies(j.history) == ["m2", "m3", "m4"]
        assert [stanza_id(room, m) for m in j.history] == ids[2:]
        room.leave(y)
        if loaded() > before:
            break
        time.sleep(1.2)                # longer than `hibernate`: try again


def test_nothing_is_left_when_the_room_ends(stage):
    room, x = archived(stage, "x")
    room.say(x, "hello")
    room.settled(x)
    assert room.destroy(stage.owner).get("type") == "result"
    x.until(lambda e: name(e) == "presence" and e.get("type") == "unavailable")
    room.create(x, "x", persistentroom=1, enablelogging=1)
    assert query(x, room)[1] == {}
    # The same when it stops to be persistent.
    room.say(x, "again")
    room.settled(x)
    room.configure(x, persistentroom=0)
    room.configure(x, persistentroom=1)
    assert query(x, room)[1] == {}


def test_none_without_logging(stage):
    room, x = archived(stage, "x", enablelogging=0)
    assert MAM not in room.disco(x)[1]
    room.say(x, "hello")
    room.settled(x)
    assert query(x, room)[1] == {}
    room.configure(stage.owner, enablelogging=1)
    got, = room.settled(x)
    assert any(170 in codes(m) for m in got if name(m) == "message")
    room.say(x, "from now on")
    room.settled(x)
    assert [text(m, "body") for m in query(x, room)[1].values()] == ["from now on"]


def test_there_is_no_such_room(stage):
    a, got = query(stage.person(), stage.address())
    assert error(a) == ("cancel", "item-not-found") and not got


# ---- accounts that are no more -----------------------------------------------------------------

def test_affiliations_go_with_their_account(stage):
    account = stage.server.account()
    gone = stage.person("gone", account)
    rooms = [stage.room(persistentroom=1) for _ in range(3)]
    for r in rooms:
        r.set(stage.owner, affiliation="admin", jid=gone.bare)
    stage.server.ctl("account", "unregister", account.jid)
    for r in rooms:
        while gone.bare in r.jids(stage.owner, "admin"):
            pass
        assert r.jids(stage.owner, "owner") == [stage.owner.bare]
