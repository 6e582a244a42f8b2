/*
 * xml/known.h - names and namespaces that are met so often that every element
 * shares one copy of them
 *
 * Only a matter of speed: any other name works the same. A plugin's namespace
 * may be listed here without the core knowing more of it.
 */
#ifndef MK_XML_KNOWN_H
#define MK_XML_KNOWN_H

#define MK_NS_CLIENT  "jabber:client"
#define MK_NS_STREAM  "http://etherx.jabber.org/streams"
#define MK_NS_STANZAS "urn:ietf:params:xml:ns:xmpp-stanzas"
#define MK_NS_HINTS   "urn:xmpp:hints"

#define MK_KNOWN_NAMES(X)                                                  \
	X("message") X("presence") X("iq") X("body") X("subject") X("thread")  \
	X("id") X("from") X("to") X("type") X("xml:lang") X("version")         \
	X("error") X("text") X("show") X("status") X("priority") X("query")    \
	X("item") X("group") X("jid") X("name") X("node") X("feature")         \
	X("identity") X("var") X("category") X("subscription") X("ask")        \
	X("approved") X("ver") X("hash") X("c") X("x") X("field") X("value")   \
	X("ping") X("time") X("vCard") X("photo") X("reason") X("invite")      \
	X("auth") X("response") X("challenge") X("success") X("failure")       \
	X("abort") X("mechanism") X("mechanisms") X("authenticate")            \
	X("initial-response") X("user-agent") X("bind") X("resource")          \
	X("session") X("starttls") X("proceed") X("features") X("stream")      \
	X("required") X("optional") X("inline") X("tag")                       \
	X("a") X("r") X("h") X("enable") X("enabled") X("resume") X("resumed") \
	X("failed") X("previd") X("max") X("location") X("sm")                 \
	X("sent") X("received") X("private") X("disable") X("forwarded")       \
	X("delay") X("stamp") X("by") X("origin-id") X("stanza-id")            \
	X("request") X("displayed") X("acknowledged") X("markable")            \
	X("active") X("inactive") X("composing") X("paused") X("gone")         \
	X("store") X("no-store") X("no-copy") X("no-permanent-store")          \
	X("reactions") X("reaction") X("replace") X("retract") X("encrypted")  \
	X("encryption") X("header") X("payload") X("key") X("keys") X("sid")   \
	X("rid") X("iv") X("namespace") X("fallback") X("reply") X("start")    \
	X("end") X("url") X("pubsub") X("event") X("items") X("publish")       \
	X("service-unavailable") X("item-not-found") X("code") X("condition")  \
	X("set") X("first") X("last") X("count") X("index") X("before")        \
	X("after") X("complete") X("result") X("fin") X("queryid")             \
	X("nick") X("affiliation") X("role") X("actor")

#define MK_KNOWN_NAMESPACES(X)                                             \
	X("") X(MK_NS_CLIENT) X("jabber:server") X(MK_NS_STREAM)               \
	X(MK_NS_STANZAS) X("urn:ietf:params:xml:ns:xmpp-streams")              \
	X("urn:ietf:params:xml:ns:xmpp-tls")                                   \
	X("urn:ietf:params:xml:ns:xmpp-sasl")                                  \
	X("urn:ietf:params:xml:ns:xmpp-bind")                                  \
	X("urn:ietf:params:xml:ns:xmpp-session")                               \
	X("urn:xmpp:sasl:2") X("urn:xmpp:bind:0") X("urn:xmpp:sm:3")           \
	X("jabber:iq:roster") X("jabber:iq:register") X("jabber:iq:version")   \
	X("jabber:iq:private") X("jabber:iq:last") X("jabber:x:data")          \
	X("jabber:x:oob") X("jabber:x:conference") X("jabber:x:encrypted")     \
	X("vcard-temp") X("vcard-temp:x:update") X("urn:xmpp:ping")            \
	X("urn:xmpp:time") X("urn:xmpp:carbons:2") X("urn:xmpp:forward:0")     \
	X("urn:xmpp:delay") X(MK_NS_HINTS) X("urn:xmpp:receipts")              \
	X("urn:xmpp:chat-markers:0") X("urn:xmpp:reactions:0")                 \
	X("urn:xmpp:message-correct:0") X("urn:xmpp:message-retract:0")        \
	X("urn:xmpp:message-retract:1") X("urn:xmpp:jingle-message:0")         \
	X("urn:xmpp:jingle:1") X("urn:xmpp:sid:0") X("urn:xmpp:eme:0")         \
	X("urn:xmpp:reply:0") X("urn:xmpp:fallback:0") X("urn:xmpp:omemo:2")   \
	X("urn:xmpp:openpgp:0") X("eu.siacs.conversations.axolotl")            \
	X("urn:xmpp:mam:2") X("urn:xmpp:csi:0") X("urn:xmpp:blocking")         \
	X("http://jabber.org/protocol/chatstates")                             \
	X("http://jabber.org/protocol/caps")                                   \
	X("http://jabber.org/protocol/disco#info")                             \
	X("http://jabber.org/protocol/disco#items")                            \
	X("http://jabber.org/protocol/muc")                                    \
	X("http://jabber.org/protocol/muc#user")                               \
	X("http://jabber.org/protocol/muc#admin")                              \
	X("http://jabber.org/protocol/muc#owner")                              \
	X("http://jabber.org/protocol/pubsub")                                 \
	X("http://jabber.org/protocol/pubsub#event")                           \
	X("http://jabber.org/protocol/rsm")                                    \
	X("http://jabber.org/protocol/commands")                               \
	X("http://jabber.org/features/iq-register")                            \
	X("http://jabber.org/features/rosterver")

#endif
