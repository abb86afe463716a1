/*-------------------------------------------------------------------------
 *
 * report.c
 *	  What a registration found, as rows of two columns.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "report.h"

void
vf_report_add(VfReport *report, const char *item, const char *format,...)
{
	StringInfoData buf;
	va_list		args;
	int			more;

	initStringInfo(&buf);
	for (;;)
	{
		va_start(args, format);
		more = appendStringInfoVA(&buf, format, args);
		va_end(args);
		if (more == 0)
			break;
		enlargeStringInfo(&buf, more);
	}
	if (report->n == report->max)
	{
		report->max = Max(report->max * 2, 16);
		report->items = report->items == NULL ?
			palloc(sizeof(char *) * report->max) :
			repalloc(report->items, sizeof(char *) * report->max);
		report->values = report->values == NULL ?
			palloc(sizeof(char *) * report->max) :
			repalloc(report->values, sizeof(char *) * report->max);
	}
	report->items[report->n] = pstrdup(item);
	report->values[report->n++] = buf.data;
}
