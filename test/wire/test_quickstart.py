"""The promise of the README: one command, and two people can chat."""

import os
import re
import select
import signal
import subprocess
import time

import pytest

import mk
from mk.server import BUILD, ROOT, Ports


class Quickstart:
    """./quickstart on the build under test, with a directory and ports of its own."""

    def __init__(self, folder, base, *more):
        self.p = subprocess.Popen(
            [os.path.join(ROOT, "quickstart"), "--no-build", "--build", BUILD, "--dir", folder,
             "--port-base", str(base), *more],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/",
            preexec_fn=os.setsid)
        self.out = ""

    def read_until(self, pattern, timeout=120):
        deadline = time.monotonic() + timeout
        while not re.search(pattern, self.out):
            assert time.monotonic() < deadline, self.out
            if select.select([self.p.stdout], [], [], 0.1)[0]:
                part = os.read(self.p.stdout.fileno(), 65536).decode()
                assert part, "ended: " + self.out
                self.out += part
        return self.out

    def ready(self):
        self.read_until(r"Ctrl-C stops it")
        return self

    def interrupt(self):
        """What a terminal does at Ctrl-C: to the whole group."""
        os.killpg(self.p.pid, signal.SIGINT)
        rest, _ = self.p.communicate(timeout=30)
        self.out += rest
        return self.p.returncode

    def stop(self):
        if self.p.poll() is None:
            os.killpg(self.p.pid, signal.SIGKILL)
            self.p.wait()

    def accounts(self):
        return dict(re.findall(r"^  (\S+@\S+) +([0-9a-f]{12,})$", self.out, re.M))

    def client(self, jid, password, domain):
        """A client as somebody would use it: trusting the printed certificate."""
        class Where:
            pass
        where = Where()
        where.port = int(re.search(r"STARTTLS +127\.0\.0\.1 port (\d+)", self.out).group(1))
        where.port_tls = int(re.search(r"direct TLS +127\.0\.0\.1 port (\d+)", self.out).group(1))
        where.cafile = re.search(r"^  certificate +(/\S+)", self.out, re.M).group(1)
        where.domain = domain
        return mk.Client(where, mk.Account(jid.split("@")[0], domain, password))


@pytest.fixture
def run(tmp_path):
    made = []
    locks = []
    folder = str(tmp_path / "r")

    def start(*more, dir=folder):
        if not locks:
            locks.append(Ports.take())
            locks.append(Ports.take())
        q = Quickstart(dir, locks[0][0] - 22, *more)
        made.append(q)
        return q
    yield start
    for q in made:
        q.stop()


def chat(q, domain="localhost"):
    (a_jid, a_pass), (b_jid, b_pass) = q.accounts().items()
    with q.client(a_jid, a_pass, domain) as a, q.client(b_jid, b_pass, domain) as b:
        a.login(presence="")
        b.login(tls="direct", presence="")
        a.message(b.bare, "hello")
        assert mk.text(b.until(lambda e: mk.name(e) == "message"), "body") == "hello"


def test_from_nothing_to_a_chat(run):
    q = run().ready()
    assert set(q.accounts()) == {"alice@localhost", "bob@localhost"}
    assert re.search(r"/connect alice@localhost server 127\.0\.0\.1 port \d+ tls trust", q.out)
    chat(q)
    assert q.interrupt() == 0
    assert "stopped" in q.out


def test_second_run_takes_over_what_is_there(run):
    first = run().ready()
    accounts = first.accounts()
    first.interrupt()
    begun = time.monotonic()
    second = run().ready()
    took = time.monotonic() - begun
    assert second.accounts() == accounts
    chat(second)
    # About a second; a sanitizer build and a busy machine get more.
    assert took < 10, took
    second.interrupt()


def test_other_domain(run):
    q = run("--domain", "chat.example").ready()
    assert set(q.accounts()) == {"alice@chat.example", "bob@chat.example"}
    chat(q, "chat.example")
    q.interrupt()
    # Another domain on the same directory would leave the accounts behind.
    again = run("--domain", "else.example")
    out, _ = again.p.communicate(timeout=60)
    assert again.p.returncode != 0 and "chat.example" in out


def test_two_servers_in_one_directory(run):
    q = run().ready()
    other = run()
    out, _ = other.p.communicate(timeout=60)
    assert other.p.returncode != 0 and "already" in out
    chat(q)
    q.interrupt()


def test_passwords_are_private(run, tmp_path):
    q = run().ready()
    q.interrupt()
    for name in ("accounts", os.path.join("certs", "localhost", "privkey.pem")):
        assert os.stat(tmp_path / "r" / name).st_mode & 0o077 == 0, name
    assert os.stat(tmp_path / "r" / "data").st_mode & 0o077 == 0


@pytest.mark.parametrize("arguments", [
    ["--port-base", "x"], ["--port-base", "70000"], ["--port-base", "1"], ["--port-base"],
    ["--domain", "a b"], ["--domain", "-x"], ["--nonsense"], ["nonsense"],
])
def test_wrong_arguments(arguments):
    p = subprocess.run([os.path.join(ROOT, "quickstart"), "--no-build", *arguments],
                       capture_output=True, text=True, timeout=60)
    assert p.returncode in (1, 2)
    assert p.stderr


def test_help():
    p = subprocess.run([os.path.join(ROOT, "quickstart"), "--help"], capture_output=True,
                       text=True, timeout=60)
    assert p.returncode == 0 and "--port-base" in p.stdout
