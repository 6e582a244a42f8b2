"""Two clients that share nothing with us: slixmpp, as people use it."""

import asyncio
import ssl

import pytest

slixmpp = pytest.importorskip("slixmpp", reason="slixmpp is not installed")

TIMEOUT = 60                   # an event loop and three clients on a busy machine


class Client(slixmpp.ClientXMPP):
    def __init__(self, server, account, plugins=(), resource=None, loop=None):
        jid = account.jid + ("/" + resource if resource else "")
        super().__init__(jid, account.password)
        self.where = ("127.0.0.1", server.port)
        self.ca_certs = server.cafile
        self.ssl_context.check_hostname = False
        for p in plugins:
            self.register_plugin(p)
        self.started = asyncio.Event()
        self.ended = asyncio.Event()
        self.messages = asyncio.Queue()
        self.add_event_handler("session_start", self.on_start)
        self.add_event_handler("session_resumed", lambda _: self.started.set())
        self.add_event_handler("disconnected", lambda _: self.ended.set())
        self.add_event_handler("message", self.messages.put_nowait)
        self.presences = asyncio.Queue()
        self.add_event_handler("presence", self.presences.put_nowait)
        self.failure = None
        self.add_event_handler("failed_all_auth", self.on_failure)

    async def on_start(self, _):
        self.send_presence()
        await self.get_roster()
        self.started.set()

    def on_failure(self, f):
        self.failure = f
        self.started.set()

    async def go(self):
        self.connect(address=self.where, disable_starttls=False)
        await asyncio.wait_for(self.started.wait(), TIMEOUT)
        assert self.failure is None, self.failure
        return self

    async def leave(self):
        self.disconnect(wait=1)
        await asyncio.wait_for(self.ended.wait(), TIMEOUT)

    async def next_message(self):
        return await asyncio.wait_for(self.messages.get(), TIMEOUT)

    async def presence_from(self, bare, type_="available"):
        while True:
            p = await asyncio.wait_for(self.presences.get(), TIMEOUT)
            if p["from"].bare == bare and p["type"] == type_:
                return p


@pytest.fixture
def play(server):
    """Runs a coroutine function with (server)."""
    def run(fn):
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            return loop.run_until_complete(asyncio.wait_for(fn(server), 4 * TIMEOUT))
        finally:
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()
            asyncio.set_event_loop(None)
    return run


def test_chat(play, account):
    a, b = account(), account()

    async def story(server):
        alice = await Client(server, a).go()
        bob = await Client(server, b).go()
        alice.send_message(mto=b.jid, mbody="hello, bob", mtype="chat")
        m = await bob.next_message()
        assert m["body"] == "hello, bob" and m["from"] == alice.boundjid
        m.reply("hello, alice").send()
        assert (await alice.next_message())["body"] == "hello, alice"
        await alice.leave()
        await bob.leave()
    play(story)


def test_friends(play, account):
    """Subscriptions both ways (slixmpp accepts and asks back), presence, goodbye."""
    a, b = account(), account()

    async def story(server):
        alice = await Client(server, a).go()
        bob = await Client(server, b).go()
        alice.send_presence_subscription(pto=b.jid, ptype="subscribe")
        await alice.presence_from(b.jid)
        await bob.presence_from(a.jid)
        assert alice.client_roster[b.jid]["subscription"] in ("to", "both")
        alice.send_presence(pshow="away", pstatus="lunch")
        while True:
            p = await bob.presence_from(a.jid, "away")
            if p["status"] == "lunch":
                break
        await alice.leave()
        await bob.presence_from(a.jid, "unavailable")
        await bob.leave()
    play(story)


def test_offline(play, account):
    a, b = account(), account()

    async def story(server):
        alice = await Client(server, a).go()
        for i in range(3):
            alice.send_message(mto=b.jid, mbody="later %d" % i, mtype="chat")
        await alice.get_roster()
        bob = await Client(server, b, ["xep_0203"]).go()
        for i in range(3):
            m = await bob.next_message()
            assert m["body"] == "later %d" % i
            assert m["delay"]["stamp"] is not None
        await alice.leave()
        await bob.leave()
    play(story)


def test_carbons(play, account):
    a, b = account(), account()

    async def story(server):
        plugins = ["xep_0280", "xep_0297"]
        one = await Client(server, a, plugins, "one").go()
        two = await Client(server, a, plugins, "two").go()
        bob = await Client(server, b).go()
        sent, received = asyncio.Queue(), asyncio.Queue()
        two.add_event_handler("carbon_sent", sent.put_nowait)
        two.add_event_handler("carbon_received", received.put_nowait)
        await two["xep_0280"].enable()
        one.send_message(mto=bob.boundjid, mbody="out", mtype="chat")
        m = await asyncio.wait_for(sent.get(), TIMEOUT)
        assert m["carbon_sent"]["body"] == "out"
        bob.send_message(mto=one.boundjid, mbody="in", mtype="chat")
        m = await asyncio.wait_for(received.get(), TIMEOUT)
        assert m["carbon_received"]["body"] == "in"
        for c in (one, two, bob):
            await c.leave()
    play(story)


def test_stream_management(play, account):
    """A connection is cut; slixmpp comes back to its session, and nothing is lost."""
    a, b = account(), account()

    async def story(server):
        alice = Client(server, a, ["xep_0198"])
        enabled = asyncio.Event()
        alice.add_event_handler("sm_enabled", lambda _: enabled.set())
        await alice.go()
        await asyncio.wait_for(enabled.wait(), TIMEOUT)
        bob = await Client(server, b).go()
        alice.started.clear()
        alice.transport.abort()
        bob.send_message(mto=alice.boundjid, mbody="while you were away", mtype="chat")
        if not alice.ended.is_set():
            await asyncio.wait_for(alice.ended.wait(), TIMEOUT)
        jid = alice.boundjid.full
        alice.connect(address=alice.where)
        await asyncio.wait_for(alice.started.wait(), TIMEOUT)
        assert (await alice.next_message())["body"] == "while you were away"
        assert alice.boundjid.full == jid
        await alice.leave()
        await bob.leave()
    play(story)


def test_room(play, account):
    """XEP-0045: a room is made, joined, talked in; somebody is kicked; it is left."""
    a, b = account(), account()

    async def story(server):
        plugins = ["xep_0045", "xep_0030", "xep_0004", "xep_0249"]
        room = "slix%s@conference.%s" % (a.user, server.domain)
        alice = await Client(server, a, plugins).go()
        bob = await Client(server, b, plugins).go()
        queues = []
        for c in (alice, bob):
            queue = asyncio.Queue()
            c.add_event_handler("groupchat_message", queue.put_nowait)
            queues.append(queue)
        muc = alice["xep_0045"]
        await muc.join_muc_wait(room, "alice", timeout=TIMEOUT)
        form = await muc.get_room_config(room)
        form.reply()
        values = form.get_values()
        values["muc#roomconfig_roomname"] = "Heath"
        form.set_values(values)
        form["type"] = "submit"
        await muc.set_room_config(room, form)
        await bob["xep_0045"].join_muc_wait(room, "bob", timeout=TIMEOUT)
        assert sorted(bob["xep_0045"].get_roster(room)) == ["alice", "bob"]
        alice.send_message(mto=room, mbody="hello, room", mtype="groupchat")
        for q in queues:
            m = await asyncio.wait_for(q.get(), TIMEOUT)
            assert m["body"] == "hello, room" and m["mucnick"] == "alice"
        info = await bob["xep_0030"].get_info(jid=room, timeout=TIMEOUT)
        assert "http://jabber.org/protocol/muc" in info["disco_info"]["features"]
        gone = asyncio.Event()
        bob.add_event_handler("muc::%s::self-presence" % room, lambda p: p["type"] ==
                              "unavailable" and gone.set())
        await muc.set_role(room, "bob", "none")
        await asyncio.wait_for(gone.wait(), TIMEOUT)
        muc.leave_muc(room, "alice")
        await alice.leave()
        await bob.leave()
    play(story)


def test_disco_ping_version_time(play, account):
    a = account()

    async def story(server):
        c = await Client(server, a, ["xep_0030", "xep_0199", "xep_0092", "xep_0202"]).go()
        info = await c["xep_0030"].get_info(jid=server.domain, timeout=TIMEOUT)
        features = set(info["disco_info"]["features"])
        assert {"urn:xmpp:ping", "urn:xmpp:carbons:2", "jabber:iq:version"} <= features
        assert ("server", "im") in {(i[0], i[1]) for i in info["disco_info"]["identities"]}
        assert await c["xep_0199"].ping(server.domain, timeout=TIMEOUT) < TIMEOUT
        v = await c["xep_0092"].get_version(server.domain, timeout=TIMEOUT)
        assert v["software_version"]["name"].lower().startswith("meerkat")
        t = await c["xep_0202"].get_entity_time(server.domain, timeout=TIMEOUT)
        # (Its own reading of the stamp stumbles over the Z that XEP-0202 asks for.)
        assert t["entity_time"].xml.find("{urn:xmpp:time}utc").text.endswith("Z")
        await c.leave()
    play(story)


def test_wrong_password(play, account):
    a = account()
    a.password = "wrong"

    async def story(server):
        c = Client(server, a)
        with pytest.raises(AssertionError):
            await c.go()
        c.abort()
    play(story)


def test_certificate_is_checked(play, account):
    """slixmpp trusts the authority that it was given; with another one it does not connect."""
    a = account()

    async def story(server):
        c = Client(server, a)
        c.ca_certs = ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt"
        failed = asyncio.Event()
        c.add_event_handler("ssl_invalid_chain", lambda _: failed.set())
        c.add_event_handler("connection_failed", lambda _: failed.set())
        c.add_event_handler("disconnected", lambda _: failed.set())
        c.connect(address=c.where)
        await asyncio.wait_for(failed.wait(), TIMEOUT)
        assert not c.started.is_set()
        c.abort()
    play(story)
