/*
 * report.c - the result of a run, printed as a table or as a JSON object
 *
 * One list of rows serves both forms, so neither can lack what the other
 * has. Main thread.
 */
#include "report.h"

#include <stdio.h>

static struct report_row *row_add(struct report *r, const char *key,
                                  const char *label, const char *unit)
{
	struct report_row *row;

	if (r->n == REPORT_ROWS)
		return NULL;
	row = &r->row[r->n++];
	snprintf(row->key, sizeof(row->key), "%s", key);
	snprintf(row->label, sizeof(row->label), "%s", label);
	snprintf(row->unit, sizeof(row->unit), "%s", unit);
	return row;
}

void report_number(struct report *r, const char *key, const char *label,
                   double value, int decimals, const char *unit)
{
	struct report_row *row = row_add(r, key, label, unit);

	if (row)
		snprintf(row->value, sizeof(row->value), "%.*f", decimals, value);
}

void report_text(struct report *r, const char *key, const char *label,
                 const char *text)
{
	struct report_row *row = row_add(r, key, label, "");

	if (!row)
		return;
	snprintf(row->value, sizeof(row->value), "%s", text);
	row->is_text = true;
}

static void print_json_string(const char *s)
{
	putchar('"');
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			printf("\\%c", *s);
		else if ((unsigned char)*s < 0x20)
			printf("\\u%04x", (unsigned int)*s);
		else
			putchar(*s);
	}
	putchar('"');
}

void report_print(const struct report *r, bool as_json)
{
	if (as_json)
		puts("{");
	for (size_t i = 0; i < r->n; i++) {
		const struct report_row *row = &r->row[i];

		if (!as_json) {
			if (row->is_text)
				printf("%-44s %s\n", row->label, row->value);
			else
				printf("%-44s %14s %s\n", row->label, row->value,
				       row->unit);
			continue;
		}
		printf("  \"%s\": ", row->key);
		if (row->is_text)
			print_json_string(row->value);
		else
			fputs(row->value, stdout);
		puts(i + 1 < r->n ? "," : "");
	}
	if (as_json)
		puts("}");
	fflush(stdout);
}
