"""Examples of what belongs to rooms besides XEP-0045, as they are written: XEP-0249, 0317, 0410,
0421, 0424, 0425, 0463, 0486, 0500, 0502."""

import base64
import hashlib

import pytest

from mk import NS, child, children, name, text, to_str
from mk.muc import codes, error, messages, nick, Stage
from mk.play import Play

COMMANDS = "http://jabber.org/protocol/commands"
INFO = NS.DISCO_INFO
MODERATE = "urn:xmpp:message-moderate:1"
RETRACT = "urn:xmpp:message-retract:1"
STANZAS = NS.STANZAS
SVG = ("PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciIHdpZHRoPSIzMiIgaGVpZ2h0PSIzMiI+CiA8cm"
       "VjdCB4PSIwIiB5PSIwIiB3aWR0aD0iMzIiIGhlaWdodD0iMzIiIGZpbGw9InJlZCIvPgo8L3N2Zz4K")


@pytest.fixture
def play(muc):
    return Play(muc, owner="owner", romeo="romeo", juliet="juliet")


@pytest.fixture
def kept(make_server, connect):
    """With archives."""
    server = make_server({"host_types": {"people": {"plugins": {"mam": {}}}}})
    return Play(Stage(server, server.account, connect), owner="owner", romeo="romeo",
                juliet="juliet")


def info(play, who, more, to="coven"):
    play.send(who, "<iq type='get' id='p87Ne' to='{%s}'><query xmlns='%s'/></iq>" % (to, INFO))
    return play.gets(who, "<iq type='result' id='p87Ne' from='{%s}' to='{%s}'><query xmlns='%s'>%s"
                     "</query></iq>" % (to, who, INFO, more))


def roominfo(field):
    return ("<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>"
            "http://jabber.org/protocol/muc#roominfo</value></field>%s</x>" % field)


# ---- XEP-0249 ----------------------------------------------------------------------------------

@pytest.mark.parametrize("more", ["", " continue='true' thread='e0ffe42b28561960c6b12b944a092794b9"
                                  "683a38'"])
def test_direct_invitations(play, more):
    """Examples 1, 2."""
    x = ("<x xmlns='jabber:x:conference' jid='{coven}' password='cauldronburn' reason='Hey Hecate, "
         "this is the place for all good witches!'%s/>" % more)
    play.send("romeo", "<message to='{juliet}'>%s</message>" % x)
    play.gets("juliet", "<message from='{romeo}' to='{juliet}'>%s</message>" % x)


# ---- XEP-0317 ----------------------------------------------------------------------------------

def command(play, who, node, form="", type_="result", answer="", id_="gd53a2b6", extra=""):
    play.send(who, "<iq id='%s' to='{coven}' type='set'><command xmlns='%s' "
              "node='urn:xmpp:hats:commands:%s'%s>%s</command></iq>" % (
                  id_, COMMANDS, node, extra, form))
    return play.gets(who, "<iq from='{coven}' id='%s' to='{%s}' type='result'><command xmlns='%s' "
                     "node='urn:xmpp:hats:commands:%s' sessionid='*'%s</command></iq>" % (
                         id_, who, COMMANDS, node, answer))


def form(**values):
    return ("<x xmlns='jabber:x:data' type='submit'><field type='hidden' var='FORM_TYPE'><value>"
            "urn:xmpp:hats:commands</value></field>%s</x>" % "".join(
                "<field var='hats#%s'><value>%s</value></field>" % kv for kv in values.items()))


ASSISTANT = "http://tech.example.edu/hats#TeacherAssistant"
COMPLETED = " status='completed'>"


def test_hats(play):
    """Examples 1 to 22."""
    play.cast("coven", "romeo", "juliet", whois="anyone")
    asks = (" status='executing'><x xmlns='jabber:x:data' type='form'><title/><instructions/><field "
            "type='hidden' var='FORM_TYPE'><value>urn:xmpp:hats:commands</value></field>%s</x>")
    uri = "<field var='hats#uri' type='%s' label='*'><required/></field>"
    command(play, "owner", "create", answer=asks % (
        "<field var='hats#title' type='text-single' label='*'><required/></field>"
        + uri % "text-single" + "<field var='hats#hue' type='text-single' label='*'/>"),
        extra=" action='execute'")
    command(play, "owner", "create", form(title="Assistant", uri=ASSISTANT, hue="327.255249"),
            answer=COMPLETED)
    play.all_get("<message type='groupchat' from='{coven}'><x xmlns='http://jabber.org/protocol/"
                 "muc#user'><status code='104'/></x></message>", "romeo", "juliet")
    info(play, "romeo", "<feature var='urn:xmpp:hats:0'/>" + roominfo(
        "<field var='hats#hash' type='text-single' label='*'/>"))
    item = ("<x xmlns='jabber:x:data' type='result'><reported/><item>%s<field var='hats#title'>"
            "<value>Assistant</value></field><field var='hats#uri'><value>" + ASSISTANT +
            "</value></field><field var='hats#hue'><value>327.255249</value></field></item></x>")
    command(play, "romeo", "list", answer=COMPLETED + item % "")
    command(play, "owner", "assign", answer=asks % (
        "<field var='hats#jid' type='jid-single' label='*'><required/></field>"
        + uri % "list-single"))
    command(play, "owner", "assign", form(jid=play["romeo"].bare, uri=ASSISTANT), answer=COMPLETED)
    hat = "<hats xmlns='urn:xmpp:hats:0'%s><hat title='Assistant' uri='%s' hue='327.255249'/></hats>"
    play.all_get("<presence from='{coven}/romeo'>%s</presence>" % (hat % ("", ASSISTANT)),
                 "owner", "juliet", "romeo")
    command(play, "owner", "list-assigned", answer=COMPLETED + item % (
        "<field var='hats#jid'><value>{romeo.bare}</value></field>"))
    command(play, "owner", "unassign", form(jid=play["romeo"].bare, uri=ASSISTANT),
            answer=COMPLETED)
    play.all_get("<presence from='{coven}/romeo'>%s</presence>" % (hat % (" absent=''", ASSISTANT)),
                 "owner", "juliet")
    command(play, "owner", "destroy", answer=asks % (uri % "list-single"))
    command(play, "owner", "destroy", form(uri=ASSISTANT), answer=COMPLETED)


# ---- XEP-0410, XEP-0421 ------------------------------------------------------------------------

def test_self_ping(play):
    """Examples 1, 2, 4; 3 is what servers do that don't answer themselves."""
    play.cast("coven", "juliet")
    ping = "<iq id='s2c1' type='get' to='{coven}/juliet'><ping xmlns='urn:xmpp:ping'/></iq>"
    play.send("juliet", ping)
    play.gets("juliet", "<iq from='{coven}/juliet' id='s2c1' type='result' to='{juliet}'/>")
    play.send("romeo", ping)
    play.gets("romeo", "<iq from='{coven}/juliet' id='s2c1' type='error' to='{romeo}'><error "
              "type='cancel' by='{coven}'><not-acceptable xmlns='%s'/></error></iq>" % STANZAS)
    info(play, "romeo", "<feature var='http://jabber.org/protocol/muc#self-ping-optimization'/>")


def test_occupant_ids(play):
    """Examples 1 to 6; what a client says of its own is replaced."""
    play.cast("coven", "romeo")
    info(play, "juliet", "<feature var='urn:xmpp:occupant-id:0'/>")
    oid = "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='%s'/>"
    play.send("juliet", "<presence to='{coven}/juliet'><x xmlns='http://jabber.org/protocol/muc'/>"
              "%s</presence>" % (oid % "forged"))
    p = play.gets("romeo", "<presence from='{coven}/juliet' to='{romeo}'>%s</presence>" % (oid % "*"))
    mine = child(p, "occupant-id").get("id")
    assert mine != "forged"
    play.send("juliet", "<message type='groupchat' to='{coven}' id='m1'><body>hello</body>%s"
              "</message>" % (oid % "forged"))
    play.all_get("<message type='groupchat' from='{coven}/juliet' id='m1'>%s</message>" % (oid % mine),
                 "romeo", "owner")


# ---- XEP-0424, XEP-0425 ------------------------------------------------------------------------

def said(play, who, body, *others):
    play.send(who, "<message type='groupchat' to='{coven}' id='inappropriate-1'><body>%s</body>"
              "</message>" % body)
    for o in (who,) + others:
        m = play.gets(o, "<message type='groupchat' from='{coven}/%s' id='inappropriate-1'><body>%s"
                      "</body><stanza-id xmlns='urn:xmpp:sid:0' id='*' by='{coven}'/></message>" % (
                          who, body))
    return child(m, "stanza-id", NS.SID).get("id")


def archived(play, who, id_, message):
    play.send(who, "<iq type='set' id='mam1' to='{coven}'><query xmlns='urn:xmpp:mam:2' "
              "queryid='f28'/></iq>")
    found = []
    while True:
        el = play[who].recv()
        if name(el) == "iq" and el.get("id") == "mam1":
            break
        r = child(el, "result", "urn:xmpp:mam:2")
        if r is not None and r.get("id") == id_:
            found.append(child(child(r, "forwarded"), "message"))
    from mk.play import differs, parse
    assert len(found) == 1
    why = differs(found[0], parse(play.xml(message)))
    assert why is None, why + "\nin: " + to_str(found[0])


def test_moderation(kept):
    """XEP-0425, examples 1 to 8."""
    play = kept
    play.cast("coven", "romeo", "juliet", persistentroom=1, enablelogging=1)
    info(play, "romeo", "<feature var='%s'/>" % MODERATE)
    id_ = said(play, "romeo", "DM me for free magic potions!", "owner", "juliet")
    request = ("<iq type='set' to='{coven}' id='retract-request-1'><moderate id='%s' xmlns='%s'>"
               "<retract xmlns='%s'/><reason>This message contains inappropriate content for this "
               "forum</reason></moderate></iq>" % (id_, MODERATE, RETRACT))
    play.send("juliet", request)
    play.gets("juliet", "<iq type='error' id='retract-request-1' from='{coven}'><error><forbidden "
              "xmlns='%s'/><text xmlns='%s'>Only moderators are allowed to moderate other "
              "participants' messages</text></error></iq>" % (STANZAS, STANZAS))
    play.send("owner", request)
    by = ("<moderated by='{coven}/owner' xmlns='%s'><occupant-id xmlns='urn:xmpp:occupant-id:0' "
          "id='*'/></moderated><reason>This message contains inappropriate content for this forum"
          "</reason>" % MODERATE)
    play.all_get("<message type='groupchat' id='*' from='{coven}' to='*'><retract id='%s' "
                 "xmlns='%s'>%s</retract></message>" % (id_, RETRACT, by), "owner", "romeo", "juliet")
    play.gets("owner", "<iq type='result' to='{owner}' id='retract-request-1' from='{coven}'/>")
    archived(play, "juliet", id_, "<message type='groupchat' from='{coven}/romeo' "
             "id='inappropriate-1'><occupant-id xmlns='urn:xmpp:occupant-id:0' id='*'/><retracted "
             "stamp='*' xmlns='%s'>%s</retracted><body absent=''/></message>" % (RETRACT, by))


def test_retraction(kept):
    """XEP-0424, examples 3, 4, 7, in a room: by the id that the room has given."""
    play = kept
    room = play.cast("coven", "romeo", "juliet", persistentroom=1, enablelogging=1)
    info(play, "romeo", "<feature var='%s'/><feature var='%s#tombstone'/>" % (RETRACT, RETRACT))
    id_ = said(play, "romeo", "Have not saints lips, and holy palmers too?", "juliet")
    content = ("<retract id='%s' xmlns='%s'/><fallback xmlns='urn:xmpp:fallback:0' for='%s'/><body>"
               "/me retracted a previous message, but it's unsupported by your client.</body><store "
               "xmlns='urn:xmpp:hints'/>" % (id_, RETRACT, RETRACT))
    play.send("romeo", "<message type='groupchat' to='{coven}' id='retract-message-1'>%s</message>"
              % content)
    play.gets("juliet", "<message type='groupchat' from='{coven}/romeo' id='retract-message-1'>%s"
              "</message>" % content)
    room.settled(play["romeo"], play["juliet"])


# ---- XEP-0463 ----------------------------------------------------------------------------------

MAV = "<mav xmlns='urn:xmpp:muc:affiliations:1'%s/>"
USER = "http://jabber.org/protocol/muc#user"


def test_versions_of_affiliations(play):
    """Examples 1 to 4, 6, 7."""
    room = play.cast("coven", whois="anyone")
    owner, romeo = play["owner"], play["romeo"]
    room.set(owner, affiliation="member", jid=romeo.bare)
    play.settled()
    join = ("<presence to='{coven}/romeo'><x xmlns='http://jabber.org/protocol/muc'>" + MAV +
            "</x></presence>")
    full = ("<message from='{coven}' to='{romeo}'><x xmlns='%s'>%s<item jid='{owner.bare}' "
            "affiliation='owner'/><item jid='{romeo.bare}' affiliation='member'/></x></message>" % (
                USER, MAV % " until='*'"))
    for since in ("", " since='9pacabr2q1'"):
        play.send("romeo", join % since)
        m = play.gets("romeo", full)
        until = child(child(m, "x"), "mav").get("until")
        assert child(child(m, "x"), "mav").get("since") is None
        play.gets("romeo", "<presence from='{coven}/owner'/>")
        play.gets("romeo", "<presence from='{coven}/romeo' to='{romeo}'><x xmlns='%s'>%s<item "
                  "affiliation='member' role='participant'/><status code='110'/></x></presence>" % (
                      USER, MAV % (" until='%s'" % until)))
        room.leave(romeo)
    room.set(owner, affiliation="admin", jid="vladimir@commons.example")
    room.settled(owner)
    play.send("romeo", join % (" since='%s'" % until))
    m = play.gets("romeo", "<message from='{coven}' to='{romeo}'><x xmlns='%s'>%s<item "
                  "jid='vladimir@commons.example' affiliation='admin'/></x></message>" % (
                      USER, MAV % (" since='%s' until='*'" % until)))
    assert len(child(m, "x")) == 2
    until = child(child(m, "x"), "mav").get("until")
    room.settled(romeo, owner)
    room.set(owner, affiliation="none", jid="vladimir@commons.example")
    play.gets("romeo", "<message from='{coven}' to='{romeo}'><x xmlns='%s'>%s<item "
              "jid='vladimir@commons.example' affiliation='none' role='none'/></x></message>" % (
                  USER, MAV % (" since='%s' until='*'" % until)))


def test_who_may_not_see_affiliations(play):
    """Example 8."""
    play.cast("coven", whois="moderators")
    play.send("juliet", "<presence id='foo' to='{coven}/juliet'><x xmlns='http://jabber.org/protocol/"
              "muc'>%s</x></presence>" % (MAV % ""))
    play.gets("juliet", "<message from='{coven}' to='{juliet}' id='foo' type='error'><error "
              "by='{coven}' type='auth'><forbidden xmlns='%s'/></error></message>" % STANZAS)
    play.gets("juliet", "<presence from='{coven}/owner'/>", "<presence from='{coven}/juliet'/>")


# ---- XEP-0486 ----------------------------------------------------------------------------------

def test_avatars(play):
    """Examples 1 to 4, 6 to 14; 15 is of what rooms do that have no hash in disco."""
    play.cast("coven", "juliet")
    info(play, "romeo", "<feature var='vcard-temp'/>", to="service")
    info(play, "romeo", "<feature var='vcard-temp'/>")
    photo = "<PHOTO><TYPE>%s</TYPE><BINVAL>%s</BINVAL></PHOTO>"
    png = base64.b64encode(b"\x89PNG\r\n").decode()
    both = photo % ("image/svg+xml", SVG) + photo % ("image/png", png)
    one = "<value>%s</value>" % hashlib.sha1(base64.b64decode(SVG)).hexdigest()
    two = one + "<value>%s</value>" % hashlib.sha1(base64.b64decode(png)).hexdigest()
    assert "a31c4bd04de69663cfd7f424a8453f4674da37ff" in one       # as the examples have it
    for photos, hashes in ((photo % ("image/svg+xml", SVG), one), (both, two), ("", None)):
        vcard = "<vCard xmlns='vcard-temp'>%s</vCard>" % photos
        play.send("juliet", "<iq type='set' id='7fP13' to='{coven}'>%s</iq>" % vcard)
        play.gets("juliet", "<iq type='error' id='7fP13' from='{coven}'><error type='auth'><forbidden "
                  "xmlns='%s'/><text xmlns='%s'>Only owners are allowed to set avatars.</text></error>"
                  "</iq>" % (STANZAS, STANZAS))
        play.send("owner", "<iq type='set' id='7fP13' to='{coven}'>%s</iq>" % vcard)
        play.gets("owner", "<iq type='result' id='7fP13' to='{owner}' from='{coven}'/>")
        play.all_get("<message type='groupchat' from='{coven}'><x xmlns='%s'><status code='104'/></x>"
                     "</message>" % USER, "juliet", "owner")
        info(play, "juliet", roominfo("<field var='muc#roominfo_avatarhash' type='text-multi'%s</field>"
             % (" label='*'>" + hashes if hashes else " absent=''>")))
        play.send("romeo", "<iq type='get' id='uD10h' to='{coven}'><vCard xmlns='vcard-temp'/></iq>")
        play.gets("romeo", "<iq type='result' id='uD10h' to='{romeo}' from='{coven}'>%s</iq>" % vcard)


# ---- XEP-0500, XEP-0502 ------------------------------------------------------------------------

def test_slow_mode(play):
    """Examples 1 to 3."""
    room = play.cast("coven", "romeo", slow_mode_duration=20)
    play.send("owner", "<iq id='config1' to='{coven}' type='get'><query "
              "xmlns='http://jabber.org/protocol/muc#owner'/></iq>")
    play.gets("owner", """<iq from='{coven}' id='config1' to='{owner}' type='result'>
        <query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='form'>
          <field var='muc#roomconfig_slow_mode_duration' type='text-single' label='Slow Mode'><desc/>
            <validate xmlns='http://jabber.org/protocol/xdata-validate' datatype='xs:integer'>
              <range min='0'/></validate>
            <value>20</value></field></x></query></iq>""")
    info(play, "romeo", roominfo("<field var='muc#roominfo_slow_mode_duration'><value>20</value>"
                                 "</field>"))
    room.configure(play["owner"], slow_mode_duration=3600)
    room.settled(play["romeo"])
    room.say(play["romeo"], "one")
    play.send("romeo", "<message type='groupchat' to='{coven}' id='528df978'><body>two</body>"
              "</message>")
    m = play["romeo"].until(lambda e: e.get("type") == "error")
    assert m.get("id") == "528df978" and m.get("from") == room.jid
    assert error(m) == ("wait", "policy-violation")
    assert text(child(m, "error"), "text", STANZAS) == (
        "You have exceeded the limit imposed by the slow mode in this room. You have to wait 3600 "
        "seconds between messages. Please try again later.")


def test_activity_is_told_by_rooms_that_know_it(play):
    """XEP-0502 3, 7: a number with two digits, of public rooms that last only; one that has not
    been watched for an hour yet knows none."""
    room = play.cast("coven", "romeo", persistentroom=1, publicroom=1)
    room.say(play["romeo"], "hello")
    room.settled(play["romeo"])
    a = info(play, "juliet", "")
    found = [f for x in children(a[0], "x") for f in x
             if f.get("var") == "{urn:xmpp:muc-activity}message-activity"]
    for f in found:
        assert f.get("label") == "Messages per hour"
        assert float(text(f, "value")) >= 0 and "." in text(f, "value")
    room.configure(play["owner"], membersonly=1)
    a = info(play, "juliet", "")
    assert "muc-activity" not in to_str(a)
    assert nick(a) == "" and messages([a]) == [] and codes(a) == set()
