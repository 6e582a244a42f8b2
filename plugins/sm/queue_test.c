/*
 * sm/queue_test.c - the ring and its numbers
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>
#include "queue.h"

static struct mk_jid *to;

static struct mk_stanza *stanza(unsigned n)
{
	struct mk_stanza *s = mk_stanza_new(MK_MESSAGE, "chat", NULL, to);
	char id[16];

	snprintf(id, sizeof id, "%u", n);
	mk_stanza_set_id(s, id);
	return s;
}

static void push(struct sm_queue *q, unsigned first, unsigned n)
{
	for (unsigned i = first; i < first + n; i++) {
		struct mk_stanza *s = stanza(i);
		sm_queue_push(q, s, to, NULL);
		q->sent++;
		mk_stanza_unref(&s);
	}
}

static void expect(struct sm_queue *q, unsigned first, unsigned n)
{
	struct sm_out o;
	char id[16];

	assert_int_equal(sm_queue_n(q), n);
	for (unsigned i = first; i < first + n; i++) {
		assert_true(sm_queue_pop(q, &o));
		snprintf(id, sizeof id, "%u", i);
		assert_string_equal(mk_stanza_id(o.stanza), id);
		assert_true(mk_jid_eq(o.to, to));
		sm_out_free(&o);
	}
	assert_false(sm_queue_pop(q, &o));
	assert_null(q->ring);
	assert_int_equal(q->bytes, 0);
}

static void test_first_in_is_first_out(void **state)
{
	struct sm_queue q = { 0 };

	(void)state;
	push(&q, 1, 100);
	assert_true(q.bytes > 0);
	expect(&q, 1, 100);
	assert_int_equal(q.acked, 100);
	push(&q, 101, 3);
	expect(&q, 101, 3);
}

static void test_acks_remove_what_was_handled(void **state)
{
	struct sm_queue q = { 0 };

	(void)state;
	push(&q, 1, 10);
	assert_int_equal(sm_queue_ack(&q, 0), 0);
	assert_int_equal(sm_queue_ack(&q, 4), 4);
	assert_int_equal(sm_queue_ack(&q, 4), 0);
	assert_int_equal(sm_queue_ack(&q, 2), 0);      /* an old one            */
	assert_int_equal(sm_queue_ack(&q, 11), -MK_EINVAL);
	expect(&q, 5, 6);
}

static void test_only_what_was_sent_can_be_handled(void **state)
{
	struct sm_queue q = { 0 };

	(void)state;
	push(&q, 1, 4);
	q.sent = 2;
	assert_int_equal(sm_queue_ack(&q, 3), -MK_EINVAL);
	assert_int_equal(sm_queue_ack(&q, 2), 2);
	assert_int_equal(q.sent, 2);
	/* Popping goes past what was sent: nothing may be sent that is gone. */
	expect(&q, 3, 2);
	assert_int_equal(q.sent, 4);
}

static void test_numbers_wrap_at_2_to_the_32(void **state)
{
	struct sm_queue q = { .acked = UINT32_MAX - 2, .sent = UINT32_MAX - 2,
		.total = UINT32_MAX - 2 };

	(void)state;
	push(&q, 1, 6);
	assert_int_equal(q.total, 3);
	assert_int_equal(sm_queue_ack(&q, 4), -MK_EINVAL);
	assert_int_equal(sm_queue_ack(&q, UINT32_MAX), 2);
	assert_int_equal(sm_queue_ack(&q, 0), 1);
	assert_int_equal(sm_queue_ack(&q, UINT32_MAX), 0);
	expect(&q, 4, 3);
	assert_true(sm_after(0, UINT32_MAX));
	assert_false(sm_after(UINT32_MAX, 0));
}

static void test_ring_grows_wherever_it_begins(void **state)
{
	(void)state;
	for (unsigned skip = 0; skip < 9; skip++) {
		struct sm_queue q = { 0 };
		push(&q, 0, skip);
		sm_queue_ack(&q, skip);
		push(&q, 1, 3);
		sm_queue_ack(&q, skip + 1);
		push(&q, 4, 30);
		expect(&q, 2, 32);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_in_is_first_out),
		cmocka_unit_test(test_acks_remove_what_was_handled),
		cmocka_unit_test(test_only_what_was_sent_can_be_handled),
		cmocka_unit_test(test_numbers_wrap_at_2_to_the_32),
		cmocka_unit_test(test_ring_grows_wherever_it_begins),
	};

	if (mk_jid_parsez("romeo@montague.example/orchard", &to) < 0)
		return 1;
	int r = cmocka_run_group_tests(tests, NULL, NULL);
	mk_jid_unref(&to);
	return r;
}
