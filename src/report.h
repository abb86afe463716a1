/*-------------------------------------------------------------------------
 *
 * report.h
 *	  What a registration found, as rows of two columns.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_REPORT_H
#define VF_REPORT_H

/* Palloc'd as it grows; starts zeroed. */
typedef struct VfReport
{
	int			n;
	int			max;
	const char **items;
	const char **values;
} VfReport;

/* Both are kept, not copied. */
extern void vf_report_add(VfReport *report, const char *item,
						  const char *value);

#endif							/* VF_REPORT_H */
