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
	char	  **items;
	char	  **values;
} VfReport;

extern void vf_report_add(VfReport *report, const char *item,
						  const char *format,...) pg_attribute_printf(3, 4);

#endif							/* VF_REPORT_H */
