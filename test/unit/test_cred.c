/*-------------------------------------------------------------------------
 *
 * test_cred.c
 *	  The text of credentials files, good and bad; whom we ask, and times.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "s3_cred_parse.h"
#include "s3_cred_url.h"
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

#define ROLE \
	"role_arn = arn:aws:iam::1:role/x\nweb_identity_token_file = /t\n" \
	"role_session_name = s\n"

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
	VF_S3_CRED_UNSUPPORTED, 0, "", "", ""},
	{"[a]\ncredential_process = /bin/x\n", "a", VF_S3_CRED_UNSUPPORTED, 0, "",
	"", ""},
	{"[a]\nrole_arn = arn:aws:iam::1:role/x\n", "a", VF_S3_CRED_UNSUPPORTED,
	0, "", "", ""},
	{"[a]\n" ROLE "source_profile = b\n", "a", VF_S3_CRED_UNSUPPORTED, 0,
	"", "", ""},
	{"[a]\n" ROLE "credential_source = Environment\n", "a",
	VF_S3_CRED_UNSUPPORTED, 0, "", "", ""},
	{"[a]\n" ROLE "sso_session = b\n", "a", VF_S3_CRED_UNSUPPORTED, 0, "",
	"", ""},
	{"[a]\nweb_identity_token_file = /t\n", "a", VF_S3_CRED_NO_ROLE, 0, "",
	"", ""},
	{"[a]\n" ROLE, "a", VF_S3_CRED_WEB, 0, "", "", ""},
	{"[a]\n" ROLE KEYS, "a", VF_S3_CRED_FOUND, 0, "AK", "S/K+", ""},
	{"[a]\nweb_identity_token_file = /a b\n", "a", VF_S3_CRED_BAD_VALUE, 2,
	"", "", ""},
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

/* Which hosts may see a token over http: for STS, containers, EC2. */
static void
test_urls(void)
{
	static const struct
	{
		const char *url;
		const char *asked;		/* S, C, M: may be asked by that service */
	}			urls[] = {
		{"http://127.0.0.1", "SCM"}, {"http://127.255.0.9:8080/", "SCM"},
		{"http://localhost:1", "SCM"}, {"http://LOCALHOST", "SCM"},
		{"http://[::1]:99999", "SCM"}, {"http://[0:0:0:0:0:0:0:1]", "SCM"},
		{"https://any.example", "SCM"}, {"https://10.0.0.1:443/", "SCM"},
		{"http://169.254.170.2", "C"}, {"http://169.254.170.23/", "C"},
		{"http://[fd00:ec2::23]", "C"}, {"http://[FD00:EC2::0023]:80", "C"},
		{"http://169.254.170.2/v2/credentials/a-b?c=d&e", "C"},
		{"http://127.0.0.1:80/a/b", "C"}, {"https://h/x", "C"},
		{"http://169.254.169.254", "M"}, {"http://[fd00:ec2::254]/", "M"},

		{"http://any.example", ""}, {"http://10.0.0.1", ""},
		{"http://169.254.170.3", ""}, {"http://169.254.170.2.example", ""},
		{"http://[fd00:ec2::24]", ""}, {"http://[::ffff:127.0.0.1]", ""},
		{"http://127.0.0.1.example", ""}, {"http://127.1", ""},
		{"http://2130706433", ""}, {"http://0x7f.0.0.1", ""},
		{"http://0127.0.0.1", ""}, {"http://localhost.example", ""},
		{"http://127.0.0.1@evil.example/", ""},
		{"http://a:b@127.0.0.1/", ""}, {"http://127.0.0.1\\@evil/", ""},
		{"http://127.0.0.1%2eevil/", ""}, {"http://127.0.0.1#@evil", ""},
		{"http://127.0.0.1/a b", ""}, {"http://127.0.0.1/a\nb", ""},
		{"http://127.0.0.1/#f", ""}, {"http://127.0.0.1:", ""},
		{"http://127.0.0.1:123456", ""}, {"http://127.0.0.1:80x", ""},
		{"http://[::1", ""}, {"http://[]", ""}, {"http://[::1%25lo]", ""},
		{"http://", ""}, {"http:///x", ""}, {"https://", ""}, {"", ""},
		{"HTTP://127.0.0.1", ""}, {"ftp://127.0.0.1", ""},
		{"file:///etc/passwd", ""}, {"127.0.0.1", ""}, {"//127.0.0.1", ""},
		{" http://127.0.0.1", ""}, {"http://\xC3\xBC", ""}
	};
	size_t		i;

	for (i = 0; i < sizeof(urls) / sizeof(urls[0]); i++)
	{
		char		asked[4] = "";
		size_t		n = 0;

		if (!vf_s3_cred_url_fault(VF_S3_CRED_STS, urls[i].url))
			asked[n++] = 'S';
		if (!vf_s3_cred_url_fault(VF_S3_CRED_CONTAINER, urls[i].url))
			asked[n++] = 'C';
		if (!vf_s3_cred_url_fault(VF_S3_CRED_METADATA, urls[i].url))
			asked[n++] = 'M';
		LABELLED(asked, urls[i].asked, urls[i].url);
	}
	CHECK(vf_s3_cred_url_origin("http://[::1]:80/secret") == 15);
	CHECK(vf_s3_cred_url_origin("https://h?x") == 9);
	CHECK(vf_s3_cred_url_origin("nonsense") == 0);
}

static void
test_times(void)
{
	static const struct
	{
		const char *text;
		long long	seconds;	/* -1: no time */
	}			times[] = {
		{"1970-01-01T00:00:00Z", 0},
		{"2026-11-23T16:19:59Z", 1795450799},
		{"2026-11-23T16:19:59.123Z", 1795450799},
		{"2026-11-23T16:19:59+00:00", 1795450799},
		{"2026-11-23T17:19:59+01:00", 1795450799},
		{"2026-11-23T10:49:59-05:30", 1795450799},
		{"2024-02-29T00:00:00Z", 1709164800},
		{"9999-12-31T23:59:59Z", 253402300799},

		{"", -1}, {"2026-11-23", -1}, {"2026-11-23T16:19:59", -1},
		{"2026-11-23 16:19:59Z", -1}, {"2026-11-23T16:19:59z", -1},
		{"2026-13-23T16:19:59Z", -1}, {"2026-00-23T16:19:59Z", -1},
		{"2026-11-32T16:19:59Z", -1}, {"2026-11-23T24:19:59Z", -1},
		{"2026-11-23T16:60:59Z", -1}, {"1969-11-23T16:19:59Z", -1},
		{"2026-11-23T16:19:59Zx", -1}, {"2026-11-23T16:19:59+0100", -1},
		{"2026-11-23T16:19:59+15:00", -1}, {"2026-11-23T16:19:59+1", -1},
		{"2026-11-23T16:19:59+-1:00", -1}, {"2026-1-23T16:19:59Z", -1},
		{"20261-1-23T16:19:59Z", -1}, {"+026-11-23T16:19:59Z", -1}
	};
	time_t		seconds;
	size_t		i;

	for (i = 0; i < sizeof(times) / sizeof(times[0]); i++)
	{
		bool		ok = vf_s3_cred_time(times[i].text, &seconds);

		unit_check(ok == (times[i].seconds >= 0) &&
				   (!ok || seconds == times[i].seconds), __FILE__, __LINE__,
				   times[i].text);
	}
	CHECK(vf_s3_cred_region_ok("eu-west-1") && vf_s3_cred_region_ok("x"));
	CHECK(!vf_s3_cred_region_ok("") && !vf_s3_cred_region_ok("a.b") &&
		  !vf_s3_cred_region_ok("EU") && !vf_s3_cred_region_ok("-a") &&
		  !vf_s3_cred_region_ok("a/b") && !vf_s3_cred_region_ok("a@b"));
	CHECK(vf_s3_cred_name_ok("My+role=,.@_-9", 14));
	CHECK(!vf_s3_cred_name_ok("", 0) && !vf_s3_cred_name_ok("a/b", 3) &&
		  !vf_s3_cred_name_ok("a\0b", 3) && !vf_s3_cred_name_ok("a b", 3));
}

/* Cut anywhere, a file gives no keys but those that are whole in it. */
static void
test_cut(void)
{
	static const char whole[] = "[a]\n" ROLE;
	VfS3CredText out;
	int			line;
	size_t		len;

	for (len = 0; len < strlen(whole); len++)
	{
		VfS3CredVerdict verdict = parse(whole, len, "a", &out, &line);

		CHECK(verdict != VF_S3_CRED_FOUND);
		if (verdict == VF_S3_CRED_WEB)
			SAME(out.role_arn, "arn:aws:iam::1:role/x");
		else
			SAME(out.role_arn, "");
	}
	CHECK(parse(whole, len, "a", &out, &line) == VF_S3_CRED_WEB);
	SAME(out.token_file, "/t");
	SAME(out.role_session, "s");
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
	test_cut();
	test_urls();
	test_times();
	return unit_end();
}
