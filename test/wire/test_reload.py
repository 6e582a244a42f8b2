"""Settings that change on a running server: meerkatctl reload, SIGHUP, SIGUSR1.
Sessions stay; what is wrong changes nothing."""

import os
import re
import shutil
import signal
import socket
import time

import pytest

import mk
from mk import StreamError, certs, child, name


@pytest.fixture
def s(make_server):
    return make_server()


def write(s, changes=None):
    mk.server.merge(s.config, changes or {})
    s.write_config()


def reload(s, changes=None, *flags):
    """Rows of what changed: {setting: (from, to, needs)}."""
    write(s, changes)
    answer = s.ctl_json("reload", *flags)
    if isinstance(answer, dict):
        assert answer == {"text": "nothing changed\n"}
        return {}
    return {r["setting"]: (r["from"], r["to"], r["needs"]) for r in answer}


def refused(s, changes):
    write(s, changes)
    p = s.ctl("reload", check=False)
    assert p.returncode == 1 and p.stdout == "", p.stdout
    return p.stderr[len("meerkatctl: "):]


def version_text(c):
    a = c.iq("get", "<query xmlns='jabber:iq:version'/>", to=c.server.domain)
    return a.get("type")


# ---- saying what would change -----------------------------------------------------


def test_nothing_changed(s):
    assert s.ctl("reload").stdout == "nothing changed\n"
    assert s.ctl("reload", "--dry-run").stdout == "nothing changed\n"


def test_dry_run_tells_and_changes_nothing(s, connect):
    c = connect(s.account(), server=s)
    changes = {"limits": {"stanza": "12KB"}, "server": {"workers": 3},
               "host_types": {"people": {"plugins": {"version": None},
                                         "max_resources": 3}}}
    rows = reload(s, changes, "--dry-run")
    assert rows["limits.stanza"] == ("256KB", "12KB", "live")
    assert rows["server.workers"] == ("2", "3", "restart")
    assert rows["host_types.people.max_resources"] == ("10", "3", "live")
    assert rows["host_types.people.plugins.version"][1:] == ("(unset)", "live")
    assert version_text(c) == "result"
    c.message(c.jid, "x" * 20000, type_="headline")
    c.ping()
    # The same lines when it is done; then there is nothing left to tell.
    assert reload(s) == rows
    assert version_text(c) == "error"
    assert s.ctl("reload", "--dry-run").stdout == "nothing changed\n"


# ---- live settings -------------------------------------------------------------------


def test_limits_are_live_for_sessions_that_are_open(s, connect):
    old = connect(s.account(), server=s)
    reload(s, {"limits": {"stanza": "12KB"}})
    new = connect(s.account(), server=s)
    for c in (new, old):
        c.message(c.jid, "x" * 20000)
        c.expect_stream_error("policy-violation")


def test_host_type_settings_are_live(s, connect):
    a = s.account()
    connect(a, "one", server=s)
    connect(a, "two", server=s)
    reload(s, {"host_types": {"people": {"max_resources": 2}}})
    c = connect(server=s)
    c.account = a
    c.start()
    c.scram()
    answer = c.iq("set", "<bind xmlns='%s'/>" % mk.NS.BIND)
    assert child(child(answer, "error"), "resource-constraint") is not None
    reload(s, {"host_types": {"people": {"max_resources": None}}})
    c.bind()


def test_mechanisms_are_live(s, connect):
    reload(s, {"host_types": {"people": {"mechanisms": ["SCRAM-SHA-256", "PLAIN"]}}})
    c = connect(server=s)
    c.start()
    assert c.mechanisms == ["SCRAM-SHA-256", "PLAIN"]
    reload(s, {"host_types": {"people": {"mechanisms": None}}})
    c = connect(server=s)
    c.start()
    assert "SCRAM-SHA-1" in c.mechanisms


def test_plugins_are_added_and_removed(s, connect):
    c = connect(s.account(), server=s, presence="")
    d = connect(s.account(), server=s, presence="")
    for plugin, found in ((None, "error"), ({}, "result")) * 2:
        reload(s, {"host_types": {"people": {"plugins": {"version": plugin}}}})
        assert version_text(c) == found
        running = {(p["plugin"], p["type"]) for p in s.ctl_json("plugin", "list")}
        assert (("version", "people") in running) == (found == "result")
        assert ("version", "strangers") in running
        id_ = c.message(d.jid, "still here")
        d.until(lambda e: name(e) == "message" and e.get("id") == id_)


def test_settings_of_a_plugin_are_live(s, connect):
    """And its file may be in a folder that is new, too."""
    folder = s.path("more")
    os.mkdir(folder, 0o755)
    shutil.copy(os.path.join(s.build, "modules-test", "changing.so"), folder)
    os.chmod(os.path.join(folder, "changing.so"), 0o644)
    c = connect(s.account(), server=s)

    def word():
        a = c.iq("get", "<changing xmlns='urn:test:changing'/>", to=s.domain)
        return child(a, "changing", "urn:test:changing").get("word")
    rows = reload(s, {
        "server": {"plugin_dirs": s.config["server"]["plugin_dirs"] + [folder]},
        "host_types": {"people": {"plugins": {"changing": {"word": "first"}}}}})
    assert rows["host_types.people.plugins.changing.word"][1] == "first"
    assert word() == "first"
    rows = reload(s, {"host_types": {"people": {"plugins": {"changing": {"word": "second"}}}}})
    assert rows == {"host_types.people.plugins.changing.word": ("first", "second", "live")}
    assert word() == "second"
    reload(s, {"host_types": {"people": {"plugins": {"changing": {"word": None}}}}})
    assert word() == "default"


def test_log_settings_are_live(s):
    s.ctl("log", "level", "error")           # "until the next reload"
    reload(s, {"log": {"format": "json"}})
    s.wait_log(r'^\{"time":.*"msg":"settings reloaded"')


def test_the_watchdog_can_be_switched(s):
    for value in ("0", "50ms", "2s"):
        reload(s, {"server": {"watchdog": value}})
        s.ctl("status")


# ---- listeners -------------------------------------------------------------------------


def can_connect(port):
    with socket.socket() as x:
        x.settimeout(10)
        return x.connect_ex(("127.0.0.1", port)) == 0


def test_listeners_are_added_changed_and_removed(s, connect):
    port = s.new_port()
    here = connect(s.account(), server=s, tls="direct")
    listeners = list(s.config["listeners"])
    one = {"kind": "c2s", "address": "127.0.0.1", "port": port, "tls": "none",
           "unsafe_plain_without_tls": True}
    reload(s, {"listeners": listeners + [one]})
    c = connect(server=s)
    c.account = s.account()
    c.connect(port)
    c.open()
    c.plain()
    c.bind()
    # The same port, another kind.
    reload(s, {"listeners": listeners + [dict(one, tls="direct")]})
    d = connect(server=s).connect_tls(port=port)
    d.open()
    assert "PLAIN" in d.mechanisms
    # Two away. Those who are connected stay.
    reload(s, {"listeners": [listeners[0]]})
    assert not can_connect(port) and not can_connect(s.port_tls)
    here.ping()
    c.ping()
    connect(s.account(), server=s)


def test_a_port_that_is_taken_is_told_and_the_rest_done(s, connect):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        port = other.getsockname()[1]
        write(s, {"host_types": {"people": {"plugins": {"version": None}}},
                  "listeners": s.config["listeners"] + [
                      {"kind": "c2s", "address": "127.0.0.1", "port": port}]})
        p = s.ctl("reload", check=False)
        assert p.returncode == 1 and str(port) in p.stderr
    c = connect(s.account(), server=s)
    assert version_text(c) == "error"
    # It is tried again.
    s.ctl("reload")
    assert can_connect(port)


# ---- certificates and domains ------------------------------------------------------------


def serial(s, domain):
    return {r["domain"]: r["serial"] for r in s.ctl_json("certificate", "list")}[domain]


def test_a_new_certificate_is_taken_and_sessions_stay(s, connect):
    here = connect(s.account(), server=s)
    before = serial(s, s.domain)
    folder = s.path("certs2")
    certs.make(folder, s.domain, s.other, s.strange, s.anon)
    for f in os.listdir(folder):
        os.replace(os.path.join(folder, f), os.path.join(s.certs, f))
    s.ctl("reload")
    assert serial(s, s.domain) != before
    here.ping()
    connect(s.account(), server=s)


def test_a_bad_certificate_refuses_the_reload(s, connect):
    before = serial(s, s.domain)
    shutil.copytree(s.certs, s.path("bad"))
    with open(s.path("bad", "fullchain.pem"), "w") as f:
        f.write("no certificate")
    words = refused(s, {"domains": {s.domain: {"certificate": s.path("bad")}},
                        "host_types": {"people": {"plugins": {"version": None}}}})
    assert "bad/fullchain.pem" in words or s.path("bad") in words
    assert serial(s, s.domain) == before
    assert version_text(connect(s.account(), server=s)) == "result"


def test_static_domains_come_and_go(s, connect):
    reload(s, {"domains": {"later.test": {"type": "people"}}})
    a = s.account(domain="later.test")
    c = connect(server=s, domain="later.test")
    c.account = a
    c.connect(s.port_plain)
    c.open()
    c.plain()
    c.bind()
    reload(s, {"domains": {"later.test": None}})
    c.expect_stream_error("host-gone")
    with pytest.raises(StreamError) as e:
        connect(server=s, domain="later.test").connect(s.port_plain).open()
    assert e.value.condition == "host-unknown"


def test_a_domain_added_by_hand_may_be_written_down_later(s):
    s.ctl("domain", "add", "both.test", "people")
    reload(s, {"domains": {"both.test": {"type": "strangers"}}})
    row, = [d for d in s.ctl_json("domain", "list") if d["domain"] == "both.test"]
    assert (row["type"], row["static"]) == ("strangers", True)
    assert "stands in the configuration" in s.ctl("domain", "remove", "both.test",
                                                  check=False).stderr
    s.restart()
    row, = [d for d in s.ctl_json("domain", "list") if d["domain"] == "both.test"]
    assert (row["type"], row["static"]) == ("strangers", True)


def test_host_types_come_and_go(s, connect):
    reload(s, {"host_types": {"new": {"auth": ["internal"], "plugins": {"ping": {}}}},
               "domains": {"new.test": {"type": "new"}}})
    a = s.account(domain="new.test")
    c = connect(server=s, domain="new.test")
    c.account = a
    c.connect(s.port_plain)
    c.open()
    c.plain()
    c.bind()
    c.ping()
    s.ctl("domain", "add", "dynamic.test", "new")
    words = refused(s, {"host_types": {"new": None}, "domains": {"new.test": None}})
    assert words == ("host type 'new' can't go: domain dynamic.test, added at run time, "
                     "is of it\n")
    c.ping()
    s.ctl("domain", "remove", "dynamic.test")
    s.ctl("reload")
    c.expect_stream_error("host-gone")
    assert "new" not in {p["type"] for p in s.ctl_json("plugin", "list")}
    assert "there is no host type 'new'" in s.ctl("domain", "add", "x.test", "new",
                                                  check=False).stderr


# ---- what is wrong changes nothing ------------------------------------------------------------


@pytest.mark.parametrize("text,complaint", [
    ("limits: { stanzas: 12KB }\n", r"1:11: .*'limits\.stanzas'.*stanza"),
    ("limits:\n  stanza: many\n", r"2:11: .*'limits\.stanza'"),
    ("limits:\n  stanza: 1\n", r"2:11: .*'limits\.stanza'"),
    ("host_types:\n  people:\n    plugins:\n      ping: { intervall: 5 }\n",
     r"4:15: .*intervall"),
    ("host_types: { people: { plugins: { no-such-plugin: {} } } }\n", r"no-such-plugin"),
    ("domains: { x.test: { type: nobody } }\n", r"1:\d+: .*nobody"),
    ("limits: [\n", r":\d+:\d+: "),
    ("domains: { 'a@b': { type: people } }\n", r"1:12: "),
])
def test_a_bad_file_is_refused_with_its_place(s, connect, text, complaint):
    c = connect(s.account(), server=s)
    os.makedirs(s.path("conf.d"))
    with open(s.path("conf.d", "10-bad.yml"), "w") as f:
        f.write(text)
    write(s, {"host_types": {"people": {"plugins": {"version": None}}}})
    for words in (("reload",), ("reload", "--dry-run")):
        p = s.ctl(*words, check=False)
        assert p.returncode == 1
        line = [x for x in p.stderr.splitlines() if "10-bad.yml" in x or "no-such" in x][0]
        assert re.search(complaint, line), p.stderr
    assert version_text(c) == "result"
    # SIGHUP tells the log.
    s.process.send_signal(signal.SIGHUP)
    s.wait_log(r"reload refused, the old settings stay.*10-bad\.yml")
    assert version_text(c) == "result"
    os.unlink(s.path("conf.d", "10-bad.yml"))
    s.ctl("reload")
    assert version_text(c) == "error"


def test_a_file_that_is_gone_changes_nothing(s, connect):
    os.rename(s.path("meerkat.yml"), s.path("away.yml"))
    assert "meerkat.yml" in s.ctl("reload", check=False).stderr
    connect(s.account(), server=s).ping()


def test_a_plugin_that_does_not_start_is_told(s, connect):
    folder = s.path("more")
    os.mkdir(folder, 0o755)
    shutil.copy(os.path.join(s.build, "modules-test", "no-start.so"), folder)
    os.chmod(os.path.join(folder, "no-start.so"), 0o644)
    write(s, {"server": {"plugin_dirs": s.config["server"]["plugin_dirs"] + [folder]},
              "limits": {"auth_attempts": 7},
              "host_types": {"people": {"plugins": {"no-start": {}}}}})
    p = s.ctl("reload", check=False)
    assert p.returncode == 1
    assert "plugin 'no-start' did not start on host type 'people'" in p.stderr
    connect(s.account(), server=s).ping()
    # What could be done was done.
    assert "auth_attempts" not in s.ctl("reload", "--dry-run").stdout


# ---- signals ---------------------------------------------------------------------------------


def test_sighup_reloads(s, connect):
    c = connect(s.account(), server=s)
    write(s, {"host_types": {"people": {"plugins": {"version": None}}}})
    s.process.send_signal(signal.SIGHUP)
    s.wait_log(r"settings reloaded")
    assert version_text(c) == "error"
    c.ping()


@pytest.mark.parametrize("way", ["SIGUSR1", "log reopen"])
def test_the_log_file_is_opened_anew(make_server, way, connect):
    s = make_server(start=False)
    file = s.path("server.log")
    s.config["log"]["file"] = file
    s.start()
    os.rename(file, file + ".1")
    if way == "SIGUSR1":
        s.process.send_signal(signal.SIGUSR1)
    else:
        s.ctl("log", "reopen")
    deadline = time.monotonic() + 20
    while not os.path.exists(file):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    s.ctl("reload")
    with open(file) as f:
        assert "settings reloaded" in f.read()
    with open(file + ".1") as f:
        assert "settings reloaded" not in f.read()


def test_a_service_manager_that_does_not_read_stops_nothing(s):
    """Its queue is full after some ten datagrams."""
    for i in range(12):
        reload(s, {"limits": {"stanza": "%dKB" % (100 + i)}})


def test_many_reloads_under_load_leave_nothing_behind(s, connect):
    """Descriptors and sessions are as before."""
    a, b = (connect(s.account(), server=s, presence="") for _ in range(2))
    fds = None
    s.ready_socket.settimeout(20)
    for i in range(30):
        # The service manager hears of the last one (and its queue is short).
        if i > 0:
            told = b""
            while b"RELOADING=1" not in told or b"READY=1" not in told:
                told += s.ready_socket.recv(4096)
        reload(s, {"limits": {"stanza": "%dKB" % (100 + i)},
                   "host_types": {"people": {"plugins": {"time": None if i % 2 else {}}}}})
        id_ = a.message(b.jid, "go on")
        b.until(lambda e: name(e) == "message" and e.get("id") == id_)
        if i == 5:
            fds = s.descriptors()
    assert s.descriptors() <= fds + 1
