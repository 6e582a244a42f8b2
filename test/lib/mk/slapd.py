"""Starts OpenLDAP's slapd for tests: a folder, free ports, a certificate, people and
groups; its log says what it was asked."""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from . import certs
from .server import Ports

PROGRAM = next((p for p in ("/usr/sbin/slapd", "/usr/libexec/slapd") if os.path.exists(p)), None)
MODULES = next((p for p in ("/usr/lib/ldap", "/usr/lib64/openldap") if os.path.isdir(p)), None)
SCHEMA = next((p for p in ("/etc/ldap/schema", "/etc/openldap/schema") if os.path.isdir(p)), None)

BASE = "dc=meerkat,dc=test"
PEOPLE, GROUPS = "ou=people," + BASE, "ou=groups," + BASE
SERVICE, SERVICE_PASSWORD = "cn=service," + BASE, "service-secret"
ADMIN, ADMIN_PASSWORD = "cn=admin," + BASE, "admin-secret"

CONFIG = """
include {schema}/core.schema
include {schema}/cosine.schema
include {schema}/inetorgperson.schema
modulepath {modules}
moduleload back_mdb
moduleload memberof
pidfile {folder}/slapd.pid
argsfile {folder}/slapd.args
TLSCACertificateFile {folder}/certs/fullchain.pem
TLSCertificateFile {folder}/certs/fullchain.pem
TLSCertificateKeyFile {folder}/certs/privkey.pem
allow bind_v2
{more}
database mdb
suffix "{base}"
rootdn "{admin}"
rootpw {admin_password}
directory {folder}/db
overlay memberof
memberof-dangling ignore
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{service}" read by * {anonymous}
"""

ENTRIES = """
dn: {base}
objectClass: dcObject
objectClass: organization
o: Meerkat
dc: meerkat

dn: {service}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: service
userPassword: {service_password}

dn: {people}
objectClass: organizationalUnit
ou: people

dn: {groups}
objectClass: organizationalUnit
ou: groups
"""


def escaped(value):
    """For a DN (RFC 4514): every byte that could mean anything."""
    return "".join(c if c.isalnum() and c.isascii() else
                   "".join("\\%02x" % b for b in c.encode()) for c in value)


def person(uid, password, *more, dn=None):
    return "\n".join(["dn: " + (dn or "uid=%s,%s" % (escaped(uid), PEOPLE)),
                      "objectClass: inetOrgPerson", "cn: " + uid, "sn: " + uid, "uid: " + uid,
                      "userPassword: " + password, *more, ""])


def group(cn, *members):
    return "\n".join(["dn: " + group_dn(cn), "objectClass: groupOfNames", "cn: " + cn] +
                     ["member: " + m for m in members or (SERVICE,)] + [""])


def person_dn(uid):
    return "uid=%s,%s" % (escaped(uid), PEOPLE)


def group_dn(cn):
    return "cn=%s,%s" % (cn, GROUPS)


class Slapd:
    """Slapd(entries).start() ... close(). entries: LDIF texts (person(), group()).
    names: those of its certificate (an address: libldap takes the host's own name
    for "localhost")."""

    def __init__(self, *entries, names=("127.0.0.1",), anonymous="auth", more=""):
        self.folder = tempfile.mkdtemp(prefix="mk-slapd-")
        self.process = None
        (self.port, a), (self.port_tls, b) = Ports.take(), Ports.take()
        self.locks = [a, b]
        certs.make(self.path("certs"), *names)
        self.cafile = self.path("certs", "fullchain.pem")
        os.mkdir(self.path("db"))
        # A copy, as some systems let the installed one see its own folders only.
        shutil.copy(PROGRAM, self.path("slapd"))
        values = dict(schema=SCHEMA, modules=MODULES, folder=self.folder, base=BASE,
                      admin=ADMIN, admin_password=ADMIN_PASSWORD, service=SERVICE,
                      service_password=SERVICE_PASSWORD, people=PEOPLE, groups=GROUPS,
                      anonymous=anonymous, more=more)
        with open(self.path("slapd.conf"), "w") as f:
            f.write(CONFIG.format(**values))
        with open(self.path("entries.ldif"), "w") as f:
            f.write("\n".join([ENTRIES.format(**values), *entries]))
        # -q: no look at what depends on overlays; those run below.
        subprocess.run([self.path("slapd"), "-Ta", "-f", self.path("slapd.conf"),
                        "-l", self.path("entries.ldif")], check=True, capture_output=True)

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    @property
    def url(self):
        return "ldap://127.0.0.1:%d" % self.port

    @property
    def url_tls(self):
        return "ldaps://127.0.0.1:%d" % self.port_tls

    def settings(self, **more):
        """Of the plugin: users by search as the service, over TLS."""
        return {"servers": [self.url], "ca_file": self.cafile, "bind_dn": SERVICE,
                "bind_password": SERVICE_PASSWORD, "base": PEOPLE, "capture_keys": True,
                **more}

    def start(self):
        with open(self.path("log"), "ab") as log:
            self.process = subprocess.Popen(
                [self.path("slapd"), "-f", self.path("slapd.conf"), "-d", "stats", "-h",
                 "ldap://127.0.0.1:%d ldaps://127.0.0.1:%d" % (self.port, self.port_tls)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        for port in (self.port, self.port_tls):
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    assert self.process.poll() is None, self.log()[-4000:]
                    assert time.monotonic() < deadline, self.log()[-4000:]
                    time.sleep(0.02)
        return self

    def stop(self):
        if self.process:
            self.resume()
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def suspend(self):
        """Returns when all its threads stand still: one that is told may be late."""
        self.process.send_signal(signal.SIGSTOP)
        tasks = "/proc/%d/task" % self.process.pid
        deadline = time.monotonic() + 60

        def state(task):
            with open(os.path.join(tasks, task, "stat")) as f:
                return f.read().rsplit(")", 1)[1].split()[0]
        while any(state(t) != "T" for t in os.listdir(tasks)):
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def close(self):
        self.stop()
        for lock in self.locks:
            lock.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self):
        with open(self.path("log"), errors="replace") as f:
            return f.read()

    def binds(self, dn):
        """How often a password was tried on this DN."""
        return len(re.findall(r' BIND dn="%s" method=128' % re.escape(dn), self.log()))

    def ldap(self, tool, *words, ldif=""):
        p = subprocess.run([tool, "-x", "-H", "ldap://127.0.0.1:%d" % self.port, "-D", ADMIN,
                            "-w", ADMIN_PASSWORD, *words], input=ldif, text=True,
                           capture_output=True, timeout=60)
        assert p.returncode == 0, p.stderr

    def add(self, *entries):
        self.ldap("ldapadd", ldif="\n".join(entries))

    def password(self, uid, password):
        self.ldap("ldapmodify", ldif="dn: %s\nchangetype: modify\nreplace: userPassword\n"
                  "userPassword: %s\n" % (person_dn(uid), password))

    def remove(self, uid):
        self.ldap("ldapdelete", person_dn(uid))
