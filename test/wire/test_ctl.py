"""meerkatctl and the control socket: every command, JSON, errors, exit statuses,
secrets, who may connect, completion."""

import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import stat
import subprocess
import termios
import threading
import time

import pytest

import mk
from mk import StreamError
from mk.server import Account

FAILED, USAGE, NO_SERVER = 1, 2, 3


@pytest.fixture(scope="module")
def s():
    """One server for all tests here: they use users and domains of their own."""
    server = mk.Server({"host_types": {"plain": {"auth": ["internal"]}}}).start()
    yield server
    server.close()


@pytest.fixture
def user(s):
    return s.account()


def fails(s, *words, status=FAILED, **kw):
    p = s.ctl(*words, check=False, **kw)
    assert p.returncode == status, (words, p.returncode, p.stdout, p.stderr)
    assert p.stderr.startswith("meerkatctl: ")
    return p.stderr[len("meerkatctl: "):].rstrip("\n")


def ctl_stdin(s, text, *words):
    return subprocess.run([os.path.join(s.build, "meerkatctl"), "-s", s.path("ctl"), *words],
                          input=text, capture_output=True, text=True, timeout=60)


class Raw:
    """The socket itself."""

    def __init__(self, s):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(s.path("ctl"))
        self.rest = b""

    def send(self, data):
        self.sock.sendall(data if isinstance(data, bytes) else data.encode())

    def answer(self):
        while b"\n" not in self.rest:
            data = self.sock.recv(65536)
            assert data, "the server hung up"
            self.rest += data
        line, self.rest = self.rest.split(b"\n", 1)
        return json.loads(line)

    def ask(self, command, **args):
        self.send(json.dumps({"command": command, "args": args}) + "\n")
        return self.answer()

    def close(self):
        self.sock.close()


@pytest.fixture
def raw(s):
    r = Raw(s)
    yield r
    r.close()


# ---- the server --------------------------------------------------------------------


def test_status(s):
    row, = s.ctl_json("status")
    assert row["pid"] == s.pid
    assert row["config"] == s.path("meerkat.yml")
    assert 0 <= row["uptime_s"] < 3600
    assert re.match(r"\d+\.\d+", row["version"])


def test_a_record_is_shown_as_lines_a_list_as_a_table(s, user):
    lines = s.ctl("status").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["version", "pid", "uptime_s", "config"]
    assert len({line.index(line.split()[1]) for line in lines}) == 1     # aligned
    table = s.ctl("session", "list", "--user", user.jid).stdout
    assert table == ""
    table = s.ctl("account", "list", s.domain, "--limit", 1).stdout.splitlines()
    assert table[0] == "jid" and len(table) == 2


def test_stats(s, connect, user):
    before, = s.ctl_json("stats")
    connect(user, server=s)
    row, = s.ctl_json("stats")
    assert row["sessions"] == before["sessions"] + 1
    assert row["workers"] == 2 and row["domains"] >= 4
    assert row["memory_bytes"] > 1000000
    assert row["backends"] == row["backends_healthy"] == 1
    assert row["journal_errors"] == 0
    assert row["rows_to_be_written"] >= 0 and row["streams_before_login"] >= 0


def test_metrics(s):
    text = s.ctl("metrics").stdout
    assert text.rstrip().endswith("# EOF")
    assert "# TYPE meerkat_turn_usec" in text
    assert s.ctl_json("metrics")["text"].splitlines()[0].startswith("#")


def test_log_level(s, user):
    s.ctl("log", "level", "debug")
    try:
        assert fails(s, "log", "level", "loud") == \
            "'loud' is no level: error, warn, notice, info, debug"
    finally:
        s.ctl("log", "level", "info")


def test_certificate_list(s):
    rows = {r["domain"]: r for r in s.ctl_json("certificate", "list")}
    assert set(rows) >= {s.domain, s.other, s.strange}
    assert rows[s.domain]["days_left"] > 0
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", rows[s.domain]["not_after"])
    assert re.match(r"[0-9a-f]+$", rows[s.domain]["serial"])


def test_stop(make_server):
    s = make_server()
    assert s.ctl("stop").stdout == "stopping\n"
    assert s.process.wait(20) == 0
    s.process = None
    assert not os.path.exists(s.path("ctl"))
    assert "no server at" in fails(s, "status", status=NO_SERVER)


def test_commands_describes_all_of_them(s):
    rows = {r["name"]: r for r in s.ctl_json("commands")}
    for command in ("status stats metrics stop reload commands hooks trace".split() + [
            "log level", "log reopen", "certificate list", "account register",
            "account unregister", "account password", "account list", "account count",
            "account check", "session list", "session count", "session info", "session kick",
            "domain add", "domain import", "domain disable", "domain enable",
            "domain remove", "domain list", "domain count", "plugin list", "plugin start",
            "plugin stop", "plugin reload", "plugin settings", "storage status", "storage plan", "storage copy",
            "storage export", "storage erase", "storage drop-domain"]):
        assert rows[command]["doc"].endswith("."), command
    assert rows["account check"]["args"] == [
        {"name": "jid", "type": "jid", "optional": False, "doc": "the account's bare JID"},
        {"name": "password", "type": "secret", "optional": True,
         "doc": "also check this password"}]
    assert rows["reload"]["args"][0]["type"] == "flag"
    assert rows["status"]["args"] == [] and rows["status"]["plugin"] == ""


# ---- accounts ------------------------------------------------------------------------


def test_life_of_an_account(s, connect):
    jid = "life@" + s.domain
    before = s.ctl_json("account", "count", s.domain)[0]["count"]
    assert fails(s, "account", "check", jid) == jid + ": no such account"
    s.ctl("account", "register", jid, "first")
    assert fails(s, "account", "register", jid, "x") == jid + " is registered already"
    assert s.ctl_json("account", "check", jid) == [{"jid": jid, "exists": True}]
    s.ctl("account", "check", jid, "first")
    assert s.ctl_json("account", "count", s.domain)[0]["count"] == before + 1
    assert {"jid": jid} in s.ctl_json("account", "list", s.domain)
    s.ctl("account", "password", jid, "second")
    assert "wrong password" in fails(s, "account", "check", jid, "first")
    s.ctl("account", "check", jid, "second")

    c = connect(Account("life", s.domain, "second"), server=s)
    s.ctl("account", "unregister", jid)
    with pytest.raises(StreamError):
        c.recv()
    assert fails(s, "account", "unregister", jid) == jid + ": not registered"
    assert fails(s, "account", "password", jid, "x") == jid + " is not registered"


def test_accounts_are_listed_in_order_and_in_pages(s):
    for n in ("c", "a", "b"):
        s.ctl("account", "register", "page%s@%s" % (n, s.strange), "x")
    pages = [r["jid"] for r in s.ctl_json("account", "list", s.strange, "--limit", 2)]
    assert pages == ["pagea@" + s.strange, "pageb@" + s.strange]
    more = [r["jid"] for r in s.ctl_json("account", "list", s.strange, "--after", "pageb")]
    assert more == ["pagec@" + s.strange]
    # The same by place.
    assert s.ctl_json("account", "list", s.strange, "pageb")[0]["jid"] == "pagec@" + s.strange


@pytest.mark.parametrize("words,complaint", [
    (("account", "register", "a b@meerkat.test", "x"), "'jid' is no JID: a b@meerkat.test"),
    (("account", "register", "meerkat.test", "x"), "an account is user@domain: meerkat.test"),
    (("account", "register", "a@meerkat.test/r", "x"),
     "an account is user@domain: a@meerkat.test/r"),
    (("account", "register", "a@elsewhere.test", "x"),
     "this server has no (enabled) domain elsewhere.test"),
    (("account", "list", "elsewhere.test"), "there is no domain elsewhere.test"),
    (("account", "list", "a@meerkat.test"), "'domain' is no domain: a@meerkat.test"),
    (("account", "list", "meerkat.test", "--limit", "0"), "'limit' must be from 1 to 1000000"),
    (("account", "list", "meerkat.test", "--limit", "x"), "'limit' must be a whole number"),
])
def test_account_refusals(s, words, complaint):
    assert fails(s, *words) == complaint


def test_passwords_are_prepared_for_check_as_for_login(s):
    """SASLprep (RFC 4013): a no-break space is a space, a soft hyphen nothing."""
    jid = "prep@" + s.domain
    s.ctl("account", "register", jid, "I\u00adX \u2168")
    s.ctl("account", "check", jid, "IX\u00a0IX")
    assert "wrong password" in fails(s, "account", "check", jid, "I-X IX")
    for none in ("", "\u0007", "\u00ad"):
        assert "wrong password" in fails(s, "account", "check", jid, none)
        assert "can't be set" in fails(s, "account", "password", jid, none)
    s.ctl("account", "check", jid, "IX IX")


# ---- secrets ------------------------------------------------------------------------------


def test_a_secret_comes_from_standard_input(s):
    jid = "secret@" + s.domain
    p = ctl_stdin(s, "from-stdin\n", "account", "register", jid, "-")
    assert p.returncode == 0, p.stderr
    assert "from-stdin" not in p.stdout + p.stderr
    s.ctl("account", "check", jid, "from-stdin")
    # Left out and no terminal: standard input as well; without a newline, too.
    assert ctl_stdin(s, "second", "account", "password", jid).returncode == 0
    s.ctl("account", "check", jid, "second")
    p = ctl_stdin(s, "", "account", "password", jid)
    assert p.returncode == USAGE and "'password' was not given" in p.stderr


def test_a_secret_is_asked_for_without_echo(s):
    jid = "typed@" + s.domain
    child, fd = pty.fork()
    if child == 0:
        os.execv(os.path.join(s.build, "meerkatctl"),
                 ["meerkatctl", "-s", s.path("ctl"), "account", "register", jid])
    seen = b""

    def read_until(what):
        nonlocal seen
        deadline = time.monotonic() + 20
        while what not in seen:
            ready, _, _ = select.select([fd], [], [], deadline - time.monotonic())
            assert ready, seen
            seen += os.read(fd, 1024)

    read_until(b"password: ")
    # The prompt is written before echo is off: wait for that.
    deadline = time.monotonic() + 20
    while termios.tcgetattr(fd)[3] & termios.ECHO:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.write(fd, b"typed-secret\n")
    _, status = os.waitpid(child, 0)
    try:
        while True:
            data = os.read(fd, 1024)
            if not data:
                break
            seen += data
    except OSError:
        pass
    os.close(fd)
    assert status == 0
    assert b"typed-secret" not in seen
    s.ctl("account", "check", jid, "typed-secret")


def test_passwords_are_not_in_the_log(s):
    jid = "quiet@" + s.domain
    s.ctl("log", "level", "debug")
    s.ctl("account", "register", jid, "not-for-the-log")
    s.ctl("account", "check", jid, "not-for-the-log-2", check=False)
    s.ctl("log", "level", "info")
    assert "not-for-the-log" not in s.log()


# ---- sessions -----------------------------------------------------------------------------


def test_sessions(s, connect):
    a, b = s.account(), s.account(domain=s.other)
    count = s.ctl_json("session", "count")[0]["count"]
    one = connect(a, "one", server=s, presence="<priority>5</priority>")
    two = connect(a, "two", server=s, tls="direct")
    third = connect(b, "three", server=s)
    assert s.ctl_json("session", "count")[0]["count"] == count + 3

    rows = {r["jid"]: r for r in s.ctl_json("session", "list", "--user", a.jid)}
    assert set(rows) == {a.jid + "/one", a.jid + "/two"}
    row = rows[a.jid + "/one"]
    assert row["connected"] and row["encrypted"] and row["address"].startswith("127.0.0.1")
    assert (row["available"], row["priority"]) == (True, 5)
    assert not rows[a.jid + "/two"]["available"]
    others = [r["jid"] for r in s.ctl_json("session", "list", "--domain", s.other)]
    assert b.jid + "/three" in others and a.jid + "/one" not in others
    assert len(s.ctl_json("session", "list", "--limit", 1)) == 1
    assert s.ctl_json("session", "list", s.strange) == []

    info = s.ctl_json("session", "info", two.jid)
    assert [r["jid"] for r in info] == [two.jid]
    assert info[0]["tls"].startswith("TLS1.")
    assert info[0]["worker"] in (0, 1) and info[0]["idle_s"] < 60
    assert len(s.ctl_json("session", "info", a.jid)) == 2

    assert s.ctl_json("session", "kick", one.jid) == [{"ended": 1}]
    one.expect_stream_error("policy-violation")
    two.ping()
    assert s.ctl_json("session", "kick", a.jid) == [{"ended": 1}]
    two.expect_stream_error("policy-violation")
    third.ping()
    for command in ("kick", "info"):
        assert fails(s, "session", command, a.jid) == a.jid + " has no session"


# ---- hooks and tracing ----------------------------------------------------------------------


def test_hooks_are_listed_in_their_order(s):
    rows = s.ctl_json("hooks", "people")
    assert {r["type"] for r in rows} == {"people"}
    chain = [(r["priority"], r["plugin"]) for r in rows
             if (r["hook"], r["stanzas"]) == ("stanza_deliver", "message")]
    assert chain == sorted(chain) and any(plugin == "message" for _, plugin in chain)
    assert {r["runs"] for r in rows} <= {"inline", "stored"}
    assert {"people", "strangers"} <= {r["type"] for r in s.ctl_json("hooks")}
    assert fails(s, "hooks", "nothing") == "there is no host type 'nothing'"


def test_trace_tells_the_verdicts(s, connect):
    a, b, c = s.account(), s.account(), s.account()
    x, y, z = (connect(u, server=s, presence="") for u in (a, b, c))
    assert fails(s, "trace") == "whose stanzas? Give a JID, or --off"
    assert a.jid in s.ctl("trace", a.jid).stdout
    x.message(y.jid, "traced", id_="traced-one")
    y.until(lambda e: e.get("id") == "traced-one")
    z.message(y.jid, "other", id_="not-traced")
    y.until(lambda e: e.get("id") == "not-traced")
    line = s.wait_log(r"^.*msg=trace .*plugin=message .*hook=stanza_deliver .*$").group(0)
    assert "id=traced-one" in line and "verdict=" in line and "kind=message" in line
    s.ctl("trace", "--off")
    x.message(y.jid, "later", id_="traced-two")
    y.until(lambda e: e.get("id") == "traced-two")
    assert "traced-two" not in s.log() and "not-traced" not in s.log()


# ---- storage ---------------------------------------------------------------------------------


def test_storage(s, user):
    row, = s.ctl_json("storage", "status")
    assert row["healthy"] and row["threads"] > 0
    assert s.ctl("storage", "plan").stdout == "nothing to do\n"
    assert isinstance(s.ctl_json("storage", "export", user.jid), list)
    assert "secret" not in s.ctl("storage", "export", user.jid).stdout
    assert "no-such" in fails(s, "storage", "copy", "no-such", row["backend"])


def test_erasing_what_a_user_stored_keeps_the_account(s, user, connect):
    """What has been stored: a message for somebody who is away."""
    other = connect(s.account(), server=s, presence="")
    other.message(user.jid, "kept for later")
    deadline = time.monotonic() + 20
    while not any(r["table"] == "offline_message" for r in s.ctl_json("storage", "export", user.jid)):
        assert time.monotonic() < deadline
    c = connect(user, server=s)
    stored = s.ctl_json("storage", "export", user.jid)
    assert s.ctl_json("storage", "erase", user.jid) == [{"rows": len(stored)}]
    c.expect_stream_error("policy-violation")
    assert s.ctl_json("storage", "export", user.jid) == []
    s.ctl("account", "check", user.jid, user.password)
    assert "a user is user@domain" in fails(s, "storage", "erase", user.jid + "/x")


def test_drop_domain(s):
    s.ctl("domain", "add", "dropped.test", "plain")
    s.ctl("account", "register", "u@dropped.test", "x")
    assert s.ctl_json("storage", "drop-domain", "dropped.test")[0]["rows"] >= 1
    assert fails(s, "account", "check", "u@dropped.test").endswith("no such account")
    s.ctl("domain", "remove", "dropped.test", check=False)


def test_copy_into_another_backend(make_server):
    s = make_server({"storage": {"default": "sqlite", "backends": {
        "sqlite": {}, "second": {"plugin": "sqlite", "file": "second.db"}}}})
    for i in range(3):
        s.account("copied%d" % i)
    rows = {r["table"]: r["rows"] for r in s.ctl_json("storage", "copy", "sqlite", "second")}
    assert sum(rows.values()) >= 3
    # It may be repeated.
    s.ctl("storage", "copy", "sqlite", "second")
    s.config["storage"]["default"] = "second"
    s.restart()
    s.ctl("account", "check", "copied1@" + s.domain, "secret-copied1")


# ---- arguments and exit statuses ------------------------------------------------------------------


@pytest.mark.parametrize("words,complaint", [
    (("no-such-command",), "there is no command 'no-such-command'; 'meerkatctl help' lists them"),
    (("account", "fly"), "there is no command 'account fly'; 'meerkatctl help' lists them"),
    (("account",), "there is no command 'account'; 'meerkatctl help' lists them"),
    (("status", "more"), "too many arguments: more"),
    (("status", "--more"), "'--more' is no argument of 'status'"),
    (("account", "list", "--limit"), "--limit needs a value"),
    (("reload", "--dry-run=yes"), "--dry-run takes no value"),
    (("account", "list"), "'account list' needs the argument 'domain': the domain"),
    (("completion", "tcsh"), "completion for bash, zsh or fish"),
    (("help", "account", "fly"), "there is no such command"),
    (("help", "fly"), "there is no such command"),
])
def test_wrong_usage(s, words, complaint):
    assert fails(s, *words, status=USAGE) == complaint


def run(s, *words, **kw):
    return subprocess.run([os.path.join(s.build, "meerkatctl"), *words], capture_output=True,
                          text=True, timeout=60, stdin=subprocess.DEVNULL, **kw)


def test_usage_without_a_command(s):
    p = run(s)
    assert p.returncode == USAGE and p.stderr.startswith("usage: meerkatctl")
    assert run(s, "-s").returncode == USAGE
    p = run(s, "--help")
    assert p.returncode == 0 and p.stdout.startswith("usage: meerkatctl")


def test_no_server(s, tmp_path):
    p = run(s, "-s", str(tmp_path / "none"), "status")
    assert p.returncode == NO_SERVER
    assert p.stderr == "meerkatctl: no server at %s: No such file or directory\n" % (
        tmp_path / "none")
    assert run(s, "-s", "/" + "x" * 200, "status").returncode == NO_SERVER


def test_the_socket_by_environment_and_by_configuration(s, tmp_path):
    assert run(s, "status", env=dict(os.environ, MEERKAT_SOCKET=s.path("ctl"))).returncode == 0
    assert run(s, "-c", s.path("meerkat.yml"), "status").returncode == 0
    p = run(s, "-c", str(tmp_path / "none.yml"), "status")
    assert p.returncode == USAGE and "none.yml" in p.stderr


def test_check_config_needs_no_server(s, tmp_path):
    bad = tmp_path / "bad.yml"
    bad.write_text("server:\n  workerz: 2\n")
    p = run(s, "check-config", str(bad))
    assert p.returncode == 1
    assert re.search(r"bad\.yml:2:3: .*workerz.*workers", p.stderr), p.stderr
    p = run(s, "check-config", s.path("meerkat.yml"))
    assert p.returncode == 0 and p.stdout == "the configuration is fine\n", p.stderr


def test_values_that_look_like_flags(s):
    jid = "dashes@" + s.domain
    s.ctl("account", "register", jid, "--", "--json")
    s.ctl("account", "check", jid, "--password=--json")
    s.ctl("account", "check", "--password", "--json", jid, check=False)


def test_json_of_errors(s):
    p = s.ctl("account", "check", "nobody@" + s.domain, "--json", check=False)
    assert p.returncode == FAILED
    assert json.loads(p.stdout) == {"ok": False, "code": "not-found",
                                    "error": "nobody@%s: no such account" % s.domain}


def test_help(s):
    text = s.ctl("help").stdout
    assert "account register jid password\n    Creates an account.\n" in text
    assert text.startswith("usage: ")
    assert "    --dry-run      only say what would change\n" in s.ctl("help", "reload").stdout
    one = s.ctl("help", "domain").stdout
    assert "domain add domain type" in one and "account" not in one


def test_output_that_can_not_be_written_is_a_failure(s):
    with open("/dev/full", "w") as full:
        p = subprocess.run([os.path.join(s.build, "meerkatctl"), "-s", s.path("ctl"), "metrics"],
                           stdout=full, timeout=60)
    assert p.returncode == FAILED


# ---- completion -----------------------------------------------------------------------------------


def complete(script, *words):
    """What bash offers for the last of words."""
    p = subprocess.run(["bash", "-c", script + """
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _meerkatctl
        printf '%s\\n' "${COMPREPLY[@]}\"""", "bash", "meerkatctl", *words],
        capture_output=True, text=True, timeout=60)
    assert p.returncode == 0 and p.stderr == "", p.stderr
    return p.stdout.split()


def test_completion_for_bash(s, tmp_path):
    script = s.ctl("completion", "bash").stdout
    (tmp_path / "bash").write_text(script)
    subprocess.run(["bash", "-n", str(tmp_path / "bash")], check=True)
    assert complete(script, "acc") == ["account"]
    assert complete(script, "account", "un") == ["unregister"]
    assert set(complete(script, "session", "")) == {"list", "count", "info", "kick"}
    assert "--limit" in complete(script, "session", "list", "--")
    assert complete(script, "nothing", "") == []


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_for_others(s, tmp_path, shell):
    script = s.ctl("completion", shell).stdout
    assert "account" in script
    if shutil.which(shell):
        (tmp_path / "script").write_text(script)
        subprocess.run([shell, "-n", str(tmp_path / "script")], check=True)
    elif shell == "zsh":             # but for its first line it is bash's
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    else:
        for line in script.splitlines():
            assert line.startswith("complete -c meerkatctl ")
            assert line.replace("\\'", "").count("'") % 2 == 0, line


# ---- the socket --------------------------------------------------------------------------------------


def test_only_the_servers_user_may_open_it(s):
    st = os.stat(s.path("ctl"))
    assert stat.S_IMODE(st.st_mode) == 0o600 and st.st_uid == os.geteuid()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_others_are_refused_by_their_credentials(make_server):
    """Even where the modes of file and folder would let them in."""
    s = make_server()
    os.chmod(s.folder, 0o755)
    os.chmod(s.path("ctl"), 0o777)
    program = ("import os,socket,sys\nos.setuid(65534)\ns=socket.socket(socket.AF_UNIX)\n"
               "s.settimeout(20)\ns.connect(sys.argv[1])\n"
               "try:\n s.sendall(b'{\"command\":\"status\"}\\n')\n print(repr(s.recv(100)))\n"
               "except OSError: print(\"b''\")\n")
    p = subprocess.run(["python3", "-c", program, s.path("ctl")], capture_output=True,
                       text=True, timeout=60)
    assert p.stdout.strip() == "b''", p.stdout + p.stderr
    s.wait_log(r'level=warn.*control connection refused.*uid=65534')
    s.ctl("status")


def test_a_bad_request_is_answered_and_the_connection_goes_on(raw):
    for bad, error in (
            ("", "object"), ("{", "object"), ("[]", "object"), ("7", "object"),
            ('{"command":7}', "text 'command'"), ("{}", "text 'command'"),
            ('{"command":"status","command":"stop"}', "object"),
            ('{"command":"status","args":[]}', "'args' must be an object"),
            ('{"command":"status\\u0000"}', "object"), ("\xff", "object")):
        raw.send(bad.encode("latin-1") + b"\n")
        a = raw.answer()
        assert a["ok"] is False and a["code"] == "invalid" and error in a["error"], (bad, a)
    assert raw.ask("nothing") == {"ok": False, "code": "not-found",
                                  "error": "there is no such command"}
    assert raw.ask("status", what="else")["error"] == "'status' has no argument 'what'"
    assert raw.ask("status")["ok"] is True


def test_a_request_too_long_is_skipped(raw):
    for n in (65600, 300000):
        raw.send(b'{"command":"status","args":{"x":"' + b"a" * n + b'"}}\n')
        assert raw.answer() == {"ok": False, "code": "limit",
                                "error": "the request is too long"}
        assert raw.ask("status")["ok"] is True
    raw.send(b'{"command":"commands"' + b" " * 60000 + b"}\n")
    assert raw.answer()["ok"] is True


def test_requests_in_one_piece_and_byte_by_byte(raw):
    raw.send(b'{"command":"status"}\n' * 5)
    for _ in range(5):
        assert raw.answer()["ok"] is True
    for byte in b'{"command":"status"}\n':
        raw.send(bytes([byte]))
    assert raw.answer()["ok"] is True


def test_a_half_closed_connection_gets_its_answer(s):
    r = Raw(s)
    r.send('{"command":"status"}\n')
    r.sock.shutdown(socket.SHUT_WR)
    assert r.answer()["ok"] is True
    assert r.sock.recv(10) == b""
    r.close()


def test_integers_and_flags_as_json(s, raw):
    assert len(raw.ask("account list", domain=s.domain, limit=1)["rows"]) <= 1
    assert raw.ask("reload", **{"dry-run": True})["text"] == "nothing changed\n"
    assert raw.ask("reload", **{"dry-run": "yes"})["code"] == "invalid"


def until_it_answers(s):
    deadline = time.monotonic() + 20
    while s.ctl("status", check=False).returncode != 0:
        assert time.monotonic() < deadline


def come_and_go(s, n, data):
    for _ in range(n):
        try:
            r = Raw(s)
            r.send(data)
            r.close()
        except OSError:              # more at a time than it takes
            pass
    until_it_answers(s)


def test_somebody_who_leaves_does_not_cost_the_server(s):
    """A client that asks and goes, many times: neither descriptors nor, while its
    command is at work, CPU."""
    come_and_go(s, 200, '{"command":"account list","args":{"domain":"%s"}}\n' % s.domain)
    fds = s.descriptors()
    come_and_go(s, 100, '{"command":"sta')
    deadline = time.monotonic() + 20
    while s.descriptors() > fds + 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_commands_run_side_by_side(s):
    """One that waits delays no other: a client of many at a time."""
    rs = [Raw(s) for _ in range(20)]
    for r in rs:
        r.send('{"command":"commands"}\n')
    for r in rs:
        assert r.answer()["ok"] is True
        r.close()


def test_too_many_connections_are_refused_not_queued(s):
    rs = []
    try:
        for _ in range(64):
            rs.append(Raw(s))
        assert rs[-1].ask("status")["ok"] is True
        extra = Raw(s)
        assert extra.sock.recv(10) == b""
    finally:
        for r in rs:
            r.close()
    until_it_answers(s)


def test_one_who_does_not_read_can_not_hold_up_the_stop(make_server):
    s = make_server()
    r = Raw(s)
    try:
        for _ in range(2000):
            r.sock.settimeout(0.2)
            r.send('{"command":"metrics"}\n')
    except socket.timeout:
        pass
    begun = time.monotonic()
    s.stop()
    assert time.monotonic() - begun < 20
    r.close()


def test_commands_at_work_are_answered_at_a_stop(make_server):
    s = make_server()
    got, ended = [], []

    def ask():
        r = Raw(s)
        try:
            while not ended:
                got.append(r.ask("domain count"))
        except (AssertionError, OSError):
            ended.append(True)
        r.close()

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for t in threads:
        t.start()
    deadline = time.monotonic() + 20
    while len(got) < 30:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    s.process.send_signal(signal.SIGTERM)
    for t in threads:
        t.join(30)
        assert not t.is_alive()
    assert s.process.wait(30) == 0
    s.process = None


def test_a_socket_that_a_killed_server_left_is_replaced(make_server):
    s = make_server()
    s.kill()
    assert os.path.exists(s.path("ctl"))
    s.start()
    s.ctl("status")


def test_a_living_server_keeps_its_socket(make_server):
    s = make_server()
    p = subprocess.run([os.path.join(s.build, "meerkatd"), "-c", s.path("meerkat.yml")],
                       capture_output=True, text=True, timeout=60)
    assert p.returncode == 1 and p.stderr != ""
    assert s.ctl_json("status")[0]["pid"] == s.pid


def test_a_file_in_its_place_is_left_alone(make_server):
    s = make_server(start=False)
    with open(s.path("ctl"), "w") as f:
        f.write("precious")
    with pytest.raises(AssertionError) as e:
        s.start()
    assert "there is a file which is no socket" in str(e.value)
    s.process = None
    with open(s.path("ctl")) as f:
        assert f.read() == "precious"


def test_a_path_too_long_is_told(make_server):
    s = make_server({"server": {"control_socket": "/tmp/" + "x" * 120}}, start=False)
    with pytest.raises(AssertionError) as e:
        s.start()
    assert "the path is longer than 107 bytes" in str(e.value)
    s.process = None
