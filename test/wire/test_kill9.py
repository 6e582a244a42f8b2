"""An acknowledgement is a promise (XEP-0198 4; reliability D1): kill -9 in the middle
of a conversation, again and again, and every message that the server had
acknowledged is with its recipient in the end, and, with mam, in both archives.

MEERKAT_KILL_ROUNDS: rounds per durability mode, 10 by default.
MEERKAT_KILL_SEED: to have the same again (printed when it fails).
"""

import os
import random
import time

import pytest

from mk import NS, StreamClosed, Timeout, child, name, ns, to_str
from mk.sm import SmClient

ROUNDS = int(os.environ.get("MEERKAT_KILL_ROUNDS", "10"))
SEED = int(os.environ.get("MEERKAT_KILL_SEED", "0")) or random.SystemRandom().randrange(1, 2 ** 32)

# What the recipient does while it is written to.
RECIPIENTS = ("acknowledges", "does not acknowledge", "is detached", "has no sm", "is offline")


class Recipient:
    """Collects what came, over all connections of its rounds."""

    def __init__(self, server, account):
        self.server, self.account = server, account
        self.client = None
        self.order = []              # ids, as they came first
        self.ids = {}                # id -> stanza-id it came with

    def login(self):
        self.client = SmClient(self.server, self.account)
        self.client.start()
        self.client.scram()
        self.client.bind()
        # Not available(): it would drop what comes before the echo.
        self.client.send("<presence/>")

    def take(self, timeout):
        """One more element; False if there was none in time."""
        try:
            el = self.client.recv(timeout)
        except Timeout:
            return False
        if name(el) == "message" and ns(el) == NS.CLIENT and el.get("id"):
            id_ = el.get("id")
            sid = child(el, "stanza-id", NS.SID)
            sid = sid.get("id") if sid is not None else None
            if id_ in self.ids:
                # D3: twice only as the very same one
                assert sid == self.ids[id_], "%s came twice, as %s and %s" % (
                    id_, self.ids[id_], sid)
            else:
                self.ids[id_] = sid
                self.order.append(id_)
        return True

    def drain(self):
        """What had reached us when the server was killed."""
        try:
            while self.take(2):
                pass
        except StreamClosed:
            pass
        self.client.kill()


class Sender:
    def __init__(self, server, account):
        self.client = SmClient(server, account)
        self.client.login()
        self.client.enable()
        self.sent = []
        self.h = 0

    def send(self, to, prefix, n):
        xml = ""
        for _ in range(n):
            id_ = "%s-%d" % (prefix, len(self.sent))
            self.sent.append(id_)
            xml += "<message to='%s' type='chat' id='%s'><body>%s</body></message>" % (
                to, id_, id_)
        try:
            self.client.send(xml + "<r xmlns='%s'/>" % NS.SM)
        except OSError:
            return False
        return True

    def take(self, timeout):
        try:
            el = self.client.recv(timeout)
        except Timeout:
            return False
        if ns(el) == NS.SM and name(el) == "a":
            h = int(el.get("h"))
            assert h <= len(self.sent), "h %d, but only %d were sent" % (h, len(self.sent))
            assert h >= self.h, "h %d after h %d" % (h, self.h)
            self.h = h
        return True

    def acked(self):
        """Drains what came before the end."""
        try:
            while self.take(2):
                pass
        except StreamClosed:
            pass
        self.client.kill()
        return self.sent[:self.h]


def chat(rng, server, sender, recipient, number):
    """Writes to the recipient until the server is killed; what was acknowledged."""
    s = Sender(server, sender)
    r = Recipient(server, recipient)
    how = RECIPIENTS[number % len(RECIPIENTS)]
    if how != "is offline":
        r.login()
        if how != "has no sm":
            r.client.enable()
        r.client.answers = how == "acknowledges"
    if how == "is detached":
        r.client.reset()
    until = time.monotonic() + rng.uniform(0, 0.4)
    while time.monotonic() < until:
        s.send(recipient.jid, "r%d" % number, rng.randint(1, 10))
        while s.take(0.001):
            pass
        if r.client and r.client.sock:
            while r.take(0.001):
                pass
    server.kill()
    acked = s.acked()
    if r.client and r.client.sock:
        r.drain()
    return how, acked, r


@pytest.mark.parametrize("durability", ["async", "wal"])
def test_acknowledged_is_kept(make_server, durability):
    rng = random.Random(SEED)
    print("seed", SEED)
    server = make_server({"host_types": {"people": {
        "durability": durability, "plugins": {"offline": {"max_messages": 100000}}}}})
    total = 0
    for number in range(ROUNDS):
        sender, recipient = server.account(), server.account()
        how, acked, r = chat(rng, server, sender, recipient, number)
        server.start()
        r.login()
        # Offline storage, with or without a replay still under way.
        deadline = time.monotonic() + 20
        missing = set(acked) - set(r.ids)
        while missing and time.monotonic() < deadline:
            r.take(1)
            missing = set(acked) - set(r.ids)
        first_missing = [i for i in acked if i in missing][:5]
        assert not missing, "round %d, recipient %s: %d of %d acknowledged are lost: %s" % (
            number, how, len(missing), len(acked), first_missing)
        numbers = [int(i.split("-")[1]) for i in r.order]
        assert numbers == sorted(numbers), "round %d, recipient %s: %s" % (number, how, numbers)
        total += len(acked)
        r.client.kill()
    assert total > 0, "nothing was acknowledged: the test is none"


def archive(server, account):
    """[(archive id, message id)], page by page."""
    with SmClient(server, account) as c:
        c.login()
        got, after = [], ""
        while True:
            c.send("<iq type='set' id='q'><query xmlns='urn:xmpp:mam:2'>"
                   "<set xmlns='http://jabber.org/protocol/rsm'><max>250</max>%s</set></query></iq>"
                   % after)
            while True:
                el = c.recv()
                if name(el) == "iq" and el.get("id") == "q":
                    break
                result = child(el, "result", "urn:xmpp:mam:2")
                if result is not None:
                    forwarded = child(result, "forwarded", "urn:xmpp:forward:0")
                    got.append((result.get("id"), child(forwarded, "message").get("id")))
            fin = child(el, "fin", "urn:xmpp:mam:2")
            assert fin is not None, to_str(el)
            if fin.get("complete") == "true":
                return got
            after = "<after>%s</after>" % got[-1][0]


@pytest.mark.parametrize("durability", ["async", "wal", "commit"])
def test_acknowledged_is_in_both_archives(make_server, durability):
    """XEP-0313: nothing that was acknowledged is missing from either archive, nothing is
    there twice, both have it under the id it was delivered with, in order."""
    rng = random.Random(SEED)
    print("seed", SEED)
    server = make_server({"host_types": {"people": {
        "durability": durability, "plugins": {"mam": {"max_page": 250}}}}})
    total = 0
    for number in range(ROUNDS):
        sender, recipient = server.account(), server.account()
        how, acked, r = chat(rng, server, sender, recipient, number)
        server.start()
        deadline = time.monotonic() + 20
        for account in (sender, recipient):
            while True:
                # What the journal handed back may still be on its way.
                rows = archive(server, account)
                ids = [m for _, m in rows]
                missing = set(acked) - set(ids)
                if not missing or time.monotonic() > deadline:
                    break
            where = "round %d, recipient %s, %s" % (number, how, account)
            assert not missing, "%s: %d of %d acknowledged are lost: %s" % (
                where, len(missing), len(acked), sorted(missing)[:5])
            assert len(ids) == len(set(ids)), "%s: twice: %s" % (where, ids)
            numbers = [int(i.split("-")[1]) for i in ids]
            assert numbers == sorted(numbers), "%s: %s" % (where, numbers)
            for sid, m in rows:
                assert r.ids.get(m, sid) in (sid, None), "%s: %s has another id" % (where, m)
        total += len(acked)
    assert total > 0, "nothing was acknowledged: the test is none"


def test_orderly_restart_keeps_it_too(make_server):
    """SIGTERM: queues of those who are away stay in the journal."""
    server = make_server()
    sender, recipient = server.account(), server.account()
    s = Sender(server, sender)
    r = Recipient(server, recipient)
    r.login()
    r.client.enable()
    r.client.reset()
    s.send(recipient.jid, "o", 20)
    while s.h < 20:
        assert s.take(10)
    server.restart()
    r.login()
    deadline = time.monotonic() + 20
    while len(r.order) < 20 and time.monotonic() < deadline:
        r.take(1)
    assert r.order == s.sent
    s.client.kill()
    r.client.kill()


def test_resumption_does_not_survive_a_crash_but_nothing_is_lost(make_server):
    """The client is told; it binds, and gets what it had missed."""
    server = make_server()
    sender, recipient = server.account(), server.account()
    s = Sender(server, sender)
    r = Recipient(server, recipient)
    r.login()
    r.client.enable()
    old = r.client
    old.reset()
    s.send(recipient.jid, "c", 5)
    while s.h < 5:
        assert s.take(10)
    server.restart(hard=True)
    c = SmClient(server, recipient).authenticate()
    el = c.resume_of(old)
    assert name(el) == "failed" and child(el, "item-not-found", NS.STANZAS) is not None
    c.kill()
    r.login()
    while len(r.order) < 5:
        assert r.take(10)
    assert r.order == s.sent
    s.client.kill()
    r.client.kill()
