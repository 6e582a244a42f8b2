"""The source `ldap`, against a real slapd (RFC 4511, 4513, 4515; S-14)."""

import contextlib
import os
import shutil
import sqlite3
import time

import pytest

from mk import Account, AuthFailed, Timeout, name, text
from mk.slapd import PROGRAM, Slapd, group, group_dn, person, person_dn, BASE, PEOPLE

pytestmark = pytest.mark.skipif(not (PROGRAM and shutil.which("ldapmodify")),
                                reason="no slapd, or no ldap-utils")

DOMAIN = "meerkat.test"
ALICE = Account("alice", DOMAIN, "alice-secret")
BOB = Account("bob", DOMAIN, "bob-secret")
PEOPLE_LDIF = [person("alice", "alice-secret"), person("bob", "bob-secret")]


@pytest.fixture
def directory():
    made = []

    def make(*entries, start=True, **kw):
        d = Slapd(*(entries or PEOPLE_LDIF), **kw)
        made.append(d)
        return d.start() if start else d
    yield make
    for d in made:
        d.close()


@pytest.fixture
def serve(make_server):
    """A server whose host type `people` asks sources (internal and ldap)."""
    def make(settings, auth=("internal", "ldap"), **changes):
        return make_server({"host_types": {"people": {
            "auth": list(auth), "plugins": {"ldap": settings}}}, **changes})
    return make


@pytest.fixture
def attempt(connect):
    """attempt(server, account, mechanism=): None, or the condition of its failure."""
    def login(server, account, mechanism="PLAIN", **kw):
        c = connect(server=server)
        c.account = account
        c.start()
        try:
            c.plain(**kw) if mechanism == "PLAIN" else c.scram(mechanism, **kw)
        except AuthFailed as e:
            return e.condition
        finally:
            c.kill()
        return None
    return login


def heals(login, seconds=60):
    """Repeats a login until it works: the directory is asked again after a while."""
    deadline = time.monotonic() + seconds
    while True:
        condition = login()
        if condition is None:
            return
        assert condition == "temporary-auth-failure", condition
        assert time.monotonic() < deadline, "it does not heal"
        time.sleep(0.1)


# ---- passwords -----------------------------------------------------------------------

def test_login(directory, serve, connect, attempt):
    d = directory()
    s = serve(d.settings())
    a = connect(ALICE, server=s, mechanism="PLAIN", presence="")
    assert a.bare == "alice@" + DOMAIN
    assert attempt(s, ALICE, password="wrong") == "not-authorized"
    assert attempt(s, Account("nobody", DOMAIN, "alice-secret")) == "not-authorized"
    assert d.binds(person_dn("alice")) == 2


def test_name_is_prepared(directory, serve, attempt):
    d = directory()
    s = serve(d.settings())
    assert attempt(s, Account("ALICE", DOMAIN, "alice-secret")) is None


@pytest.mark.parametrize("password", ["", "\u00ad"])
def test_empty_password_is_refused_before_any_bind(directory, serve, attempt, password):
    """RFC 4513 5.1.2: a name and no password is no authentication, but succeeds."""
    d = directory()
    s = serve(d.settings())
    assert attempt(s, ALICE, password=password) in ("malformed-request", "not-authorized")
    assert attempt(s, ALICE) is None
    assert d.binds(person_dn("alice")) == 1


def test_no_bind_without_a_password_in_the_tools(directory, serve):
    d = directory()
    s = serve(d.settings())
    assert s.ctl("account", "check", ALICE.jid, ALICE.password, check=False).returncode == 0
    for password in ("", "wrong"):
        assert s.ctl("account", "check", ALICE.jid, password, check=False).returncode != 0
    assert d.binds(person_dn("alice")) == 2


EVIL = ["*", "*)(uid=*", "*)(&", "a*", "alice)(uid=*", "alice*", ")(|(uid=*", "\\2a", "\\", "alice\\00",
        "(", ")", "()", "*)(|(userPassword=*)", "alice,ou=people", "alice+cn=x", "#alice", "a;b",
        "uid=alice", "a%u", "%d", "%", "al\u0131ce", "\u00e4\u00f6\u4e2d", "a!b", "a|b", "a~=b", "a=b",
        "x)(objectClass=*))(|(a=b"]


def test_filters_hold_values_only(directory, serve, attempt):
    """S-14: with alice's password nobody else logs in, whatever the name is; the one who
    has that name does, with his own."""
    real = EVIL[::3]
    d = directory(*PEOPLE_LDIF, *[person(u, "secret-%d" % n) for n, u in enumerate(real)])
    s = serve(d.settings(), limits={"auth_attempts": 100})
    for user in EVIL:
        assert attempt(s, Account(user, DOMAIN, "alice-secret")) == "not-authorized", user
    for n, user in enumerate(real):
        assert attempt(s, Account(user, DOMAIN, "secret-%d" % n)) is None, user
    assert "bad filter" not in d.log().lower() and "invalid DN" not in d.log()
    assert "the directory refuses" not in s.log()


def test_dns_hold_values_only(directory, serve, attempt):
    real = EVIL[::3]
    d = directory(*PEOPLE_LDIF, *[person(u, "secret-%d" % n) for n, u in enumerate(real)])
    s = serve(d.settings(method="bind", user_dn="uid=%u," + PEOPLE), limits={"auth_attempts": 100})
    for user in EVIL:
        assert attempt(s, Account(user, DOMAIN, "alice-secret")) == "not-authorized", user
    for n, user in enumerate(real):
        assert attempt(s, Account(user, DOMAIN, "secret-%d" % n)) is None, user


def test_several_entries_for_one_user(directory, serve, attempt):
    d = directory(*PEOPLE_LDIF, person("alice", "alice-secret", dn="cn=second," + PEOPLE))
    s = serve(d.settings())
    assert attempt(s, ALICE) == "not-authorized"
    s.wait_log("several entries fit one user")
    assert d.binds(person_dn("alice")) == 0


def test_name_of_the_entry_must_be_the_users(directory, serve, attempt):
    """A directory ignores spaces and may find by other attributes."""
    d = directory(person("alice", "alice-secret", "mail: boss@meerkat.test"))
    s = serve(d.settings(filter="(|(uid=%u)(mail=%u@%d))"))
    assert attempt(s, Account("boss", DOMAIN, "alice-secret")) == "not-authorized"
    assert attempt(s, ALICE) is None
    s.wait_log("entry found for a user has another name")


def test_bind_as_a_dn_made_of_the_name(directory, serve, attempt):
    d = directory()
    s = serve(d.settings(method="bind", user_dn="uid=%u," + PEOPLE, base=""))
    local = s.account()
    assert attempt(s, ALICE) is None
    assert attempt(s, ALICE, password="wrong") == "not-authorized"
    assert attempt(s, ALICE, mechanism="SCRAM-SHA-256") is None
    assert attempt(s, local) is None


def test_bind_where_the_directory_shows_nothing(directory, serve, attempt):
    """Then a user who is refused may be another source's: it is asked too."""
    d = directory()
    settings = d.settings(method="bind", user_dn="uid=%u," + PEOPLE, base="")
    del settings["bind_dn"], settings["bind_password"]
    s = serve(settings, auth=("ldap", "internal"))
    local = s.account()
    assert attempt(s, ALICE) is None
    assert attempt(s, ALICE, password="wrong") == "not-authorized"
    assert attempt(s, local) is None


# ---- sources in a row ------------------------------------------------------------------

@pytest.mark.parametrize("auth", [("internal", "ldap"), ("ldap", "internal")])
def test_sources_are_asked_in_order(directory, serve, attempt, auth):
    d = directory()
    s = serve(d.settings(), auth=auth)
    local = s.account()
    for account in (ALICE, local):
        assert attempt(s, account) is None
        assert attempt(s, account, password="wrong") == "not-authorized"
    assert attempt(s, local, mechanism="SCRAM-SHA-256") is None


def test_users_exist_for_other_plugins(directory, serve, connect):
    """Messages for who has never been here are kept; accounts are listed and counted."""
    d = directory()
    s = serve(d.settings())
    local = s.account()
    a = connect(ALICE, server=s, mechanism="PLAIN", presence="")
    a.message(BOB.jid, "for later")
    a.settle(BOB.jid)
    b = connect(BOB, server=s, mechanism="PLAIN", presence="")
    assert text(b.until(lambda e: name(e) == "message"), "body") == "for later"
    listed = s.ctl("account", "list", DOMAIN).stdout
    assert [u in listed for u in ("alice", "bob", local.user)] == [True] * 3
    assert "3" in s.ctl("account", "count", DOMAIN).stdout
    p = s.ctl("account", "password", ALICE.jid, "another", check=False)
    assert p.returncode != 0
    p = s.ctl("account", "remove", ALICE.jid, check=False)
    assert p.returncode != 0


def test_long_lists_come_in_pages(directory, serve):
    d = directory(*[person("user%04d" % n, "x") for n in range(1234)], more="sizelimit unlimited")
    s = serve(d.settings(), auth=("ldap",))
    assert "1234" in s.ctl("account", "count", DOMAIN).stdout
    listed = s.ctl("account", "list", DOMAIN).stdout
    assert "user0000" in listed and "user1234" not in listed


def test_half_a_list_is_none(directory, serve):
    d = directory(more="sizelimit 1")
    s = serve(d.settings(), auth=("ldap",))
    assert s.ctl("account", "count", DOMAIN, check=False).returncode != 0
    s.wait_log("a list of all users")


# ---- TLS ---------------------------------------------------------------------------------

@pytest.mark.parametrize("scheme", ["ldap", "ldaps"])
def test_tls(directory, serve, attempt, scheme):
    d = directory()
    s = serve(d.settings(servers=[d.url if scheme == "ldap" else d.url_tls]))
    assert attempt(s, ALICE) is None
    assert ("STARTTLS" in d.log()) == (scheme == "ldap")
    assert "TLS established" in d.log()


@pytest.mark.parametrize("scheme", ["ldap", "ldaps"])
@pytest.mark.parametrize("fault", ["another CA", "another name", "no CA file"])
def test_tls_that_can_not_be_trusted(directory, serve, attempt, scheme, fault):
    d = directory(names=("elsewhere.test",) if fault == "another name" else ("127.0.0.1",))
    settings = d.settings(servers=[d.url if scheme == "ldap" else d.url_tls])
    if fault == "another CA":
        settings["ca_file"] = directory(start=False).cafile
    elif fault == "no CA file":
        settings["ca_file"] = "/nonexistent/ca.pem"
    s = serve(settings)
    assert attempt(s, ALICE) == "temporary-auth-failure"
    s.wait_log("directory server does not answer")
    assert d.binds(person_dn("alice")) == 0 and "BIND" not in d.log()


def test_verification_can_be_switched_off(directory, serve, attempt):
    d = directory(names=("elsewhere.test",))
    s = serve(d.settings(verify=False))
    assert attempt(s, ALICE) is None


def test_without_tls_there_is_a_warning(directory, serve, attempt):
    d = directory()
    s = serve(d.settings(starttls=False))
    s.wait_log("without encryption")
    assert attempt(s, ALICE) is None
    assert "TLS established" not in d.log()


# ---- servers that fail ---------------------------------------------------------------------

def test_directory_away_at_start(directory, serve, attempt):
    d = directory()
    s = serve(d.settings())
    local = s.account()
    d.stop()
    s.restart()
    assert attempt(s, ALICE) == "temporary-auth-failure"
    # It may be one of the directory's: nobody is to have two passwords.
    assert "try again" in s.ctl("account", "register", "new@" + DOMAIN, "x", check=False).stderr
    assert attempt(s, local) is None
    d.start()
    heals(lambda: attempt(s, ALICE))
    s.wait_log("directory server is back")
    # Again, with connections that were open.
    d.stop()
    assert attempt(s, BOB) == "temporary-auth-failure"
    d.start()
    heals(lambda: attempt(s, BOB))


def test_restart_of_the_directory_is_not_noticed(directory, serve, attempt):
    d = directory()
    s = serve(d.settings())
    assert attempt(s, ALICE) is None
    d.stop()
    d.start()
    assert attempt(s, BOB) is None


def test_first_of_several_servers_is_down(directory, serve, attempt):
    d, down = directory(), directory(start=False)
    s = serve(d.settings(servers=[down.url, d.url]))
    assert attempt(s, ALICE) is None
    assert attempt(s, BOB) is None


def test_first_of_several_servers_stands_still(directory, serve, attempt):
    d, still = directory(), directory()
    d.suspend()
    with open(d.cafile) as a, open(still.cafile) as b:
        both = a.read() + b.read()
    with open(d.path("both.pem"), "w") as f:
        f.write(both)
    s = serve(d.settings(servers=[d.url, still.url], ca_file=d.path("both.pem"), timeout="1s"))
    heals(lambda: attempt(s, ALICE))
    assert still.binds(person_dn("alice")) == 1
    d.resume()


@pytest.mark.parametrize("connections", [1, 8])
def test_a_directory_that_stands_still_holds_up_nobody_else(directory, serve, connect, attempt,
                                                            connections):
    """More logins wait for it than there are job threads; others log in, and what needs
    storage goes on."""
    d = directory(*PEOPLE_LDIF, *[person("u%d" % n, "secret") for n in range(16)])
    s = serve(d.settings(connections=connections, timeout="20s"))
    one, two = s.account(), s.account()
    assert attempt(s, ALICE) is None
    d.suspend()
    waiting = []
    for n in range(16):
        c = connect(server=s)
        c.account = Account("u%d" % n, DOMAIN, "secret")
        c.start()
        c.auth("PLAIN", ("\0u%d\0secret" % n).encode())
        waiting.append(c)
    a = connect(one, server=s, mechanism="PLAIN", presence="")
    b = connect(two, server=s, mechanism="SCRAM-SHA-256", presence="")
    a.roster()
    a.message(b.jid, "while it stands still")
    assert text(b.until(lambda e: name(e) == "message"), "body") == "while it stands still"
    # None of them has an answer yet.
    for c in waiting:
        with pytest.raises(Timeout):
            c.recv(timeout=0.01)
    for c in waiting[::4]:                     # gone when the answer comes
        c.kill()
    d.resume()
    for n, c in enumerate(waiting):
        if n % 4:
            c.sasl_result(restart=False)
    assert attempt(s, BOB) is None


def test_stop_while_logins_wait(directory, serve, connect, attempt):
    d = directory(*PEOPLE_LDIF)
    s = serve(d.settings(timeout="500ms", connections=2))
    assert attempt(s, ALICE) is None
    d.suspend()
    for _ in range(8):
        c = connect(server=s)
        c.account = BOB
        c.start()
        c.auth("PLAIN", b"\0bob\0bob-secret")
    s.stop()
    d.resume()


def test_source_taken_out_while_logins_wait(directory, serve, connect, attempt):
    d = directory(*PEOPLE_LDIF)
    s = serve(d.settings(timeout="500ms", connections=2))
    local = s.account()
    assert attempt(s, ALICE) is None
    d.suspend()
    waiting = []
    for _ in range(8):
        c = connect(server=s)
        c.account = BOB
        c.start()
        c.auth("PLAIN", b"\0bob\0bob-secret")
        waiting.append(c)
    people = s.config["host_types"]["people"]
    people["auth"] = ["internal"]
    settings = people["plugins"].pop("ldap")
    s.write_config()
    s.ctl("reload")
    for c in waiting:
        with pytest.raises(AuthFailed):
            c.sasl_result()
    assert attempt(s, local) is None
    assert attempt(s, ALICE) == "not-authorized"
    d.resume()
    people["auth"], people["plugins"]["ldap"] = ["internal", "ldap"], settings
    s.write_config()
    s.ctl("reload")
    heals(lambda: attempt(s, ALICE))


def test_messages_go_on_while_existence_can_not_be_asked(directory, serve, connect):
    """Users to be looked up are guests on other threads, and never take all of them."""
    d = directory()
    s = serve(d.settings(timeout="10s"))
    one, two = s.account(), s.account()
    a, b = connect(one, server=s, presence=""), connect(two, server=s, presence="")
    d.suspend()
    for n in range(12):
        a.message("away%d@%s" % (n, DOMAIN), "who are you?")
    b.roster()
    b.iq("set", "<query xmlns='jabber:iq:roster'><item jid='x@y.test'/></query>")
    b.message(a.jid, "still here")
    got = a.until(lambda e: name(e) == "message" and e.get("type") != "error")
    assert text(got, "body") == "still here"
    d.resume()


def test_slow_directory_is_left_alone(directory, serve, attempt):
    d = directory()
    s = serve(d.settings(timeout="200ms"))
    local = s.account()
    d.suspend()
    assert attempt(s, ALICE) == "temporary-auth-failure"
    assert attempt(s, local) is None
    s.wait_log("directory server does not answer")
    d.resume()
    heals(lambda: attempt(s, ALICE))


def test_service_account_that_is_refused(directory, serve, attempt):
    d = directory()
    s = serve(d.settings(bind_password="wrong"))
    assert attempt(s, ALICE) == "temporary-auth-failure"
    s.wait_log("refuses bind_dn")


# ---- referrals -----------------------------------------------------------------------------

def referral(dn, url):
    return "\n".join(["dn: " + dn, "objectClass: referral", "objectClass: extensibleObject",
                      "ref: " + url, ""])


def test_referrals_are_not_followed(directory, serve, attempt):
    """Neither one instead of an answer, nor one beside entries; nobody else is told a
    password, or asked."""
    other = directory(person("carol", "carol-secret"), anonymous="read")
    d = directory(*PEOPLE_LDIF,
                  referral("ou=more," + PEOPLE, "%s/%s" % (other.url, PEOPLE)),
                  referral("ou=elsewhere," + BASE, "%s/%s" % (other.url, PEOPLE)))
    s = serve(d.settings())
    before = other.log().count("ACCEPT")
    assert attempt(s, ALICE) is None
    assert attempt(s, Account("carol", DOMAIN, "carol-secret")) == "not-authorized"
    t = serve(d.settings(base="ou=elsewhere," + BASE))
    assert attempt(t, Account("carol", DOMAIN, "carol-secret")) == "not-authorized"
    t.wait_log("refers to another server")
    u = serve(d.settings(method="bind", user_dn="uid=%u,ou=elsewhere," + BASE))
    assert attempt(u, Account("carol", DOMAIN, "carol-secret")) == "not-authorized"
    assert other.log().count("ACCEPT") == before


# ---- groups --------------------------------------------------------------------------------

def nested_groups():
    """staff > team > squad > alice; staff and team are members of each other; bob is in
    a group of his own."""
    return [group("staff", group_dn("team")), group("team", group_dn("squad"), group_dn("staff")),
            group("squad", person_dn("alice")), group("others", person_dn("bob"))]


@pytest.mark.parametrize("by", ["search", "memberof"])
def test_nested_groups(directory, serve, attempt, by):
    d = directory()
    d.add(*nested_groups()[::-1])              # by the overlay, which writes memberOf
    settings = d.settings(groups=[group_dn("staff")], group_by=by,
                          group_base="ou=groups," + BASE)
    s = serve(settings)
    assert attempt(s, ALICE) is None
    assert attempt(s, BOB) == "not-authorized"
    assert d.binds(person_dn("bob")) == 0
    direct = serve({**settings, "group_nesting": 1})
    assert attempt(direct, ALICE) == "not-authorized"
    several = serve({**settings, "groups": [group_dn("nowhere"), group_dn("others"),
                                            group_dn("squad")], "group_nesting": 0})
    assert attempt(several, ALICE) is None
    assert attempt(several, BOB) is None


def test_groups_of_names(directory, serve, attempt):
    d = directory(*PEOPLE_LDIF, "dn: cn=chat,%s\nobjectClass: organizationalRole\ncn: chat\n"
                  "description: alice\n" % BASE)
    s = serve(d.settings(groups=["cn=chat," + BASE], group_filter="(description=%u)"))
    assert attempt(s, ALICE) is None
    assert attempt(s, BOB) == "not-authorized"


# ---- SCRAM ---------------------------------------------------------------------------------

def rows(server):
    with contextlib.closing(sqlite3.connect("file:%s?mode=ro" % database(server), uri=True)) as db:
        return db.execute("select count(*) from ldap_keys").fetchone()[0]


def database(server):
    data = server.path("data")
    return next(os.path.join(data, f) for f in os.listdir(data) if f.endswith((".db", ".sqlite")))


on_sqlite = pytest.mark.skipif(os.environ.get("MEERKAT_TEST_STORAGE", "sqlite") != "sqlite",
                               reason="looks into the database")


def test_scram_after_plain(directory, serve, attempt):
    d = directory()
    s = serve(d.settings())
    assert attempt(s, ALICE, mechanism="SCRAM-SHA-256") == "not-authorized"
    assert attempt(s, ALICE) is None
    for mechanism in ("SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"):
        assert attempt(s, ALICE, mechanism=mechanism) is None
        assert attempt(s, ALICE, mechanism=mechanism, password="wrong") == "not-authorized"
    s.restart()
    d.stop()                                   # keys need nobody
    assert attempt(s, ALICE, mechanism="SCRAM-SHA-256") is None
    assert attempt(s, BOB, mechanism="SCRAM-SHA-256") == "temporary-auth-failure"


def test_scram_is_not_offered_where_keys_are_not_kept(directory, serve, connect, attempt):
    d = directory()
    settings = d.settings()
    del settings["capture_keys"]
    s = serve(settings, auth=("ldap",))
    assert attempt(s, ALICE) is None
    c = connect(server=s)
    c.account = ALICE
    c.start()
    assert c.mechanisms == ["PLAIN"]


@pytest.mark.parametrize("forget", ["by PLAIN", "by SCRAM"])
def test_password_changed_in_the_directory(directory, serve, attempt, forget):
    d = directory()
    s = serve(d.settings(keys_recheck="0"))
    new = Account("alice", DOMAIN, "other-secret")
    assert attempt(s, ALICE) is None
    assert attempt(s, ALICE, mechanism="SCRAM-SHA-256") is None
    d.password("alice", "other-secret")
    if forget == "by PLAIN":
        # The new one counts at once, and replaces what was kept.
        assert attempt(s, new) is None
        assert attempt(s, ALICE) == "not-authorized"
    else:
        # Keys that are looked at anew don't fit the entry any more.
        s.restart()
        assert attempt(s, ALICE, mechanism="SCRAM-SHA-256") == "not-authorized"
        assert attempt(s, new, mechanism="SCRAM-SHA-256") == "not-authorized"
        assert attempt(s, new) is None
    assert attempt(s, ALICE, mechanism="SCRAM-SHA-256") == "not-authorized"
    assert attempt(s, new, mechanism="SCRAM-SHA-256") is None


@on_sqlite
def test_keys_go_with_the_user(directory, serve, attempt):
    d = directory()
    s = serve(d.settings(keys_recheck="0", keys_max_age="1s"))
    assert attempt(s, ALICE) is None
    assert attempt(s, BOB) is None
    assert rows(s) == 2
    d.remove("alice")
    deadline = time.monotonic() + 60
    while rows(s) != 1:                        # the sweep finds out
        assert time.monotonic() < deadline
        time.sleep(0.1)
    s.restart()
    assert attempt(s, ALICE, mechanism="SCRAM-SHA-256") == "not-authorized"
    assert attempt(s, BOB, mechanism="SCRAM-SHA-256") is None


@on_sqlite
def test_keys_are_erased_and_not_exported(directory, serve, connect, attempt):
    d = directory()
    s = serve(d.settings())
    assert attempt(s, ALICE) is None
    p = s.ctl("storage", "export", ALICE.jid, check=False)
    assert "ldap_keys" not in p.stdout
    s.ctl("storage", "erase", ALICE.jid, check=False)


# ---- settings ------------------------------------------------------------------------------

def test_reload(directory, serve, attempt):
    d, other = directory(), directory(person("carol", "carol-secret"))
    s = serve(d.settings())
    assert attempt(s, ALICE) is None
    s.config["host_types"]["people"]["plugins"]["ldap"] = other.settings()
    s.write_config()
    s.ctl("reload")
    assert attempt(s, Account("carol", DOMAIN, "carol-secret")) is None
    assert attempt(s, BOB) == "not-authorized"


@pytest.mark.parametrize("changes,line", [
    ({"servers": []}, "servers"),
    ({"servers": ["http://localhost"]}, "is no address"),
    ({"servers": ["ldap://localhost/dc=x"]}, "more than scheme"),
    ({"filter": "(uid=%u"}, "is missing"),
    ({"filter": "(uid=alice)"}, "%u is missing"),
    ({"base": ""}, "needed to search users"),
    ({"method": "bind"}, "user_dn"),
    ({"method": "bind", "user_dn": "%u=x,dc=test"}, "outside a value"),
    ({"bind_password": ""}, "need each other"),
    ({"groups": ["cn=a"]}, "YAML list"),
    ({"group_filter": "(member=*)"}, "would be a member"),
])
def test_settings_that_can_not_work_are_told(directory, make_server, changes, line):
    d = directory(start=False)
    s = make_server({"host_types": {"people": {
        "auth": ["ldap"], "plugins": {"ldap": d.settings(**changes)}}}}, start=False)
    with pytest.raises(AssertionError) as e:
        s.start()
    assert line in str(e.value)
