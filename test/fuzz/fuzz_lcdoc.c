/*-------------------------------------------------------------------------
 *
 * fuzz_lcdoc.c
 *	  Any bytes as a bucket's lifecycle document; the first letter chooses
 *	  which of our rules are wanted.
 *
 * Promises: what is written is read again as the same; a merge leaves all
 * rules of others as they were, leaves ours exactly as wanted, and a second
 * one changes nothing; ours taken away, none is left and no other is missing;
 * what is written for other encodings is ASCII.
 *
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"
#include "s3_lcdoc.h"

static VfLcDoc *
read_text(const char *text)
{
	const char *fault;
	VfLcDoc    *doc = vf_s3_lcdoc_read(text, strlen(text), &fault);

	PROMISE(doc != NULL && fault == NULL);
	return doc;
}

/* Written and read again. */
static VfLcDoc *
again(const VfLcDoc *doc, VfLcForm form)
{
	char	   *text = vf_s3_lcdoc_text(doc, form, false);
	VfLcDoc    *copy = read_text(text);

	free(text);
	return copy;
}

static void
check_ascii(char *text)
{
	for (const char *p = text; *p; p++)
		PROMISE((unsigned char) *p < 0x80);
	free(text);
}

static void
check_written(const VfLcDoc *doc)
{
	VfLcDoc    *copy = again(doc, VF_LC_XML);
	char	   *text = vf_s3_lcdoc_text(doc, VF_LC_CANONICAL, false);
	char	   *other = vf_s3_lcdoc_text(copy, VF_LC_CANONICAL, false);

	PROMISE(strcmp(text, other) == 0);
	PROMISE(vf_s3_lcdoc_same(doc, copy, true) == 1);
	PROMISE(vf_s3_lcdoc_count(doc) == vf_s3_lcdoc_count(copy));
	free(text);
	free(other);
	vf_s3_lcdoc_free(copy);
	check_ascii(vf_s3_lcdoc_text(doc, VF_LC_XML, true));
	check_ascii(vf_s3_lcdoc_text(doc, VF_LC_JSON, true));
	free(vf_s3_lcdoc_text(doc, VF_LC_JSON, false));
}

static void
check_ours(const VfLcDoc *doc, const VfLcDoc *wanted)
{
	int			ours = 0;

	for (int i = 0; i < vf_s3_lcdoc_count(doc); i++)
	{
		int			at = vf_s3_lcdoc_find(wanted, vf_s3_lcdoc_id(doc, i));

		if (!vf_s3_lcdoc_is_ours(doc, i))
			continue;
		ours++;
		PROMISE(at >= 0 && vf_s3_lcdoc_same_rule(doc, i, wanted, at) == 1);
	}
	PROMISE(ours == vf_s3_lcdoc_count(wanted));
}

static void
check_merge(const VfLcDoc *before, const VfLcWish *wish)
{
	VfLcDoc    *doc = again(before, VF_LC_XML);
	VfLcDoc    *wanted = vf_s3_lcdoc_wish(doc, wish);
	VfLcDoc    *copy;

	if (wanted == NULL)
	{
		/* A root whose name nobody gives. */
		vf_s3_lcdoc_free(doc);
		return;
	}
	PROMISE(vf_s3_lcdoc_merge(doc, wanted));
	PROMISE(vf_s3_lcdoc_same(before, doc, false) == 1);
	check_ours(doc, wanted);
	copy = again(doc, VF_LC_XML);
	check_ours(copy, wanted);
	PROMISE(vf_s3_lcdoc_same(before, copy, false) == 1);
	PROMISE(vf_s3_lcdoc_merge(copy, wanted));
	PROMISE(vf_s3_lcdoc_same(doc, copy, true) == 1);
	vf_s3_lcdoc_free(copy);
	vf_s3_lcdoc_free(wanted);
	vf_s3_lcdoc_free(doc);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int			bits = size > 0 ? data[0] : 0;
	char	   *text;
	const char *fault = "";
	VfLcDoc    *doc;
	VfLcWish	wish = {
		bits & 1 ? "STANDARD_IA" : NULL, bits & 2 ? "GLACIER" : NULL,
		bits & 4, bits & 8, bits & 16, bits & 32, bits & 64
	};

	if (size == 0)
		return 0;
	text = fuzz_copy(data + 1, size - 1);
	doc = vf_s3_lcdoc_read(text, size - 1, &fault);
	free(text);
	PROMISE((doc == NULL) == (fault != NULL));
	if (doc == NULL)
		return 0;
	check_written(doc);
	check_merge(doc, &wish);
	check_merge(doc, NULL);
	for (int i = 0; i < vf_s3_lcdoc_count(doc); i++)
	{
		vf_s3_lcdoc_prefix(doc, i);
		vf_s3_lcdoc_expires(doc, i);
	}
	vf_s3_lcdoc_free(doc);
	return 0;
}
