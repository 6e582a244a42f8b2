/*
 * time - Entity Time (XEP-0202) of the server
 *
 * Answers inline; keeps no state.
 */
#include <meerkat/plugin.h>
#include <stdlib.h>
#include <time.h>

#define NS "urn:xmpp:time"

static const struct mk_metric metric_answered = { sizeof(struct mk_metric), MK_COUNTER,
	"answered_total", "Questions for the time that were answered." };
static const struct mk_metric *const metrics[] = { &metric_answered, NULL };

static enum mk_verdict on_time(struct mk_inst *i, struct mk_iq_req *r)
{
	struct mk_elem *t = mk_elem_new(mk_iq_arena(r), "time", NS);
	int64_t now_ms = mk_wall_ms();
	time_t now = (time_t)(now_ms / 1000);
	struct tm local;
	long offset = 0;               /* minutes east of UTC                   */
	char utc[32];

	if (localtime_r(&now, &local) != NULL)
		offset = local.tm_gmtoff / 60;
	mk_elem_add_text(t, "tzo", NULL, mk_strz(offset == 0 ? "Z" :
		mk_arena_printf(mk_iq_arena(r), "%c%02ld:%02ld", offset < 0 ? '-' : '+',
			labs(offset) / 60, labs(offset) % 60)));
	mk_time_format(utc, now_ms);
	mk_elem_add_text(t, "utc", NULL, mk_strz(utc));
	mk_metric_add(i, 0, 1);
	mk_iq_result(r, t);
	return MK_DONE;
}

static const struct mk_iq iq_time = {
	.size = sizeof iq_time, .xmlns = NS, .name = "time", .fn = on_time,
	.flags = MK_IQ_GET | MK_IQ_HOST | MK_IQ_UNORDERED,
};

static int start(struct mk_inst *i)
{
	int r = mk_iq_handle(i, &iq_time);

	return r < 0 ? r : mk_disco_feature(i, MK_DISCO_HOST, NS);
}

MK_PLUGIN(time, "time", .flags = MK_PLUGIN_PER_TYPE, .version = "1.0",
	.license = "BSD-2-Clause", .summary = "Tells the server's time (XEP-0202).",
	.metrics = metrics, .start = start)
