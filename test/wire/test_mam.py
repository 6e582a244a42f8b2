"""XEP-0313: the archive; XEP-0441: preferences; XEP-0431: search; XEP-0424: tombstones.

Every example of the specifications' newest texts, by its number or its caption.
"""

import time

import pytest

import mk
from mk import NS, child, children, name, text, to_str

MAM = "urn:xmpp:mam:2"
RSM = "http://jabber.org/protocol/rsm"
DATA = "jabber:x:data"
FORWARD = "urn:xmpp:forward:0"
DELAY = "urn:xmpp:delay"
SID = "urn:xmpp:sid:0"
RETRACT = "urn:xmpp:message-retract:1"
FULLTEXT = "urn:xmpp:fulltext:0"


@pytest.fixture(scope="module")
def _mam():
    s = mk.Server({"host_types": {"people": {"plugins": {"mam": {"search": True}}}}}).start()
    yield s
    s.close()


@pytest.fixture
def mam(_mam):
    _mam.accounts.clear()
    yield _mam
    assert _mam.alive(), _mam.log()[-4000:]


@pytest.fixture
def new(mam, connect):
    """A client of a new account, online."""
    def make(domain=None, **kw):
        kw.setdefault("presence", "")
        return connect(mam.account(domain=domain), server=mam, **kw)
    return make


# ---- helpers -------------------------------------------------------------------

def form(**fields):
    """The names are Python's: with_, before_id; a list makes several values."""
    def field(var, value):
        values = value if isinstance(value, (list, tuple)) else [value]
        return "<field var='%s'>%s</field>" % (
            var, "".join("<value>%s</value>" % v for v in values))
    names = {"with_": "with", "before_id": "before-id", "after_id": "after-id",
             "groupchat": "include-groupchat", "words": "{%s}fulltext" % FULLTEXT}
    return ("<x xmlns='%s' type='submit'><field var='FORM_TYPE' type='hidden'>"
            "<value>%s</value></field>%s</x>" % (
                DATA, MAM, "".join(field(names.get(k, k), v) for k, v in fields.items())))


def rsm(max_=None, after=None, before=None, index=None):
    return "<set xmlns='%s'>%s%s%s%s</set>" % (
        RSM, "" if max_ is None else "<max>%d</max>" % max_,
        "" if index is None else "<index>%s</index>" % index,
        "" if after is None else "<after>%s</after>" % after,
        "" if before is None else "<before>%s</before>" % before)


class Result:
    def __init__(self, el):
        self.el = el
        self.result = child(el, "result", MAM)
        self.id, self.queryid = self.result.get("id"), self.result.get("queryid")
        forwarded = child(self.result, "forwarded", FORWARD)
        self.stamp = child(forwarded, "delay", DELAY).get("stamp")
        self.message = child(forwarded, "message", NS.CLIENT)
        body = None if self.message is None else child(self.message, "body", NS.CLIENT)
        self.body = None if body is None else text(body)


class Page:
    def __init__(self, results, fin):
        self.results, self.fin = results, fin
        self.bodies = [r.body for r in results]
        self.ids = [r.id for r in results]
        set_ = child(fin, "set", RSM)
        first, last, count = (child(set_, n, RSM) for n in ("first", "last", "count"))
        self.first = None if first is None else text(first)
        self.index = None if first is None else first.get("index")
        self.last = None if last is None else text(last)
        self.count = None if count is None else int(text(count))
        self.complete = fin.get("complete") == "true"


_n = iter(range(1, 10 ** 9))


def ask(c, payload="", queryid=None, to=None, type_="set", tag="query"):
    """The results that came, and the IQ; what else came before is lost."""
    id_ = "mam%d" % next(_n)
    c.send("<iq type='%s' id='%s'%s><%s xmlns='%s'%s>%s</%s></iq>" % (
        type_, id_, " to='%s'" % to if to else "", tag, MAM,
        " queryid='%s'" % queryid if queryid else "", payload, tag))
    results = []
    while True:
        el = c.recv()
        if name(el) == "iq" and el.get("id") == id_ and el.get("type") in ("result", "error"):
            return results, el
        if name(el) == "message" and child(el, "result", MAM) is not None:
            results.append(Result(el))


def query(c, payload="", queryid=None, to=None):
    results, iq = ask(c, payload, queryid, to)
    assert iq.get("type") == "result", to_str(iq)
    fin = child(iq, "fin", MAM)
    assert fin is not None and len(iq) == 1, to_str(iq)
    return Page(results, fin)


def refused(c, payload, condition, to=None, type_="set", tag="query"):
    results, iq = ask(c, payload, to=to, type_=type_, tag=tag)
    assert not results and iq.get("type") == "error", to_str(iq)
    error = child(iq, "error")
    assert child(error, condition, NS.STANZAS) is not None, to_str(iq)
    return error


def talk(a, b, n, prefix="n"):
    """a writes to b n times; the ids that b saw."""
    for k in range(n):
        a.message(b.jid, "%s%d" % (prefix, k))
    ids = []
    while len(ids) < n:
        m = b.until(lambda e: name(e) == "message")
        ids.append(child(m, "stanza-id", SID).get("id"))
    return ids


# ---- 3: what an archive is -------------------------------------------------------

def test_message_that_was_archived_has_its_id(new):
    """3.4, "Client receives a message that has been archived": the id by the account's bare
    JID is the archive's."""
    a, b = new(), new()
    a.send("<message to='%s' type='chat' id='x1'><body>Call me but love</body></message>" % b.jid)
    m = b.expect("message")
    sid, = children(m, "stanza-id", SID)
    assert sid.get("by") == b.bare
    assert query(b).ids == [sid.get("id")]
    # Both sides have it under the same id.
    assert query(a).ids == [sid.get("id")]


def test_query_and_its_results(new):
    """4, examples 2 to 4."""
    a, b = new(), new()
    sent = a.message(b.jid, "Hail to thee")
    b.until(lambda e: name(e) == "message")
    p = query(b, queryid="f27")
    r, = p.results
    assert r.queryid == "f27" and r.el.get("to") == b.jid and r.el.get("from") == b.bare
    assert r.message.get("from") == a.jid and r.message.get("to") == b.jid
    assert r.message.get("id") == sent and r.message.get("type") == "chat"
    assert r.body == "Hail to thee"
    assert abs(mk_time(r.stamp) - time.time()) < 600
    assert p.complete and p.first == p.last == r.id and p.index == "0" and p.count == 1
    # The sender's own, without a queryid.
    r, = query(a).results
    assert r.queryid is None and r.message.get("to") == b.jid


def mk_time(stamp):
    import calendar
    assert stamp.endswith("Z")
    return calendar.timegm(time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S"))


def test_empty_archive(new):
    """4.1: a query is successful even if the archive is empty."""
    p = query(new())
    assert p.results == [] and p.complete and p.first is None and p.count == 0


def test_results_come_to_who_asked_only(new, connect, mam):
    a, b = new(), new()
    other = connect(b.account, server=mam, presence="")
    talk(a, b, 3)
    assert len(query(b).results) == 3
    assert not [e for e in other.barrier() if child(e, "result", MAM) is not None]


def test_archive_of_others_is_forbidden(new):
    """8.1; the same for accounts that don't exist."""
    a, b = new(), new()
    talk(a, b, 1)
    for to in (b.bare, "nobody-at-all@" + b.bare.split("@")[1]):
        error = refused(a, "", "forbidden", to=to)
        assert error.get("type") == "auth"
        refused(a, "", "forbidden", to=to, type_="get", tag="metadata")
        refused(a, "", "forbidden", to=to, type_="get", tag="prefs")
    assert len(query(b, to=b.bare).results) == 1


# ---- 4.1: filters -----------------------------------------------------------------

def test_filter_by_jid(new):
    """4.1.1: bare JIDs match all resources; full ones that one."""
    me, x, y = new(), new(), new(resource="one")
    talk(x, me, 2, "x")
    talk(y, me, 2, "y")
    me.message(x.jid, "to x")
    x.expect("message")
    assert query(me, form(with_=x.bare)).bodies == ["x0", "x1", "to x"]
    assert query(me, form(with_=y.bare.upper())).bodies == ["y0", "y1"]
    assert query(me, form(with_=y.jid)).bodies == ["y0", "y1"]
    assert query(me, form(with_=y.bare + "/two")).bodies == []
    assert query(me, form(with_="nobody@example.org")).bodies == []
    refused(me, form(with_="@@"), "jid-malformed")


def test_filter_by_own_jid(new, mam, connect):
    """4.1.1: 'with' of the account itself gives what it sent to itself, once."""
    me, x = new(), new()
    two = connect(me.account, server=mam, presence="")
    talk(x, me, 1)
    me.message(me.bare, "note")
    me.message(two.jid, "to my other")
    two.until(lambda e: name(e) == "message" and text(child(e, "body")) == "to my other")
    assert query(me, form(with_=me.bare)).bodies == ["note", "to my other"]
    assert sorted(query(me).bodies) == ["n0", "note", "to my other"]


def test_filter_by_time(new):
    """4.1.2: both ends belong to it."""
    a, b = new(), new()
    talk(a, b, 5)
    r = query(b).results
    stamps = [x.stamp for x in r]

    def bodies(**kw):
        return query(b, form(**kw)).bodies
    assert bodies(start=stamps[0], end=stamps[-1]) == ["n%d" % k for k in range(5)]
    assert bodies(start="2010-06-07T00:00:00Z", end="2010-07-07T13:23:54Z") == []
    assert len(bodies(start="2010-08-07T00:00:00Z")) == 5
    assert len(bodies(end="2099-01-01T00:00:00+02:00")) == 5
    assert bodies(start="2099-01-01T00:00:00Z") == []
    assert set(bodies(start=stamps[2], end=stamps[2])) == \
        {"n%d" % k for k in range(5) if stamps[k] == stamps[2]}
    refused(b, form(start="yesterday"), "bad-request")
    refused(b, form(end=""), "bad-request")


def test_filter_by_ids(new):
    """4.1.3: after-id, before-id, both, ids; item-not-found for what isn't there."""
    a, b = new(), new()
    ids = talk(a, b, 6)
    assert query(b, form(after_id=ids[3])).bodies == ["n4", "n5"]
    assert query(b, form(before_id=ids[2])).bodies == ["n0", "n1"]
    assert query(b, form(after_id=ids[0], before_id=ids[4])).bodies == ["n1", "n2", "n3"]
    assert query(b, form(ids=ids[2])).bodies == ["n2"]
    assert query(b, form(ids=[ids[4], ids[1]])).bodies == ["n1", "n4"]
    assert query(b, form(ids=ids[4], with_="nobody@example.org")).bodies == []
    for wrong in ("12345", "28482-98726-73623", "", "-1", str(2 ** 70)):
        for field in ("after_id", "before_id", "ids"):
            refused(b, form(**{field: wrong}), "item-not-found")
    refused(b, form(ids=[ids[1], "7"]), "item-not-found")
    # Somebody else's are none of mine.
    c = new()
    other, = talk(a, c, 1)
    refused(b, form(ids=other), "item-not-found")


def test_groupchat_field(new):
    """4.1.4: understood; there is none in these archives."""
    a, b = new(), new()
    talk(a, b, 1)
    for value in ("true", "false", "1", "0"):
        assert query(b, form(groupchat=value)).bodies == ["n0"]


def test_form_fields(new):
    """4.1.5: what can be asked."""
    a = new()
    results, iq = ask(a, type_="get")
    x = child(child(iq, "query", MAM), "x", DATA)
    assert x.get("type") == "form"
    fields = {f.get("var"): f for f in children(x, "field", DATA)}
    assert text(child(fields["FORM_TYPE"], "value", DATA)) == MAM
    assert {k: f.get("type") for k, f in fields.items()} == {
        "FORM_TYPE": "hidden", "with": "jid-single", "start": "text-single",
        "end": "text-single", "before-id": "text-single", "after-id": "text-single",
        "ids": "list-multi", "include-groupchat": "boolean",
        "{%s}fulltext" % FULLTEXT: "text-single"}
    validate = child(fields["ids"], "validate", "http://jabber.org/protocol/xdata-validate")
    assert validate.get("datatype") == "xs:string" and len(validate) == 1
    assert not [f for f in fields.values() if child(f, "required", DATA) is not None]


def test_unknown_field(new):
    """4.1.5: feature-not-implemented."""
    a = new()
    refused(a, form(**{"{http://example.com/}stanza-content": "x"}), "feature-not-implemented")
    refused(a, "<x xmlns='%s' type='submit'><field var='FORM_TYPE'><value>other</value></field>"
            "</x>" % DATA, "bad-request")
    refused(a, "<x xmlns='%s' type='submit'><field var='with'><value>a@b</value></field></x>"
            % DATA, "bad-request")
    refused(a, "<x xmlns='%s' type='form'/>" % DATA, "bad-request")


# ---- 4.3: paging --------------------------------------------------------------------

def test_pages_forward(new):
    """4.3.1, 4.3.2: max, after, complete; all in order, each once."""
    a, b = new(), new()
    ids = talk(a, b, 25)
    seen, last, pages = [], None, 0
    while True:
        p = query(b, form(start="2010-08-07T00:00:00Z") + rsm(10, after=last))
        seen += p.ids
        pages += 1
        assert p.first == p.ids[0] and p.last == p.ids[-1]
        last = p.last
        if p.complete:
            break
    assert seen == ids and pages == 3
    p = query(b, rsm(10, after=ids[-1]))
    assert p.ids == [] and p.complete


def test_pages_backward(new):
    """4.3.3: an empty <before/> is the last page; pages are in chronological order."""
    a, b = new(), new()
    ids = talk(a, b, 25)
    seen, before, pages = [], "", 0
    while True:
        p = query(b, rsm(10, before=before))
        seen = p.ids + seen
        pages += 1
        before = p.first
        if p.complete:
            break
    assert seen == ids and pages == 3
    assert query(b, rsm(10, before=ids[0])).ids == []


def test_page_exactly_at_the_end_is_complete(new):
    a, b = new(), new()
    ids = talk(a, b, 10)
    p = query(b, rsm(10))
    assert p.ids == ids and p.complete
    p = query(b, rsm(10, before=""))
    assert p.ids == ids and p.complete
    assert not query(b, rsm(9)).complete


def test_flipped_page(new):
    """4.3.4: the same results, sent the other way round."""
    a, b = new(), new()
    ids = talk(a, b, 12)
    p = query(b, rsm(5, after=ids[1]) + "<flip-page/>")
    assert p.ids == list(reversed(ids[2:7]))
    assert p.first == ids[2] and p.last == ids[6] and not p.complete
    p = query(b, rsm(5, before="") + "<flip-page/>")
    assert p.ids == list(reversed(ids[7:]))


def test_unknown_id_of_a_page(new):
    """4.3.2, "Message id not found in archive"."""
    a, b = new(), new()
    talk(a, b, 2)
    for wrong in ("09af3-cc343-b409f", "1", "x"):
        assert refused(b, rsm(10, after=wrong), "item-not-found").get("type") == "cancel"
        refused(b, rsm(10, before=wrong), "item-not-found")


def test_count(new):
    """XEP-0059 2.7: <max>0</max> asks for the number."""
    a, b, c = new(), new(), new()
    talk(a, b, 7)
    talk(c, b, 3)
    p = query(b, rsm(0))
    assert p.results == [] and p.count == 10
    assert query(b, form(with_=c.bare) + rsm(0)).count == 3
    assert query(b, form(start="2099-01-01T00:00:00Z") + rsm(0)).count == 0


def place(p):
    """Where a page says that it stands."""
    return None if p.index is None else int(p.index), p.count


def test_pages_tell_where_they_stand(new):
    """XEP-0059 2.2, 2.3: <count/> of the whole set and the first one's index, on each page;
    the first is 0, the last the count minus the page."""
    a, b, c = new(), new(), new()
    ids = talk(a, b, 7)
    talk(c, b, 3, "c")
    start = form(start="2010-08-07T00:00:00Z")
    first = query(b, start + rsm(4))
    assert place(first) == (0, 10)
    second = query(b, start + rsm(4, after=first.last))
    assert place(second) == (4, 10)
    third = query(b, start + rsm(4, after=second.last))
    assert place(third) == (8, 10) and third.complete
    assert place(query(b, start + rsm(4, before=third.first))) == (4, 10)
    assert place(query(b, rsm(3, before=""))) == (7, 10)
    assert place(query(b, rsm(10, before=""))) == (0, 10)
    # Somewhere that was not paged to, and within a filter.
    assert place(query(b, rsm(2, after=ids[4]))) == (5, 10)
    assert place(query(b, rsm(2, before=ids[4]))) == (2, 10)
    with_ = form(with_=a.bare)
    assert place(query(b, with_ + rsm(2, after=ids[1]))) == (2, 7)
    assert place(query(b, with_ + rsm(2, before=""))) == (5, 7)
    assert place(query(b, form(after_id=ids[1], before_id=ids[6]) + rsm(2, after=ids[3]))) == (2, 4)
    assert place(query(b, form(words="n3 n4") + rsm(2))) == (None, 0)
    # What comes meanwhile is counted.
    talk(a, b, 1, "late")
    assert place(query(b, start + rsm(4, after=first.last))) == (4, 11)
    # Reversing a page moves nothing (XEP-0313 4.3.4).
    assert place(query(b, start + rsm(4, after=first.last) + "<flip-page/>")) == (4, 11)


def test_empty_page_has_the_count(new):
    """XEP-0059 2.2, "Returning an Empty Page": no <first/>, no <last/>."""
    a, b = new(), new()
    ids = talk(a, b, 5)
    p = query(b, rsm(10, after=ids[-1]))
    assert p.results == [] and p.first is p.last is None and p.count == 5 and p.complete


def test_page_by_index(new):
    """XEP-0059 2.6, its examples: the index that was asked for comes back."""
    a, b, c = new(), new(), new()
    talk(a, b, 6)
    talk(c, b, 2, "c")
    p = query(b, rsm(3, index=4))
    assert p.bodies == ["n4", "n5", "c0"] and place(p) == (4, 8) and not p.complete
    p = query(b, rsm(3, index=0))
    assert p.bodies == ["n0", "n1", "n2"] and place(p) == (0, 8)
    p = query(b, form(with_=c.bare) + rsm(3, index=1))
    assert p.bodies == ["c1"] and place(p) == (1, 2) and p.complete
    # The next page of one that was found so.
    p = query(b, rsm(3, index=2))
    assert place(query(b, rsm(2, after=p.last))) == (5, 8)
    for beyond in (8, 9, 5000, 2 ** 40):
        p = query(b, rsm(3, index=beyond))
        assert p.results == [] and p.first is None and p.count == 8 and p.complete
    refused(b, rsm(3, index="x"), "bad-request")
    refused(b, rsm(3, index=-1), "bad-request")
    refused(b, rsm(3, index=1, before=""), "bad-request")
    # What would be exceptionally dear: results that no index knows.
    refused(b, form(with_=a.jid) + rsm(3, index=1), "feature-not-implemented")


def test_count_of_many_is_left_out(new):
    """XEP-0059 2.2: left out where it is dear; <max>0</max> asks for it all the same (2.7)."""
    a, b = new(), new()
    # In pieces: the server may slow down who writes much.
    for _ in range(12):
        a.send("".join("<message to='%s' type='chat'><body>x</body></message>" % b.jid
                       for _ in range(500)))
        mk.fence(a, b)
    p = query(b, rsm(2))
    assert p.count is None and p.index == "0"
    p = query(b, rsm(2, after=p.last))
    assert p.count is None and p.index == "2"
    assert query(b, rsm(0)).count >= 6000
    assert query(b, rsm(2, index=4000)).index == "4000"
    refused(b, rsm(2, index=5900), "feature-not-implemented")


def test_ids_and_pages(new):
    """4.1.3 and 4.3: what was asked for by ids is a set like others."""
    a, b = new(), new()
    ids = talk(a, b, 8)
    these = form(ids=[ids[k] for k in (6, 1, 3, 4, 1)])
    p = query(b, these)
    assert p.bodies == ["n1", "n3", "n4", "n6"] and place(p) == (0, 4) and p.complete
    p = query(b, these + rsm(3))
    assert p.bodies == ["n1", "n3", "n4"] and place(p) == (0, 4) and not p.complete
    p = query(b, these + rsm(3, after=p.last))
    assert p.bodies == ["n6"] and place(p) == (3, 4) and p.complete
    p = query(b, these + rsm(3, before=""))
    assert p.bodies == ["n3", "n4", "n6"] and place(p) == (1, 4) and not p.complete
    p = query(b, these + rsm(3, before="") + "<flip-page/>")
    assert p.bodies == ["n6", "n4", "n3"] and place(p) == (1, 4)
    assert query(b, these + rsm(0)).count == 4
    p = query(b, form(ids=[ids[k] for k in (1, 3, 5)], after_id=ids[1], before_id=ids[5]))
    assert p.bodies == ["n3"]
    refused(b, form(ids=ids[:2], words="n1"), "feature-not-implemented")


def test_before_id_and_after_id_with_pages(new):
    """4.1.3, "between two known messages", forward, backward, flipped."""
    a, b = new(), new()
    ids = talk(a, b, 10)
    between = form(after_id=ids[1], before_id=ids[8])
    p = query(b, between + rsm(4))
    assert p.ids == ids[2:6] and place(p) == (0, 6) and not p.complete
    p = query(b, between + rsm(4, after=p.last))
    assert p.ids == ids[6:8] and place(p) == (4, 6) and p.complete
    p = query(b, between + rsm(4, before=""))
    assert p.ids == ids[4:8] and place(p) == (2, 6) and not p.complete
    p = query(b, between + rsm(4, before=p.first) + "<flip-page/>")
    assert p.ids == ids[3:1:-1] and place(p) == (0, 6) and p.complete
    # before-id alone does not page backward (9): the oldest come first.
    assert query(b, form(before_id=ids[8]) + rsm(3)).ids == ids[:3]
    assert query(b, form(after_id=ids[8], before_id=ids[1])).ids == []


def test_limits_of_a_page(new):
    """A query without <max/> gets 50; nobody more than max_page."""
    a, b = new(), new()
    talk(a, b, 260)
    assert len(query(b).results) == 50
    p = query(b, rsm(1000000))
    assert len(p.results) == 250 and not p.complete
    refused(b, "<set xmlns='%s'><max>many</max></set>" % RSM, "bad-request")


def test_page_of_large_messages_ends_early(new):
    """A page is bounded by bytes, too; paging on gives the rest."""
    a, b = new(), new()
    for k in range(12):
        a.message(b.jid, "%02d" % k + "x" * 50000)
        b.until(lambda e: name(e) == "message")
    seen, last, pages = [], None, 0
    while True:
        p = query(b, rsm(50, after=last))
        seen += [body[:2] for body in p.bodies]
        pages, last = pages + 1, p.last
        if p.complete:
            break
    assert seen == ["%02d" % k for k in range(12)] and pages > 1


def test_many_queries_at_once(new):
    """Beyond ten under way they are refused; the others are answered."""
    a, b = new(), new()
    talk(a, b, 30)
    b.send("".join("<iq type='set' id='p%d'><query xmlns='%s' queryid='p%d'/></iq>" % (k, MAM, k)
                   for k in range(40)))
    answers, results = {}, {}
    while len(answers) < 40:
        el = b.recv()
        if name(el) == "iq":
            answers[el.get("id")] = el
        else:
            r = Result(el)
            results[r.queryid] = results.get(r.queryid, 0) + 1
    ok = [k for k, el in answers.items() if el.get("type") == "result"]
    assert len(ok) >= 10
    for k, el in answers.items():
        if el.get("type") == "result":
            assert results[k] == 30
        else:
            assert child(child(el, "error"), "resource-constraint", NS.STANZAS) is not None
            assert k not in results


# ---- 5: metadata ----------------------------------------------------------------------

def test_metadata(new):
    a, b = new(), new()
    _, iq = ask(b, type_="get", tag="metadata")
    m = child(iq, "metadata", MAM)
    assert m is not None and len(m) == 0
    ids = talk(a, b, 4)
    r = query(b).results
    _, iq = ask(b, type_="get", tag="metadata")
    m = child(iq, "metadata", MAM)
    start, end = child(m, "start", MAM), child(m, "end", MAM)
    assert (start.get("id"), end.get("id")) == (ids[0], ids[-1])
    assert (start.get("timestamp"), end.get("timestamp")) == (r[0].stamp, r[-1].stamp)


# ---- 6: what is stored -------------------------------------------------------------------

KEPT = {
    "chat": ("chat", "<body>x</body>"),
    "normal": ("normal", "<body>x</body>"),
    "marker": ("chat", "<displayed xmlns='urn:xmpp:chat-markers:0' id='m'/>"),
    "receipt": ("chat", "<received xmlns='urn:xmpp:receipts' id='m'/>"),
    "reaction": ("chat", "<reactions xmlns='urn:xmpp:reactions:0' id='m'><reaction>x</reaction>"
                         "</reactions>"),
    "correction": ("chat", "<body>y</body><replace xmlns='urn:xmpp:message-correct:0' id='m'/>"),
    "call": ("chat", "<propose xmlns='urn:xmpp:jingle-message:0' id='c'/>"),
    "omemo": ("chat", "<encrypted xmlns='urn:xmpp:omemo:2'/>"),
    "store": ("chat", "<x xmlns='mk:x'/><store xmlns='urn:xmpp:hints'/>"),
}
NOT_KEPT = {
    "chat state": ("chat", "<composing xmlns='http://jabber.org/protocol/chatstates'/>"),
    "no-store": ("chat", "<body>x</body><no-store xmlns='urn:xmpp:hints'/>"),
    "no-permanent-store": ("chat", "<body>x</body><no-permanent-store xmlns='urn:xmpp:hints'/>"),
    "headline": ("headline", "<body>x</body>"),
    "error": ("error", "<body>x</body><error type='cancel'><gone xmlns='%s'/></error>"
              % NS.STANZAS),
    "groupchat": ("groupchat", "<body>x</body>"),
}


def test_what_is_kept(new):
    a, b = new(), new()
    for k, (type_, payload) in list(KEPT.items()) + list(NOT_KEPT.items()):
        a.send("<message to='%s' type='%s' id='%s'>%s</message>" % (b.jid, type_, k, payload))
    mk.fence(a, b)
    for c in (a, b):
        ids = [r.message.get("id") for r in query(c).results]
        assert [i for i in ids if not i.startswith("fence")] == list(KEPT)


def test_whole_stanza_is_kept(new):
    """4.2: as it was received, with what we don't know."""
    a, b = new(), new()
    a.send("<message to='%s' type='chat' id='w' xml:lang='de'><body>&lt;\u00e4&amp;</body>"
           "<x xmlns='mk:x' a='&apos;1&quot;'><y xmlns='mk:y'>z</y></x>"
           "<origin-id xmlns='urn:xmpp:sid:0' id='o'/></message>" % b.jid)
    b.until(lambda e: name(e) == "message")
    for c in (a, b):
        m = query(c).results[0].message
        assert text(child(m, "body")) == "<\u00e4&"
        x = child(m, "x", "mk:x")
        assert x.get("a") == "'1\"" and text(child(x, "y", "mk:y")) == "z"
        assert child(m, "origin-id", SID).get("id") == "o"
        assert m.get("{http://www.w3.org/XML/1998/namespace}lang") == "de"
        # S-06: the sender's archive tells nothing of the recipient's.
        assert not children(m, "stanza-id", SID) or c is b


def test_message_to_somebody_away(new, connect, mam):
    a, b = new(), mam.account()
    a.message(b.jid, "are you there")
    a.settle(b.jid)
    c = connect(b, server=mam)
    assert query(c).bodies == ["are you there"]
    assert query(a).bodies == ["are you there"]


def test_message_to_nobody_is_in_the_senders_archive_only(new, mam, connect):
    a = new()
    local = "later-%d" % next(_n)
    nobody = "%s@%s" % (local, mam.domain)
    a.message(nobody, "hello")
    a.settle(nobody)
    assert query(a).bodies == ["hello"]
    c = connect(mam.account(user=local), server=mam)
    assert query(c).bodies == []


def test_refused_message_is_in_no_archive(new):
    """6.1: only what was accepted."""
    a, b = new(), new()
    a.send("<message to='%s' type='chat' id='f'><body>x</body><sent xmlns='urn:xmpp:carbons:2'>"
           "</sent></message>" % b.jid)
    a.until(lambda e: name(e) == "message" and e.get("type") == "error")
    assert query(b).bodies == []


def test_fork_is_kept_once(new, mam, connect):
    """6.1.1: a message to a bare JID that several get."""
    a, b = new(), new()
    two = connect(b.account, server=mam, presence="")
    a.message(b.bare, "to all")
    b.until(lambda e: name(e) == "message")
    two.until(lambda e: name(e) == "message")
    assert query(b).bodies == ["to all"]


def test_carbons_are_not_archived_twice(new, mam, connect):
    a, b = new(), new()
    two = connect(b.account, server=mam, presence="")
    for c in (b, two):
        c.iq("set", "<enable xmlns='urn:xmpp:carbons:2'/>")
    a.message(b.jid, "one")
    two.until(lambda e: child(e, "received", "urn:xmpp:carbons:2") is not None)
    b.message(a.jid, "two")
    two.until(lambda e: child(e, "sent", "urn:xmpp:carbons:2") is not None)
    assert query(b).bodies == ["one", "two"]


def test_other_domain(new, mam):
    """Each has a copy of its own."""
    a, b = new(), new(domain=mam.other)
    a.message(b.jid, "across")
    b.until(lambda e: name(e) == "message")
    assert query(a).bodies == ["across"] and query(b).bodies == ["across"]
    # ... which goes with its domain, not with the other's.
    mam.ctl("account", "unregister", a.account.jid)
    assert query(b).bodies == ["across"]


# ---- 7: discovery ---------------------------------------------------------------------

def features(c, to):
    q = child(c.iq("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>", to=to),
              "query")
    return {f.get("var") for f in children(q, "feature")}


def test_features(new, mam):
    a = new()
    wanted = {MAM, RSM, MAM + "#extended", MAM + "#groupchat-field", RETRACT, RETRACT + "#tombstone",
              FULLTEXT}
    for to in (a.bare, mam.domain):
        have = features(a, to)
        assert wanted <= have
        assert MAM + "#groupchat-available" not in have


# ---- XEP-0431 -------------------------------------------------------------------------

def test_search(new):
    a, b, c = new(), new(), new()
    for body in ("Romeo loves Juliet", "Juliet dies", "nothing of that"):
        a.message(b.jid, body)
        b.until(lambda e: name(e) == "message")
    c.message(b.jid, "JULIET again")
    b.until(lambda e: name(e) == "message")
    assert query(b, form(words="juliet")).bodies == \
        ["Romeo loves Juliet", "Juliet dies", "JULIET again"]
    assert query(b, form(words="juliet romeo")).bodies == ["Romeo loves Juliet"]
    assert query(b, form(words="juliet", with_=c.bare)).bodies == ["JULIET again"]
    assert query(b, form(words="juliet") + rsm(1, before="")).bodies == ["JULIET again"]
    assert query(b, form(words="juliet") + rsm(0)).count == 3
    assert query(b, form(words="capulet")).bodies == []
    assert query(a, form(words="dies")).bodies == ["Juliet dies"]
    # Empty: no search. No word in it: it can't be answered.
    assert len(query(b, form(words="")).results) == 4
    refused(b, form(words="!!"), "bad-request")


# ---- XEP-0424 -------------------------------------------------------------------------

def retract(a, b, what, id_):
    a.send("<message type='chat' to='%s' id='%s'><retract id='%s' xmlns='%s'/>"
           "<fallback xmlns='urn:xmpp:fallback:0' for='%s'/>"
           "<body>/me retracted a previous message</body><store xmlns='urn:xmpp:hints'/>"
           "</message>" % (b.jid, id_, what, RETRACT, RETRACT))
    b.until(lambda e: name(e) == "message" and e.get("id") == id_)


@pytest.mark.parametrize("across", [False, True])
def test_retraction_leaves_a_tombstone(new, mam, across):
    """XEP-0424 5: in both archives, and the retraction stays."""
    a, b = new(), new(domain=mam.other if across else None)
    a.message(b.jid, "Have not saints lips", id_="wrong-1")
    a.message(b.jid, "other", id_="right-1")
    retract(a, b, "wrong-1", "retract-1")
    for c in (a, b):
        gone, other, retraction = query(c).results
        assert gone.body is None and other.body == "other"
        assert gone.message.get("id") == "wrong-1" and gone.message.get("from") == a.jid
        r = child(gone.message, "retracted", RETRACT)
        assert r.get("id") == "retract-1" and abs(mk_time(r.get("stamp")) - time.time()) < 600
        assert len(gone.message) == 1
        assert child(retraction.message, "retract", RETRACT).get("id") == "wrong-1"
        assert query(c, form(words="saints")).bodies == []


def test_retraction_by_others_does_nothing(new):
    """XEP-0424 6: only by who sent it."""
    a, b, c = new(), new(), new()
    a.message(b.jid, "mine", id_="m-1")
    b.until(lambda e: name(e) == "message")
    retract(b, a, "m-1", "r-1")
    retract(c, b, "m-1", "r-2")
    for x in (a, b):
        assert query(x).results[0].body == "mine"


def test_retraction_as_first_message_of_a_session(new, mam, connect):
    a, b = new(), new()
    a.message(b.jid, "oops", id_="o-1")
    b.until(lambda e: name(e) == "message")
    a.close()
    a = connect(a.account, server=mam, presence="")
    retract(a, b, "o-1", "r-1")
    assert query(a).results[0].body is None and query(b).results[0].body is None


# ---- XEP-0441 -------------------------------------------------------------------------

def prefs(c, default=None, always=(), never=()):
    """Asks, or sets; (default, always, never)."""
    if default is None:
        _, iq = ask(c, type_="get", tag="prefs")
    else:
        iq = c.iq("set", "<prefs xmlns='%s' default='%s'><always>%s</always><never>%s</never>"
                  "</prefs>" % (MAM, default, "".join("<jid>%s</jid>" % j for j in always),
                                "".join("<jid>%s</jid>" % j for j in never)))
    assert iq.get("type") == "result", to_str(iq)
    p = child(iq, "prefs", MAM)

    def jids(tag):
        return [text(j) for j in children(child(p, tag, MAM), "jid", MAM)]
    return p.get("default"), jids("always"), jids("never")


def test_preferences_are_kept(new, mam, connect):
    """2.1, its examples."""
    a = new()
    assert prefs(a) == ("always", [], [])
    wanted = ("roster", ["romeo@montague.lit"], ["montague@montague.lit"])
    assert prefs(a, *wanted) == wanted
    assert prefs(a) == wanted
    assert prefs(connect(a.account, server=mam)) == wanted
    # A missing list is an empty one.
    iq = a.iq("set", "<prefs xmlns='%s' default='never'/>" % MAM)
    assert iq.get("type") == "result" and prefs(a) == ("never", [], [])
    iq = a.iq("set", "<prefs xmlns='%s' default='sometimes'/>" % MAM)
    assert iq.get("type") == "error"
    iq = a.iq("set", "<prefs xmlns='%s' default='always'><never><jid>@</jid></never></prefs>" % MAM)
    assert child(child(iq, "error"), "jid-malformed", NS.STANZAS) is not None


def test_preferences_are_obeyed(new):
    """2.1, 2.3: each archive by its owner's."""
    me, x, y = new(), new(resource="r"), new()

    def round_(tag):
        for c in (x, y):
            me.message(c.jid, "%s to" % tag)
            c.message(me.jid, "%s from" % tag)
        mk.fence(me, x)
        mk.fence(me, y)

    def mine(c=me):
        return [(r.body, r.message.get("from") == c.jid) for r in query(c).results
                if r.body and not r.message.get("id", "").startswith("fence")]
    prefs(me, "never")
    round_("a")
    assert mine() == [] and len(mine(x)) == 2 and len(mine(y)) == 2
    prefs(me, "never", always=[x.bare])
    round_("b")
    assert sorted(mine()) == [("b from", False), ("b to", True)]
    prefs(me, "always", never=[y.bare, x.bare + "/other"])
    round_("c")
    assert sorted(mine())[2:] == [("c from", False), ("c to", True)]
    prefs(me, "always", never=[x.jid, y.bare])
    round_("d")
    assert len(mine()) == 4
    assert len(mine(x)) == 8


def test_preference_roster(new):
    me, x, y = new(), new(), new()
    prefs(me, "roster")
    me.iq("set", "<query xmlns='%s'><item jid='%s'/></query>" % (NS.ROSTER, x.bare))
    for c in (x, y):
        c.message(me.jid, "from")
        me.message(c.jid, "to")
        mk.fence(me, c)
    got = [r for r in query(me).results if not r.message.get("id", "").startswith("fence")]
    assert sorted(r.body for r in got) == ["from", "to"]
    assert {r.message.get("from") for r in got} == {x.jid, me.jid}


def test_preferences_of_who_is_away(new, mam, connect):
    a, b = new(), new()
    prefs(b, "never")
    account = b.account
    b.close()
    a.message(account.jid, "x")
    a.settle(account.jid)
    b = connect(account, server=mam)
    assert query(b).bodies == []
    prefs(b, "always")
    b.close()
    a.message(account.jid, "y")
    a.settle(account.jid)
    assert query(connect(account, server=mam)).bodies == ["y"]


def test_preferences_can_be_switched_off(make_server, connect):
    s = make_server({"host_types": {"people": {"plugins": {"mam": {"preferences": False}}}}})
    a = connect(s.account(), server=s)
    refused(a, "", "feature-not-implemented", type_="get", tag="prefs")
    refused(a, form(words="x"), "feature-not-implemented")
    assert FULLTEXT not in features(a, a.bare)


# ---- export, erase, retention ------------------------------------------------------------

def test_export_and_erase(new, mam):
    a, b = new(), new()
    a.message(b.jid, "for the export")
    b.message(a.jid, "and back")
    a.expect("message")
    assert len(query(a).results) == 2
    out = mam.ctl("storage", "export", a.account.jid).stdout
    assert "for the export" in out and "and back" in out
    mam.ctl("account", "unregister", a.account.jid)
    # The other's archive is the other's.
    assert sorted(query(b).bodies) == ["and back", "for the export"]
    mam.ctl("account", "unregister", b.account.jid)
    assert bodies_of(mam, "for the export") == 0


def bodies_of(server, word):
    import sqlite3
    if server.config["storage"]["default"] != "sqlite":
        pytest.skip("looks into the SQLite file")
    db = sqlite3.connect(server.path("data", "meerkat.db"))
    try:
        return sum(db.execute("SELECT COUNT(*) FROM %s WHERE stanza LIKE ?" % t,
                              ("%%%s%%" % word,)).fetchone()[0]
                   for t in ("archive_box",))
    finally:
        db.close()


def test_stanza_is_stored_once(new, mam):
    a, b = new(), new()
    a.message(b.jid, "only one of me")
    b.until(lambda e: name(e) == "message")
    assert query(a).bodies == query(b).bodies == ["only one of me"]
    assert bodies_of(mam, "only one of me") == 1


def until(what, seconds=60):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_quota(make_server, connect):
    s = make_server({"host_types": {"people": {"plugins": {"mam": {"quota_messages": 5}}}}})
    a, b = (connect(s.account(), server=s, presence="") for _ in range(2))
    talk(a, b, 12)
    until(lambda: len(query(a).results) == 5)
    until(lambda: len(query(b).results) == 5)
    assert query(b).bodies == ["n%d" % k for k in range(7, 12)]
    if s.config["storage"]["default"] == "sqlite":
        assert bodies_of(s, "<body>n") == 5


def test_quota_of_one_takes_nothing_from_others(make_server, connect):
    """A message is stored with its sender: the recipient's row takes it over."""
    s = make_server({"host_types": {"people": {"plugins": {"mam": {"quota_messages": 5}}}}})
    a, *others = (connect(s.account(), server=s, presence="") for _ in range(5))
    for k, b in enumerate(others):
        talk(a, b, 3, "b%d-" % k)
    until(lambda: len(query(a).results) == 5)
    assert query(a).bodies == ["b2-1", "b2-2", "b3-0", "b3-1", "b3-2"]
    for k, b in enumerate(others):
        assert query(b).bodies == ["b%d-%d" % (k, n) for n in range(3)]
        assert query(b, form(with_=a.bare) + rsm(2, before="")).bodies == \
            ["b%d-%d" % (k, n) for n in (1, 2)]
    if s.config["storage"]["default"] == "sqlite":
        assert bodies_of(s, "<body>b") == 12


def test_survives_a_restart(make_server, connect):
    s = make_server({"host_types": {"people": {"plugins": {"mam": {}}}}})
    if s.config["storage"]["default"] == "memory":
        pytest.skip("memory is not durable")
    a, b = (connect(s.account(), server=s, presence="") for _ in range(2))
    ids = talk(a, b, 30)
    s.restart()
    b = connect(b.account, server=s)
    assert query(b).ids == ids


@pytest.mark.parametrize("online", [True, False])
def test_commit_is_acknowledged_when_the_database_has_it(make_server, connect, online):
    """Durability 'commit' (reliability 4.3): at the moment of <a/> both archives are in the
    file, however long rows may wait for company."""
    import sqlite3
    from mk.sm import SmClient
    s = make_server({"storage": {"append_wait": "1s"}, "host_types": {"people": {
        "durability": "commit", "plugins": {"mam": {}}}}})
    if s.config["storage"]["default"] != "sqlite":
        pytest.skip("looks into the SQLite file")
    b = s.account()
    if online:
        connect(b, server=s, presence="")
    a = SmClient(s, s.account())
    a.login()
    a.enable()
    db = sqlite3.connect(s.path("data", "meerkat.db"))
    for k in range(1, 6):
        for x in range(3):
            a.message(b.jid, "x", id_="c%d" % k)
        a.h(at_least=3 * k)
        n = db.execute("SELECT COUNT(*) FROM archive_box").fetchone()[0]
        assert n == 6 * k, "h=%d, but %d rows" % (3 * k, n)
    db.close()
    a.kill()
