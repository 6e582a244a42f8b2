"""Storage in PostgreSQL, whose server goes away, freezes, is slow, refuses: no worker
waits for it, messages between those who are online flow, nothing acknowledged is lost
(D1, D2 of the promises on data), and all heals by itself.

MEERKAT_FAULT_SECONDS: how long each fault lasts, 3 by default.
"""

import os
import random
import signal
import socket
import threading
import time

import pytest

import mk
from mk import NS, AuthFailed, StreamClosed, Timeout, child, name, ns
from mk.postgres import Postgres, Proxy
from mk.sm import SmClient

SECONDS = float(os.environ.get("MEERKAT_FAULT_SECONDS", "3"))
# What the log says when a worker does not end its turn.
STALL = "does not come to the end of its turn"
WITHIN = 20              # seconds until all is as before


@pytest.fixture(scope="module")
def pg():
    p = Postgres(sync=True)
    # An owner like others: a superuser can't be refused anything.
    p.psql("CREATE ROLE plain LOGIN")
    p.psql("GRANT CREATE ON DATABASE postgres TO plain")
    yield p
    p.close()


@pytest.fixture
def proxy(pg):
    p = Proxy(pg)
    yield p
    p.close()
    # whatever became of the test
    pg.thaw() if pg.process else pg.start()


_schemas = iter(range(1000))


@pytest.fixture
def served(pg, proxy, make_server):
    """A server whose storage is behind the proxy."""
    schema = "faults %d" % next(_schemas)
    s = make_server({
        "server": {"watchdog": "1s"},
        "storage": {"default": "pgsql", "backends": {"pgsql": pg.settings_for(
            schema, host=proxy.host, user="plain", statement_timeout="1s",
            connect_timeout="2s")}},
        "host_types": {"people": {"plugins": {"offline": {"max_messages": 1000000},
                                              "mam": {}}}}})
    s.schema = schema
    yield s
    assert STALL not in s.log()


class Load:
    """Somebody who is online gets messages one by one; somebody who isn't gets
    them into storage, a few at a time, acknowledged (XEP-0198)."""

    def __init__(self, server, size=20):
        self.server, self.size = server, size
        self.going = True
        self.a, self.b = self.client(), self.client()
        self.s = self.client()
        self.offline = server.account()
        self.live = 0                    # that arrived
        self.sent, self.acked = 0, 0     # into storage
        self.refused = set()             # numbers that came back as errors
        self.failure = None
        self.threads = [threading.Thread(target=self.guard, args=(f,), daemon=True)
                        for f in (self.chat, self.store)]
        for t in self.threads:
            t.start()

    def client(self):
        c = SmClient(self.server, self.server.account())
        c.login()
        c.enable()
        return c

    def guard(self, f):
        try:
            f()
        except Exception as e:
            self.failure = self.failure or e

    def chat(self):
        while self.going:
            id_ = "live-%d" % self.live
            self.a.message(self.b.jid, "x", id_=id_)
            self.b.until(lambda e: name(e) == "message" and e.get("id") == id_)
            self.live += 1
            # They wait for the archive while it is away, and only so many may.
            time.sleep(0.003)

    def store(self):
        body = "%s" * self.size
        while self.going:
            xml = ""
            for _ in range(5):
                text = body % tuple(random.choices("abcdefghijklmnopqrstuvwxyz", k=self.size))
                xml += "<message to='%s' type='chat' id='s-%d'><body>%s</body></message>" % (
                    self.offline.jid, self.sent, text)
                self.sent += 1
            self.s.send(xml)
            self.s.request()
            while self.acked < self.sent:
                self.take(self.s.recv())
            # They are acknowledged by the journal, and pile up before a slow server.
            time.sleep(0.02)

    def take(self, el):
        if ns(el) == NS.SM and name(el) == "a":
            self.acked = int(el.get("h"))
        elif name(el) == "message" and el.get("type") == "error":
            self.refused.add(int(el.get("id")[2:]))

    def wait_live(self, n=50):
        """Until n more messages went between those who are online."""
        until, deadline = self.live + n, time.monotonic() + mk.client.TIMEOUT
        while self.live < until:
            assert not self.failure, self.failure
            assert time.monotonic() < deadline, "messages do not flow"
            time.sleep(0.01)

    def wait_stored(self, n=20):
        """Until n more were stored, and none came back meanwhile."""
        deadline = time.monotonic() + WITHIN
        while True:
            before, refused = self.acked, len(self.refused)
            while self.acked < before + n and len(self.refused) == refused:
                assert not self.failure, self.failure
                assert time.monotonic() < deadline, "storage does not come back"
                time.sleep(0.01)
            if len(self.refused) == refused:
                return

    def login(self, deadline):
        """As soon as storage has come back for logins, too."""
        while True:
            c = SmClient(self.server, self.offline)
            try:
                return c.login() or c
            except AuthFailed as e:
                c.kill()
                assert "temporary-auth-failure" in str(e) and time.monotonic() < deadline
                time.sleep(0.1)

    def available(self):
        c = self.login(time.monotonic() + WITHIN)
        c.enable()
        c.send("<presence/>")
        return c

    def end(self, pg):
        """What was acknowledged and not given back is there, once."""
        self.going = False
        for t in self.threads:
            t.join(mk.client.TIMEOUT)
        assert not self.failure, self.failure
        # Errors of what is under way come before the answer of the same account.
        self.s.iq("get", "<ping xmlns='urn:xmpp:ping'/>", to=self.s.bare)
        deadline = time.monotonic() + 120
        c = self.available()
        got = {}
        while set(range(self.sent)) - set(got) - self.refused and time.monotonic() < deadline:
            try:
                el = c.recv(1)
            except Timeout:
                try:
                    while True:
                        self.take(self.s.recv(0.01))
                except Timeout:
                    pass
                continue
            except (StreamClosed, OSError):
                # It did not take them as fast as they came: sm's max_unacked.
                c.kill()
                c = self.available()
                continue
            if name(el) != "message":
                continue
            number, sid = int(el.get("id")[2:]), child(el, "stanza-id", NS.SID).get("id")
            assert got.setdefault(number, sid) == sid, "%d came twice, as two" % number
        lost = sorted(set(range(self.acked)) - set(got) - self.refused)
        assert not lost, "%d of %d acknowledged are lost: %s" % (len(lost), self.acked, lost[:10])
        self.archived(pg)
        for client in (self.a, self.b, self.s, c):
            client.kill()

    def archived(self, pg):
        """Write-behind: what was acknowledged is in both archives, once."""
        acked, deadline = set(range(self.acked)), time.monotonic() + WITHIN
        while True:
            rows = pg.psql(
                # A recipient's row leads to the sender's.
                """SET enable_nestloop = off; WITH rows AS (
                    SELECT b."user", coalesce(b.stanza, m.stanza) AS stanza FROM archive_box b
                    LEFT JOIN archive_box m ON b.stanza IS NULL AND m.stanza IS NOT NULL AND
                        m.domain = b.domain AND m.id = b.id)
                SELECT "user", substring(stanza FROM 'id=.s-([0-9]+)') FROM rows
                WHERE stanza ~ 'id=.s-[0-9]+'""",
                schema=self.server.schema).split()
            boxes = {self.s.account.user: [], self.offline.user: []}
            for row in rows:
                user, number = row.split("|")
                boxes[user].append(int(number))
            if all(acked <= set(b) for b in boxes.values()):
                break
            assert time.monotonic() < deadline, "not in the archive: %s" % {
                u: sorted(acked - set(b))[:10] for u, b in boxes.items()}
            time.sleep(0.1)
        for user, numbers in boxes.items():
            assert len(numbers) == len(set(numbers)), "twice in the archive of " + user


class Fault:
    def __init__(self, pg, proxy, server):
        self.pg, self.proxy, self.server = pg, proxy, server

    # each: what begins it, and what ends it
    def stopped(self):
        self.pg.stop()
        return self.pg.start

    def crashed(self):
        self.pg.stop(signal.SIGQUIT)
        return self.pg.start

    def frozen(self):
        self.pg.freeze()
        return self.pg.thaw

    def refused(self):
        self.proxy.refuse = True
        self.proxy.cut()
        return lambda: setattr(self.proxy, "refuse", False)

    def silent(self):
        """The network takes what is sent, and nothing comes back."""
        self.proxy.delay = SECONDS + 3
        return lambda: setattr(self.proxy, "delay", 0)

    def slow(self):
        self.proxy.delay = 0.2
        return lambda: setattr(self.proxy, "delay", 0)

    def revoked(self):
        tables = 'ALL TABLES IN SCHEMA "%s"' % self.server.schema
        self.pg.psql("REVOKE ALL ON %s FROM plain" % tables)
        self.log = "permission denied for table"
        return lambda: self.pg.psql("GRANT ALL ON %s TO plain" % tables)

    def read_only(self):
        self.pg.psql("ALTER ROLE plain SET default_transaction_read_only = on")
        self.proxy.cut()

        def end():
            self.pg.psql("ALTER ROLE plain RESET default_transaction_read_only")
        return end


@pytest.mark.parametrize("fault", ["stopped", "crashed", "frozen", "refused", "silent", "slow",
                                   "revoked", "read_only"])
def test_fault(pg, proxy, served, fault):
    load = Load(served)
    load.wait_live()
    load.wait_stored()
    what = Fault(pg, proxy, served)
    what.log = None
    end = getattr(what, fault)()
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        load.wait_live(20)
    if what.log:
        served.wait_log(what.log)
    end()
    load.wait_stored()
    load.wait_live()
    load.end(pg)


def test_login_fails_for_now_while_the_server_is_away(pg, served):
    account = served.account()
    pg.stop()
    with SmClient(served, account) as c:
        c.start()
        with pytest.raises((AuthFailed, StreamClosed)) as e:
            c.scram()
        assert "not-authorized" not in str(e.value)
    pg.start()
    deadline = time.monotonic() + WITHIN
    while True:
        with SmClient(served, account) as c:
            c.start()
            try:
                c.scram()
                return
            except (AuthFailed, StreamClosed):
                assert time.monotonic() < deadline


@pytest.mark.parametrize("where", ["cut before", "cut after"])
def test_connections_end_in_the_middle(pg, proxy, served, where):
    """Now and then one is cut, before or behind what it was about to send: in the
    middle of transactions, and between a commit and its answer."""
    rng = random.Random(7)
    load = Load(served)
    load.wait_stored()
    cuts = []

    def sometimes(data):
        if len(cuts) < 40 and len(data) > 60 and rng.random() < 0.1:
            cuts.append(len(data))
            return where
        return None
    proxy.when_sent = sometimes
    deadline = time.monotonic() + 60
    while len(cuts) < 40 and time.monotonic() < deadline:
        load.wait_live(10)
    proxy.when_sent = lambda data: None
    load.wait_stored()
    load.end(pg)
    assert len(cuts) >= 10


def test_full_disk(make_server):
    """A limit on the size of files is to the server what a full disk is."""
    pg = Postgres(sync=True, wal_segment=1)
    pg.psql("CREATE ROLE plain LOGIN")
    pg.psql("GRANT CREATE ON DATABASE postgres TO plain")
    proxy = Proxy(pg)
    s = make_server({
        "storage": {"default": "pgsql", "backends": {"pgsql": pg.settings_for(
            "full", host=proxy.host, user="plain")}},
        "host_types": {"people": {"plugins": {"offline": {"max_messages": 1000000},
                                              "mam": {}}}}})
    s.schema = "full"
    load = Load(s, size=6000)
    load.wait_stored()
    pg.limit_files(2 << 20)
    s.wait_log("PostgreSQL refused.*File too large", 60)
    load.wait_live()
    pg.limit_files("unlimited")
    load.wait_stored()
    load.end(pg)
    assert STALL not in s.log()
    s.stop()
    proxy.close()
    pg.close()


def test_a_newer_schema_is_not_touched(pg, make_server):
    changes = {"storage": {"default": "pgsql",
                           "backends": {"pgsql": pg.settings_for("newer")}}}
    s = make_server(changes)
    s.stop()
    pg.psql("UPDATE meerkat_tables SET version = 99 WHERE name = 'roster'", schema="newer")
    tables = pg.psql("SELECT name, version FROM meerkat_tables ORDER BY 1", schema="newer")
    assert "roster|99" in tables
    with pytest.raises(AssertionError) as e:
        s.start()
    assert "roster: the database was used by a newer version" in str(e.value)
    assert tables == pg.psql("SELECT name, version FROM meerkat_tables ORDER BY 1",
                             schema="newer")


# ---- away at the start -------------------------------------------------------------

def away(make_server, pg, schema, start_wait="1d", **more):
    """A server that has not been started, on pg."""
    return make_server({"storage": {"default": "pgsql", "start_wait": start_wait, "backends": {
        "pgsql": pg.settings_for(schema, **more)}}}, start=False)


@pytest.mark.parametrize("what, says", [
    ({"host": "/nonexistent", "start_wait": 0}, "/nonexistent"),
    ({"host": "/nonexistent", "start_wait": "300ms"}, "/nonexistent"),
    # Waiting would not mend these.
    ({"user": "nobody-knows"}, "nobody-knows"),
    ({"database": "nowhere"}, "nowhere"),
])
def test_a_start_that_fails_names_the_server(pg, make_server, what, says):
    s = away(make_server, pg, "never", **what)
    with pytest.raises(AssertionError) as e:
        s.start()
    assert says in str(e.value)
    assert ("waiting for storage" in s.log()) == (what.get("start_wait") == "300ms")


def test_a_wrong_password_is_no_reason_to_wait(pg, make_server):
    pg.psql("CREATE ROLE locked LOGIN PASSWORD 'right'")
    pg.ask_for_password("locked")
    s = away(make_server, pg, "never", user="locked", password="wrong")
    with pytest.raises(AssertionError) as e:
        s.start()
    assert "password authentication failed" in str(e.value)
    assert "waiting for storage" not in s.log()


def hear(server, text):
    """What the manager of a server that starts is told (sd_notify), until it holds text."""
    server.ready_socket.settimeout(mk.client.TIMEOUT)
    while True:
        state = server.ready_socket.recv(4096).decode()
        if text in state:
            return state
        assert "READY" not in state


def test_a_server_that_boots_before_its_database(pg, make_server):
    """It waits, tells its manager, and serves as soon as the other is there."""
    s = away(make_server, pg, "late")
    pg.stop()
    s.start(wait=False)
    state = hear(s, "STATUS=Waiting for storage: ")
    assert "EXTEND_TIMEOUT_USEC=" in state and pg.folder in state
    s.wait_log("waiting for storage")
    hear(s, "STATUS=Waiting")
    pg.start()
    hear(s, "READY=1")
    s.wait_log("storage is there")
    with SmClient(s, s.account()) as c:
        c.login()


def test_nothing_is_lost_by_a_start_without_the_database(pg, make_server):
    """Acknowledged while it was away, killed, started while it was away."""
    s = make_server({
        "storage": {"default": "pgsql", "backends": {"pgsql": pg.settings_for("lost")}},
        "host_types": {"people": {"plugins": {"offline": {}, "mam": {}}}}})
    a, b = s.account(), s.account()
    c, d = SmClient(s, a), SmClient(s, b)
    c.login()
    c.enable()
    d.login()
    d.enable()
    pg.stop()
    c.send("".join("<message to='%s' type='chat' id='n-%d'><body>x</body></message>" % (b.jid, i)
                   for i in range(50)))
    c.request()
    while True:
        el = c.recv()
        if ns(el) == NS.SM and name(el) == "a" and int(el.get("h")) >= 50:
            break
    s.kill()
    c.kill()
    d.kill()
    s.start(wait=False)
    hear(s, "STATUS=Waiting")
    pg.start()
    hear(s, "READY=1")
    with SmClient(s, b) as d:
        d.login()
        d.enable()
        d.send("<presence/>")
        got = set()
        while len(got) < 50:
            el = d.recv()
            if name(el) == "message":
                got.add(el.get("id"))
    deadline = time.monotonic() + WITHIN
    while pg.psql("SELECT \"user\", count(*) FROM archive_box GROUP BY 1 ORDER BY 1",
                  schema="lost").split() != sorted("%s|50" % x.user for x in (a, b)):
        assert time.monotonic() < deadline, "not in both archives, once"
        time.sleep(0.1)


def test_a_server_that_waits_can_be_stopped(pg, make_server):
    s = away(make_server, pg, "stopped")
    pg.stop()
    try:
        s.start(wait=False)
        hear(s, "STATUS=Waiting")
        s.stop()
        hear(s, "STOPPING=1")
    finally:
        pg.start()


def test_a_newer_schema_is_refused_after_a_wait_too(pg, make_server):
    """Somebody has to do something: it ends."""
    s = away(make_server, pg, "newer late")
    s.start()
    s.stop()
    pg.psql("UPDATE meerkat_tables SET version = 99 WHERE name = 'roster'", schema="newer late")
    pg.stop()
    s.start(wait=False)
    hear(s, "STATUS=Waiting")
    pg.start()
    assert s.process.wait(mk.client.TIMEOUT) == 1
    s.wait_log("roster: the database was used by a newer version")
    s.kill()
