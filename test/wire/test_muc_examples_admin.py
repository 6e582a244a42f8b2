"""Examples 84 to 151 of XEP-0045 (1.35.3), sections 8 and 9, as they are written: moderators
and admins."""

import pytest

from mk import name, text, to_str
from mk.muc import error, is_subject, messages, nick, presences, status, submit, MUC
from mk.play import Play

ADMIN = "http://jabber.org/protocol/muc#admin"
USER = "http://jabber.org/protocol/muc#user"
STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"


@pytest.fixture
def play(muc):
    return Play(muc, owner="firstwitch", wiccarocks="secondwitch", hag66="thirdwitch",
                hecate="hecate")


def ask(play, who, type_, items, id_="a1"):
    play.send(who, "<iq id='%s' to='{coven}' type='%s'><query xmlns='%s'>%s</query></iq>" % (
        id_, type_, ADMIN, items))


def success(play, who, id_="a1"):
    a = play.gets(who, "<iq from='{coven}' id='%s' to='{%s}' type='result'/>" % (id_, who))
    assert len(a) == 0


def listed(play, who, items, id_="a1"):
    a = play.gets(who, "<iq from='{coven}' id='%s' to='{%s}' type='result'><query xmlns='%s'>%s"
                  "</query></iq>" % (id_, who, ADMIN, items))
    assert len(a[0]) == items.count("<item"), to_str(a)


def denied(play, who, type_, condition, id_="a1"):
    play.gets(who, "<iq from='{coven}' id='%s' to='{%s}' type='error'><error type='%s'><%s "
              "xmlns='%s'/></error></iq>" % (id_, who, type_, condition, STANZAS))


def shown(play, whom, item, *to, extra="", type_=""):
    """Presence of whom reaches them."""
    for who in to:
        own = "<status code='110'%s/>" % ("" if play[who].nick == whom else " absent=''")
        play.gets(who, "<presence from='{coven}/%s' to='{%s}'%s><x xmlns='%s'>%s%s%s</x>"
                  "</presence>" % (whom, who, type_, USER, item, extra, own))


def up_and_down(play, up, down, id_, jid=""):
    """The third witch gets a role and loses it, without reasons and with them."""
    for role, words in ((up, None), (down, None), (up, "A worthy witch indeed!"),
                        (down, "Not so worthy after all!")):
        why = "" if words is None else "<reason>%s</reason>" % words
        ask(play, "owner", "set", "<item nick='thirdwitch' role='%s'>%s</item>" % (role, why), id_)
        success(play, "owner", id_)
        shown(play, "thirdwitch", "<item affiliation='none'%s role='%s'>%s</item>" % (
            jid, role, why), "owner", "wiccarocks", "hag66")


GONE = " type='unavailable'"


# ---- 8.1 ---------------------------------------------------------------------------------------

def test_the_subject(play):
    """8.1, examples 84 to 88."""
    play.cast("coven", "wiccarocks", "hag66")
    play.send("owner", "<message id='lh2bs617' to='{coven}' type='groupchat'><subject>Fire Burn and "
              "Cauldron Bubble!</subject></message>")
    play.all_get("<message from='{coven}/firstwitch' id='lh2bs617' to='*' type='groupchat'><subject>"
                 "Fire Burn and Cauldron Bubble!</subject></message>", "owner", "wiccarocks", "hag66")
    play.send("hag66", "<message id='lh2bs617' to='{coven}' type='groupchat'><subject>Mine"
              "</subject></message>")
    play.gets("hag66", "<message from='{coven}' id='lh2bs617' to='{hag66}' type='error'><error "
              "by='{coven}' type='auth'><forbidden xmlns='%s'/></error></message>" % STANZAS)
    play.send("owner", "<message id='uj3bs61g' to='{coven}' type='groupchat'><subject></subject>"
              "</message>")
    m = play["wiccarocks"].until(lambda e: name(e) == "message")
    assert is_subject(m) and text(m, "subject") == "" and m.get("id") == "uj3bs61g"


# ---- 8.2 ---------------------------------------------------------------------------------------

def test_a_kick(play):
    """8.2, examples 89 to 92."""
    play.cast("coven", "wiccarocks", "hag66")
    ask(play, "owner", "set", "<item nick='thirdwitch' role='none'><reason>Avaunt, you cullion!"
        "</reason></item>", "kick1")
    success(play, "owner", "kick1")
    item = ("<item affiliation='none' role='none'><actor nick='firstwitch'/><reason>Avaunt, you "
            "cullion!</reason></item>")
    shown(play, "thirdwitch", item, "hag66", "owner", "wiccarocks",
          extra="<status code='307'/>", type_=GONE)


def test_a_kick_of_somebody_above(play):
    """8.2, example 93."""
    room = play.cast("coven", "hag66", "wiccarocks")
    room.set(play["owner"], affiliation="member", jid=play["hag66"].bare)
    room.set(play["owner"], nick="thirdwitch", role="moderator")
    room.set(play["owner"], affiliation="admin", jid=play["wiccarocks"].bare)
    for nick_ in ("firstwitch", "secondwitch"):
        ask(play, "hag66", "set", "<item nick='%s' role='none'/>" % nick_, "kicktest")
        denied(play, "hag66", "cancel", "not-allowed", "kicktest")


# ---- 8.3, 8.4 ----------------------------------------------------------------------------------

def test_voice(play):
    """8.3, 8.4, examples 94 to 101."""
    play.cast("coven", "wiccarocks", "hag66", moderatedroom=1)
    up_and_down(play, "participant", "visitor", "voice1")


def test_voice_of_somebody_above(play):
    """8.4, example 102: admins and owners keep theirs, whoever asks."""
    room = play.cast("coven", "wiccarocks", "hag66", moderatedroom=1)
    room.set(play["owner"], affiliation="admin", jid=play["wiccarocks"].bare)
    room.set(play["owner"], nick="thirdwitch", role="moderator")
    for who, whom in (("hag66", "secondwitch"), ("wiccarocks", "firstwitch"),
                      ("owner", "secondwitch")):
        ask(play, who, "set", "<item nick='%s' role='visitor'/>" % whom, "voicetest")
        denied(play, who, "cancel", "not-allowed", "voicetest")


def test_the_voice_list(play):
    """8.5, examples 103 to 107."""
    room = play.cast("coven", "wiccarocks", "hag66", "hecate", moderatedroom=1)
    room.set(play["owner"], affiliation="member", jid=play["hecate"].bare)
    play.settled()
    ask(play, "owner", "get", "<item role='participant'/>", "voice3")
    listed(play, "owner", "<item affiliation='member' jid='{hecate}' nick='hecate' "
           "role='participant'/>", "voice3")
    ask(play, "owner", "set", "<item nick='hecate' role='visitor'/><item nick='secondwitch' "
        "role='participant'><reason>A worthy fellow.</reason></item><item nick='thirdwitch' "
        "role='participant'><reason>A worthy fellow.</reason></item>", "voice4")
    success(play, "owner", "voice4")
    shown(play, "hecate", "<item affiliation='member' role='visitor'/>", "hag66", "owner")
    for whom in ("secondwitch", "thirdwitch"):
        shown(play, whom, "<item affiliation='none' role='participant'><reason>A worthy fellow."
              "</reason></item>", "hag66", "owner")
    ask(play, "owner", "set", "<item nick='secondwitch' role='visitor'/><item nick='firstwitch' "
        "role='visitor'/>", "voicetest")
    denied(play, "owner", "cancel", "not-allowed", "voicetest")


# ---- 9.1, 9.2 ----------------------------------------------------------------------------------

def test_a_ban(play):
    """9.1, examples 110 to 115."""
    room = play.cast("coven", "wiccarocks", "hag66", whois="anyone")
    room.set(play["owner"], affiliation="admin", jid=play["wiccarocks"].bare)
    play.settled()
    ask(play, "wiccarocks", "set", "<item affiliation='outcast' jid='{hag66.bare}'><reason>Treason"
        "</reason></item>", "ban1")
    success(play, "wiccarocks", "ban1")
    shown(play, "thirdwitch", "<item affiliation='outcast' role='none' jid='{hag66}'><actor "
          "nick='secondwitch'/><reason>Treason</reason></item>", "hag66", "owner", "wiccarocks",
          extra="<status code='301'/>", type_=GONE)
    ask(play, "wiccarocks", "set", "<item affiliation='outcast' jid='{owner.bare}'/>", "ban2")
    denied(play, "wiccarocks", "cancel", "not-allowed", "ban2")
    ask(play, "wiccarocks", "set", "<item affiliation='outcast' jid='{wiccarocks.bare}'/>", "ban3")
    denied(play, "wiccarocks", "cancel", "conflict", "ban3")


def test_a_ban_without_a_reason(play):
    """9.1, example 110."""
    play.cast("coven", "hag66")
    ask(play, "owner", "set", "<item affiliation='outcast' jid='{hag66.bare}'/>", "ban1")
    success(play, "owner", "ban1")
    shown(play, "thirdwitch", "<item affiliation='outcast' role='none'><reason absent=''/></item>",
          "hag66", extra="<status code='301'/>", type_=GONE)


def test_the_ban_list(play):
    """9.2, examples 116 to 119: no nick, no role (SHOULD NOT)."""
    play.cast("coven")
    ask(play, "owner", "set", "<item affiliation='outcast' jid='lordscroop@england.lit'><reason>"
        "Treason</reason></item><item affiliation='outcast' jid='sirthomasgrey@england.lit'><reason>"
        "Treason</reason></item>", "ban3")
    success(play, "owner", "ban3")
    ask(play, "owner", "get", "<item affiliation='outcast'/>", "ban2")
    items = ("<item affiliation='outcast' jid='%s@england.lit'><reason>Treason</reason></item>")
    listed(play, "owner", items % "lordscroop" + items % "sirthomasgrey", "ban2")
    ask(play, "owner", "set", "<item affiliation='none' jid='lordscroop@england.lit'/>", "ban4")
    success(play, "owner", "ban4")
    ask(play, "owner", "get", "<item affiliation='outcast'/>", "ban5")
    listed(play, "owner", items % "sirthomasgrey", "ban5")


# ---- 9.3 to 9.5 --------------------------------------------------------------------------------

def test_membership(play):
    """9.3, 9.4, examples 120 to 127."""
    play.cast("coven", "wiccarocks", "hag66", whois="anyone")
    for affiliation, more in (("member", " nick='thirdwitch'"), ("none", ""), ("member", ""),
                              ("none", "")):
        why = "<reason>A worthy witch indeed!</reason>" if not more else ""
        ask(play, "owner", "set", "<item affiliation='%s' jid='{hag66.bare}'%s>%s</item>" % (
            affiliation, more, why), "member1")
        success(play, "owner", "member1")
        shown(play, "thirdwitch", "<item affiliation='%s' jid='{hag66}' role='participant'>%s"
              "</item>" % (affiliation, why), "owner", "wiccarocks", "hag66")


def test_a_member_of_a_members_only_room_is_one_no_more(play):
    """9.4, example 128: one presence, with 321."""
    room = play.cast("coven", membersonly=1)
    for who in ("wiccarocks", "hag66"):
        room.set(play["owner"], affiliation="member", jid=play[who].bare)
        room.join(play[who])
    play.settled()
    ask(play, "owner", "set", "<item affiliation='none' jid='{hag66.bare}'/>", "member2")
    success(play, "owner", "member2")
    shown(play, "thirdwitch", "<item affiliation='none' role='none'><actor nick='firstwitch'/>"
          "</item>", "owner", "wiccarocks", "hag66", extra="<status code='321'/>", type_=GONE)
    for got in play.settled().values():
        assert presences(got) == []


def test_the_member_list(play):
    """9.5, examples 129 to 133, 136."""
    room = play.cast("coven", "wiccarocks", "hag66", whois="anyone")
    room.set(play["owner"], affiliation="member", jid=play["hag66"].bare, nick="thirdwitch")
    play.settled()
    ask(play, "owner", "get", "<item affiliation='member'/>", "member3")
    listed(play, "owner", "<item affiliation='member' jid='{hag66.bare}' nick='thirdwitch'/>",
           "member3")
    ask(play, "owner", "set", "<item affiliation='none' jid='{hag66.bare}'/><item "
        "affiliation='member' jid='{wiccarocks.bare}'/>", "member4")
    success(play, "owner", "member4")
    shown(play, "thirdwitch", "<item affiliation='none' jid='{hag66}' role='participant'/>",
          "owner", "hag66")
    shown(play, "secondwitch", "<item affiliation='member' jid='{wiccarocks}' role='participant'/>",
          "owner", "hag66")
    # Of a nickname, "" takes it back.
    ask(play, "owner", "set", "<item affiliation='member' jid='{wiccarocks.bare}' nick='weird'/>")
    success(play, "owner")
    ask(play, "owner", "set", "<item affiliation='member' jid='{wiccarocks.bare}' nick=''/>")
    success(play, "owner")
    ask(play, "owner", "get", "<item affiliation='member'/>")
    (i,) = play.gets("owner", "<iq from='{coven}' id='a1' type='result'/>")[0]
    assert i.get("nick") is None and i.get("role") is None


def test_the_member_list_of_a_non_anonymous_room_is_the_members(play):
    """9.5: any member may get it, inside or not (SHOULD)."""
    room = play.cast("coven", membersonly=1, whois="anyone")
    for who in ("wiccarocks", "hag66"):
        room.set(play["owner"], affiliation="member", jid=play[who].bare)
    room.join(play["hag66"])
    for who in ("hag66", "wiccarocks"):
        ask(play, who, "get", "<item affiliation='member'/>", "m5")
        listed(play, who, "<item affiliation='member' jid='{hag66.bare}'/><item "
               "affiliation='member' jid='{wiccarocks.bare}'/>", "m5")
    ask(play, "hecate", "get", "<item affiliation='member'/>", "m6")
    denied(play, "hecate", "auth", "forbidden", "m6")


def test_new_members_are_invited(play):
    """9.5, example 134."""
    play.cast("coven", membersonly=1, passwordprotectedroom=1, roomsecret="cauldronburn")
    ask(play, "owner", "set", "<item affiliation='member' jid='{hecate.bare}'/>", "member5")
    success(play, "owner", "member5")
    play.gets("hecate", "<message from='{coven}' id='*' to='*'><x xmlns='%s'><invite from='*'/>"
              "<password>cauldronburn</password></x></message>" % USER)


def test_members_may_not_invite(play):
    """9.5, example 135."""
    room = play.cast("coven", membersonly=1, allowinvites=0)
    room.set(play["owner"], affiliation="member", jid=play["hag66"].bare)
    room.join(play["hag66"])
    play.send("hag66", "<message id='i4hs759k' to='{coven}'><x xmlns='%s'><invite "
              "to='{hecate.bare}'/></x></message>" % USER)
    play.gets("hag66", "<message from='{coven}' id='i4hs759k' to='{hag66}' type='error'><error "
              "by='{coven}' type='auth'><forbidden xmlns='%s'/></error></message>" % STANZAS)
    assert messages(room.settled(play["hag66"], play["hecate"])[1]) == []


def test_an_invitation_to_an_open_room_makes_no_member(play):
    """9.5 (MUST NOT)."""
    room = play.cast("coven")
    play.send("owner", "<message id='i1' to='{coven}'><x xmlns='%s'><invite to='{hecate.bare}'/></x>"
              "</message>" % USER)
    play.gets("hecate", "<message from='{coven}' id='i1'/>")
    assert room.jids(play["owner"], "member") == []


# ---- 9.6 to 9.8 --------------------------------------------------------------------------------

def test_a_moderator(play):
    """9.6, 9.7, examples 137 to 144."""
    play.cast("coven", "wiccarocks", "hag66", whois="anyone")
    up_and_down(play, "moderator", "participant", "mod1", " jid='{hag66}'")


def test_admins_and_owners_stay_moderators(play):
    """9.7, 9.8, examples 145, 150."""
    room = play.cast("coven", "wiccarocks", "hag66")
    for who in ("wiccarocks", "hag66"):
        room.set(play["owner"], affiliation="admin", jid=play[who].bare)
    for items in ("<item nick='thirdwitch' role='participant'/>",
                  "<item nick='firstwitch' role='participant'/>"):
        ask(play, "wiccarocks", "set", items, "modtest")
        denied(play, "wiccarocks", "cancel", "not-allowed", "modtest")


def test_the_moderator_list(play):
    """9.8, examples 146 to 149."""
    room = play.cast("coven", "wiccarocks", "hag66")
    room.set(play["owner"], nick="thirdwitch", role="moderator")
    play.settled()
    ask(play, "owner", "get", "<item role='moderator'/>", "mod3")
    listed(play, "owner", "<item affiliation='owner' jid='{owner}' nick='firstwitch' "
           "role='moderator'/><item affiliation='none' jid='{hag66}' nick='thirdwitch' "
           "role='moderator'/>", "mod3")
    ask(play, "owner", "set", "<item nick='thirdwitch' role='participant'/><item nick='secondwitch' "
        "role='moderator'/>", "mod4")
    success(play, "owner", "mod4")
    shown(play, "thirdwitch", "<item role='participant'/>", "owner", "hag66")
    shown(play, "secondwitch", "<item role='moderator'/>", "owner", "hag66")


# ---- 9.9 ---------------------------------------------------------------------------------------

def test_a_request_to_register_is_approved(play):
    """9.9, example 151."""
    room = play.cast("coven", membersonly=1)
    play["hag66"].send("<iq id='r1' to='%s' type='set'><query xmlns='jabber:iq:register'>%s</query>"
                       "</iq>" % (room.jid, submit(MUC.REGISTER, {
                           "muc#register_roomnick": "thirdwitch"})))
    play.gets("owner", """<message from='{coven}' id='*' to='*'>
        <x xmlns='jabber:x:data' type='form'><title>Registration request</title><instructions/>
          <field var='FORM_TYPE' type='hidden'>
            <value>http://jabber.org/protocol/muc#register</value></field>
          <field var='muc#register_roomnick' type='text-single' label='*'>
            <value>thirdwitch</value></field>
          <field var='muc#register_allow' type='boolean' label='*'><value>0</value></field>
        </x></message>""")
    play["owner"].send("<message id='approve' to='%s'>%s</message>" % (room.jid, submit(
        MUC.REGISTER, {"muc#register_roomnick": "thirdwitch", "muc#register_allow": "1",
                       "muc#register_jid": play["hag66"].bare})))
    room.settled(play["owner"])
    play["hag66"].answer("r1")
    assert status(room.join(play["hag66"], "thirdwitch").self) == ("member", "participant")


# ---- 8, 9: who may -----------------------------------------------------------------------------

@pytest.mark.parametrize("items", [
    "<item nick='secondwitch' role='none'/>", "<item nick='secondwitch' role='visitor'/>",
    "<item nick='secondwitch' role='moderator'/>", "<item affiliation='outcast' jid='a@b.lit'/>",
    "<item affiliation='member' jid='a@b.lit'/>", "<item affiliation='admin' jid='a@b.lit'/>",
    "<item affiliation='owner' jid='a@b.lit'/>"])
def test_forbidden(play, items):
    """8, 9, 10 (MUST): forbidden to who is not a moderator, admin or owner; inside or not."""
    play.cast("coven", "wiccarocks", "hag66")
    for who in ("hag66", "hecate"):
        ask(play, who, "set", items)
        denied(play, who, "auth", "forbidden")


def test_role_and_affiliation_in_one_item(play):
    """17.4 (MUST): bad-request."""
    play.cast("coven", "hag66")
    ask(play, "owner", "set", "<item nick='thirdwitch' jid='{hag66.bare}' role='visitor' "
        "affiliation='member'/>")
    denied(play, "owner", "modify", "bad-request")


def test_a_revoked_role_stays_revoked_in_later_presence(play):
    """17.3 (MUST): all that follows has the new one."""
    room = play.cast("coven", "hag66", moderatedroom=1)
    room.set(play["owner"], nick="thirdwitch", role="participant")
    room.set(play["owner"], nick="thirdwitch", role="visitor")
    play.settled()
    room.presence(play["hag66"], "<show>away</show>")
    p = play["owner"].until(lambda e: name(e) == "presence")
    assert nick(p) == "thirdwitch" and status(p) == ("none", "visitor")
    p = [p for p in room.join(play["hecate"]).others if nick(p) == "thirdwitch"]
    assert [status(q) for q in p] == [("none", "visitor")]


def test_lists_of_affiliations_have_no_roles(play):
    """17.4 (MUST NOT): and bare addresses, whoever is inside."""
    room = play.cast("coven", "wiccarocks")
    room.set(play["owner"], affiliation="admin", jid=play["wiccarocks"].jid)
    for a, who in (("owner", "owner"), ("admin", "wiccarocks")):
        (i,) = room.list(play["owner"], affiliation=a)
        assert i.get("role") is None and i.get("jid") == play[who].bare
        assert i.get("affiliation") == a


def test_an_error_names_no_culprit_that_is_not_there(play):
    """8.2: a nickname that nobody has."""
    room = play.cast("coven")
    assert error(room.role(play["owner"], "nobody", "none")) == ("cancel", "item-not-found")
