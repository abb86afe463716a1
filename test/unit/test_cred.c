/*-------------------------------------------------------------------------
 *
 * test_cred.c
 *	  The text of credentials files, good and bad.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "s3_cred_parse.h"
#include "unit.h"

typedef struct Case
{
	const char *text;
	const char *profile;
	VfS3CredVerdict verdict;
	int			line;
	const char *access_key;
	const char *secret_key;
	const char *token;
} Case;

#define KEYS "aws_access_key_id = AK\naws_secret_access_key = S/K+\n"

static const Case cases[] = {
	{"[default]\n" KEYS, "default", VF_S3_CRED_FOUND, 0, "AK", "S/K+", ""},
	{"[default]\r\naws_access_key_id=AK\r\naws_secret_access_key=SK\r\n",
	"default", VF_S3_CRED_FOUND, 0, "AK", "SK", ""},
	{"\xEF\xBB\xBF[default]\n" KEYS, "default", VF_S3_CRED_FOUND, 0, "AK",
	"S/K+", ""},
	{"[profile app]\n" KEYS, "app", VF_S3_CRED_FOUND, 0, "AK", "S/K+", ""},
	{"[ app ]\n" KEYS, "app", VF_S3_CRED_FOUND, 0, "AK", "S/K+", ""},
	{"[profile]\n" KEYS, "profile", VF_S3_CRED_FOUND, 0, "AK", "S/K+", ""},
	{"# c\n; c\n\n[default] # c\n" KEYS "aws_session_token = T== ; old\n",
	"default", VF_S3_CRED_FOUND, 0, "AK", "S/K+", "T=="},
	{"[default]\naws_access_key_id\t=\tAK\nAWS_SECRET_ACCESS_KEY=a#b;c",
	"default", VF_S3_CRED_FOUND, 0, "AK", "a#b;c", ""},
	{"[other]\naws_access_key_id = X\naws_secret_access_key = Y\n"
	"[default]\n" KEYS, "default", VF_S3_CRED_FOUND, 0, "AK", "S/K+", ""},
	{"[default]\n" KEYS "[other]\naws_access_key_id = X\n", "default",
	VF_S3_CRED_FOUND, 0, "AK", "S/K+", ""},
	{"[a]\naws_access_key_id = 1\n[b]\nx = y\n[a]\n"
		"aws_access_key_id = 2\naws_secret_access_key = 3\n", "a",
	VF_S3_CRED_FOUND, 0, "2", "3", ""},
	{"[default]\ns3 =\n  max_concurrent_requests = 20\n"
		"  aws_access_key_id = nested\n" KEYS, "default", VF_S3_CRED_FOUND, 0,
	"AK", "S/K+", ""},
	{"[default]\n  aws_access_key_id = AK\n  aws_secret_access_key = SK\n",
	"default", VF_S3_CRED_FOUND, 0, "AK", "SK", ""},
	{"[default]\nregion = eu-west-1\n" KEYS, "default", VF_S3_CRED_FOUND, 0,
	"AK", "S/K+", ""},

	{"", "default", VF_S3_CRED_NO_PROFILE, 0, "", "", ""},
	{"[Default]\n" KEYS, "default", VF_S3_CRED_NO_PROFILE, 0, "", "", ""},
	{"[a]\n" KEYS, "b", VF_S3_CRED_NO_PROFILE, 0, "", "", ""},
	{"[a]\n", "a", VF_S3_CRED_NO_ACCESS_KEY, 0, "", "", ""},
	{"[a]\naws_access_key_id = A\n", "a", VF_S3_CRED_NO_SECRET_KEY, 0, "", "",
	""},
	{"[a]\naws_access_key_id =\naws_secret_access_key = S\n", "a",
	VF_S3_CRED_NO_ACCESS_KEY, 0, "", "", ""},
	{"[a]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = b\n", "a",
	VF_S3_CRED_NOT_STATIC, 0, "", "", ""},
	{"[a]\ncredential_process = /bin/x\n", "a", VF_S3_CRED_NOT_STATIC, 0, "",
	"", ""},
	{KEYS, "default", VF_S3_CRED_BAD_LINE, 1, "", "", ""},
	{"[a]\nnonsense\n", "a", VF_S3_CRED_BAD_LINE, 2, "", "", ""},
	{"[a\n" KEYS, "a", VF_S3_CRED_BAD_LINE, 1, "", "", ""},
	{"[]\n", "a", VF_S3_CRED_BAD_LINE, 1, "", "", ""},
	{"[a]\n= x\n", "a", VF_S3_CRED_BAD_LINE, 2, "", "", ""},
	{"[a]\naws_access_key_id = A B\n", "a", VF_S3_CRED_BAD_VALUE, 2, "", "",
	""},
	{"[a]\naws_secret_access_key = \xC3\xBC\n", "a", VF_S3_CRED_BAD_VALUE, 2,
	"", "", ""},
	{"[a]\naws_secret_access_key = x\x01\n", "a", VF_S3_CRED_BAD_VALUE, 2,
	"", "", ""}
};

static VfS3CredVerdict
parse(const char *text, size_t len, const char *profile, VfS3CredText *out,
	  int *line)
{
	char	   *copy = malloc(len + 1);
	VfS3CredVerdict verdict;

	memcpy(copy, text, len);
	copy = realloc(copy, len ? len : 1);
	verdict = vf_s3_cred_parse(copy, len, profile, out, line);
	free(copy);
	return verdict;
}

int
main(void)
{
	static char text[20000];
	VfS3CredText out;
	int			line;
	size_t		i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		const Case *c = &cases[i];

		unit_check(parse(c->text, strlen(c->text), c->profile, &out,
						 &line) == c->verdict, __FILE__, __LINE__, c->text);
		unit_check(line == c->line, __FILE__, __LINE__, c->text);
		LABELLED(out.access_key, c->access_key, c->text);
		LABELLED(out.secret_key, c->secret_key, c->text);
		LABELLED(out.session_token, c->token, c->text);
	}

	/* A NUL, and values longer than their fields. */
	CHECK(parse("[a]\nx = \0y\n", 10, "a", &out, &line) ==
		  VF_S3_CRED_BAD_LINE);
	strcpy(text, "[a]\n" KEYS "aws_session_token = ");
	memset(text + strlen(text), 't', 8192);
	CHECK(parse(text, strlen(text), "a", &out, &line) == VF_S3_CRED_FOUND);
	CHECK(strlen(out.session_token) == 8192);
	strcat(text, "t");
	CHECK(parse(text, strlen(text), "a", &out, &line) ==
		  VF_S3_CRED_BAD_VALUE);
	SAME(out.secret_key, "");
	return unit_end();
}
