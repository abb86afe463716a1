/*-------------------------------------------------------------------------
 *
 * classes.c
 *	  Prints the table of answer classes, for tests that walk it.
 *
 * "row STATUS CLASS CODE CURE" for every row, then "status STATUS CLASS CODE"
 * for every status, as a request without any code is judged by it.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>

#include "s3_class.h"

static const char *const names[] = {
	[VF_S3_OK] = "ok",
	[VF_S3_BUCKET] = "bucket",
	[VF_S3_BATCH] = "batch",
	[VF_S3_KEY_PASSING] = "passing",
	[VF_S3_KEY_FINAL] = "final"
};

int
main(void)
{
	const char *code;
	const char *cure;
	VfS3Class	class;
	int			status;
	int			n;

	for (n = 0; vf_s3_class_entry(n, &status, &code, &class, &cure); n++)
		printf("row %d %s %s %s\n", status, names[class], code, cure);
	for (status = 200; status < 600; status++)
	{
		class = vf_s3_class_of_request(status, "", &code);
		printf("status %d %s %s\n", status, names[class], code);
	}
	return 0;
}
