"""Starts the built daemon for tests: a folder, free ports, a certificate, a
configuration made of Python values (JSON, which is YAML), and a clean end."""

import copy
import fcntl
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from . import certs, postgres
from .client import Client

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__)))))
BUILD = os.path.abspath(os.environ.get("MEERKAT_BUILD", os.path.join(ROOT, "build")))
# A sanitizer build is some ten times slower.
START_TIMEOUT = float(os.environ.get("MEERKAT_START_TIMEOUT", "60"))

DOMAIN = "meerkat.test"
# The same host type; another one; one where anybody may log in as nobody.
OTHER, STRANGE, ANON = "second.test", "strange.test", "anon.test"

PLUGINS = {name: {} for name in (
    "disco", "roster", "presence", "message", "offline", "ping", "version", "time",
    "stanza-id", "carbons", "sm", "muc")}

# What a sanitizer, or a failed promise of the server's own, leaves in the log.
BAD_LINES = re.compile(
    r"ERROR: \w+Sanitizer|WARNING: \w+Sanitizer|runtime error:|SUMMARY: \w+Sanitizer|"
    r"assertion failed|Assertion .* failed|mk_assert", re.I)

_users = itertools.count(1)


class Account:
    def __init__(self, user, domain, password):
        self.user, self.domain, self.password = user, domain, password

    @property
    def jid(self):
        return "%s@%s" % (self.user, self.domain)

    def __repr__(self):
        return "<Account %s>" % self.jid


class Ports:
    """Ports that no other test of this machine takes: below those that the
    kernel gives out, and locked by a file, since SO_REUSEPORT would let two
    servers listen on one."""

    folder = os.path.join(tempfile.gettempdir(), "meerkat-test-ports-%d" % os.getuid())
    _next = itertools.count(20000 + os.getpid() % 10000)

    @classmethod
    def take(cls):
        os.makedirs(cls.folder, exist_ok=True)
        for _ in range(10000):
            port = 20000 + (next(cls._next) - 20000) % 11000
            lock = open(os.path.join(cls.folder, str(port)), "w")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with socket.socket() as s:
                    s.bind(("127.0.0.1", port))
                return port, lock
            except OSError:
                lock.close()
        raise RuntimeError("no free port")


class Server:
    """
    Server(changes).start() ... stop(). changes is merged into the default
    configuration: maps recursively, None removes, everything else replaces.

    The default: host types `people` (domains meerkat.test, second.test),
    `strangers` (strange.test) with the same plugins, `anonymous` (anon.test);
    listeners with STARTTLS (port), direct TLS (port_tls), and one without TLS
    (port_plain).
    """

    def __init__(self, changes=None, folder=None, env=None, build=None):
        self.build = build or BUILD
        self.folder = folder or tempfile.mkdtemp(prefix="mk-")
        self.own_folder = folder is None
        self.domain = DOMAIN
        self.other, self.strange, self.anon = OTHER, STRANGE, ANON
        self.env = env or {}
        self.process = None
        self.ready_socket = None
        self.locks = []
        self.accounts = []             # those that the test made
        self.port, self.port_tls, self.port_plain = (self.new_port() for _ in range(3))
        self.certs = self.path("certs")
        if not os.path.exists(self.certs):
            certs.make(self.certs, DOMAIN, OTHER, STRANGE, ANON)
        self.cafile = os.path.join(self.certs, "fullchain.pem")
        self.config = self.default_config()
        merge(self.config, changes or {})

    def new_port(self):
        port, lock = Ports.take()
        self.locks.append(lock)
        return port

    def add_websocket(self, plain=False, **settings):
        """A listener for WebSocket on ws_port; plain: passwords go without TLS. Before start."""
        self.ws_port = self.new_port()
        listener = {"kind": "http", "address": "127.0.0.1", "port": self.ws_port, "tls": "none"}
        if plain:
            listener["unsafe_plain_without_tls"] = True
        self.config["listeners"].append(listener)
        self.config["host_types"]["people"]["plugins"]["websocket"] = settings

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def default_config(self):
        def cert(type_):
            return {"type": type_, "certificate": self.certs}
        return {
            "server": {"data_dir": self.path("data"), "run_dir": self.folder,
                       "control_socket": self.path("ctl"), "workers": 2, "jobs": 2,
                       "plugin_dirs": [os.path.join(self.build, "modules")],
                       "shutdown": "5s", "watchdog": "2s"},
            "log": {"level": os.environ.get("MEERKAT_TEST_LOG", "info")},
            "storage": self.storage(),
            "host_types": {
                "people": {"auth": ["internal"], "plugins": copy.deepcopy(PLUGINS)},
                "strangers": {"auth": ["internal"], "plugins": copy.deepcopy(PLUGINS)},
                "anonymous": {"auth": ["internal"], "mechanisms": ["ANONYMOUS"],
                              "plugins": copy.deepcopy(PLUGINS)},
            },
            "domains": {DOMAIN: cert("people"), OTHER: cert("people"),
                        STRANGE: cert("strangers"), ANON: cert("anonymous")},
            "limits": {"preauth_per_address": 1000, "auth_attempts": 5,
                       "password_hashes": 100000},
            "listeners": [
                {"kind": "c2s", "address": "127.0.0.1", "port": self.port, "tls": "starttls"},
                {"kind": "c2s", "address": "127.0.0.1", "port": self.port_tls,
                 "tls": "direct"},
                {"kind": "c2s", "address": "127.0.0.1", "port": self.port_plain,
                 "tls": "none", "unsafe_plain_without_tls": True},
            ],
        }

    def storage(self):
        name = os.environ.get("MEERKAT_TEST_STORAGE", "sqlite")
        if name != "pgsql":
            return {"default": name}
        # a schema for each folder: a second server there finds the first one's
        return {"default": name, "backends": {name: postgres.shared().settings_for(
            os.path.basename(self.folder))}}

    # ---- life ---------------------------------------------------------------

    def write_config(self):
        os.makedirs(self.path("data"), exist_ok=True)
        with open(self.path("meerkat.yml"), "w") as f:
            json.dump(self.config, f, indent=1)

    def start(self, wait=True):
        self.write_config()
        notify = self.path("notify")
        if os.path.exists(notify):
            os.unlink(notify)
        if self.ready_socket:
            self.ready_socket.close()
        self.ready_socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.ready_socket.bind(notify)
        # Memory images allowed: leak checks and rss() look into the process.
        env = dict(os.environ, NOTIFY_SOCKET=notify, MEERKAT_ALLOW_CORE="1", **self.env)
        self.log_start = os.path.getsize(self.log_path) if os.path.exists(self.log_path) else 0
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [os.path.join(self.build, "meerkatd"), "-f", "-c", self.path("meerkat.yml")],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self):
        deadline = time.monotonic() + START_TIMEOUT
        self.ready_socket.settimeout(0.05)
        while time.monotonic() < deadline:
            try:
                if b"READY=1" in self.ready_socket.recv(4096):
                    return
            except socket.timeout:
                pass
            if self.process.poll() is not None:
                status, self.process = self.process.returncode, None
                self.check_log()
                raise AssertionError("meerkatd ended with status %d:\n%s" % (
                    status, self.log()[-4000:]))
        self.kill()
        raise AssertionError("meerkatd was not ready in time:\n" + self.log()[-4000:])

    def stop(self, timeout=60):
        """Orderly, and it must have been: status 0, nothing bad in the log."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            status = "none: it did not end within %g s" % timeout
        self.process = None
        self.check_log()
        assert status == 0, "exit status %s:\n%s" % (status, self.log()[-4000:])

    def kill(self):
        """kill -9"""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart(self, hard=False):
        self.kill() if hard else self.stop()
        return self.start()

    def close(self):
        """Stops it and removes the folder (which is kept if that failed, or with
        MEERKAT_TEST_KEEP set)."""
        try:
            self.stop()
        except BaseException:
            self.own_folder = False
            print("kept:", self.folder)
            raise
        finally:
            self.kill()
            if self.ready_socket:
                self.ready_socket.close()
            for lock in self.locks:
                lock.close()
            if self.own_folder and not os.environ.get("MEERKAT_TEST_KEEP"):
                shutil.rmtree(self.folder, ignore_errors=True)

    def alive(self):
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self):
        return self.process.pid

    # ---- looking at it ------------------------------------------------------

    @property
    def log_path(self):
        return self.path("log")

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def check_log(self):
        bad = [line for line in self.log().splitlines() if BAD_LINES.search(line)]
        assert not bad, "in %s:\n%s" % (self.log_path, self.log()[-20000:])

    def wait_log(self, pattern, timeout=20):
        """Until the log since the last start holds the pattern; the match."""
        deadline = time.monotonic() + timeout
        while True:
            with open(self.log_path, errors="replace") as f:
                f.seek(self.log_start)
                found = re.search(pattern, f.read(), re.M)
            if found:
                return found
            assert time.monotonic() < deadline, "%r is not in the log:\n%s" % (
                pattern, self.log()[-4000:])
            time.sleep(0.02)

    @property
    def sanitized(self):
        """A sanitizer's memory, and its speed, say nothing about ours."""
        with open(os.path.join(self.build, "meerkatd"), "rb") as f:
            program = f.read()
        return b"__asan_init" in program or b"__tsan_init" in program

    def rss(self):
        """Bytes of its own (private) memory."""
        total = 0
        with open("/proc/%d/smaps_rollup" % self.pid) as f:
            for line in f:
                if line.startswith(("Private_Clean", "Private_Dirty")):
                    total += int(line.split()[1]) * 1024
        return total

    def descriptors(self):
        return len(os.listdir("/proc/%d/fd" % self.pid))

    def cpu_seconds(self):
        with open("/proc/%d/stat" % self.pid) as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    # ---- meerkatctl ---------------------------------------------------------

    def ctl(self, *words, check=True, **kw):
        """Runs a command; the finished process (stdout, stderr as text)."""
        p = subprocess.run([os.path.join(self.build, "meerkatctl"), "-s", self.path("ctl"),
                            *map(str, words)], capture_output=True, text=True,
                           timeout=60, stdin=subprocess.DEVNULL, **kw)
        if check:
            assert p.returncode == 0, "meerkatctl %s: status %d\n%s%s" % (
                " ".join(map(str, words)), p.returncode, p.stdout, p.stderr)
        return p

    def ctl_json(self, *words):
        return json.loads(self.ctl(*words, "--json").stdout)

    def account(self, user=None, domain=None, password=None):
        """Registers an account: by default a user that nobody else has."""
        user = user or "user%d" % next(_users)
        a = Account(user, domain or self.domain, password or "secret-" + user)
        self.ctl("account", "register", a.jid, a.password)
        self.accounts.append(a)
        return a

    def client(self, account=None, domain=None):
        return Client(self, account, domain)


def merge(into, changes):
    for key, value in changes.items():
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value
