"""A PostgreSQL server that tests start, stop, freeze and stand in front of.

shared() is one per process, for MEERKAT_TEST_STORAGE=pgsql; a test that does
something to its server makes one of its own: Postgres(sync=True). Without the
programs of PostgreSQL such tests are skipped.
"""

import atexit
import ctypes
import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

START_TIMEOUT = float(os.environ.get("MEERKAT_START_TIMEOUT", "60"))


def programs():
    """The folder of initdb, postgres and psql, or None."""
    places = [os.environ.get("MEERKAT_POSTGRES_BIN", "")]
    for pattern in ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/bin",
                    "/usr/local/bin", "/usr/local/pgsql/bin"):
        places += sorted(glob.glob(pattern), reverse=True)
    for place in places:
        if all(os.access(os.path.join(place, p), os.X_OK) for p in ("initdb", "postgres", "psql")):
            return place
    return None


def other_user():
    """PostgreSQL refuses to run as root: who runs it then."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            pass
    return None


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT)         # PR_SET_PDEATHSIG


class Postgres:
    """
    sync: with fsync, for tests that count on what a crash leaves.
    tls: (certificate, key) to listen with TLS on 127.0.0.1, port `port`.
    wal_segment: MB of the files of the write-ahead log.
    """

    def __init__(self, sync=False, tls=None, settings=(), wal_segment=16):
        self.bin = programs()
        if self.bin is None or (os.getuid() == 0 and other_user() is None):
            import pytest              # not needed by what is no test
            pytest.skip("no PostgreSQL server: install the package postgresql, or set "
                        "MEERKAT_POSTGRES_BIN")
        self.folder = tempfile.mkdtemp(prefix="mk-pg-")
        self.process = None
        self.port = 5432
        self.settings = ["fsync=%s" % ("on" if sync else "off"), "max_connections=100",
                         "shared_buffers=64MB", "log_min_messages=warning", *settings]
        if tls:
            from .server import Ports
            self.port, self.lock = Ports.take()
            for name, file in zip(("server.crt", "server.key"), tls):
                shutil.copy(file, self.path(name))
                os.chmod(self.path(name), 0o600)
            self.settings += ["listen_addresses=127.0.0.1", "ssl=on",
                              "ssl_cert_file=" + self.path("server.crt"),
                              "ssl_key_file=" + self.path("server.key")]
        else:
            self.settings += ["listen_addresses="]
        self.own(self.folder)
        atexit.register(self.close)
        self.command("initdb", "-D", self.path("data"), "-U", "test", "-A", "trust", "-E", "UTF8",
                     "--locale=C", "-N", "--wal-segsize=%d" % wal_segment)
        self.start()

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def own(self, folder):
        user = other_user()
        if user:
            for root, _, files in os.walk(folder):
                for name in [root] + [os.path.join(root, f) for f in files]:
                    os.chown(name, user.pw_uid, user.pw_gid)

    def spawn(self, program, *words):
        user = other_user()
        who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
        with open(self.path("log"), "ab") as log:
            return subprocess.Popen([os.path.join(self.bin, program), *words], cwd=self.folder,
                                    stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                    preexec_fn=die_with_parent, **who)

    def command(self, program, *words):
        assert self.spawn(program, *words).wait(120) == 0, self.log()

    def log(self):
        with open(self.path("log"), errors="replace") as f:
            return f.read()[-4000:]

    # ---- life ---------------------------------------------------------------

    def start(self):
        words = []
        for s in self.settings:
            words += ["-c", s]
        self.process = self.spawn("postgres", "-D", self.path("data"), "-k", self.folder,
                                  "-p", str(self.port), *words)
        deadline = time.monotonic() + START_TIMEOUT
        while self.psql("SELECT 1", check=False) != "1":
            assert self.process.poll() is None and time.monotonic() < deadline, self.log()
            time.sleep(0.02)
        return self

    def stop(self, how=signal.SIGINT):
        """SIGINT: orderly; SIGQUIT: as if it had crashed."""
        if self.process is None:
            return
        self.thaw()
        self.process.send_signal(how)
        self.process.wait(60)
        self.process = None

    def close(self):
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def processes(self):
        found = [self.process.pid]
        for stat in glob.glob("/proc/[0-9]*/stat"):
            try:
                with open(stat) as f:
                    fields = f.read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[1]) == self.process.pid:
                found.append(int(stat.split("/")[2]))
        return found

    def _signal(self, number):
        for pid in self.processes():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def limit_files(self, size):
        """The bytes that a file may have, to those who now run and what they start;
        "unlimited" ends it."""
        user = other_user()
        who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
        for pid in self.processes():
            subprocess.run(["prlimit", "--pid", str(pid), "--fsize=%s:" % size], cwd="/", **who)

    def freeze(self):
        self._signal(signal.SIGSTOP)

    def thaw(self):
        self._signal(signal.SIGCONT)

    # ---- looking at it ------------------------------------------------------

    def ask_for_password(self, role):
        """From now on the role, which others are let in without, needs its own."""
        hba = self.path("data", "pg_hba.conf")
        with open(hba) as f:
            trust = f.read()
        with open(hba, "w") as f:
            f.write("local all %s scram-sha-256\n" % role + trust)
        self.psql("SELECT pg_reload_conf()")

    def psql(self, sql, check=True, schema=None):
        """What psql prints, rows as lines, columns with |."""
        if schema:
            sql = 'SET search_path = "%s"; %s' % (schema, sql)
        p = subprocess.run(
            [os.path.join(self.bin, "psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", self.folder,
             "-p", str(self.port), "-U", "test", "-c", sql, "postgres"],
            capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, cwd="/",
            env=dict(os.environ, PGAPPNAME="admin"))
        if check:
            assert p.returncode == 0, p.stderr
        return p.stdout.strip()

    def settings_for(self, schema, **more):
        """The section storage.backends.NAME of a configuration."""
        return {"plugin": "pgsql", "host": self.folder, "port": self.port, "database": "postgres",
                "user": "test", "schema": schema, **more}

    def connections(self):
        return int(self.psql("SELECT count(*) FROM pg_stat_activity "
                             "WHERE application_name = 'meerkat'"))


_shared = None


def shared():
    global _shared
    if _shared is None:
        _shared = Postgres()
    return _shared


class Proxy:
    """
    Stands before a server's socket, as a socket of its own: `host` is the folder
    to configure. delay: seconds that each piece waits, in both directions;
    cut(): resets all connections; when_sent: a function of each piece that a
    client sends, which says what to do: None, "cut before" or "cut after" it is
    passed on; refuse: connections end at once.
    """

    def __init__(self, postgres):
        self.target = postgres.path(".s.PGSQL.%d" % postgres.port)
        self.port = postgres.port
        self.host = tempfile.mkdtemp(prefix="mk-pg-proxy-")
        self.delay = 0
        self.refuse = False
        self.when_sent = lambda data: None
        self.pairs = set()
        self.lock = threading.Lock()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(os.path.join(self.host, ".s.PGSQL.%d" % self.port))
        self.listener.listen(64)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                if self.refuse:
                    raise OSError
                server.connect(self.target)
            except OSError:
                client.close()
                server.close()
                continue
            pair = (client, server)
            with self.lock:
                self.pairs.add(pair)
            for a, b, sends in ((client, server, True), (server, client, False)):
                threading.Thread(target=self.pump, args=(pair, a, b, sends), daemon=True).start()

    def pump(self, pair, a, b, sends):
        try:
            while True:
                data = a.recv(65536)
                if not data:
                    break
                if self.delay:
                    time.sleep(self.delay)
                what = self.when_sent(data) if sends else None
                if what == "cut before":
                    break
                b.sendall(data)
                if what == "cut after":
                    break
        except OSError:
            pass
        self.end(pair)

    def end(self, pair):
        with self.lock:
            self.pairs.discard(pair)
        for s in pair:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()

    def cut(self):
        for pair in list(self.pairs):
            self.end(pair)

    def close(self):
        self.listener.close()
        self.cut()
        shutil.rmtree(self.host, ignore_errors=True)
