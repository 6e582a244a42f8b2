"""Rooms (XEP-0045) for tests: what clients send, and what stanzas of a room say.

    stage = Stage(server, account, connect)      (the fixture `muc`)
    room = stage.room(moderatedroom=1)           owned by stage.owner, who is in it as "owner"
    x = stage.person("witch")                    an online client; .nick is what it joins as
    room.join(x)

Nothing waits for luck: what a room has sent is known when it has answered a request that
was sent to it later (Room.settled).
"""

import itertools

from .client import _ids
from .xml import NS, child, children, element, esc, name, text, to_str

_names = itertools.count(1)


class MUC:
    JOIN = "http://jabber.org/protocol/muc"
    USER = "http://jabber.org/protocol/muc#user"
    ADMIN = "http://jabber.org/protocol/muc#admin"
    OWNER = "http://jabber.org/protocol/muc#owner"
    CONFIG = "http://jabber.org/protocol/muc#roomconfig"
    REGISTER = "http://jabber.org/protocol/muc#register"
    REQUEST = "http://jabber.org/protocol/muc#request"
    INFO = "http://jabber.org/protocol/muc#roominfo"
    STABLE_ID = "http://jabber.org/protocol/muc#stable_id"
    DATA = "jabber:x:data"
    IQ_REGISTER = "jabber:iq:register"
    CONFERENCE = "jabber:x:conference"
    OCCUPANT_ID = "urn:xmpp:occupant-id:0"


class Refused(AssertionError):
    """A join that was answered by an error."""

    def __init__(self, el):
        self.element = el
        super().__init__(to_str(el))


# ---- what stanzas say ------------------------------------------------------------------

def user(el):
    """The muc#user element of a stanza, of which there must be at most one
    (XEP-0045 7.2.2); None without."""
    found = children(el, "x", MUC.USER)
    assert len(found) <= 1, to_str(el)
    return found[0] if found else None


def item(el):
    """The <item/> in it, or None."""
    x = user(el)
    return None if x is None else child(x, "item", MUC.USER)


def codes(el):
    """Its status codes, as a set; each must be there once."""
    x = user(el)
    if x is None:
        return set()
    found = [int(s.get("code")) for s in children(x, "status", MUC.USER)]
    assert len(found) == len(set(found)), to_str(el)
    return set(found)


def nick(el):
    """The resource of its sender."""
    return (el.get("from") or "").partition("/")[2]


def status(el):
    """(affiliation, role) that a presence tells."""
    i = item(el)
    assert i is not None, to_str(el)
    return i.get("affiliation"), i.get("role")


def real_jid(el):
    return item(el).get("jid")


def reason(el):
    return text(item(el), "reason", MUC.USER)


def actor(el):
    a = child(item(el), "actor", MUC.USER)
    return None if a is None else a.get("nick") or a.get("jid")


def error(el):
    """(type, condition) of an error stanza."""
    assert el.get("type") == "error", to_str(el)
    e = child(el, "error", NS.CLIENT)
    assert e is not None, to_str(el)
    conditions = [c for c in children(e, xmlns=NS.STANZAS) if name(c) != "text"]
    assert len(conditions) == 1, to_str(el)
    return e.get("type"), name(conditions[0])


def is_error(el, type_, condition, by=None):
    assert error(el) == (type_, condition), to_str(el)
    if by is not None:
        assert child(el, "error", NS.CLIENT).get("by") == by, to_str(el)
    return el


def is_subject(el):
    """XEP-0045 7.2.15: a subject, but no body and no thread."""
    return name(el) == "message" and el.get("type") == "groupchat" and \
        child(el, "subject", NS.CLIENT) is not None and \
        child(el, "body", NS.CLIENT) is None and child(el, "thread", NS.CLIENT) is None


def delay(el):
    return child(el, "delay", NS.DELAY)


def bodies(got):
    return [text(m, "body") for m in got if name(m) == "message" and m.get("type") != "error"
            and child(m, "body", NS.CLIENT) is not None]


def presences(got, of=None):
    return [p for p in got if name(p) == "presence" and (of is None or nick(p) == of)]


def messages(got):
    return [m for m in got if name(m) == "message"]


def summary(got):
    """Presences as (nick, type or '', affiliation, role, codes without 110), in order."""
    return [(nick(p), p.get("type") or "") + status(p) + (codes(p) - {110},)
            for p in presences(got)]


# ---- forms -----------------------------------------------------------------------------

def fields(x):
    """{var: [values]} of a data form."""
    return {f.get("var"): [v.text or "" for v in children(f, "value", MUC.DATA)]
            for f in children(x, "field", MUC.DATA) if f.get("var")}


def submit(form_type, values, type_="submit"):
    """A filled form; values: {var: value or list}."""
    out = element("field", None, "<value>%s</value>" % esc(form_type), var="FORM_TYPE",
                  type_="hidden")
    for var, value in values.items():
        many = value if isinstance(value, (list, tuple)) else [value]
        out += element("field", None, "".join("<value>%s</value>" % esc(str(v)) for v in many),
                       var=var)
    return element("x", MUC.DATA, out, type_=type_)


def config_var(short):
    """'moderatedroom' -> 'muc#roomconfig_moderatedroom'"""
    if "#" in short:
        return short
    return "muc#" + short if short == "maxhistoryfetch" else "muc#roomconfig_" + short


def admin_item(reason=None, **attrs):
    return element("item", None, "" if reason is None else "<reason>%s</reason>" % esc(reason),
                   **attrs)


# ---- a room ----------------------------------------------------------------------------

class Joined:
    """What came at a join, in the order that XEP-0045 7.1 demands."""

    def __init__(self):
        self.others = []         # presences of the other occupants
        self.self = None         # with code 110
        self.history = []
        self.subject = None

    @property
    def nicks(self):
        return [nick(p) for p in self.others]

    @property
    def codes(self):
        return codes(self.self)


class Room:
    """The address of a room, and what is done with it. Clients join by their attribute
    `nick`, unless another is given."""

    def __init__(self, jid):
        self.jid = jid
        self.local, self.service = jid.split("@")

    def __repr__(self):
        return "<Room %s>" % self.jid

    def at(self, nick_):
        return "%s/%s" % (self.jid, nick_)

    # -- occupants --

    def send_join(self, c, nick_=None, password=None, history=None, payload="", x=True,
                  id_=None):
        """history: attributes of <history/>; payload: XML beside <x/>; x: with it."""
        c.nick = nick_ or c.nick
        inner = ""
        if password is not None:
            inner += "<password>%s</password>" % esc(password)
        if history is not None:
            inner += element("history", None, "", **history)
        c.send(element("presence", None, (element("x", MUC.JOIN, inner) if x else "") + payload,
                       to=self.at(c.nick), id=id_))

    def is_mine(self, el):
        return (el.get("from") or "").split("/")[0] == self.jid

    def joined(self, c):
        """Reads to the subject; checks the order of events of 7.1. Refused for an error."""
        j = Joined()
        while True:
            el = c.recv()
            if not self.is_mine(el) or (name(el) == "message" and el.get("type") in (
                    None, "normal")):        # an invitation
                continue
            if name(el) == "presence" and el.get("type") == "error":
                raise Refused(el)
            if name(el) == "presence":
                assert j.self is None, "presence after one's own: " + to_str(el)
                assert el.get("type") is None, to_str(el)
                if 110 in codes(el):
                    j.self = el
                else:
                    j.others.append(el)
                continue
            assert name(el) == "message" and j.self is not None, to_str(el)
            if is_subject(el):
                j.subject = el
                return j
            assert el.get("type") == "groupchat" and delay(el) is not None, to_str(el)
            j.history.append(el)

    def join(self, c, nick_=None, **kw):
        self.send_join(c, nick_, **kw)
        return self.joined(c)

    def refused(self, c, nick_=None, **kw):
        """The error that a join is answered with."""
        self.send_join(c, nick_, **kw)
        el = c.until(lambda e: name(e) == "presence" and self.is_mine(e))
        assert el.get("type") == "error", to_str(el)
        return el

    def enter(self, *clients):
        """All join; afterwards nothing of it is under way."""
        for c in clients:
            self.join(c)
        self.settled(*clients)

    def presence(self, c, payload="", type_=None, nick_=None):
        c.send(element("presence", None, payload, to=self.at(nick_ or c.nick), type_=type_))

    def leave(self, c, payload=""):
        """Reads to one's own unavailable presence."""
        self.presence(c, payload, "unavailable")
        return c.until(lambda e: name(e) == "presence" and e.get("type") == "unavailable"
                       and self.is_mine(e) and 110 in codes(e))

    def say(self, c, body, **kw):
        return c.message(self.jid, body, "groupchat", **kw)

    def send_subject(self, c, subject, more="", id_=None):
        c.send(element("message", None, "<subject>%s</subject>%s" % (esc(subject), more),
                       type_="groupchat", to=self.jid, id=id_ or "s%d" % next(_ids)))

    def settled(self, *clients):
        """What each of them got from the room, and of what the room sent for them, when it
        has handled all that they have sent."""
        got = [[] for _ in clients]
        for _ in range(2):
            for k, c in enumerate(clients):
                got[k] += [e for e in c.settle(self.jid) if self.is_mine(e)]
        return got

    def got(self, c):
        """What c alone got."""
        return self.settled(c)[0]

    # -- administration --

    def admin(self, c, *items, type_="set"):
        """The answer; items: admin_item(...)."""
        return c.iq(type_, element("query", MUC.ADMIN, "".join(items)), to=self.jid)

    def set(self, c, reason=None, **attrs):
        """One item, which must succeed."""
        a = self.admin(c, admin_item(reason, **attrs))
        assert a.get("type") == "result", to_str(a)
        return a

    def role(self, c, nick_, role, reason=None):
        return self.admin(c, admin_item(reason, nick=nick_, role=role))

    def affiliation(self, c, jid, affiliation, reason=None, **attrs):
        return self.admin(c, admin_item(reason, jid=jid, affiliation=affiliation, **attrs))

    def list(self, c, **attrs):
        """Items of the list (affiliation= or role=)."""
        a = self.admin(c, admin_item(**attrs), type_="get")
        assert a.get("type") == "result", to_str(a)
        return children(child(a, "query", MUC.ADMIN), "item", MUC.ADMIN)

    def jids(self, c, affiliation):
        return sorted(i.get("jid") for i in self.list(c, affiliation=affiliation))

    # -- owners --

    def owner_iq(self, c, type_, payload=""):
        return c.iq(type_, element("query", MUC.OWNER, payload), to=self.jid)

    def form(self, c):
        """The configuration form that the owner gets, <x/>."""
        a = self.owner_iq(c, "get")
        assert a.get("type") == "result", to_str(a)
        x = child(child(a, "query", MUC.OWNER), "x", MUC.DATA)
        assert x is not None and x.get("type") == "form", to_str(a)
        return x

    def config(self, c):
        return fields(self.form(c))

    def send_config(self, c, **values):
        return self.owner_iq(c, "set", submit(MUC.CONFIG, {
            config_var(k): v for k, v in values.items()}))

    def configure(self, c, **values):
        a = self.send_config(c, **values)
        assert a.get("type") == "result", to_str(a)

    def create(self, c, nick_=None, **config):
        """Joins what isn't there yet, and unlocks it: instant without a configuration."""
        j = self.join(c, nick_)
        assert 201 in j.codes and status(j.self) == ("owner", "moderator"), to_str(j.self)
        if config:
            self.configure(c, **config)
        else:
            a = self.owner_iq(c, "set", element("x", MUC.DATA, type_="submit"))
            assert a.get("type") == "result", to_str(a)
        self.settled(c)
        return j

    def destroy(self, c, jid=None, inner=""):
        return self.owner_iq(c, "set", element("destroy", None, inner, jid=jid))

    def disco(self, c, node=None):
        """(identities, features, {var: values} of the roominfo form or {})."""
        a = c.iq("get", element("query", NS.DISCO_INFO, node=node), to=self.jid)
        assert a.get("type") == "result", to_str(a)
        q = child(a, "query", NS.DISCO_INFO)
        x = child(q, "x", MUC.DATA)
        return ([(i.get("category"), i.get("type"), i.get("name"))
                 for i in children(q, "identity")],
                {f.get("var") for f in children(q, "feature")},
                {} if x is None else fields(x))


class Stage:
    """Rooms and people of one test on one server."""

    def __init__(self, server, account, connect):
        self.server, self._account, self._connect = server, account, connect
        self.service = "conference." + server.domain
        self._owner = None

    def person(self, nick_=None, account=None, resource=None, presence=""):
        """An online client; .nick is set."""
        account = account or self._account()
        c = self._connect(account, resource, server=self.server, presence=presence)
        c.nick = nick_ or "n-" + account.user
        return c

    def people(self, *nicks):
        return [self.person(n) for n in nicks]

    @property
    def owner(self):
        if self._owner is None:
            self._owner = self.person("owner")
        return self._owner

    def address(self, local=None):
        """A room that nobody has made yet."""
        return Room("%s@%s" % (local or "room%d" % next(_names), self.service))

    def room(self, local=None, **config):
        """One that the owner has made, and is in."""
        r = self.address(local)
        r.create(self.owner, "owner", **config)
        return r

    def populated(self, *nicks, **config):
        """(room, clients): they are in it, and have read what came of that."""
        room = self.room(**config)
        clients = self.people(*nicks)
        for c in clients:
            room.join(c)
        room.settled(self.owner, *clients)
        return [room] + clients
