"""Storage in PostgreSQL: TLS, copies on a running server, what an operator sees.
What any backend does is tested by storage/suite, and by all other tests here with
MEERKAT_TEST_STORAGE=pgsql."""

import os
import sqlite3
import sys

import pytest

import mk
from mk import certs, name
from mk.postgres import Postgres

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from test_mam import query, talk, until  # noqa: E402


@pytest.fixture(scope="module")
def pg():
    p = Postgres()
    yield p
    p.close()


@pytest.fixture(scope="module")
def pg_tls(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("pg-certs"))
    certs.make(folder, "localhost")
    p = Postgres(tls=(os.path.join(folder, "fullchain.pem"), os.path.join(folder, "privkey.pem")))
    p.root = os.path.join(folder, "fullchain.pem")
    yield p
    p.close()


def storage(**backends):
    return {"storage": {"default": next(iter(backends)), "backends": backends}}


def tls(pg, **more):
    return storage(pgsql=pg.settings_for("tls", **{"host": "localhost", **more}))


def test_the_certificate_is_verified_by_default(pg_tls, make_server):
    s = make_server(tls(pg_tls, root_certificate=pg_tls.root))
    s.account("alice")
    assert pg_tls.psql("SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) "
                       "WHERE application_name = 'meerkat'") == "t"
    assert pg_tls.psql('SELECT "user" FROM account', schema="tls") == "alice"


@pytest.mark.parametrize("changes, reason", [
    ({}, "certificate verify failed"),                         # of the system's CAs, none
    ({"host": "127.0.0.1"}, "certificate"),                    # another name
])
def test_a_certificate_of_others_is_refused(pg_tls, make_server, changes, reason):
    if changes:
        changes = {**changes, "root_certificate": pg_tls.root}
    s = make_server(tls(pg_tls, **changes), start=False)
    with pytest.raises(AssertionError) as e:
        s.start()
    assert reason in str(e.value)


def test_a_password_is_taken_from_a_file_and_kept_to_ourselves(pg, make_server):
    pg.psql("CREATE ROLE secretive LOGIN PASSWORD 'open sesame 17'")
    pg.psql("GRANT CREATE ON DATABASE postgres TO secretive")
    pg.ask_for_password("secretive")
    s = make_server(storage(pgsql=pg.settings_for("secret", user="secretive")), start=False)
    password = s.path("password")
    with open(password, "w") as f:
        f.write("wrong sesame 18\n")
    os.chmod(password, 0o600)
    s.config["storage"]["backends"]["pgsql"]["password"] = {"file": password}
    with pytest.raises(AssertionError) as e:
        s.start()
    assert "password authentication failed" in str(e.value)
    with open(password, "w") as f:
        f.write("open sesame 17\n")
    s.start()
    s.account("bob")
    assert "sesame" not in s.log()
    assert "sesame" not in s.ctl("config", check=False).stdout


def test_copies_in_both_directions_while_the_server_runs(pg, make_server, connect):
    both = storage(sqlite={}, pgsql=pg.settings_for("copied"))
    s = make_server(both)
    alice, bob = s.account("alice"), s.account("bob")
    bodies = ["plain", "'; DROP TABLE account; --", "\u202e \U0001f9a1 e\u0301 \\x00 $1 %s"]
    x = connect(alice, server=s, presence="")
    for body in bodies:
        x.message(bob.jid, body)
    x.settle(bob.jid)
    x.iq("set", "<query xmlns='jabber:iq:roster'><item jid='carol@else.where' name='C'>"
                "<group>g</group></item></query>")
    s.ctl("storage", "copy", "sqlite", "pgsql")
    assert pg.psql('SELECT "user" FROM account ORDER BY 1', schema="copied") == "alice\nbob"
    assert pg.psql("SELECT count(*) FROM roster", schema="copied") == "1"
    assert pg.psql("SELECT count(*) FROM offline_message", schema="copied") == "3"

    # there, everything goes on
    s.stop()
    s.config["storage"]["default"] = "pgsql"
    s.start()
    y = connect(bob, server=s, presence="")
    got = [mk.text(y.until(lambda e: name(e) == "message"), "body") for _ in bodies]
    assert got == bodies
    x = connect(alice, server=s)
    assert "carol@else.where" in mk.to_str(x.iq("get", "<query xmlns='jabber:iq:roster'/>"))
    dave = s.account("dave")

    # and back
    s.ctl("storage", "copy", "pgsql", "sqlite")
    s.stop()
    s.config["storage"]["default"] = "sqlite"
    s.start()
    connect(dave, server=s)
    connect(alice, server=s)


def test_what_an_operator_sees(pg, make_server):
    s = make_server(storage(pgsql=pg.settings_for("seen")))
    s.account("alice")
    assert "pgsql" in s.ctl("storage", "status").stdout
    assert "is created" not in s.ctl("storage", "plan").stdout
    metrics = s.ctl("metrics").stdout
    assert "meerkat_pgsql_write_usec_count" in metrics
    assert "meerkat_pgsql_write_failures_total" in metrics
    count = [line for line in metrics.splitlines()
             if line.startswith("meerkat_pgsql_connects_total")]
    assert float(count[0].split()[-1]) >= 1
    # The schema is named where tables and columns are.
    assert pg.psql("SELECT count(*) > 3 FROM information_schema.tables "
                   "WHERE table_schema = 'seen'") == "t"


@pytest.mark.parametrize("changes, what", [
    ({"schema": "pg_own"}, "schema"), ({"host": ""}, "host"), ({"sslmode": "maybe"}, "sslmode"),
    ({"port": 0}, "port"), ({"hots": "x"}, "host"),
])
def test_settings_are_checked(pg, make_server, changes, what):
    s = make_server(storage(pgsql={**pg.settings_for("x"), **changes}), start=False)
    with pytest.raises(AssertionError) as e:
        s.start()
    assert what in str(e.value)


def test_archives_are_partitions_that_retention_drops(pg, make_server, connect):
    """What is too old goes with its months, and to the day in the month of the limit; a
    copy from another backend makes the months that it needs."""
    def in_pg(sql):
        return pg.psql(sql, schema="months")

    s = make_server({**storage(sqlite={}, pgsql=pg.settings_for("months")),
                     "host_types": {"people": {"plugins": {"mam": {"search": True}}}}})
    a, b = (connect(s.account(), server=s, presence="") for _ in range(2))
    talk(a, b, 3)
    assert len(query(a).results) == len(query(b).results) == 3
    a, b = a.account, b.account
    s.stop()
    db = sqlite3.connect(s.path("data", "meerkat.db"))
    for table in ("archive_box", "archive_text"):
        rest = [r[1] for r in db.execute("PRAGMA table_info(%s)" % table)
                if r[1] not in ("id", "_rowid")]
        names = ", ".join('"%s"' % n for n in rest)
        now = db.execute("SELECT max(id) FROM %s" % table).fetchone()[0]
        for days in (400, 100, 31, 29, 2):
            db.execute("INSERT INTO %s (%s, id) SELECT %s, id - ? FROM %s WHERE id > ?" % (
                table, names, names, table), ((days * 86400000) << 22, now - (3600000 << 22)))
    db.execute("INSERT INTO archive_days SELECT domain, \"user\", peer, day - 31, _version "
               "FROM archive_days")
    db.commit()
    db.close()
    s.start()
    s.ctl("storage", "copy", "sqlite", "pgsql")
    s.stop()
    assert in_pg("SELECT count(*) FROM archive_box") == "36"
    assert in_pg("SELECT count(*) FROM archive_days") == "4"
    months = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'archive_box'::regclass"
    before = int(in_pg(months))
    s.config["storage"]["default"] = "pgsql"
    s.config["host_types"]["people"]["plugins"]["mam"]["retention"] = "30d"
    s.start()
    until(lambda: in_pg("SELECT count(*) FROM archive_box") == "18")
    until(lambda: in_pg("SELECT count(*) FROM archive_days") == "2")
    assert in_pg("SELECT count(*) FROM archive_text") == "18"
    assert int(in_pg(months)) <= before - 2
    a, b = (connect(x, server=s, presence="") for x in (a, b))
    assert query(a).bodies == query(b).bodies == ["n0", "n1", "n2"] * 3
    talk(b, a, 2, "new")
    assert query(a).bodies[-2:] == ["new0", "new1"]
    # What else there is to be done with a user's rows.
    out = s.ctl("storage", "export", a.account.jid).stdout
    assert out.count("<body>n0</body>") >= 3
    s.ctl("account", "unregister", a.account.jid)
    assert in_pg("SELECT count(*) FROM archive_box") == "11"
    assert query(b).bodies == ["n0", "n1", "n2"] * 3 + ["new0", "new1"]
