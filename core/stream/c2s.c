/*
 * stream/c2s.c - listeners: for clients, and of the kinds that plugins bring
 *
 * Main thread starts and stops; accepted() runs on every worker.
 */
#include "stream/stream.h"

#include <unistd.h>

#include "base/metric.h"
#include "loop/worker.h"
#include "net/limit.h"
#include "base/ban.h"

static void accepted(struct mk_listener *l, int fd, const struct mk_addr *peer)
{
	struct mk_c2s *c = mk_listener_arg(l);

	/* Who has logged in does not count: one address may have many users (S-09). */
	if (!mk_limit_wait(peer, (uint32_t)mk_limits()->preauth_per_address)) {
		mk_metric_bump(c->m_waiting, 1);
		close(fd);
		mk_listener_gone(peer);
		return;
	}
	atomic_store_explicit(&c->port, mk_listener_port(l), memory_order_relaxed);
	if (c->transport != NULL)
		mk_link_accept(c, fd, peer);
	else
		mk_stream_new(c, fd, peer);
}

static void find_shaper(struct mk_c2s *s, const char *name, const struct mk_config *c)
{
	for (size_t i = 0; i < c->shaper_count; i++)
		if (strcmp(c->shapers[i].name, name) == 0) {
			s->shaper = c->shapers[i];
			s->shaper.name = NULL; /* the configuration's               */
			s->is_shaped = true;
		}
}

void mk_c2s_unref(struct mk_c2s **cp)
{
	struct mk_c2s *c = *cp;

	*cp = NULL;
	if (c == NULL || atomic_fetch_sub(&c->refs, 1) != 1)
		return;
	if (c->tls != NULL)
		mk_tls_config_free(&c->tls);
	if (c->arena != NULL)
		mk_arena_free(&c->arena);
	mk_free(c->name);
	mk_free(c);
}

const struct mk_transport *mk_plugin_transport(const struct mk_plugin *p)
{
	return p->size >= offsetof(struct mk_plugin, transport) + sizeof p->transport
		? p->transport : NULL;
}

int mk_c2s_check(const struct mk_config_listener *l, const struct mk_plugin *p,
	const char *where, struct mk_arena *arena, struct mk_diag *d, void **values_out)
{
	const struct mk_transport *t = mk_plugin_transport(p);

	if (t == NULL || !(p->flags & MK_PLUGIN_GLOBAL)) {
		mk_diag_setting(d, mk_node_get(l->node, "kind"), where, "kind",
			"plugin '%s' is no kind of listener", p->name);
		return -MK_EINVAL;
	}
	/* A plugin as far as settings go. */
	const struct mk_plugin view = { .name = p->name, .conf = t->conf, .check = t->check };
	return mk_conf_check_plugin(&view, l->own, where, arena, d, values_out);
}

int mk_c2s_start(const struct mk_config_listener *l, const struct mk_config *c,
	struct mk_tls_store *tls, struct mk_module *m, struct mk_inst *inst,
	struct mk_diag *d, struct mk_c2s **out)
{
	static const char *const xmpp[] = { "xmpp-client", NULL };
	const char *const *alpn = xmpp;
	struct mk_c2s *s = mk_alloc(sizeof *s);
	struct mk_buf name = { 0 };
	const char **from = NULL;
	int r;

	atomic_init(&s->refs, 1);
	s->tls_mode = (uint8_t)l->tls;
	s->plain_without_tls = l->plain_without_tls;
	find_shaper(s, l->shaper, c);
	mk_buf_printf(&name, "%s:%s:%d", l->kind, l->address, (int)l->port);
	s->name = mk_strdup(mk_buf_z(&name));
	mk_buf_clear(&name);
	mk_metric_label(&name, "listener", mk_strz(s->name));
	mk_metric_label(&name, "reason", MK_STR("preauth_limit"));
	s->m_waiting = mk_metric_id("meerkat_connections_refused_total",
		"connections closed before anything was read", MK_COUNTER, mk_buf_z(&name));
	mk_buf_free(&name);
	if (m != NULL) {
		s->arena = mk_arena_new();
		if ((r = mk_c2s_check(l, m->plugin, s->name, s->arena, d, &s->conf)) < 0)
			goto fail;
		s->module = m;
		s->transport = mk_plugin_transport(m->plugin);
		alpn = s->transport->alpn;
		atomic_store(&s->inst, inst);
	}
	if (l->tls != MK_TLS_NONE) {
		struct mk_tls_conf conf = { .priorities = c->tls_priorities, .alpn = alpn,
			.alpn_required = m == NULL && l->tls == MK_TLS_DIRECT, .tickets = c->tls_tickets };
		if (tls == NULL || (r = mk_tls_config_new(tls, &conf, &s->tls)) < 0) {
			mk_diag_add(d, "listener %s: TLS needs a certificate of a domain", s->name);
			r = -MK_EINVAL;
			goto fail;
		}
	}
	if (l->proxy_from.n != 0) {
		from = mk_alloc((l->proxy_from.n + 1) * sizeof *from);
		for (uint32_t i = 0; i < l->proxy_from.n; i++)
			from[i] = l->proxy_from.v[i];
	}
	struct mk_listener_conf lc = {
		.name = s->name, .address = l->address, .port = (uint16_t)l->port,
		.backlog = (int)l->backlog, .proxy = l->proxy_protocol, .proxy_from = from,
		.per_address = (uint32_t)c->limits.connections_per_address,
		.accepts_per_second = (uint32_t)c->limits.accepts_per_second,
		.accepted = accepted, .arg = s,
	};
	r = mk_listener_start(&lc, d, &s->listener);
	mk_free(from);
	if (r < 0)
		goto fail;
	*out = s;
	return 0;
fail:
	mk_c2s_unref(&s);
	return r;
}

void mk_c2s_stop(struct mk_c2s **c)
{
	if (*c == NULL)
		return;
	if ((*c)->listener != NULL)
		mk_listener_stop(&(*c)->listener);
	mk_c2s_unref(c);
}
