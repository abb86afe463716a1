/*-------------------------------------------------------------------------
 *
 * fuzz_acl.c
 *	  Any bytes as the access control of an object.
 *
 * Promises: texts keep their limits; what is read and written is read again
 * as the same; added to itself it changes nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"
#include "s3_xml_acl.h"

static VfS3Acl first;
static VfS3Acl second;
static char text[VF_S3_ACL_TEXT];

static void
check_same(void)
{
	PROMISE(strcmp(first.owner, second.owner) == 0 && first.n == second.n);
	for (int i = 0; i < first.n; i++)
	{
		const VfS3Grant *a = &first.grants[i];
		const VfS3Grant *b = &second.grants[i];

		PROMISE(a->kind == b->kind && strcmp(a->who, b->who) == 0 &&
				strcmp(a->permission, b->permission) == 0);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool		full;
	size_t		len;

	if (vf_s3_acl_read((const char *) data, size, &first) != NULL)
		return 0;
	PROMISE(first.owner[0] != '\0' && first.n <= VF_S3_ACL_GRANTS);
	PROMISE(!vf_s3_acl_add(&first, &first, &full) && !full);
	len = vf_s3_acl_write(&first, text, sizeof(text));
	if (len == 0)
		return 0;
	PROMISE(vf_s3_acl_read(text, len, &second) == NULL);
	check_same();
	return 0;
}
