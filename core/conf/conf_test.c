/*
 * conf/conf_test.c - what configurations mean, and what is said of wrong ones
 *
 * Messages are compared word by word: they are the interface to an operator.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <meerkat/plugin.h>
#include "base/arena.h"
#include "conf/config.h"
#include "conf/value.h"
#include "conf/yaml.h"

static struct mk_diag diag;

static struct mk_config *built(const char *yaml)
{
	struct mk_arena *arena = mk_arena_new();
	struct mk_config *c = NULL;
	struct mk_node *root;

	mk_diag_fini(&diag);
	if (mk_yaml_parse("m.yml", mk_strz(yaml), arena, &diag, &root) < 0)
		mk_arena_free(&arena);
	else
		mk_config_build("m.yml", arena, root, &diag, &c);
	return c;
}

static struct mk_config *good(const char *yaml)
{
	struct mk_config *c = built(yaml);

	assert_string_equal(mk_diag_text(&diag), "");
	assert_non_null(c);
	return c;
}

/* ---- mistakes ---------------------------------------------------------------- */

struct mistake { const char *yaml, *said; };

static const struct mistake mistakes[] = {
	/* YAML */
	{ "a: [1\n", "m.yml:2:1: not YAML: did not find expected ',' or ']' while parsing a flow "
	  "sequence that begins at 1:4\n" },
	{ "a: { b: ${HOME} }\n", "m.yml:1:10: not YAML: did not find expected ',' or '}' while parsing "
	  "a flow mapping (between brackets a ${VARIABLE} needs quotes)\n" },
	{ "server:\n\tworkers: 2\n", "m.yml:2:1: not YAML: found character that cannot start any "
	  "token while scanning for the next token (indent by spaces, not tabs)\n" },
	{ "a: [1.2.3.4, ::1]", "m.yml:1:14: not YAML: did not find expected node content while "
	  "parsing a flow node (an IPv6 address needs quotes here: \"::1\")\n" },
	{ "log: { level: \"info }", "m.yml:1:22: not YAML: found unexpected end of stream while "
	  "scanning a quoted scalar\n" },
	{ "log:\n  level: inf\xff" "o\n", "m.yml:2:13: not a text in UTF-8: invalid leading UTF-8 octet\n" },
	{ "log:\n  level: in\x01" "fo\n", "m.yml:2:12: not a text in UTF-8: control characters are not allowed\n" },
	{ "- a\n", "m.yml:1:1: a configuration is sections by name (such as 'domains:'), "
	  "not a list or a text\n" },
	{ "hello\n", "m.yml:1:1: a configuration is sections by name (such as 'domains:'), "
	  "not a list or a text\n" },
	{ "log: {}\n---\nlog: {}\n", "m.yml:2:1: one file is one document: '---' a second time\n" },
	{ "log: &l { level: info }\n", "m.yml:1:6: anchors (&name) are not allowed here; write the value out\n" },
	{ "log: *l\n", "m.yml:1:6: aliases (*name) are not allowed here; write the value out\n" },
	{ "log: { level: !!str info }\n", "m.yml:1:15: tags (!type) are not allowed here; "
	  "the setting knows its type\n" },
	{ "log: !x { level: info }\n", "m.yml:1:6: tags (!type) are not allowed here; "
	  "the setting knows its type\n" },
	{ "log:\n  level: info\n  format: json\n  level: debug\n",
	  "m.yml:4:3: 'level' is given twice; first at m.yml:2:3\n" },
	{ "? [a]\n: 1\n", "m.yml:1:3: the name of a setting must be a word\n" },
	{ "\"\": 1\n", "m.yml:1:1: the name of a setting is empty\n" },
	{ "log: { level: \"in\\0fo\" }\n", "m.yml:1:15: a value can't hold the character NUL\n" },
	/* ${ENV} */
	{ "log:\n  level: ${MK_TEST_NONE}\n", "m.yml:2:10: the environment has no variable "
	  "'MK_TEST_NONE' (${MK_TEST_NONE:-text} would give it a default)\n" },
	{ "log: { level: '${MK TEST}' }\n", "m.yml:1:15: '${' needs the name of a variable and '}'; "
	  "write '$${' for the characters themselves\n" },
	{ "log: { level: '${MK_TEST' }\n", "m.yml:1:15: '${' needs the name of a variable and '}'; "
	  "write '$${' for the characters themselves\n" },
	{ "log: { level: '${1A}' }\n", "m.yml:1:15: '${' needs the name of a variable and '}'; "
	  "write '$${' for the characters themselves\n" },
	{ "log: { level: '${MK_TEST_BYTES}' }\n", "m.yml:1:15: the variable 'MK_TEST_BYTES' isn't "
	  "a text in UTF-8\n" },
	{ "server: { workers: '${MK_TEST_WORD}' }\n", "m.yml:1:20: setting 'server.workers': "
	  "expected a whole number, found '(not shown)'\n" },
	/* sections */
	{ "sever: {}\n", "m.yml:1:1: setting 'sever': unknown section; did you mean 'server'? "
	  "(allowed: server, log, tls, limits, storage, host_types, domains, listeners, shapers, "
	  "include)\n" },
	{ "zebra: {}\n", "m.yml:1:1: setting 'zebra': unknown section (allowed: server, log, tls, "
	  "limits, storage, host_types, domains, listeners, shapers, include)\n" },
	{ "log: info\n", "m.yml:1:6: setting 'log': expected settings by name, found a word\n" },
	{ "log: [info]\n", "m.yml:1:6: setting 'log': expected settings by name, found a list\n" },
	{ "log:\n  levl: info\n", "m.yml:2:3: setting 'log.levl': unknown; did you mean 'level'? "
	  "(allowed: level, format, file)\n" },
	{ "log:\n  colour: red\n", "m.yml:2:3: setting 'log.colour': unknown "
	  "(allowed: level, format, file)\n" },
	/* values */
	{ "log: { level: inf }\n", "m.yml:1:15: setting 'log.level': expected one of error, warn, "
	  "notice, info, debug, found 'inf'; did you mean 'info'?\n" },
	{ "log: { format: xml }\n", "m.yml:1:16: setting 'log.format': expected one of logfmt, json, "
	  "found 'xml'\n" },
	{ "log: { level: }\n", "m.yml:1:15: setting 'log.level': has no value (expected a word)\n" },
	{ "log: { level: ~, format: null }\n", "m.yml:1:15: setting 'log.level': has no value "
	  "(expected a word)\nm.yml:1:26: setting 'log.format': has no value (expected a word)\n" },
	{ "log: { level: [info] }\n", "m.yml:1:15: setting 'log.level': expected a word, found a list\n" },
	{ "tls: { tickets: maybe }\n", "m.yml:1:17: setting 'tls.tickets': expected yes or no, "
	  "found 'maybe'\n" },
	{ "tls: { priorities: { a: b } }\n", "m.yml:1:20: setting 'tls.priorities': expected a text, "
	  "found a section\n" },
	{ "server: { workers: many }\n", "m.yml:1:20: setting 'server.workers': expected a whole number, "
	  "found 'many'\n" },
	{ "server: { workers: -1 }\n", "m.yml:1:20: setting 'server.workers': -1 is out of range (0..256)\n" },
	{ "server: { workers: 2.5 }\n", "m.yml:1:20: setting 'server.workers': expected a whole number, "
	  "found '2.5'\n" },
	{ "server: { node_id: 1024 }\n", "m.yml:1:20: setting 'server.node_id': 1024 is out of range (0..1023)\n" },
	{ "server: { watchdog: 5 }\n", "m.yml:1:21: setting 'server.watchdog': expected a duration "
	  "(such as 250ms, 10s, 5m, 2h, 90d), found '5'\n" },
	{ "server: { watchdog: 5ms }\n", "m.yml:1:21: setting 'server.watchdog': 5ms is out of range "
	  "(0|10ms..10m)\n" },
	{ "server: { shutdown: 5 minutes }\n", "m.yml:1:21: setting 'server.shutdown': expected a duration "
	  "(such as 250ms, 10s, 5m, 2h, 90d), found '5 minutes'\n" },
	{ "server: { shutdown: 99999999999999999999s }\n", "m.yml:1:21: setting 'server.shutdown': "
	  "'99999999999999999999s' is too large\n" },
	{ "limits: { stanza: 12XB }\n", "m.yml:1:19: setting 'limits.stanza': expected a size "
	  "(such as 512, 64KB, 1MB, 2GB), found '12XB'\n" },
	{ "limits: { stanza: 9999 }\n", "m.yml:1:19: setting 'limits.stanza': 9999 is out of range "
	  "(10000..16MB)\n" },
	{ "limits: { stanza: 9999999999TB }\n", "m.yml:1:19: setting 'limits.stanza': '9999999999TB' "
	  "is too large\n" },
	{ "log: { level: \"a\\nb\\x1b[31m\" }\n", "m.yml:1:15: setting 'log.level': expected one of error, "
	  "warn, notice, info, debug, found 'a?b?[31m'\n" },
	{ "log: { level: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa }\n",
	  "m.yml:1:15: setting 'log.level': expected one of error, warn, notice, info, debug, found "
	  "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...'\n" },
	{ "server: { data_dir: \"\" }\n", "m.yml:1:21: setting 'server.data_dir': the name of a folder is empty\n" },
	{ "server: { plugin_dirs: [a, [b]] }\n", "m.yml:1:28: setting 'server.plugin_dirs': expected "
	  "a list of words, found a list\n" },
	{ "server: { plugin_dirs: [a, \"\"] }\n", "m.yml:1:28: setting 'server.plugin_dirs': an entry "
	  "of the list is empty\n" },
	{ "server: { plugin_dirs: { a: b } }\n", "m.yml:1:24: setting 'server.plugin_dirs': expected "
	  "a list of words, found a section\n" },
	/* storage */
	{ "storage: { default: slqite, backends: { sqlite: } }\n", "m.yml:1:21: setting 'storage.default': "
	  "there is no 'slqite' in section 'storage.backends'; did you mean 'sqlite'?\n" },
	{ "storage: { default: ../evil }\n", "m.yml:1:21: setting 'storage.default': '../evil' isn't the "
	  "name of a plugin (a-z, 0-9 and '-', from a letter)\n" },
	{ "storage: { backends: { fast: { plugin: /tmp/x } } }\n", "m.yml:1:40: setting "
	  "'storage.backends.fast.plugin': '/tmp/x' isn't the name of a plugin (a-z, 0-9 and '-', "
	  "from a letter)\n" },
	{ "storage: { backends: { Fast: } }\n", "m.yml:1:24: setting 'storage.backends.Fast': not a name "
	  "(a-z, 0-9, '_' and '-', from a letter, up to 64)\n" },
	{ "storage: { backends: { fast: { threads: 0 } } }\n", "m.yml:1:41: setting "
	  "'storage.backends.fast.threads': 0 is out of range (1..256)\n" },
	{ "storage: { backends: [fast] }\n", "m.yml:1:22: setting 'storage.backends': expected entries "
	  "by name, found a list\n" },
	{ "storage: { tables: { roster: [a] } }\n", "m.yml:1:30: setting 'storage.tables.roster': "
	  "expected the name of a backend\n" },
	{ "storage: { tables: { roster: null } }\n", "m.yml:1:30: setting 'storage.tables.roster': "
	  "expected the name of a backend\n" },
	{ "storage: { tables: { roster: fsat }, backends: { fast: { plugin: memory } } }\n",
	  "m.yml:1:30: setting 'storage.tables.roster': there is no 'fsat' in section "
	  "'storage.backends'; did you mean 'fast'?\n" },
	{ "storage: { journal: { max: 1MB, segment: 1MB } }\n", "m.yml:1:28: setting "
	  "'storage.journal.max': must be room for two segments at least\n" },
	{ "storage: { journal: { sink: 1ms } }\n", "m.yml:1:23: setting 'storage.journal.sink': unknown; "
	  "did you mean 'sync'? (allowed: segment, max, sync)\n" },
	/* host types and domains */
	{ "host_types: people\n", "m.yml:1:13: setting 'host_types': expected entries by name, found a word\n" },
	{ "host_types: { 1st: }\n", "m.yml:1:15: setting 'host_types.1st': not a name (a-z, 0-9, '_' "
	  "and '-', from a letter, up to 64)\n" },
	{ "host_types: { people: { plugin: { roster: } } }\n", "m.yml:1:25: setting "
	  "'host_types.people.plugin': unknown; did you mean 'plugins'? (allowed: auth, mechanisms, "
	  "durability, max_resources, resource_conflict, plugins)\n" },
	{ "host_types: { people: { plugins: [roster] } }\n", "m.yml:1:34: setting "
	  "'host_types.people.plugins': expected entries by name, found a list\n" },
	{ "host_types: { people: { plugins: { roster: no } } }\n", "m.yml:1:44: setting "
	  "'host_types.people.plugins.roster': expected settings by name, or nothing for the defaults "
	  "(a plugin is off when its line is not there)\n" },
	{ "host_types: { people: { plugins: { ../x: } } }\n", "m.yml:1:36: setting "
	  "'host_types.people.plugins.../x': '../x' isn't the name of a plugin (a-z, 0-9 and '-', "
	  "from a letter)\n" },
	{ "host_types: { people: { durability: walk } }\n", "m.yml:1:37: setting "
	  "'host_types.people.durability': expected one of async, wal, commit, found 'walk'; "
	  "did you mean 'wal'?\n" },
	{ "host_types: { people: { auth: [in/ternal] } }\n", "m.yml:1:32: setting "
	  "'host_types.people.auth': 'in/ternal' isn't the name of a plugin (a-z, 0-9 and '-', "
	  "from a letter)\n" },
	{ "host_types: { people: }\ndomains: { example.org: peple }\n", "m.yml:2:25: setting "
	  "'domains.example.org.type': there is no host type 'peple'; did you mean 'people'?\n" },
	{ "host_types: { people: , rooms: }\ndomains: { example.org: }\n", "m.yml:2:12: setting "
	  "'domains.example.org.type': is required, as there is more than one host type\n" },
	{ "domains: { example.org: }\n", "m.yml:1:12: setting 'domains.example.org.type': is required, "
	  "as there is no host type\n" },
	{ "host_types: { people: }\ndomains: { bob@example.org: }\n", "m.yml:2:12: setting "
	  "'domains.bob@example.org': not a domain (RFC 7622 3.2)\n" },
	{ "host_types: { people: }\ndomains: { a/b: }\n", "m.yml:2:12: setting 'domains.a/b': "
	  "not a domain (RFC 7622 3.2)\n" },
	{ "host_types: { people: }\ndomains:\n  example.org:\n  Example.ORG:\n", "m.yml:4:3: setting "
	  "'domains.example.org': the same domain as at m.yml:3:3\n" },
	{ "host_types: { people: }\ndomains: { a.org: { key: k.pem } }\n", "m.yml:2:26: setting "
	  "'domains.a.org.key': a key without a certificate; name its certificate too\n" },
	{ "host_types: { people: }\ndomains: { a.org: { certifcate: c } }\n", "m.yml:2:21: setting "
	  "'domains.a.org.certifcate': unknown; did you mean 'certificate'? "
	  "(allowed: type, certificate, key)\n" },
	/* listeners and shapers */
	{ "listeners: { kind: c2s }\n", "m.yml:1:12: setting 'listeners': expected a list "
	  "(lines that begin with '- ')\n" },
	{ "listeners:\n  - kind: c2s\n", "m.yml:2:5: setting 'listeners[0].port': is required "
	  "(a whole number, 0..65535)\n" },
	{ "listeners:\n  - port: 5222\n", "m.yml:2:5: setting 'listeners[0].kind': is required (a text)\n" },
	{ "listeners: [ { kind: S2S, port: 5269 } ]\n", "m.yml:1:22: setting 'listeners[0].kind': "
	  "'S2S' isn't the name of a plugin (a-z, 0-9 and '-', from a letter)\n" },
	{ "listeners: [ { kind: http, port: 80, tls: starttls, own: 1 } ]\n", "m.yml:1:43: setting "
	  "'listeners[0].tls': only c2s knows STARTTLS: none or direct\n" },
	{ "listeners: [ { kind: c2s, port: 65536 } ]\n", "m.yml:1:33: setting 'listeners[0].port': "
	  "65536 is out of range (0..65535)\n" },
	{ "listeners: [ { kind: c2s, port: 1, tls: required } ]\n", "m.yml:1:41: setting "
	  "'listeners[0].tls': expected one of none, starttls-optional, starttls, direct, "
	  "found 'required'\n" },
	{ "listeners: [ { kind: c2s, port: 1, address: 1.2.3 } ]\n", "m.yml:1:45: setting "
	  "'listeners[0].address': expected an IP address (such as 192.0.2.1, 2001:db8::1), "
	  "found '1.2.3'\n" },
	{ "listeners: [ { kind: c2s, port: 1, address: 10.0.0.0/8 } ]\n", "m.yml:1:45: setting "
	  "'listeners[0].address': expected an IP address (such as 192.0.2.1, 2001:db8::1), "
	  "found '10.0.0.0/8'\n" },
	{ "listeners: [ { kind: c2s, port: 1, proxy_from: [10.0.0.0/8, 10.0.0.0/33] } ]\n",
	  "m.yml:1:61: setting 'listeners[0].proxy_from': expected an IP address or prefix (such as "
	  "192.0.2.1, 2001:db8::/32), found '10.0.0.0/33'\n" },
	{ "listeners: [ { kind: c2s, port: 1, proxy_protocol: yes, proxy_from: [] } ]\n",
	  "m.yml:1:69: setting 'listeners[0].proxy_from': nobody would be believed; name the proxies\n" },
	{ "listeners: [ { kind: c2s, port: 1, shaper: slwo } ]\nshapers: { slow: }\n",
	  "m.yml:1:44: setting 'listeners[0].shaper': there is no 'slwo' in section 'shapers'; "
	  "did you mean 'slow'?\n" },
	{ "listeners:\n  - { kind: c2s, port: 1 }\n  - { kind: c2s, port: 1, tls: direct }\n",
	  "m.yml:3:24: setting 'listeners[1].port': the address and port of the listener at m.yml:2:5\n" },
	{ "listeners: [ c2s ]\n", "m.yml:1:14: setting 'listeners[0]': expected settings by name, "
	  "found a word\n" },
	{ "shapers: { slow: { byte_rate: 10 } }\n", "m.yml:1:31: setting 'shapers.slow.byte_rate': "
	  "10 is out of range (0|256..2GB)\n" },
	/* all of them, not the first */
	{ "log: { level: x, format: y }\nlimits: { depth: 1 }\n", "m.yml:1:15: setting 'log.level': "
	  "expected one of error, warn, notice, info, debug, found 'x'\nm.yml:1:26: setting 'log.format': "
	  "expected one of logfmt, json, found 'y'\nm.yml:2:18: setting 'limits.depth': 1 is out of range "
	  "(4..256)\n" },
	{ "a: &x 1\nb: *x\nb: 2\n", "m.yml:1:4: anchors (&name) are not allowed here; write the value out\n"
	  "m.yml:2:4: aliases (*name) are not allowed here; write the value out\n"
	  "m.yml:3:1: 'b' is given twice; first at m.yml:2:1\n" },
};

static void test_a_mistake_is_said_with_its_place_and_what_is_allowed(void **state)
{
	int wrong = 0;

	(void)state;
	setenv("MK_TEST_BYTES", "a\xff", 1);
	setenv("MK_TEST_WORD", "hush", 1);
	for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
		struct mk_config *c = built(mistakes[i].yaml);
		assert_null(c);
		if (strcmp(mk_diag_text(&diag), mistakes[i].said) != 0) {
			print_error("%s\n  said:   %s  wanted: %s", mistakes[i].yaml,
			            mk_diag_text(&diag), mistakes[i].said);
			wrong++;
		}
	}
	assert_int_equal(wrong, 0);
}

static void test_nesting_and_size_are_bounded(void **state)
{
	struct mk_buf b = { 0 };

	(void)state;
	for (int i = 0; i < 100000; i++)
		mk_buf_addz(&b, "[");
	assert_null(built(mk_buf_z(&b)));
	assert_string_equal(mk_diag_text(&diag), "m.yml:1:33: nested deeper than 32 levels\n");
	mk_buf_clear(&b);
	while (b.n <= MK_YAML_FILE_MAX)
		mk_buf_addz(&b, "# nothing\n");
	assert_null(built(mk_buf_z(&b)));
	assert_string_equal(mk_diag_text(&diag), "m.yml: larger than 4 MB\n");
	mk_buf_free(&b);
}

static void test_messages_end_somewhere(void **state)
{
	struct mk_buf b = { 0 };
	size_t lines = 0;

	(void)state;
	mk_buf_addz(&b, "log:\n");
	for (int i = 0; i < 5000; i++)
		mk_buf_printf(&b, "  key%d: 1\n", i);
	assert_null(built(mk_buf_z(&b)));
	for (const char *p = mk_diag_text(&diag); *p != '\0'; p++)
		lines += *p == '\n';
	assert_int_equal(lines, MK_DIAG_MAX + 1);
	assert_int_equal(diag.count, 5000);
	assert_non_null(strstr(mk_diag_text(&diag), "\n... and more\n"));
	mk_buf_free(&b);
}

/* ---- what is right ------------------------------------------------------------------ */

static void test_defaults_are_those_of_S_09(void **state)
{
	struct mk_config *c = good("");
	const struct mk_config_limits *l = &c->limits;

	(void)state;
	assert_int_equal(l->preauth_stanza_bytes, 8192);
	assert_int_equal(l->preauth_elements, 32);
	assert_int_equal(l->preauth_depth, 8);
	assert_int_equal(l->preauth_attrs, 16);
	assert_int_equal(l->stanza_bytes, 256 * 1024);
	assert_int_equal(l->elements, 4096);
	assert_int_equal(l->depth, 64);
	assert_int_equal(l->attrs, 64);
	assert_int_equal(l->auth_timeout_ms, 30000);
	assert_int_equal(l->auth_attempts, 5);
	assert_int_equal(l->preauth_per_address, 64);
	assert_int_equal(l->preauth_total, 0);
	assert_int_equal(l->out_bytes, 1 << 20);
	assert_int_equal(l->write_timeout_ms, 30000);
	assert_int_equal(l->keepalive_ms, 0);
	assert_int_equal(l->turn_bytes, 65536);
	assert_int_equal(l->turn_stanzas, 100);
	assert_int_equal(l->hash_rate, 200);
	assert_string_equal(c->data_dir, "/var/lib/meerkat");
	assert_string_equal(c->control_socket, "/run/meerkat/meerkat.sock");
	assert_int_equal(c->plugin_dirs.n, 1);
	assert_int_equal(c->workers, 0);
	assert_int_equal(c->jobs, 4);
	assert_int_equal(c->watchdog_ms, 100);
	assert_int_equal(c->shutdown_ms, 10000);
	assert_int_equal(c->log.level, MK_INFO);
	assert_null(c->log.file);
	assert_null(c->tls_priorities);
	assert_true(c->tls_tickets);
	assert_string_equal(c->storage_default, "sqlite");
	assert_int_equal(c->backend_count, 1);
	assert_string_equal(c->backends[0].plugin, "sqlite");
	assert_int_equal(c->backends[0].threads, 4);
	assert_null(c->backends[0].node);
	assert_int_equal(c->append_queue, 200000);
	assert_int_equal(c->append_wait_ms, 500);
	assert_int_equal(c->start_wait_ms, 24 * 3600 * 1000);
	assert_int_equal(c->journal_segment, 16 << 20);
	assert_int_equal(c->journal_max, INT64_C(2) << 30);
	assert_int_equal(c->journal_sync_ms, 2);
	assert_int_equal(c->listener_count, 0);
	mk_config_free(&c);
	assert_null(c);
}

static const char whole[] =
	"server: { data_dir: var, run_dir: /tmp/r, workers: 2, node_id: 7, plugin_dirs: [mods, /x],\n"
	"          watchdog: 1s, shutdown: 1m }\n"
	"log: { level: debug, format: json, file: /tmp/l }\n"
	"tls: { priorities: NORMAL, tickets: off }\n"
	"limits: { stanza: 1MB, auth_timeout: 5s, keepalive: 2m, byte_rate: 64kib }\n"
	"storage:\n"
	"  default: sqlite\n"
	"  backends: { sqlite: { file: m.db, threads: 8 }, fast: { plugin: memory } }\n"
	"  tables: { roster: fast, archive: redis }\n"
	"  journal: { segment: 1MB, max: 8MB, sync: 0 }\n"
	"host_types:\n"
	"  people:\n"
	"    auth: [internal, ldap]\n"
	"    mechanisms: PLAIN, SCRAM-SHA-256\n"
	"    durability: commit\n"
	"    max_resources: 3\n"
	"    resource_conflict: refuse\n"
	"    plugins:\n"
	"      roster: { versioning: yes }\n"
	"      carbons:\n"
	"domains:\n"
	"  Example.ORG: { certificate: certs/a, key: /k }\n"
	"  b\xc3\xbc" "cher.example: people\n"
	"  c.example:\n"
	"listeners:\n"
	"  - { kind: c2s, port: 5222 }\n"
	"  - { kind: c2s, port: 5223, tls: direct, address: \"::1\", shaper: slow, backlog: 10,\n"
	"      proxy_protocol: yes, proxy_from: [10.0.0.0/8, \"::1\"], unsafe_plain_without_tls: \"yes\" }\n"
	"  - { kind: c2s, port: 5224, tls: starttls-optional }\n"
	"  - { kind: c2s, port: 0, tls: none }\n"
	"  - { kind: c2s, port: 0, tls: none }\n"
	"shapers: { slow: { byte_rate: 10KB, stanza_rate: 5 } }\n";

static void test_a_whole_configuration_is_understood(void **state)
{
	struct mk_config *c = good(whole);
	const struct mk_config_type *t = c->types;
	const struct mk_config_listener *l = c->listeners;
	char cwd[4096], want[4200];

	(void)state;
	assert_non_null(getcwd(cwd, sizeof cwd));
	snprintf(want, sizeof want, "%s/var", cwd);
	assert_string_equal(c->data_dir, want);
	assert_string_equal(c->control_socket, "/tmp/r/meerkat.sock");
	assert_int_equal(c->plugin_dirs.n, 2);
	snprintf(want, sizeof want, "%s/mods", cwd);
	assert_string_equal(c->plugin_dirs.v[0], want);
	assert_string_equal(c->plugin_dirs.v[1], "/x");
	assert_int_equal(c->node_id, 7);
	assert_int_equal(c->watchdog_ms, 1000);
	assert_int_equal(c->shutdown_ms, 60000);
	assert_int_equal(c->log.level, MK_DEBUG);
	assert_int_equal(c->log.format, 1);
	assert_string_equal(c->log.file, "/tmp/l");
	assert_string_equal(c->tls_priorities, "NORMAL");
	assert_false(c->tls_tickets);
	assert_int_equal(c->limits.stanza_bytes, 1 << 20);
	assert_int_equal(c->limits.auth_timeout_ms, 5000);
	assert_int_equal(c->limits.keepalive_ms, 120000);
	assert_int_equal(c->limits.byte_rate, 65536);

	assert_int_equal(c->backend_count, 3);
	assert_string_equal(c->backends[0].name, "sqlite");
	assert_int_equal(c->backends[0].threads, 8);
	assert_string_equal(mk_node_get(c->backends[0].node, "file")->text, "m.db");
	assert_null(mk_node_get(c->backends[0].node, "threads"));
	assert_string_equal(c->backends[1].name, "fast");
	assert_string_equal(c->backends[1].plugin, "memory");
	assert_null(mk_node_get(c->backends[1].node, "plugin"));
	assert_string_equal(c->backends[2].plugin, "redis");
	assert_string_equal(mk_node_get(c->storage_tables, "roster")->text, "fast");
	assert_int_equal(c->journal_sync_ms, 0);

	assert_int_equal(c->type_count, 1);
	assert_string_equal(t->name, "people");
	assert_int_equal(t->auth.n, 2);
	assert_string_equal(t->auth.v[1], "ldap");
	assert_int_equal(t->mechanisms.n, 2);
	assert_string_equal(t->mechanisms.v[0], "PLAIN");
	assert_string_equal(t->mechanisms.v[1], "SCRAM-SHA-256");
	assert_int_equal(t->durability, 2);
	assert_int_equal(t->max_resources, 3);
	assert_int_equal(t->resource_conflict, 1);
	assert_int_equal(t->plugin_count, 2);
	assert_string_equal(t->plugins[0].name, "roster");
	assert_non_null(t->plugins[0].node);
	assert_string_equal(t->plugins[1].name, "carbons");
	assert_null(t->plugins[1].node);

	assert_int_equal(c->domain_count, 3);
	assert_string_equal(c->domains[0].name, "example.org");
	assert_string_equal(c->domains[0].type, "people");
	snprintf(want, sizeof want, "%s/certs/a", cwd);
	assert_string_equal(c->domains[0].certificate, want);
	assert_string_equal(c->domains[0].key, "/k");
	assert_string_equal(c->domains[1].name, "b\xc3\xbc" "cher.example");
	assert_string_equal(c->domains[1].type, "people");
	assert_null(c->domains[1].certificate);
	assert_string_equal(c->domains[2].type, "people");

	assert_int_equal(c->listener_count, 5);
	assert_int_equal(l[0].tls, MK_TLS_STARTTLS_REQUIRED);
	assert_string_equal(l[0].address, "");
	assert_string_equal(l[0].shaper, "");
	assert_int_equal(l[0].backlog, 4096);
	assert_false(l[0].plain_without_tls);
	assert_int_equal(l[1].tls, MK_TLS_DIRECT);
	assert_string_equal(l[1].address, "::1");
	assert_string_equal(l[1].shaper, "slow");
	assert_true(l[1].proxy_protocol);
	assert_int_equal(l[1].proxy_from.n, 2);
	assert_true(l[1].plain_without_tls);
	assert_int_equal(l[2].tls, MK_TLS_STARTTLS);
	assert_int_equal(l[3].tls, MK_TLS_NONE);
	assert_int_equal(c->shaper_count, 1);
	assert_int_equal(c->shapers[0].byte_rate, 10240);
	assert_int_equal(c->shapers[0].stanza_rate, 5);
	assert_int_equal(c->shapers[0].byte_burst, 0);
	mk_config_free(&c);
}

static void test_the_environment_is_expanded(void **state)
{
	struct mk_config *c;

	(void)state;
	setenv("MK_TEST_NAME", "example.org", 1);
	setenv("MK_TEST_EMPTY", "", 1);
	unsetenv("MK_TEST_NONE");
	c = good("host_types: { people: { auth: \"${MK_TEST_NONE:-ldap}\" } }\n"
	         "domains: { \"${MK_TEST_NAME}\": , \"x.${MK_TEST_NAME}\": }\n"
	         "tls: { priorities: \"a$${b}$c${MK_TEST_EMPTY}${MK_TEST_EMPTY:-d}${MK_TEST_NONE:-}\" }\n"
	         "log: { file: '/${MK_TEST_NAME}/l' }\n");
	assert_string_equal(c->types[0].auth.v[0], "ldap");
	assert_string_equal(c->domains[0].name, "example.org");
	assert_string_equal(c->domains[1].name, "x.example.org");
	assert_string_equal(c->tls_priorities, "a${b}$cd");
	assert_string_equal(c->log.file, "/example.org/l");
	mk_config_free(&c);
}

static void test_values_by_type(void **state)
{
	static const struct { int type; const char *text; int64_t want; } good_ones[] = {
		{ MK_CONF_INT, "0", 0 }, { MK_CONF_INT, "-5", -5 },
		{ MK_CONF_INT, "9223372036854775807", INT64_MAX },
		{ MK_CONF_DURATION, "0", 0 }, { MK_CONF_DURATION, "250ms", 250 },
		{ MK_CONF_DURATION, "10s", 10000 }, { MK_CONF_DURATION, "5m", 300000 },
		{ MK_CONF_DURATION, "2h", 7200000 }, { MK_CONF_DURATION, "90d", 7776000000 },
		{ MK_CONF_DURATION, "1w", 604800000 }, { MK_CONF_DURATION, "10 s", 10000 },
		{ MK_CONF_SIZE, "0", 0 }, { MK_CONF_SIZE, "512", 512 }, { MK_CONF_SIZE, "512B", 512 },
		{ MK_CONF_SIZE, "64KB", 65536 }, { MK_CONF_SIZE, "64KiB", 65536 },
		{ MK_CONF_SIZE, "64k", 65536 }, { MK_CONF_SIZE, "1MB", 1048576 },
		{ MK_CONF_SIZE, "2GiB", INT64_C(2147483648) }, { MK_CONF_SIZE, "1tb", INT64_C(1) << 40 },
	};
	static const struct { int type; const char *text; int want; } bad_ones[] = {
		{ MK_CONF_INT, "", -MK_EINVAL }, { MK_CONF_INT, "1 ", -MK_EINVAL },
		{ MK_CONF_INT, "0x10", -MK_EINVAL }, { MK_CONF_DURATION, "", -MK_EINVAL },
		{ MK_CONF_DURATION, "10", -MK_EINVAL }, { MK_CONF_DURATION, "-1s", -MK_EINVAL },
		{ MK_CONF_DURATION, "1M", -MK_EINVAL }, { MK_CONF_DURATION, "1sx", -MK_EINVAL },
		{ MK_CONF_DURATION, "s", -MK_EINVAL }, { MK_CONF_DURATION, "1.5s", -MK_EINVAL },
		{ MK_CONF_DURATION, "9223372036854775807w", -MK_ELIMIT },
		{ MK_CONF_DURATION, "9223372036854775808ms", -MK_ELIMIT },
		{ MK_CONF_SIZE, "KB", -MK_EINVAL }, { MK_CONF_SIZE, "1 K B", -MK_EINVAL },
		{ MK_CONF_SIZE, "8388608TB", -MK_ELIMIT },
	};
	static const struct { const char *range; int type; int64_t v; int want; } ranges[] = {
		{ NULL, MK_CONF_INT, 5, 1 }, { "1..5", MK_CONF_INT, 5, 1 }, { "1..5", MK_CONF_INT, 6, 0 },
		{ "1..", MK_CONF_INT, INT64_MAX, 1 }, { "1..", MK_CONF_INT, 0, 0 },
		{ "..10", MK_CONF_INT, -7, 1 }, { "..10", MK_CONF_INT, 11, 0 },
		{ "-128..127", MK_CONF_INT, -128, 1 }, { "-128..127", MK_CONF_INT, -129, 0 },
		{ "1s..1h", MK_CONF_DURATION, 999, 0 }, { "1s..1h", MK_CONF_DURATION, 3600000, 1 },
		{ "0|1s..1h", MK_CONF_DURATION, 0, 1 }, { "0|1s..1h", MK_CONF_DURATION, 1, 0 },
		{ "1KB..", MK_CONF_SIZE, 1024, 1 }, { "..", MK_CONF_INT, 3, 1 },
		{ "", MK_CONF_INT, 3, -MK_EINVAL }, { "a..b", MK_CONF_INT, 3, -MK_EINVAL },
		{ "1..2|", MK_CONF_INT, 3, -MK_EINVAL }, { "5..10s", MK_CONF_DURATION, 3, -MK_EINVAL },
	};
	static const char *const addrs[] = { "127.0.0.1", "::1", "10.0.0.0/8", "0.0.0.0/0",
		"2001:db8::/128", "::ffff:192.0.2.1" };
	static const char *const not_addrs[] = { "", "1.2.3", "10.0.0.0/33", "::/129", "a", "1.2.3.4/",
		"/8", "1.2.3.4/-1", "1.2.3.4/8/8", "localhost", "1.2.3.4 ", "01.2.3.4.5" };
	int64_t v;

	(void)state;
	for (size_t i = 0; i < sizeof good_ones / sizeof *good_ones; i++) {
		assert_int_equal(mk_conf_number(good_ones[i].type, mk_strz(good_ones[i].text), &v), 0);
		assert_int_equal(v, good_ones[i].want);
	}
	for (size_t i = 0; i < sizeof bad_ones / sizeof *bad_ones; i++) {
		v = 77;
		assert_int_equal(mk_conf_number(bad_ones[i].type, mk_strz(bad_ones[i].text), &v),
		                 bad_ones[i].want);
		assert_int_equal(v, 77);
	}
	for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
		assert_int_equal(mk_conf_in_range(ranges[i].type, ranges[i].range, ranges[i].v),
		                 ranges[i].want);
	for (size_t i = 0; i < sizeof addrs / sizeof *addrs; i++)
		assert_true(mk_conf_is_addr(addrs[i], true));
	for (size_t i = 0; i < sizeof not_addrs / sizeof *not_addrs; i++)
		assert_false(mk_conf_is_addr(not_addrs[i], true));
	assert_false(mk_conf_is_addr("10.0.0.0/8", false));
	assert_true(mk_conf_is_plugin_name("stanza-id"));
	assert_false(mk_conf_is_plugin_name("Roster"));
	assert_false(mk_conf_is_plugin_name("a.b"));
	assert_false(mk_conf_is_plugin_name("-a"));
}

static void test_the_nearest_spelling(void **state)
{
	static const char *const words[] = { "versioning", "max_items", "no", "level", "tls", NULL };

	(void)state;
	assert_string_equal(mk_nearest("versionning", words), "versioning");
	assert_string_equal(mk_nearest("VERSIONING", words), "versioning");
	assert_string_equal(mk_nearest("evrsioning", words), "versioning");
	assert_string_equal(mk_nearest("max_itmes", words), "max_items");
	assert_string_equal(mk_nearest("levle", words), "level");
	assert_string_equal(mk_nearest("tsl", words), "tls");
	assert_null(mk_nearest("xyz", words));
	assert_null(mk_nearest("", words));
	assert_null(mk_nearest("maximum_of_items", words));
	assert_null(mk_nearest("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	                       words));
}

/* ---- a plugin's settings --------------------------------------------------------------- */

struct settings {
	int64_t before;                /* not of the schema                     */
	bool versioning;
	int64_t max_items, retention, quota;
	const char *greeting;
	int policy;
	const struct mk_jid *admin, *nobody;
	const char *source, *file, *plain_file, *password, *backend;
	struct mk_conf_list words, colours;
};
#define S struct settings
static const struct mk_conf_item items[] = {
	MK_CONF_B(S, versioning, "yes", "a"),
	MK_CONF_I(S, max_items, "100", "1..1000", "b"),
	MK_CONF_MS(S, retention, "90d", "1d..", "c"),
	MK_CONF_BYTES(S, quota, "1GB", NULL, "d"),
	MK_CONF_STR(S, greeting, "hello", "e"),
	MK_CONF_E(S, policy, "kill", "none|kill", "f"),
	MK_CONF_FIELD(S, admin, const struct mk_jid *, MK_CONF_JID, MK_CONF_RELOAD, "a@b", NULL, "g"),
	MK_CONF_FIELD(S, nobody, const struct mk_jid *, MK_CONF_JID, MK_CONF_RELOAD, NULL, NULL, "g"),
	MK_CONF_FIELD(S, source, const char *, MK_CONF_ADDR, MK_CONF_RELOAD, "::/0", NULL, "h"),
	MK_CONF_FIELD(S, file, const char *, MK_CONF_FILE, MK_CONF_RELOAD, NULL, NULL, "i"),
	MK_CONF_FIELD(S, plain_file, const char *, MK_CONF_FILE, MK_CONF_RELOAD, "x.db", NULL, "i"),
	MK_CONF_FIELD(S, password, const char *, MK_CONF_SECRET, MK_CONF_RELOAD, NULL, NULL, "j"),
	MK_CONF_FIELD(S, backend, const char *, MK_CONF_REF, MK_CONF_RELOAD, NULL,
	              "section:storage.backends", "k"),
	MK_CONF_LST(S, words, "a, b", NULL, "l"),
	MK_CONF_LST(S, colours, NULL, "red|green", "m"),
	MK_CONF_FIELD(S, before, int64_t, MK_CONF_INT, MK_CONF_HIDDEN, "1", NULL, "not for people"),
	{ 0 }
};
static const struct mk_conf_schema schema = MK_CONF_SCHEMA(S, items);

static int checked(const struct mk_conf_view *v, struct mk_diag *d)
{
	const S *s = mk_conf_view_values(v);

	if (s->max_items == 13) {
		mk_conf_refuse(v, d, "max_items", "%d is unlucky", 13);
		return -MK_EINVAL;
	}
	if (s->max_items == 14) {
		mk_conf_refuse(v, d, NULL, "too much of it");
		return -MK_EINVAL;
	}
	return s->max_items == 15 ? -MK_EPERM : 0;
}

static const struct mk_plugin plugin = { .magic = MK_PLUGIN_MAGIC, .size = sizeof plugin,
	.name = "roster", .conf = &schema, .check = checked };
static const struct mk_plugin bare_plugin = { .magic = MK_PLUGIN_MAGIC,
	.size = sizeof bare_plugin, .name = "bare" };

static struct mk_node *parsed(struct mk_arena *a, const char *yaml)
{
	struct mk_node *root = NULL;

	assert_int_equal(mk_yaml_parse("dir/p.yml", mk_strz(yaml), a, &diag, &root), 0);
	return root;
}

/* The text of what was wrong, or "". */
static const char *plugin_said(struct mk_arena *a, const struct mk_plugin *p, const char *yaml,
	const S **out)
{
	const struct mk_node *n = mk_node_get(parsed(a, yaml), "x");
	void *values = NULL;
	int r;

	mk_diag_fini(&diag);
	r = mk_conf_check_plugin(p, n, "host_types.people.plugins.roster", a, &diag, &values);
	assert_true((r == 0) == (diag.count == 0));
	if (out != NULL)
		*out = values;
	return mk_diag_text(&diag);
}

static void test_a_plugins_settings_fill_its_struct(void **state)
{
	struct mk_arena *a = mk_arena_new();
	char cwd[4096], want[4200];
	const S *s;

	(void)state;
	assert_string_equal(plugin_said(a, &plugin, "y: 1\n", &s), "");
	assert_true(s->versioning);
	assert_int_equal(s->max_items, 100);
	assert_int_equal(s->retention, INT64_C(90) * 86400000);
	assert_int_equal(s->quota, 1 << 30);
	assert_string_equal(s->greeting, "hello");
	assert_int_equal(s->policy, 1);
	assert_string_equal(mk_jid_full(s->admin), "a@b");
	assert_null(s->nobody);
	assert_null(s->file);
	assert_string_equal(s->plain_file, "x.db");
	assert_null(s->password);
	assert_int_equal(s->words.n, 2);
	assert_string_equal(s->words.v[1], "b");
	assert_int_equal(s->colours.n, 0);
	assert_int_equal(s->before, 1);

	assert_string_equal(plugin_said(a, &plugin, "x: { versioning: OFF, max_items: '7', "
		"retention: 1w, greeting: no, policy: none, admin: A@B/c, source: '', file: f, "
		"password: p, backend: fast, words: [1, 'c, d'], colours: green, nobody: '' }\n"
		"storage: { backends: { fast: } }\n", &s), "");
	assert_false(s->versioning);
	assert_int_equal(s->max_items, 7);
	assert_int_equal(s->retention, 7 * 86400000);
	assert_string_equal(s->greeting, "no");
	assert_int_equal(s->policy, 0);
	assert_string_equal(mk_jid_full(s->admin), "a@b/c");
	assert_null(s->nobody);
	assert_string_equal(s->source, "");
	assert_non_null(getcwd(cwd, sizeof cwd));
	snprintf(want, sizeof want, "%s/dir/f", cwd);
	assert_string_equal(s->file, want);
	assert_string_equal(s->password, "p");
	assert_string_equal(s->backend, "fast");
	assert_int_equal(s->words.n, 2);
	assert_string_equal(s->words.v[1], "c, d");
	assert_string_equal(s->colours.v[0], "green");
	mk_arena_free(&a);
}

static void test_a_plugins_mistakes(void **state)
{
#define P "setting 'host_types.people.plugins.roster"
#define ALLOWED "(allowed: versioning, max_items, retention, quota, greeting, policy, admin, " \
	"nobody, source, file, plain_file, password, backend, words, colours)\n"
	static const struct mistake m[] = {
		{ "x: { versionning: yes }", "dir/p.yml:1:6: " P ".versionning': unknown; did you mean "
		  "'versioning'? " ALLOWED },
		{ "x: { befor: 1 }", "dir/p.yml:1:6: " P ".befor': unknown " ALLOWED },
		{ "x: { max_items: 13 }", "dir/p.yml:1:17: " P ".max_items': 13 is unlucky\n" },
		{ "x: { max_items: 14 }", "dir/p.yml:1:4: " P "': too much of it\n" },
		{ "x: { max_items: 15 }", "dir/p.yml:1:4: " P "': refused by the plugin: not allowed\n" },
		{ "x: { admin: '@b' }", "dir/p.yml:1:13: " P ".admin': expected a JID (such as "
		  "user@example.org), found '@b'\n" },
		{ "x: { source: 1.2.3.4/99 }", "dir/p.yml:1:14: " P ".source': expected an IP address or "
		  "prefix (such as 192.0.2.1, 2001:db8::/32), found '1.2.3.4/99'\n" },
		{ "x: { colours: [red, gren, blue] }", "dir/p.yml:1:21: " P ".colours': expected one of "
		  "red, green, found 'gren'; did you mean 'green'?\ndir/p.yml:1:27: " P ".colours': "
		  "expected one of red, green, found 'blue'\n" },
		{ "x: { password: [hush] }", "dir/p.yml:1:16: " P ".password': expected a text or "
		  "{ file: PATH }, found a list\n" },
		{ "x: { password: { fiel: p } }", "dir/p.yml:1:16: " P ".password': expected a text or "
		  "{ file: PATH }\n" },
		{ "x: { password: { file: /nowhere/p } }", "dir/p.yml:1:24: " P ".password': /nowhere/p: "
		  "No such file or directory\n" },
		{ "x: { password: { file: /dev/null } }", "dir/p.yml:1:24: " P ".password': /dev/null: "
		  "its first line is empty\n" },
		{ "x: { backend: fast }\nstorage: { backends: { fats: } }", "dir/p.yml:1:15: " P ".backend': "
		  "there is no 'fast' in section 'storage.backends'; did you mean 'fats'?\n" },
		{ "x: { backend: fast }", "dir/p.yml:1:15: " P ".backend': there is no 'fast' in section "
		  "'storage.backends'\n" },
		{ "x: { retention: 1h }", "dir/p.yml:1:17: " P ".retention': 1h is out of range (1d..)\n" },
	};
	struct mk_arena *a = mk_arena_new();

	(void)state;
	for (size_t i = 0; i < sizeof m / sizeof *m; i++)
		assert_string_equal(plugin_said(a, &plugin, m[i].yaml, NULL), m[i].said);
	assert_string_equal(plugin_said(a, &bare_plugin, "x: { a: 1 }", NULL),
	                    "dir/p.yml:1:6: " P ".a': unknown (allowed: none)\n");
	assert_string_equal(plugin_said(a, &bare_plugin, "x:", NULL), "");
	assert_string_equal(plugin_said(a, &bare_plugin, "{\"x\": null}", NULL), "");
	assert_string_equal(plugin_said(a, &bare_plugin, "x: ''", NULL), "dir/p.yml:1:4: " P "': "
	                    "expected settings by name, found a word\n");
	mk_arena_free(&a);
}

static void test_a_schemas_own_mistakes_are_handled(void **state)
{
	static const struct mk_conf_item bad[] = {
		MK_CONF_I(S, max_items, "many", NULL, ""),
		MK_CONF_I(S, quota, "5", "one..two", ""),
		MK_CONF_E(S, policy, "x", NULL, ""),
		{ "odd", 99, 0, offsetof(S, retention), "1", NULL, "" },
		{ 0 }
	};
	static const struct mk_conf_schema s = MK_CONF_SCHEMA(S, bad);
	struct mk_arena *a = mk_arena_new();
	S out = { 0 };

	(void)state;
	mk_diag_fini(&diag);
	assert_int_equal(mk_conf_fill(&s, NULL, "w", a, &diag, &out), -MK_EINVAL);
	assert_string_equal(mk_diag_text(&diag),
		"setting 'w.max_items': its own default 'many' isn't a whole number (a mistake in the plugin)\n"
		"setting 'w.quota': its range 'one..two' is wrong (a mistake in the plugin)\n"
		"setting 'w.policy': it allows no word (a mistake in the plugin)\n"
		"setting 'w.odd': it has a type that this core doesn't know (99)\n");
	mk_arena_free(&a);
}

/* ---- files ------------------------------------------------------------------------------ */

static char dir[64];

static int make_dir(void **state)
{
	(void)state;
	snprintf(dir, sizeof dir, "/tmp/mk-conf-XXXXXX");
	return mkdtemp(dir) == NULL;
}

static const char *in_dir(const char *name)
{
	static char path[4][256];
	static int i;
	char *p = path[i++ % 4];

	snprintf(p, sizeof path[0], "%s/%s", dir, name);
	return p;
}

static void put(const char *name, const char *text)
{
	FILE *f = fopen(in_dir(name), "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static const char *const names[] = { "main.yml", "a.yml", "b.yml", "more/1.yml", "more/2.yml",
	"conf.d/10.yml", "conf.d/20.yml", "conf.d/ignored.txt", "secret", "big.yml" };

static int remove_dir(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		unlink(in_dir(names[i]));
	rmdir(in_dir("more"));
	rmdir(in_dir("conf.d"));
	return rmdir(dir);
}

static struct mk_config *read_main(void)
{
	struct mk_config *c = NULL;

	mk_diag_fini(&diag);
	mk_config_read(in_dir("main.yml"), &diag, &c);
	return c;
}

static void test_files_are_merged_in_order(void **state)
{
	struct mk_config *c;

	(void)state;
	mkdir(in_dir("more"), 0700);
	mkdir(in_dir("conf.d"), 0700);
	put("main.yml", "include: [a.yml, more/*.yml, conf.d/*.yml, none-*.yml]\n"
	    "log: { level: warn, format: json }\n"
	    "host_types: { people: { auth: [x, y], plugins: { roster: { versioning: yes } } } }\n"
	    "listeners: [ { kind: c2s, port: 1 } ]\n"
	    "domains: { a.example: { type: people, certificate: ca } }\n");
	put("a.yml", "include: b.yml\nlog: { level: notice }\n");
	put("b.yml", "include: [main.yml, a.yml]\nserver: { workers: 3 }\n");
	put("more/1.yml", "log: { level: info, file: log.txt }\nlisteners: [ { kind: c2s, port: 2 } ]\n");
	put("more/2.yml", "log: { level: debug }\nhost_types: { people: { auth: [z] } }\n");
	put("conf.d/10.yml", "host_types: { people: { plugins: { roster: , mam: { quota: 1GB } } } }\n"
	    "domains: { a.example: { certificate: ca }, b.example: people }\n");
	put("conf.d/20.yml", "listeners:\n  - { kind: c2s, port: 3 }\nlog:\n");
	put("conf.d/ignored.txt", "this isn't read: [");
	c = read_main();
	assert_string_equal(mk_diag_text(&diag), "");
	assert_int_equal(c->log.level, MK_DEBUG);
	assert_int_equal(c->log.format, 1);
	assert_string_equal(c->log.file, in_dir("more/log.txt"));
	assert_int_equal(c->workers, 3);
	assert_int_equal(c->types[0].auth.n, 1);
	assert_string_equal(c->types[0].auth.v[0], "z");
	assert_int_equal(c->types[0].plugin_count, 2);
	assert_string_equal(mk_node_get(c->types[0].plugins[0].node, "versioning")->text, "yes");
	assert_string_equal(c->types[0].plugins[1].name, "mam");
	assert_int_equal(c->listener_count, 3);
	assert_int_equal(c->listeners[0].port, 1);
	assert_int_equal(c->listeners[1].port, 2);
	assert_int_equal(c->listeners[2].port, 3);
	assert_int_equal(c->domain_count, 2);
	assert_string_equal(c->domains[0].certificate, in_dir("conf.d/ca"));
	mk_config_free(&c);
}

static void test_files_that_cant_be_read_are_named(void **state)
{
	struct mk_buf want = { 0 };
	struct mk_config *c;
	FILE *f;

	(void)state;
	mkdir(in_dir("more"), 0700);
	mkdir(in_dir("conf.d"), 0700);
	mk_diag_fini(&diag);
	assert_int_equal(mk_config_read("/nowhere/m.yml", &diag, &c), -MK_EINVAL);
	assert_string_equal(mk_diag_text(&diag), "/nowhere/m.yml: No such file or directory\n");

	put("main.yml", "include: [none.yml, more, [x: y], big.yml]\nlog: { levl: 1 }\n");
	put("conf.d/10.yml", "log: [");
	put("conf.d/20.yml", "- 1");
	f = fopen(in_dir("big.yml"), "w");
	assert_non_null(f);
	for (int i = 0; i < (MK_YAML_FILE_MAX >> 6) + 1; i++)
		fprintf(f, "%63s\n", "# x");
	assert_int_equal(fclose(f), 0);
	assert_null(read_main());
	mk_buf_printf(&want, "%s:1:11: %s/none.yml: No such file or directory\n"
		"%s:1:21: %s/more: a folder, not a file (dir/*.yml would name its files)\n"
		"%s:1:28: setting 'include': expected names of files, or a list of them\n"
		"%s:1:35: %s/big.yml: larger than 4 MB\n"
		"%s/conf.d/10.yml:2:1: not YAML: did not find expected node content while parsing a flow node\n"
		"%s/conf.d/20.yml:1:1: a configuration is sections by name (such as 'domains:'), "
		"not a list or a text\n", in_dir("main.yml"), dir, in_dir("main.yml"), dir,
		in_dir("main.yml"), in_dir("main.yml"), dir, dir, dir);
	assert_string_equal(mk_diag_text(&diag), mk_buf_z(&want));
	mk_buf_free(&want);
}

static void test_a_secret_may_be_a_file(void **state)
{
	struct mk_arena *a = mk_arena_new();
	struct mk_buf b = { 0 };
	const S *s;

	(void)state;
	put("secret", "hush hush\r\nsecond line\n");
	mk_buf_printf(&b, "x: { password: { file: %s } }\n", in_dir("secret"));
	assert_string_equal(plugin_said(a, &plugin, mk_buf_z(&b), &s), "");
	assert_string_equal(s->password, "hush hush");
	mk_buf_free(&b);
	mk_arena_free(&a);
}

/* ---- differences --------------------------------------------------------------------------- */

static void line(void *arg, const char *setting, const char *from, const char *to,
	const char *need)
{
	mk_buf_printf(arg, "%s: %s -> %s (%s)\n", setting, from, to, need);
}

static void assert_diff(const char *a, const char *b, const char *want)
{
	struct mk_config *x = good(a), *y = good(b);
	struct mk_buf out = { 0 };
	int n = mk_config_diff(x, y, line, &out);

	assert_string_equal(mk_buf_z(&out), want);
	for (const char *p = out.p; *p != '\0'; p++)
		n -= *p == '\n';
	assert_int_equal(n, 0);
	mk_buf_free(&out);
	mk_config_free(&x);
	mk_config_free(&y);
}

#define TYPE(body) "host_types: { people: { " body " } }\n"
static void test_differences_say_what_a_change_needs(void **state)
{
	(void)state;
	assert_diff(whole, whole, "");
	assert_diff("", "log:\nserver: {}\nlimits: { depth: 64, output: 1024KB }\ntls: { tickets: on }\n", "");
	assert_diff("", "server: { workers: 2, jobs: 5, shutdown: 5s, node_id: 1, data_dir: /d }\n",
		"server.data_dir: /var/lib/meerkat -> /d (restart)\n"
		"server.jobs: 4 -> 5 (restart)\n"
		"server.node_id: 0 -> 1 (restart)\n"
		"server.shutdown: 10s -> 5s (live)\n"
		"server.workers: 0 -> 2 (restart)\n");
	assert_diff("limits: { depth: 64, stanza: 1MB }\n", "limits: { depth: 65, stanza: 1024KB }\n",
		"limits.depth: 64 -> 65 (live)\n");
	assert_diff("storage: { backends: { sqlite: { file: a } } }\n",
		"storage: { backends: { sqlite: { file: b, threads: 2 } }, tables: { roster: memory }, "
		"journal: { sync: 3ms } }\n",
		"storage.backends.sqlite.file: a -> b (restart)\n"
		"storage.backends.sqlite.threads: 4 -> 2 (restart)\n"
		"storage.journal.sync: 2ms -> 3ms (restart)\n"
		"storage.tables.roster: (unset) -> memory (restart)\n");
	assert_diff(TYPE("plugins: { roster: { versioning: yes }, carbons: }"),
		TYPE("plugins: { roster: { versioning: no }, mam: { list: [a, b] } }, auth: [internal, ldap]"),
		"host_types.people.auth: internal -> [internal, ldap] (live)\n"
		"host_types.people.plugins.carbons: (set) -> (unset) (live)\n"
		"host_types.people.plugins.mam.list: (unset) -> [a, b] (live)\n"
		"host_types.people.plugins.roster.versioning: yes -> no (live)\n");
	assert_diff(TYPE("") "domains: { a.example: people, c.example: people }\n",
		TYPE("") "domains: { a.example: { certificate: x }, b.example: people }\n",
		"domains.a.example.certificate: (unset) -> x (live)\n"
		"domains.a.example.type: people -> (unset) (live)\n"
		"domains.b.example.type: (unset) -> people (live)\n"
		"domains.c.example.type: people -> (unset) (live)\n");
	assert_diff("listeners: [ { kind: c2s, port: 1 }, { kind: c2s, port: 2, tls: direct } ]\n",
		"listeners: [ { kind: c2s, port: 2, tls: none }, { kind: c2s, port: 1 }, "
		"{ kind: c2s, port: 3, address: \"::1\" } ]\n",
		"listeners[2].tls: direct -> none (live)\n"
		"listeners[::1 3]: (unset) -> {kind: c2s, port: 3, address: ::1} (live)\n");
	assert_diff("listeners: [ { kind: c2s, port: 1 } ]\n", "",
		"listeners[1]: {kind: c2s, port: 1} -> (unset) (live)\n");
}

static void test_differences_dont_show_secrets(void **state)
{
	struct mk_config *a, *b;
	struct mk_buf out = { 0 };
	void *values;

	(void)state;
	setenv("MK_TEST_WORD", "hush", 1);
	assert_diff(TYPE("plugins: { ldap: { bind_password: hush, x: '${MK_TEST_WORD}' } }"),
		TYPE("plugins: { ldap: { bind_password: loud, x: plain, api_token: loud } }"),
		"host_types.people.plugins.ldap.api_token: (unset) -> (secret) (live)\n"
		"host_types.people.plugins.ldap.bind_password: (secret) -> (changed) (live)\n"
		"host_types.people.plugins.ldap.x: (secret) -> (changed) (live)\n");
	assert_diff(TYPE("plugins: { ldap: { bind_password: { file: a } } }"),
		TYPE("plugins: { ldap: { bind_password: { file: b } } }"),
		"host_types.people.plugins.ldap.bind_password.file: a -> b (live)\n");
	/* A secret by its schema only: known once it was filled. */
	static const struct mk_conf_item key_items[] = {
		MK_CONF_FIELD(S, greeting, const char *, MK_CONF_SECRET, 0, NULL, NULL, ""), { 0 } };
	static const struct mk_conf_schema key_schema = MK_CONF_SCHEMA(S, key_items);
	static const struct mk_plugin p = { .conf = &key_schema };
	a = good(TYPE("plugins: { hi: { greeting: hush } }"));
	b = good(TYPE("plugins: { hi: { greeting: loud } }"));
	assert_int_equal(mk_conf_check_plugin(&p, b->types[0].plugins[0].node, "w", b->arena, &diag,
	                                      &values), 0);
	assert_int_equal(mk_config_diff(a, b, line, &out), 1);
	assert_string_equal(mk_buf_z(&out),
	                    "host_types.people.plugins.hi.greeting: (secret) -> (changed) (live)\n");
	mk_buf_free(&out);
	mk_config_free(&a);
	mk_config_free(&b);
}

static void test_settings_are_described(void **state)
{
	struct mk_buf b = { 0 };

	(void)state;
	mk_config_describe(&b);
	mk_buf_z(&b);
	assert_non_null(strstr(b.p, "limits.auth_timeout duration 30s 100ms..1h - Time from accepting "
	                       "a connection to its bound resource, whatever it sends.\n"));
	assert_non_null(strstr(b.p, "\nlisteners[].port int (required) 0..65535 - TCP port; "));
	assert_non_null(strstr(b.p, "\nhost_types.NAME.durability enum wal async|wal|commit - "));
	mk_buf_clear(&b);
	mk_conf_describe(&schema, "roster", &b);
	mk_buf_z(&b);
	assert_non_null(strstr(b.p, "roster.words list \"a, b\" - - l\n"));
	assert_non_null(strstr(b.p, "roster.nobody jid - - - g\n"));
	assert_null(strstr(b.p, "before"));
	mk_buf_free(&b);
}

static void test_many_domains_cost_little(void **state)
{
	enum { N = 50000 };
	struct mk_buf b = { 0 };
	struct mk_config *c, *e;
	mk_usec from = mk_now_usec();

	(void)state;
	mk_buf_addz(&b, "host_types: { people: }\ndomains:\n");
	for (int i = 0; i < N; i++)
		mk_buf_printf(&b, "  d%d.example: people\n", i);
	c = good(mk_buf_z(&b));
	e = good(mk_buf_z(&b));
	assert_int_equal(c->domain_count, N);
	assert_int_equal(mk_config_diff(c, e, NULL, NULL), 0);
	mk_config_free(&c);
	mk_config_free(&e);
	mk_buf_free(&b);
	/* Quadratic would be minutes; a slow machine with sanitizers isn't. */
	assert_true(mk_now_usec() - from < 30000000);
}

static int end(void **state)
{
	(void)state;
	mk_diag_fini(&diag);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_mistake_is_said_with_its_place_and_what_is_allowed),
		cmocka_unit_test(test_nesting_and_size_are_bounded),
		cmocka_unit_test(test_messages_end_somewhere),
		cmocka_unit_test(test_defaults_are_those_of_S_09),
		cmocka_unit_test(test_a_whole_configuration_is_understood),
		cmocka_unit_test(test_the_environment_is_expanded),
		cmocka_unit_test(test_values_by_type),
		cmocka_unit_test(test_the_nearest_spelling),
		cmocka_unit_test(test_a_plugins_settings_fill_its_struct),
		cmocka_unit_test(test_a_plugins_mistakes),
		cmocka_unit_test(test_a_schemas_own_mistakes_are_handled),
		cmocka_unit_test_setup_teardown(test_files_are_merged_in_order, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_files_that_cant_be_read_are_named, make_dir,
		                                remove_dir),
		cmocka_unit_test_setup_teardown(test_a_secret_may_be_a_file, make_dir, remove_dir),
		cmocka_unit_test(test_differences_say_what_a_change_needs),
		cmocka_unit_test(test_differences_dont_show_secrets),
		cmocka_unit_test(test_settings_are_described),
		cmocka_unit_test(test_many_domains_cost_little),
	};

	return cmocka_run_group_tests_name("conf", tests, NULL, end);
}
