/*-------------------------------------------------------------------------
 *
 * fuzz_cred.c
 *	  Any bytes as a credentials file; the first line names the profile.
 *
 * Promises: what is found stands in the text, fits its field and a header;
 * what is not found leaves nothing behind; the line at fault exists; line
 * ends of either kind mean the same; other profiles do not matter.
 *
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"
#include "s3_cred_parse.h"

static void
check_value(const char *value, size_t size, const char *text, size_t len)
{
	const char *end = memchr(value, '\0', size);

	PROMISE(end != NULL && vf_s3_cred_value_ok(value, end - value));
	PROMISE(fuzz_contains(text, len, value, end - value));
}

static bool
is_clear(const void *memory, size_t size)
{
	const char *p = memory;
	size_t		i;

	for (i = 0; i < size; i++)
	{
		if (p[i] != 0)
			return false;
	}
	return true;
}

static void
check_result(VfS3CredVerdict verdict, const VfS3CredText *out, int line,
			 const char *text, size_t len)
{
	int			lines = 1;
	size_t		i;

	for (i = 0; i < len; i++)
		lines += text[i] == '\n';
	PROMISE(line >= 0 && line <= lines);
	PROMISE((line > 0) == (verdict == VF_S3_CRED_BAD_LINE ||
						   verdict == VF_S3_CRED_BAD_VALUE));
	if (verdict != VF_S3_CRED_FOUND)
	{
		PROMISE(is_clear(out, sizeof(*out)));
		return;
	}
	PROMISE(out->access_key[0] && out->secret_key[0]);
	check_value(out->access_key, sizeof(out->access_key), text, len);
	check_value(out->secret_key, sizeof(out->secret_key), text, len);
	check_value(out->session_token, sizeof(out->session_token), text, len);
}

/* The text with CR LF for every LF. */
static char *
with_crlf(const char *text, size_t len, size_t *new_len)
{
	char	   *copy = malloc(2 * len + 1);
	size_t		i;

	*new_len = 0;
	for (i = 0; i < len; i++)
	{
		if (text[i] == '\n')
			copy[(*new_len)++] = '\r';
		copy[(*new_len)++] = text[i];
	}
	return copy;
}

static void
check_same(const char *text, size_t len, const char *profile,
		   VfS3CredVerdict verdict, const VfS3CredText *out)
{
	static VfS3CredText other;
	int			line;

	PROMISE(vf_s3_cred_parse(text, len, profile, &other, &line) == verdict);
	PROMISE(strcmp(out->access_key, other.access_key) == 0 &&
			strcmp(out->secret_key, other.secret_key) == 0 &&
			strcmp(out->session_token, other.session_token) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char more[] = "\n[a profile of nobody]\nx = y\n";
	static VfS3CredText out;
	char	   *profile = fuzz_line(&data, &size);
	char	   *text = fuzz_copy(data, size);
	char	   *changed;
	size_t		changed_len;
	VfS3CredVerdict verdict;
	int			line = -1;

	memset(&out, 'x', sizeof(out));
	verdict = vf_s3_cred_parse(text, size, profile, &out, &line);
	check_result(verdict, &out, line, text, size);

	changed = with_crlf(text, size, &changed_len);
	check_same(changed, changed_len, profile, verdict, &out);
	free(changed);
	changed = malloc(size + sizeof(more));
	memcpy(changed, text, size);
	memcpy(changed + size, more, sizeof(more));
	if (strcmp(profile, "a profile of nobody") != 0)
		check_same(changed, size + sizeof(more) - 1, profile, verdict, &out);
	free(changed);

	if (verdict == VF_S3_CRED_FOUND)
	{
		vf_s3_cred_parse_wipe(&out);
		PROMISE(is_clear(&out, sizeof(out)));
	}
	free(text);
	free(profile);
	return 0;
}
