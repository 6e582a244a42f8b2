"""Plugins on a running server: start, stop, reload while clients chat; a new version of
a file; what is broken; the example that is built outside the tree."""

import os
import shutil
import subprocess
import threading
import time

import pytest

import mk
from mk import child, name

CHANGING = "urn:test:changing"


class Modules:
    """A folder of modules that a test may change; a server that looks there first."""

    def __init__(self, folder, build):
        self.folder, self.build = str(folder), build
        os.chmod(self.folder, 0o755)

    def put(self, file, as_name=None, mode=0o644):
        """By a rename, as an upgrade does."""
        to = os.path.join(self.folder, as_name or os.path.basename(file))
        if not os.path.isabs(file):
            file = os.path.join(self.build, "modules-test", file)
        shutil.copyfile(file, to + ".new")
        os.chmod(to + ".new", mode)
        os.rename(to + ".new", to)
        return to


@pytest.fixture
def modules(tmp_path):
    (tmp_path / "modules").mkdir()
    return Modules(tmp_path / "modules", mk.server.BUILD)


@pytest.fixture
def s(make_server, modules):
    if not os.path.exists(os.path.join(modules.build, "modules-test", "changing.so")):
        pytest.fail("no modules-test in %s: make all" % modules.build)
    modules.put("changing.so")
    return make_server({"server": {"plugin_dirs": [
        modules.folder, os.path.join(modules.build, "modules")]}})


def changing(c):
    """What the plugin `changing` says of itself to c; None if nobody answers."""
    a = c.iq("get", "<changing xmlns='%s'/>" % CHANGING, to=c.server.domain)
    if a.get("type") == "error":
        assert child(child(a, "error"), "service-unavailable") is not None
        return None
    return child(a, "changing", CHANGING).attrib


def fails(s, *words):
    p = s.ctl(*words, check=False)
    assert p.returncode == 1, p.stdout + p.stderr
    return p.stderr[len("meerkatctl: "):].rstrip("\n")


def plugins(s):
    return {(p["plugin"], p["type"]): p for p in s.ctl_json("plugin", "list")}


class Chat:
    """Two users who talk without a break; wait() until n more messages arrived."""

    def __init__(self, connect, s):
        self.a = connect(s.account(), server=s, presence="")
        self.b = connect(s.account(), server=s, presence="")
        self.done, self.arrived, self.error = False, 0, None
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        try:
            while not self.done:
                for x, y in ((self.a, self.b), (self.b, self.a)):
                    id_ = x.message(y.jid, "and so on")
                    y.until(lambda e: name(e) == "message" and e.get("id") == id_)
                    self.arrived += 1
        except BaseException as e:                  # told by check
            self.error = e

    def wait(self, n=20):
        until, deadline = self.arrived + n, time.monotonic() + 30
        while self.arrived < until and self.error is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        self.check()

    def check(self):
        if self.error is not None:
            raise self.error

    def end(self):
        self.done = True
        self.thread.join(30)
        self.check()


@pytest.fixture
def chat(connect, s):
    c = Chat(connect, s)
    c.wait()
    yield c
    c.end()


# ---- start, stop, reload -------------------------------------------------------------


def test_a_plugin_starts_and_stops_while_clients_chat(s, connect, chat):
    c = connect(s.account(), server=s)
    assert changing(c) is None
    assert ("changing", "people") not in plugins(s)
    for _ in range(3):
        s.ctl("plugin", "start", "changing", "people")
        assert changing(c)["text"] == "one" and changing(c)["type"] == "people"
        row = plugins(s)["changing", "people"]
        assert (row["state"], row["version"], row["summary"]) == (
            "running", "one", "Made for tests.")
        assert ("changing", "strangers") not in plugins(s)
        mine = {(r["hook"], r["stanzas"], r["runs"]) for r in s.ctl_json("hooks", "people")
                if r["plugin"] == "changing"}
        assert mine == {("stanza_in", "message", "inline"),
                        ("stanza_deliver", "message", "stored")}
        chat.wait()
        # Starting it again changes nothing.
        s.ctl("plugin", "start", "changing", "people")
        s.ctl("plugin", "stop", "changing")
        assert changing(c) is None
        assert not [r for r in s.ctl_json("hooks") if r["plugin"] == "changing"]
        chat.wait()


def test_refusals(s):
    assert fails(s, "plugin", "start", "changing") == \
        "no host type names plugin 'changing': say which one to start it on"
    assert fails(s, "plugin", "start", "changing", "nobody") == "there is no host type 'nobody'"
    assert "is not there (looked for" in fails(s, "plugin", "start", "missing", "people")
    assert "can't be a plugin's name" in fails(s, "plugin", "start", "../x", "people")
    assert fails(s, "plugin", "stop", "changing") == "plugin 'changing' is not running"
    assert fails(s, "plugin", "reload", "changing") == "plugin 'changing' is not running"
    storage = s.config["storage"]["default"]
    for what in ("stop", "reload"):
        assert fails(s, "plugin", what, storage) == "'%s' is a storage backend in use" % storage


def test_settings_of_a_plugin_are_described(s):
    """Of one that is not loaded, too."""
    assert s.ctl("plugin", "settings", "changing").stdout == \
        "word string default - - A word that is said back.\n"
    assert s.ctl("plugin", "settings", "scram").stdout.count("\n") == \
        s.ctl("plugin", "settings", "scram").stdout.count(" - ")
    assert "is not there" in fails(s, "plugin", "settings", "missing")


def test_what_others_need_is_not_stopped(s):
    """presence needs roster (its service)."""
    assert fails(s, "plugin", "stop", "roster", "people") == \
        "plugin 'presence' needs 'roster': stop that first"
    s.ctl("plugin", "stop", "presence", "people")
    s.ctl("plugin", "stop", "roster", "people")
    s.ctl("plugin", "start", "roster")
    s.ctl("plugin", "start", "presence")
    assert plugins(s)["presence", "people"]["state"] == "running"


def test_a_stopped_plugins_slots_end_and_sessions_stay(s, connect):
    c = connect(s.account(), server=s, presence="")
    s.ctl("plugin", "start", "changing", "people")
    for _ in range(3):
        c.message(c.jid, "counted")
    assert changing(c)["messages"] == "3"
    s.ctl("plugin", "stop", "changing", "people")
    s.ctl("plugin", "start", "changing", "people")
    assert changing(c)["messages"] == "0"
    c.message(c.jid, "counted")
    assert changing(c)["messages"] == "1"


def test_a_new_version_of_a_file_runs_after_reload(s, connect, modules, chat):
    c = connect(s.account(), server=s, presence="")
    s.ctl("plugin", "start", "changing", "people")
    s.ctl("plugin", "start", "changing", "strangers")
    c.message(c.jid, "counted")
    modules.put("two/changing.so")
    # The file alone changes nothing.
    assert changing(c)["text"] == "one" and changing(c)["messages"] == "1"
    s.ctl("plugin", "reload", "changing")
    assert changing(c)["text"] == "two" and changing(c)["messages"] == "0"
    assert {k: v["version"] for k, v in plugins(s).items() if k[0] == "changing"} == {
        ("changing", "people"): "two", ("changing", "strangers"): "two"}
    chat.wait()
    # And back, and again: each is loaded beside those before.
    for file, version in (("changing.so", "one"), ("two/changing.so", "two")) * 3:
        modules.put(file)
        s.ctl("plugin", "reload", "changing")
        assert changing(c)["text"] == version
        c.message(c.jid, "counted")
        assert changing(c)["messages"] == "1"
    chat.wait()


def test_a_new_version_that_is_refused_leaves_the_old_one_at_work(s, connect, modules):
    c = connect(s.account(), server=s)
    s.ctl("plugin", "start", "changing", "people")
    modules.put("bad-magic.so", "changing.so")
    assert "its magic number is wrong" in fails(s, "plugin", "reload", "changing")
    assert changing(c)["text"] == "one"
    modules.put("no-load/changing.so")
    assert "load failed: input or output failed" in fails(s, "plugin", "reload", "changing")
    assert changing(c)["text"] == "one"
    modules.put("two/changing.so", mode=0o666)
    assert "everybody may write to it" in fails(s, "plugin", "reload", "changing")
    assert changing(c)["text"] == "one"
    modules.put("two/changing.so")
    s.ctl("plugin", "reload", "changing")
    assert changing(c)["text"] == "two"


def test_a_new_version_that_does_not_start_is_told(s, connect, modules):
    c = connect(s.account(), server=s)
    s.ctl("plugin", "start", "changing", "people")
    modules.put("no-start/changing.so")
    assert fails(s, "plugin", "reload", "changing") == (
        "plugin 'changing' did not start on host type 'people': input or output failed")
    assert changing(c) is None
    # The next good one is what starts then; so after a stop.
    assert "is not running" in fails(s, "plugin", "reload", "changing")
    for file, version in (("two/changing.so", "two"), ("changing.so", "one")):
        modules.put(file)
        s.ctl("plugin", "start", "changing", "people")
        assert changing(c)["text"] == version
        s.ctl("plugin", "stop", "changing")


def test_plugins_that_the_rest_stands_on_can_be_reloaded(s, connect, chat):
    for plugin in ("roster", "presence", "message", "disco", "sm", "internal", "scram"):
        s.ctl("plugin", "reload", plugin)
        chat.wait(4)
    c = connect(s.account(), server=s, presence="")
    c.ping()
    c.roster()


def test_a_stopped_credential_source_lets_nobody_in(s, connect):
    """Also those whose keys are in memory."""
    a = s.account()
    connect(a, server=s).close()
    connect(a, server=s, mechanism="PLAIN").close()
    s.ctl("plugin", "stop", "internal", "people")
    with pytest.raises((mk.AuthFailed, mk.StreamClosed, AssertionError)):
        c = connect(server=s)
        c.account = a
        c.start()
        c.plain()
    s.ctl("plugin", "start", "internal", "people")
    connect(a, server=s, mechanism="PLAIN")


def test_a_command_of_a_plugin(s):
    assert "there is no command 'changing say'" in s.ctl(
        "changing", "say", "--loud", check=False).stderr
    s.ctl("plugin", "start", "changing", "people")
    s.ctl("plugin", "start", "changing", "strangers")
    rows = {r["name"]: r for r in s.ctl_json("commands")}
    assert rows["changing say"]["plugin"] == "changing"
    assert "Says the text of this version." in s.ctl("help", "changing", "say").stdout
    assert s.ctl_json("changing", "say", "--loud") == [
        {"text": "one", "type": "people", "loud": True}]
    # The instance of the host type that a JID belongs to.
    assert s.ctl_json("changing", "say", "u@" + s.strange)[0]["type"] == "strangers"
    assert s.ctl_json("changing", "say", "u@" + s.other)[0]["type"] == "people"
    assert fails(s, "changing", "say", "u@" + s.anon) == "the plugin does not run there"
    assert fails(s, "changing", "say") == "neither a user nor loud"
    s.ctl("plugin", "stop", "changing", "people")
    assert s.ctl_json("changing", "say", "--loud")[0]["type"] == "strangers"


def test_starting_and_stopping_side_by_side_with_its_commands(s, chat):
    """Commands, listing and reloading at once from several connections."""
    s.ctl("plugin", "start", "changing", "people")
    done, errors = [], []

    def repeat(*words):
        while not done:
            p = s.ctl(*words, check=False)
            if p.returncode not in (0, 1, 2):
                errors.append((words, p.returncode, p.stderr))

    threads = [threading.Thread(target=repeat, args=w) for w in (
        ("changing", "say", "--loud"), ("plugin", "list"), ("commands",))]
    for t in threads:
        t.start()
    for _ in range(10):
        s.ctl("plugin", "reload", "changing")
    for _ in range(10):
        s.ctl("plugin", "stop", "changing")
        s.ctl("plugin", "start", "changing", "people")
    done.append(True)
    for t in threads:
        t.join(30)
    assert not errors
    chat.wait()


# ---- broken ones --------------------------------------------------------------------------


@pytest.mark.parametrize("plugin,words", [
    ("bad-magic", "no plugin of this server (its magic number is wrong)"),
    ("newer-minor", "it needs a newer server"),
    ("bad-major", "build it against this server's headers"),
    ("size-lie", "its descriptor says it has 16 bytes, which can't be"),
    ("other-build", "built for 'ilp32 be time32', this server for"),
    ("misnamed", "calls itself 'named-otherwise', its file is named 'misnamed'"),
    ("no-flags", "says neither that it is per host type nor that it is global"),
    ("stolen-words", "its command 'account steal' does not begin with its name"),
    ("missing-symbol", "can't be loaded: undefined symbol: mk_only_in_the_next_version"),
    ("no-entry", "it has no symbol 'mk_plugin_entry'"),
    ("no-load", "load failed: limit reached"),
    ("no-start", "plugin 'no-start' did not start on host type 'people': input or output failed"),
    ("group-writable", "refused: its group may write to it (mode 0664)"),
    ("link", "refused: it is a symbolic link"),
])
class TestBroken:
    def make(self, modules, plugin):
        if plugin == "group-writable":
            modules.put("changing.so", "group-writable.so", mode=0o664)
        elif plugin == "link":
            os.symlink(os.path.join(modules.build, "modules-test", "changing.so"),
                       os.path.join(modules.folder, "link.so"))
        else:
            modules.put(plugin + ".so")

    def test_refused_on_a_running_server(self, s, modules, connect, plugin, words):
        self.make(modules, plugin)
        c = connect(s.account(), server=s)
        assert words in fails(s, "plugin", "start", plugin, "people")
        assert not [p for p in s.ctl_json("plugin", "list")
                    if p["plugin"] == plugin and p["state"] != "loaded"]
        c.ping()

    def test_refused_at_start(self, s, modules, plugin, words):
        """And by check-config, unless only running it would tell."""
        self.make(modules, plugin)
        s.stop()
        s.config["host_types"]["people"]["plugins"][plugin] = {}
        with pytest.raises(AssertionError) as e:
            s.start()
        assert words in str(e.value)
        s.process = None
        p = subprocess.run([os.path.join(s.build, "meerkatd"), "--check", "-c",
                            s.path("meerkat.yml")], capture_output=True, text=True, timeout=60)
        if plugin == "no-start":
            assert p.returncode == 0
        else:
            assert p.returncode == 1 and words in p.stderr


def test_two_for_one_namespace(s, modules, connect):
    modules.put("twice-a.so")
    modules.put("twice-b.so")
    c = connect(s.account(), server=s)

    def who():
        a = c.iq("get", "<one xmlns='urn:test:twice'/>", to=s.domain)
        one = child(a, "one", "urn:test:twice")
        return one.get("by") if one is not None else None
    s.ctl("plugin", "start", "twice-a", "people")
    assert fails(s, "plugin", "start", "twice-b", "people") == \
        "plugins 'twice-a' and 'twice-b' both handle <one xmlns='urn:test:twice'/>"
    assert who() == "twice-a"
    s.ctl("plugin", "start", "twice-b", "strangers")
    s.ctl("plugin", "stop", "twice-a")
    assert who() is None
    s.ctl("plugin", "start", "twice-b", "people")
    assert who() == "twice-b"


def test_a_need_that_nobody_meets(s, modules):
    modules.put("no-need.so")
    s.stop()
    s.config["host_types"]["people"]["plugins"]["no-need"] = {}
    with pytest.raises(AssertionError) as e:
        s.start()
    assert "plugin 'no-need' needs 'svc:what-nobody-gives/1'" in str(e.value)
    s.process = None


def test_a_handler_that_never_returns_is_reported_by_name(make_server, modules, connect):
    modules.put("forever.so")
    s = make_server({"server": {"watchdog": "100ms", "plugin_dirs": [
        modules.folder, os.path.join(modules.build, "modules")]}})
    s.ctl("plugin", "start", "forever", "people")
    c = connect(s.account(), server=s)
    c.send("<iq type='get' id='1' to='%s'><forever xmlns='urn:test:forever'/></iq>" % s.domain)
    line = s.wait_log(r"^.*a worker does not come to the end of its turn.*doing=forever.*$")
    assert "level=warn" in line.group(0)
    s.kill()                 # that worker can't be stopped in an orderly way


# ---- the example ------------------------------------------------------------------------------


def test_hello_built_outside_the_tree_answers(make_server, connect, tmp_path):
    src = os.path.join(mk.server.ROOT, "plugins", "examples", "hello")
    folder = tmp_path / "hello"
    shutil.copytree(src, folder)
    p = subprocess.run(["make", "-C", str(folder), "CFLAGS=-O2 -Werror",
                        "PKG_CONFIG_PATH=" + mk.server.BUILD], capture_output=True, text=True,
                       timeout=120, env={k: v for k, v in os.environ.items()
                                         if not k.startswith("MAKE")})
    assert p.returncode == 0, p.stdout + p.stderr
    os.chmod(folder, 0o755)
    os.chmod(folder / "hello.so", 0o755)
    s = make_server({"server": {"plugin_dirs": [
        os.path.join(mk.server.BUILD, "modules"), str(folder)]}})
    c = connect(s.account(), server=s)
    ask = "<hello xmlns='urn:example:hello'/>"
    assert c.iq("get", ask, to=s.domain).get("type") == "error"
    # As its README says: a file in conf.d, and a reload.
    os.makedirs(s.path("conf.d"))
    with open(s.path("conf.d", "hello.yml"), "w") as f:
        f.write("host_types: { people: { plugins: { hello: { text: hi } } } }\n")
    s.ctl("reload")
    a = c.iq("get", ask, to=s.domain)
    assert a.get("type") == "result" and child(a, "hello", "urn:example:hello").get("text") == "hi"
    info = c.iq("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>", to=s.domain)
    assert "urn:example:hello" in [f.get("var") for f in child(info, "query")]
    d = connect(s.account(), server=s)
    assert "plugin=hello" in s.wait_log(r"^.*a session begins.*%s.*$" % d.jid).group(0)
    s.ctl("plugin", "reload", "hello")
    assert c.iq("get", ask, to=s.domain).get("type") == "result"
