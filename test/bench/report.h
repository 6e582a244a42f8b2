/*
 * report.h - the result of a run, printed as a table or as a JSON object
 */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REPORT_ROWS 96

/* Rows in the order in which they were added. Zeroed to start with. */
struct report {
	size_t n;
	struct report_row {
		char key[48];           /* in JSON                           */
		char label[64];         /* in the table                      */
		char unit[16];
		char value[320];        /* digits or plain text              */
		bool is_text;
	} row[REPORT_ROWS];
};

/* A number with so many decimals. key and label are copied, unit too. */
void report_number(struct report *r, const char *key, const char *label,
                   double value, int decimals, const char *unit);

void report_text(struct report *r, const char *key, const char *label,
                 const char *text);

/* Writes all rows to stdout. */
void report_print(const struct report *r, bool as_json);

#endif
