/*-------------------------------------------------------------------------
 *
 * report.c
 *	  What a registration found, as rows of two columns.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "report.h"

void
vf_report_add(VfReport *report, const char *item, const char *value)
{
	if (report->n == report->max)
	{
		report->max = Max(report->max * 2, 64);
		report->items = report->items == NULL ?
			palloc(sizeof(char *) * report->max) :
			repalloc(report->items, sizeof(char *) * report->max);
		report->values = report->values == NULL ?
			palloc(sizeof(char *) * report->max) :
			repalloc(report->values, sizeof(char *) * report->max);
	}
	report->items[report->n] = item;
	report->values[report->n++] = value;
}
