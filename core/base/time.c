/*
 * base/time.c - clocks, and date and time as XMPP writes them (XEP-0082)
 *
 * Any thread; no state.
 */
#include <stdio.h>
#include <time.h>
#include <meerkat/types.h>
#include "base/ban.h"

#define DAY_MS INT64_C(86400000)

mk_usec mk_now_usec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (mk_usec)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t mk_wall_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Days since 1970-01-01 in the Gregorian calendar, for year >= 0. Years begin
 * in March here, so that the leap day is the last one. */
static int64_t days_from_date(int year, int month, int day)
{
	int64_t y = month <= 2 ? year - 1 : year;
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	int64_t of_era = y - era * 400;
	int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static void date_from_days(int64_t days, int *year, int *month, int *day)
{
	int64_t z = days + 719468;
	int64_t era = (z >= 0 ? z : z - 146096) / 146097;
	int64_t of_era = z - era * 146097;
	int64_t y = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	int64_t of_year = of_era - (365 * y + y / 4 - y / 100);
	int64_t m = (5 * of_year + 2) / 153;

	*day = (int)(of_year - (153 * m + 2) / 5 + 1);
	*month = (int)(m < 10 ? m + 3 : m - 9);
	*year = (int)(y + era * 400 + (*month <= 2));
}

void mk_time_format(char out[32], int64_t wall_ms)
{
	const int64_t min = days_from_date(0, 1, 1) * DAY_MS;
	const int64_t max = days_from_date(10000, 1, 1) * DAY_MS - 1;
	int year, month, day, ms;
	int64_t days;

	/* Four digits are all that the format has. */
	wall_ms = wall_ms < min ? min : wall_ms > max ? max : wall_ms;
	days = wall_ms / DAY_MS;
	ms = (int)(wall_ms % DAY_MS);
	if (ms < 0) {
		days--;
		ms += (int)DAY_MS;
	}
	date_from_days(days, &year, &month, &day);
	snprintf(out, 32, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", (unsigned)year % 10000,
	         (unsigned)month % 100, (unsigned)day % 100, (unsigned)ms / 3600000 % 100,
	         (unsigned)ms / 60000 % 60, (unsigned)ms / 1000 % 60, (unsigned)ms % 1000);
}

/* count digits at *p; -1 if there are fewer before end. */
static int digits(const char **p, const char *end, int count)
{
	int v = 0;

	if (end - *p < count)
		return -1;
	for (; count > 0; count--, (*p)++) {
		if (**p < '0' || **p > '9')
			return -1;
		v = v * 10 + (**p - '0');
	}
	return v;
}

static bool literal(const char **p, const char *end, char c)
{
	if (*p == end || **p != c)
		return false;
	(*p)++;
	return true;
}

int mk_time_parse(struct mk_str s, int64_t *wall_ms_out)
{
	static const int month_days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	const char *p, *end;
	int year, month, day, hour, min, sec, ms = 0, scale = 100, offset = 0, sign, h, m;
	bool leap;

	if (s.n == 0)
		return -MK_EINVAL;
	p = s.p;
	end = p + s.n;
	year = digits(&p, end, 4);
	if (year < 0 || !literal(&p, end, '-'))
		return -MK_EINVAL;
	month = digits(&p, end, 2);
	if (month < 1 || month > 12 || !literal(&p, end, '-'))
		return -MK_EINVAL;
	day = digits(&p, end, 2);
	leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
	if (day < 1 || day > month_days[month - 1] + (month == 2 && leap) ||
	    !literal(&p, end, 'T'))
		return -MK_EINVAL;
	hour = digits(&p, end, 2);
	if (hour < 0 || hour > 23 || !literal(&p, end, ':'))
		return -MK_EINVAL;
	min = digits(&p, end, 2);
	if (min < 0 || min > 59 || !literal(&p, end, ':'))
		return -MK_EINVAL;
	sec = digits(&p, end, 2);
	if (sec < 0 || sec > 60)               /* 60: a leap second             */
		return -MK_EINVAL;
	if (literal(&p, end, '.')) {
		if (p == end || *p < '0' || *p > '9')
			return -MK_EINVAL;
		for (; p != end && *p >= '0' && *p <= '9'; p++, scale /= 10)
			ms += (*p - '0') * scale;
	}
	if (!literal(&p, end, 'Z')) {
		sign = literal(&p, end, '-') ? -1 : literal(&p, end, '+') ? 1 : 0;
		h = digits(&p, end, 2);
		if (sign == 0 || h < 0 || h > 14 || !literal(&p, end, ':'))
			return -MK_EINVAL;
		m = digits(&p, end, 2);
		if (m < 0 || m > 59)
			return -MK_EINVAL;
		offset = sign * (h * 60 + m);
	}
	if (p != end)
		return -MK_EINVAL;
	*wall_ms_out = days_from_date(year, month, day) * DAY_MS +
		((int64_t)hour * 3600 + ((int64_t)min - offset) * 60 + sec) * 1000 + ms;
	return 0;
}
