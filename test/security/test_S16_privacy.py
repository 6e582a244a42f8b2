"""S-16: what errors, presence and lists tell about somebody who has not allowed it.
CVE-2021-37601, Prosody #1162; enumeration by different errors (RFC 6121 8.5).

A stranger asks after a user who is online, one who is offline, and one who does not exist: the
answers are the same, to the byte.
"""

import re

import pytest

from mk import NS, child, name, to_str


@pytest.fixture
def three(account, connect):
    """(the stranger, {kind: bare JID}), each name as long as the others."""
    online, offline = account(), account()
    missing = "zz" + online.user[2:]
    target = connect(online, "res", presence="")
    stranger = connect(account(), presence="")
    return stranger, {"online": online.jid, "offline": offline.jid,
                      "missing": missing + "@meerkat.test"}, target


def normal(text, jid):
    """An answer without what must differ."""
    return re.sub(r"(\bid=\"?)[^\" ]*", r"\1", text.replace(jid, "JID"))


NAMESPACES = [
    ("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>"),
    ("get", "<query xmlns='http://jabber.org/protocol/disco#items'/>"),
    ("get", "<query xmlns='http://jabber.org/protocol/disco#info' node='x'/>"),
    ("get", "<query xmlns='jabber:iq:roster'/>"),
    ("set", "<query xmlns='jabber:iq:roster'><item jid='a@b.test'/></query>"),
    ("get", "<query xmlns='jabber:iq:version'/>"), ("get", "<time xmlns='urn:xmpp:time'/>"),
    ("get", "<ping xmlns='urn:xmpp:ping'/>"), ("get", "<query xmlns='jabber:iq:last'/>"),
    ("get", "<vCard xmlns='vcard-temp'/>"), ("get", "<query xmlns='jabber:iq:register'/>"),
    ("get", "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:avatar:metadata'/></pubsub>"),
    ("get", "<query xmlns='jabber:iq:private'><x xmlns='y'/></query>"),
    ("set", "<enable xmlns='urn:xmpp:carbons:2'/>"), ("get", "<query xmlns='urn:xmpp:mam:2'/>"),
    ("get", "<blocklist xmlns='urn:xmpp:blocking'/>"), ("get", "<query xmlns='mk:unknown'/>"),
    ("set", "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>"),
]


@pytest.mark.parametrize("full", [False, True], ids=["bare", "full"])
@pytest.mark.parametrize("type_,payload", NAMESPACES, ids=range(len(NAMESPACES)))
def test_iq(three, type_, payload, full):
    stranger, users, _ = three
    answers = {}
    for kind, jid in users.items():
        a = stranger.iq(type_, payload, to=jid + ("/nothere" if full else ""))
        answers[kind] = normal(to_str(a), jid)
    assert answers["online"] == answers["offline"] == answers["missing"]


@pytest.mark.parametrize("type_", ["headline", "groupchat", "error"])
@pytest.mark.parametrize("full", [False, True], ids=["bare", "full"])
def test_message(three, type_, full):
    """A chat message tells nothing either: it is delivered, kept, or lost in silence."""
    stranger, users, _ = three
    answers = {}
    for kind, jid in users.items():
        stranger.send("<message type='%s' id='x' to='%s'><body>x</body></message>" % (
            type_, jid + ("/nothere" if full else "")))
        answers[kind] = [normal(to_str(e), jid) for e in stranger.settle(jid)]
    assert answers["online"] == answers["offline"] == answers["missing"]


@pytest.mark.parametrize("type_", ["chat", "normal"])
def test_message_that_may_be_kept(three, type_):
    """One who is offline gets it later, so silence; one who does not exist must not differ."""
    stranger, users, _ = three
    answers = {}
    for kind, jid in users.items():
        stranger.send("<message type='%s' id='x' to='%s'><body>x</body></message>" % (type_, jid))
        answers[kind] = [normal(to_str(e), jid) for e in stranger.settle(jid)]
    assert answers["online"] == answers["offline"] == answers["missing"] == []


@pytest.mark.parametrize("type_", [None, "unavailable", "probe", "unsubscribe", "unsubscribed",
                                   "subscribed"])
def test_presence(three, type_):
    stranger, users, target = three
    answers = {}
    for kind, jid in users.items():
        stranger.send("<presence%s to='%s'/>" % (" type='%s'" % type_ if type_ else "", jid))
        answers[kind] = [normal(to_str(e), jid) for e in stranger.settle(jid)]
    assert answers["online"] == answers["offline"] == answers["missing"]


def test_subscription_is_asked_in_silence(three):
    stranger, users, target = three
    answers = {}
    for kind, jid in users.items():
        stranger.send("<presence type='subscribe' to='%s'/>" % jid)
        got = [e for e in stranger.settle(jid) if name(e) == "presence"]
        answers[kind] = [normal(to_str(e), jid) for e in got]
    # RFC 6121 8.5.1 allows `unsubscribed` for one who does not exist; it would tell.
    assert answers["online"] == answers["offline"] == answers["missing"]


def test_presence_of_a_stranger_is_not_shown(three, connect, account):
    stranger, users, target = three
    target.send("<presence><status>secret</status></presence>")
    target.barrier()
    assert not [e for e in stranger.barrier() if name(e) == "presence"]


def test_the_servers_lists_name_nobody(three):
    """Disco items of the server hold no users."""
    stranger, users, _ = three
    a = stranger.iq("get", "<query xmlns='%s'/>" % NS.DISCO_ITEMS, to="meerkat.test")
    if a.get("type") == "result":
        items = [i.get("jid") for i in child(a, "query", NS.DISCO_ITEMS)]
        assert not [i for i in items if i and "@" in i], items
