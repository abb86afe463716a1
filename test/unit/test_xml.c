/*-------------------------------------------------------------------------
 *
 * test_xml.c
 *	  The Delete body that we write, and the answers that we read.
 *
 * Every document is also read in pieces of one byte, and cut at every byte:
 * only the whole one may be believed.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "s3_xml.h"
#include "unit.h"

/* What the callbacks told, as text. */
static char heard[65536];

static void
hear(const char *text, size_t len)
{
	size_t		at = strlen(heard);

	if (at + len < sizeof(heard))
	{
		memcpy(heard + at, text, len);
		heard[at + len] = '\0';
	}
}

static void
on_deleted(void *arg, const char *key, size_t len)
{
	(void) arg;
	hear("+", 1);
	hear(key, len);
	hear(";", 1);
}

static void
on_failed(void *arg, const char *key, size_t len, const char *code,
		  const char *message)
{
	(void) arg;
	hear("-", 1);
	hear(key, len);
	hear(",", 1);
	hear(code, strlen(code));
	hear(",", 1);
	hear(message, strlen(message));
	hear(";", 1);
}

static void
on_credentials(void *arg, const char *access_key, const char *secret_key,
			   const char *token, const char *expiration)
{
	const char *const texts[] = {access_key, secret_key, token, expiration};
	size_t		i;

	(void) arg;
	for (i = 0; i < 4; i++)
	{
		hear(i == 0 ? "*" : "|", 1);
		hear(texts[i], strlen(texts[i]));
	}
	hear(";", 1);
}

static void
on_version(void *arg, const char *version)
{
	(void) arg;
	if (version[0] == '\0')
		return;
	hear("@", 1);
	hear(version, strlen(version));
}

static void
on_listed(void *arg, const VfS3XmlObject *object)
{
	const char *texts[] = {object->size, object->etag, object->modified,
	object->storage_class};

	(void) arg;
	hear("#", 1);
	hear(object->key, object->len);
	hear("@", 1);
	hear(object->version, strlen(object->version));
	if (object->marker)
		hear("x", 1);
	if (object->latest)
		hear("!", 1);
	for (int i = 0; i < 4; i++)
	{
		if (texts[i][0] != '\0')
		{
			hear("|", 1);
			hear(texts[i], strlen(texts[i]));
		}
	}
	hear(";", 1);
}

static const VfS3XmlHandler handler = {
	.deleted = on_deleted,
	.failed = on_failed,
	.of_version = on_version,
	.listed = on_listed,
	.credentials = on_credentials
};

static bool
read_text(const char *text, VfS3XmlDocument *doc)
{
	/* A copy of exact size lets the sanitizer see a read past its end. */
	size_t		len = strlen(text);
	char	   *copy = malloc(len + 1);
	bool		ok;

	memcpy(copy, text, len);
	heard[0] = '\0';
	ok = vf_s3_xml_read(copy, len, &handler, doc);
	free(copy);
	return ok;
}

static bool
read_bytewise(const char *text, VfS3XmlDocument *doc)
{
	VfS3XmlReader *reader = vf_s3_xml_open(&handler);

	heard[0] = '\0';
	for (; *text; text++)
	{
		if (!vf_s3_xml_feed(reader, text, 1))
			break;
	}
	return vf_s3_xml_finish(reader, doc);
}

#define NS "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""
#define RESULT(x) "<DeleteResult " NS ">" x "</DeleteResult>"

#define STS(x) \
	"<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/" \
	"doc/2011-06-15/\"><AssumeRoleWithWebIdentityResult>" x \
	"</AssumeRoleWithWebIdentityResult><ResponseMetadata><RequestId>r" \
	"</RequestId></ResponseMetadata></AssumeRoleWithWebIdentityResponse>"
#define STS_ROOT VF_S3_XML_WEB_IDENTITY

typedef struct Case
{
	const char *text;
	bool		ok;
	VfS3XmlRoot root;
	const char *want;
} Case;

static const Case good[] = {
	{STS("<Audience>x</Audience><Credentials><SessionToken> T/+=\n"
		 "</SessionToken><SecretAccessKey>S</SecretAccessKey><Expiration>"
		 "2026-11-23T16:19:59Z</Expiration><AccessKeyId>A</AccessKeyId>"
		 "</Credentials>"), true, STS_ROOT, "*A|S|T/+=|2026-11-23T16:19:59Z;"},
	{STS("<Credentials/>"), true, STS_ROOT, "*|||;"},
	{STS(""), true, STS_ROOT, ""},
	{STS("<AccessKeyId>A</AccessKeyId><x><Credentials><AccessKeyId>B"
		 "</AccessKeyId></Credentials></x>"), true, STS_ROOT, ""},
	{STS("<Credentials><x><AccessKeyId>A</AccessKeyId></x></Credentials>"),
	true, STS_ROOT, "*|||;"},
	{RESULT("<Credentials><AccessKeyId>A</AccessKeyId></Credentials>"), true,
	VF_S3_XML_DELETE_RESULT, ""},
	{RESULT(""), true, VF_S3_XML_DELETE_RESULT, ""},
	{"<DeleteResult/>", true, VF_S3_XML_DELETE_RESULT, ""},
	{"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		RESULT("<Deleted><Key>a/b</Key></Deleted>"), true,
	VF_S3_XML_DELETE_RESULT, "+a/b;"},
	{"<DeleteResult>\n <Deleted>\n  <Key>a</Key>\n </Deleted>\n"
		" <Error><Key>b</Key><Code> AccessDenied </Code>"
		"<Message>Access Denied</Message></Error>\n</DeleteResult>\n", true,
	VF_S3_XML_DELETE_RESULT, "+a;-b,AccessDenied,Access Denied;"},
	{"<s3:DeleteResult xmlns:s3=\"x\"><s3:Deleted><s3:Key>a</s3:Key>"
		"</s3:Deleted></s3:DeleteResult>", true, VF_S3_XML_DELETE_RESULT,
	"+a;"},
	{"<ns0:DeleteResult><ns0:Error><ns0:Key>a</ns0:Key><ns0:Code>X</ns0:Code>"
		"</ns0:Error></ns0:DeleteResult>", true, VF_S3_XML_DELETE_RESULT,
	"-a,X,;"},
	{RESULT("<Deleted><Key>&amp;&lt;&gt;&quot;&apos;</Key></Deleted>"), true,
	VF_S3_XML_DELETE_RESULT, "+&<>\"';"},
	{RESULT("<Deleted><Key>a&#13;&#10;&#x9;b</Key></Deleted>"), true,
	VF_S3_XML_DELETE_RESULT, "+a\r\n\tb;"},
	{RESULT("<Deleted><Key><![CDATA[a<b]]>c</Key></Deleted>"), true,
	VF_S3_XML_DELETE_RESULT, "+a<bc;"},
	{RESULT("<Deleted><Key>\xC3\xBC\xF0\x9F\x98\x80</Key></Deleted>"), true,
	VF_S3_XML_DELETE_RESULT, "+\xC3\xBC\xF0\x9F\x98\x80;"},
	{RESULT("<Deleted><Key> a </Key></Deleted>"), true,
	VF_S3_XML_DELETE_RESULT, "+ a ;"},
	{RESULT("<Deleted><VersionId>1</VersionId><DeleteMarker>true"
			"</DeleteMarker><Key>a</Key></Deleted>"), true,
	VF_S3_XML_DELETE_RESULT, "@1+a;"},
	{RESULT("<Deleted/>"), true, VF_S3_XML_DELETE_RESULT, "+;"},
	{RESULT("<Error><Code>X</Code></Error>"), true,
	VF_S3_XML_DELETE_RESULT, "-,X,;"},
	{RESULT("<Unknown><Key>a</Key></Unknown>"), true,
	VF_S3_XML_DELETE_RESULT, ""},
	{RESULT("<Deleted><Owner><Key>x</Key></Owner><Key>a</Key></Deleted>"),
	true, VF_S3_XML_DELETE_RESULT, "+a;"},
	{RESULT("<!-- <Key>x</Key> --><?pi x?><Deleted><Key>a</Key></Deleted>"),
	true, VF_S3_XML_DELETE_RESULT, "+a;"},
	{"<html><body>hello</body></html>", true, VF_S3_XML_OTHER, ""},
	{"<ListBucketResult " NS "><Name>b</Name><Contents><Key>k</Key>"
	"</Contents></ListBucketResult>", true, VF_S3_XML_LIST, "#k@!;"},
	{"<ListBucketResult " NS "><IsTruncated>true</IsTruncated><Contents>"
	"<Key>a%20b</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified>"
	"<ETag>&quot;e&quot;</ETag><Size>7</Size><Owner><ID>i</ID></Owner>"
	"<StorageClass>GLACIER</StorageClass></Contents><CommonPrefixes>"
	"<Prefix>p</Prefix></CommonPrefixes></ListBucketResult>", true,
	VF_S3_XML_LIST,
	"#a%20b@!|7|\"e\"|2026-01-02T03:04:05.000Z|GLACIER;"},
	{"<ListVersionsResult " NS "><Version><Key>k</Key>"
	"<VersionId>v</VersionId><IsLatest>false</IsLatest><Size>1</Size>"
	"</Version><DeleteMarker><Key>k</Key><IsLatest>true</IsLatest>"
	"</DeleteMarker><Contents><Key>no</Key></Contents>"
	"</ListVersionsResult>", true, VF_S3_XML_VERSIONS, "#k@v|1;#k@x!;"},
	{"<ListMultipartUploadsResult " NS "><KeyMarker>m</KeyMarker>"
	"<UploadIdMarker>n</UploadIdMarker><Upload><Key>a%20b</Key>"
	"<UploadId>u</UploadId><Initiator><ID>i</ID></Initiator><Owner>"
	"<ID>o</ID></Owner><StorageClass>GLACIER</StorageClass>"
	"<Initiated>2026-01-02T03:04:05.000Z</Initiated></Upload>"
	"<Contents><Key>no</Key></Contents></ListMultipartUploadsResult>",
	true, VF_S3_XML_UPLOADS, "#a%20b@u|GLACIER;"},
	{"<ListPartsResult " NS "><Key>k</Key><UploadId>u</UploadId>"
	"<StorageClass>STANDARD</StorageClass><Part><PartNumber>1</PartNumber>"
	"<LastModified>2026-01-02T03:04:05.000Z</LastModified><ETag>e</ETag>"
	"<Size>7</Size></Part><Upload><Size>1</Size></Upload>"
	"</ListPartsResult>", true, VF_S3_XML_PARTS,
	"#@|7|e|2026-01-02T03:04:05.000Z;"}
};

#define BOMB \
	"<!DOCTYPE l [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;\">" \
	"<!ENTITY c \"&b;&b;&b;&b;\"><!ENTITY d \"&c;&c;&c;&c;\">]>"
#define DEEP8 "<x><x><x><x><x><x><x><x>"

static const Case bad[] = {
	{STS("<Credentials><AccessKeyId>A</AccessKeyId><AccessKeyId>B"
		 "</AccessKeyId></Credentials>"), false, STS_ROOT, NULL},
	{STS("<Credentials><AccessKeyId>A</AccessKeyId></Credentials>"
		 "<Credentials><AccessKeyId>B</AccessKeyId></Credentials>"), false,
	STS_ROOT, NULL},
	{STS("<Credentials><SecretAccessKey><b/></SecretAccessKey>"
		 "</Credentials>"), false, STS_ROOT, NULL},
	{"<!DOCTYPE a [<!ENTITY e \"A\">]>"
		STS("<Credentials><AccessKeyId>&e;</AccessKeyId></Credentials>"),
	false, VF_S3_XML_NOTHING, NULL},
	{"<ErrorResponse><Error><Code>a</Code></Error><Error><Code>b</Code>"
	"</Error></ErrorResponse>", false, VF_S3_XML_STS_ERROR, NULL},
	{"", false, VF_S3_XML_NOTHING, NULL},
	{"   ", false, VF_S3_XML_NOTHING, NULL},
	{"not <xml at all", false, VF_S3_XML_NOTHING, NULL},
	{"{\"error\": \"no\"}", false, VF_S3_XML_NOTHING, NULL},
	{BOMB "<DeleteResult><Deleted><Key>&d;</Key></Deleted></DeleteResult>",
	false, VF_S3_XML_NOTHING, NULL},
	{"<!DOCTYPE x SYSTEM \"file:///etc/passwd\"><DeleteResult/>",
	false, VF_S3_XML_NOTHING, NULL},
	{"<DeleteResult><Deleted><Key>&nope;</Key></Deleted></DeleteResult>",
	false, VF_S3_XML_DELETE_RESULT, NULL},
	{"<DeleteResult>" DEEP8 DEEP8, false, VF_S3_XML_DELETE_RESULT, NULL},
	{RESULT("<Deleted><Key>a</Key><Key>b</Key></Deleted>"), false,
	VF_S3_XML_DELETE_RESULT, NULL},
	{RESULT("<Deleted><Key>a<i/>b</Key></Deleted>"), false,
	VF_S3_XML_DELETE_RESULT, NULL},
	{RESULT("<Deleted><Key>a</Deleted></Key>"), false,
	VF_S3_XML_DELETE_RESULT, NULL},
	{RESULT("") RESULT(""), false, VF_S3_XML_DELETE_RESULT, NULL},
	{RESULT("") "junk", false, VF_S3_XML_DELETE_RESULT, NULL},
	{RESULT("<Deleted><Key>\xFF</Key></Deleted>"), false,
	VF_S3_XML_DELETE_RESULT, NULL},
	{RESULT("<Deleted><Key>\xC0\xAF</Key></Deleted>"), false,
	VF_S3_XML_DELETE_RESULT, NULL},
	{RESULT("<Deleted><Key>&#0;</Key></Deleted>"), false,
	VF_S3_XML_DELETE_RESULT, NULL},
	{RESULT("<Deleted><Key>\x01</Key></Deleted>"), false,
	VF_S3_XML_DELETE_RESULT, NULL},
	{"<DeleteResult a=\"1\" a=\"2\"/>", false, VF_S3_XML_NOTHING, NULL}
};

static void
test_good(void)
{
	size_t		i;

	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++)
	{
		VfS3XmlDocument doc;

		CHECK(read_text(good[i].text, &doc));
		LABELLED(heard, good[i].want, good[i].text);
		CHECK(doc.root == good[i].root && doc.fault == NULL);
		CHECK(read_bytewise(good[i].text, &doc));
		LABELLED(heard, good[i].want, good[i].text);
	}
}

static void
test_bad(void)
{
	size_t		i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		VfS3XmlDocument doc;

		unit_check(!read_text(bad[i].text, &doc), __FILE__, __LINE__,
				   bad[i].text);
		unit_check(doc.root == bad[i].root && doc.fault != NULL,
				   __FILE__, __LINE__, bad[i].text);
		unit_check(!read_bytewise(bad[i].text, &doc), __FILE__, __LINE__,
				   bad[i].text);
	}
}

/* Expat takes UTF-16 for what it is, with and without a byte order mark. */
static void
test_utf16(void)
{
	static const char text[] =
		"<DeleteResult><Deleted><Key>a</Key></Deleted></DeleteResult>";
	size_t		n = sizeof(text) - 1;
	char		wide[2 * sizeof(text) + 2];
	VfS3XmlDocument doc;
	size_t		i;
	int			low;

	for (low = 0; low < 2; low++)
	{
		/* Little-endian has the letter first and the mark FF FE. */
		memset(wide, 0, sizeof(wide));
		memcpy(wide, low == 0 ? "\xFF\xFE" : "\xFE\xFF", 2);
		for (i = 0; i < n; i++)
			wide[2 + 2 * i + low] = text[i];
		heard[0] = '\0';
		CHECK(!vf_s3_xml_read(wide, 2 * n + 2, &handler, &doc));
		SAME(doc.fault, "the document is not UTF-8");
		CHECK(!vf_s3_xml_read(wide + 2, 2 * n, &handler, &doc));
		SAME(heard, "");
	}
	CHECK(!vf_s3_xml_read("<DeleteResult/>", 16, &handler, &doc));
}

/* Cut anywhere before its last '>', no document may be believed. */
static void
test_cut(void)
{
	int			believed = 0;
	size_t		i;

	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++)
	{
		char		text[1024];
		size_t		len = strrchr(good[i].text, '>') - good[i].text;

		for (; len > 0; len--)
		{
			VfS3XmlDocument doc;

			memcpy(text, good[i].text, len);
			text[len] = '\0';
			if (read_text(text, &doc) || doc.fault == NULL)
				believed++;
		}
	}
	CHECK(believed == 0);
}

static void
test_error_documents(void)
{
	VfS3XmlDocument doc;

	CHECK(read_text("<?xml version=\"1.0\"?><Error><Code>PermanentRedirect"
					"</Code><Message>Use the\n endpoint</Message>"
					"<Endpoint>b.s3.amazonaws.com</Endpoint>"
					"<Bucket>b</Bucket><Region>eu-west-1</Region>"
					"<StringToSign>secret</StringToSign></Error>", &doc));
	CHECK(doc.root == VF_S3_XML_ERROR);
	SAME(doc.code, "PermanentRedirect");
	SAME(doc.message, "Use the\n endpoint");
	SAME(doc.region, "eu-west-1");
	SAME(heard, "");
	CHECK(read_text("<Error/>", &doc));
	SAME(doc.code, "");
	CHECK(!read_text("<Error><Code>Acc", &doc));
	SAME(doc.code, "Acc");
	CHECK(doc.fault != NULL);
	CHECK(read_text("<Error><Detail><Code>inner</Code></Detail></Error>",
					&doc));
	SAME(doc.code, "");
}

static void
test_sts(void)
{
	static char text[40000];
	static const struct
	{
		const char *name;
		size_t		most;
	}			fields[] = {
		{"AccessKeyId", 128}, {"SecretAccessKey", 256},
		{"SessionToken", 8192}, {"Expiration", 64}
	};
	VfS3XmlDocument doc;
	size_t		i;

	CHECK(read_text("<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/"
					"2011-06-15/\"><Error><Type>Sender</Type><Code>"
					"ExpiredTokenException</Code><Message>Token expired"
					"</Message></Error><RequestId>r</RequestId>"
					"</ErrorResponse>", &doc));
	CHECK(doc.root == VF_S3_XML_STS_ERROR);
	SAME(doc.code, "ExpiredTokenException");
	SAME(doc.message, "Token expired");
	CHECK(read_text("<ErrorResponse><Code>x</Code></ErrorResponse>", &doc));
	SAME(doc.code, "");

	/* What does not fit is refused, never cut. */
	for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
	{
		size_t		more;

		for (more = 0; more < 2; more++)
		{
			size_t		len = fields[i].most + more;
			int			at;

			at = snprintf(text, sizeof(text),
						  "<AssumeRoleWithWebIdentityResponse><R>"
						  "<Credentials><%s>", fields[i].name);
			memset(text + at, 'x', len);
			snprintf(text + at + len, sizeof(text) - at - len,
					 "</%s></Credentials></R>"
					 "</AssumeRoleWithWebIdentityResponse>", fields[i].name);
			unit_check(read_text(text, &doc) == (more == 0), __FILE__,
					   __LINE__, fields[i].name);
			unit_check((heard[0] != '\0') == (more == 0), __FILE__, __LINE__,
					   fields[i].name);
		}
	}

	/* Deeper than anything of theirs. */
	strcpy(text, "<AssumeRoleWithWebIdentityResponse>");
	for (i = 0; i < 5000; i++)
		strcat(text + i * 3, "<a>");
	CHECK(!read_text(text, &doc) && doc.fault != NULL);
	SAME(heard, "");
}

static void
test_versioning(void)
{
	VfS3XmlDocument doc;

	CHECK(read_text("<VersioningConfiguration " NS ">"
					"<Status>Enabled</Status></VersioningConfiguration>",
					&doc));
	CHECK(doc.root == VF_S3_XML_VERSIONING);
	SAME(doc.status, "Enabled");
	CHECK(read_text("<VersioningConfiguration/>", &doc));
	SAME(doc.status, "");
	CHECK(read_text("<VersioningConfiguration><Status> Suspended\n</Status>"
					"<MfaDelete>Disabled</MfaDelete>"
					"</VersioningConfiguration>", &doc));
	SAME(doc.status, "Suspended");
	SAME(doc.mfa_delete, "Disabled");
	CHECK(read_text("<VersioningConfiguration><MfaDelete>Enabled</MfaDelete>"
					"</VersioningConfiguration>", &doc));
	SAME(doc.mfa_delete, "Enabled");
}

#define VERSIONS(x) "<ListVersionsResult " NS ">" x "</ListVersionsResult>"

static void
test_versions(void)
{
	static char text[20000];
	char		data[512];
	VfS3XmlBody body;
	VfS3XmlDocument doc;

	CHECK(read_text(VERSIONS("<Name>b</Name><IsTruncated>true</IsTruncated>"
							 "<NextKeyMarker>k%20</NextKeyMarker>"
							 "<NextVersionIdMarker>v&amp;2</NextVersionIdMarker>"
							 "<Version><Key>a+b</Key><VersionId>v1</VersionId>"
							 "<ETag>x</ETag><Owner><ID>i</ID></Owner></Version>"
							 "<DeleteMarker><VersionId>null</VersionId>"
							 "<Key>a</Key></DeleteMarker>"
							 "<CommonPrefixes><Key>no</Key></CommonPrefixes>"
							 "<EncodingType>url</EncodingType>"), &doc));
	CHECK(doc.root == VF_S3_XML_VERSIONS);
	SAME(heard, "#a+b@v1|x;#a@nullx;");
	SAME(doc.truncated, "true");
	SAME(doc.next_key, "k%20");
	SAME(doc.next_version, "v&2");
	SAME(doc.encoding, "url");

	/* What a list says of itself is not what an entry says, nor back. */
	CHECK(read_text(VERSIONS("<Version><Key>a</Key><IsTruncated>true"
							 "</IsTruncated></Version>"
							 "<VersionId>v</VersionId>"), &doc));
	SAME(heard, "#a@;");
	SAME(doc.truncated, "");

	/* Uploads and parts go on at places of their own. */
	CHECK(read_text("<ListMultipartUploadsResult><NextKeyMarker>k"
					"</NextKeyMarker><NextUploadIdMarker>u"
					"</NextUploadIdMarker><Upload><Key>a</Key>"
					"<NextUploadIdMarker>no</NextUploadIdMarker></Upload>"
					"</ListMultipartUploadsResult>", &doc));
	SAME(doc.next_key, "k");
	SAME(doc.next_version, "u");
	CHECK(read_text("<ListPartsResult><NextPartNumberMarker>9"
					"</NextPartNumberMarker></ListPartsResult>", &doc));
	SAME(doc.next_version, "9");
	CHECK(!read_text("<ListMultipartUploadsResult><Upload><UploadId>a"
					 "</UploadId><VersionId>b</VersionId></Upload>"
					 "</ListMultipartUploadsResult>", &doc));

	/* The answer to a delete names versions where the request did. */
	CHECK(read_text(RESULT("<Deleted><Key>a</Key><VersionId>v1</VersionId>"
						   "</Deleted><Error><VersionId>v2</VersionId>"
						   "<Key>b</Key><Code>C</Code></Error>"
						   "<Deleted><Key>c</Key><DeleteMarkerVersionId>m"
						   "</DeleteMarkerVersionId></Deleted>"), &doc));
	SAME(heard, "@v1+a;@v2-b,C,;+c;");

	/* An id that is cut short would be another version's. */
	strcpy(text, "<ListVersionsResult><Version><Key>a</Key><VersionId>");
	memset(text + strlen(text), 'v', 1025);
	strcat(text, "</VersionId></Version></ListVersionsResult>");
	CHECK(!read_text(text, &doc));
	memset(text, 0, sizeof(text));
	strcpy(text, "<ListVersionsResult><NextKeyMarker>");
	memset(text + strlen(text), 'k', 5000);
	strcat(text, "</NextKeyMarker></ListVersionsResult>");
	CHECK(!read_text(text, &doc));

	/* And the request names them. */
	CHECK(vf_s3_xml_begin(&body, data, sizeof(data)));
	CHECK(vf_s3_xml_object(&body, "a", 1, "v<1", NULL));
	CHECK(vf_s3_xml_object(&body, "a", 1, NULL, "\"e&\""));
	CHECK(vf_s3_xml_end(&body));
	CHECK(body.len == vf_s3_xml_frame_size() +
		  vf_s3_xml_object_size("a", 1, "v<1", NULL) +
		  vf_s3_xml_object_size("a", 1, NULL, "\"e&\""));
	CHECK(strstr(data, "<Object><Key>a</Key><VersionId>v&lt;1</VersionId>"
				 "</Object><Object><Key>a</Key><ETag>&quot;e&amp;&quot;</ETag>"
				 "</Object>") != NULL);
}

/* Texts that are longer than any field. */
static void
test_long_texts(void)
{
	static char text[300000];
	static char filler[100001];
	VfS3XmlDocument doc;

	memset(filler, 'k', sizeof(filler) - 1);
	snprintf(text, sizeof(text), "<DeleteResult><Deleted><Key>%s</Key>"
			 "</Deleted></DeleteResult>", filler);
	CHECK(!read_text(text, &doc));
	SAME(doc.fault, "a key is too long");
	SAME(heard, "");
	snprintf(text, sizeof(text), "<DeleteResult><Error><Key>a</Key><Code>X"
			 "</Code><Message>%s</Message></Error></DeleteResult>", filler);
	CHECK(read_text(text, &doc));
	CHECK(strncmp(heard, "-a,X,kkkk", 9) == 0 && strlen(heard) < 1100);
	snprintf(text, sizeof(text), "<Error><Code>%s</Code><Message>%s"
			 "</Message><Region>%s</Region></Error>", filler, filler,
			 "eu");
	CHECK(read_text(text, &doc));
	CHECK(strlen(doc.code) == sizeof(doc.code) - 1);
	CHECK(strlen(doc.message) == sizeof(doc.message) - 1);
}

static void
test_carry(void)
{
	static const struct
	{
		const char *text;
		bool		can;
	}			cases[] = {
		{"plain", true}, {"tab\tlf\ncr\r", true}, {"\x01", false},
		{"a\x1F", false}, {"\x7F", true}, {"\xEF\xBF\xBE", false},
		{"\xEF\xBF\xBF", false}, {"\xEF\xBF\xBD", true},
		{"\xC2\x85", true}, {"\xF0\x9F\x98\x80", true}, {"", true}
	};
	size_t		i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		CHECK(vf_s3_xml_can_carry(cases[i].text, strlen(cases[i].text)) ==
			  cases[i].can);
	CHECK(!vf_s3_xml_can_carry("a\0b", 3));
}

static size_t
body_size(const char *const *keys, int n)
{
	size_t		size = vf_s3_xml_frame_size();
	int			i;

	for (i = 0; i < n; i++)
		size += vf_s3_xml_key_size(keys[i], strlen(keys[i]));
	return size;
}

static bool
write_keys(VfS3XmlBody *body, char *data, size_t size,
		   const char *const *keys, int n)
{
	int			i;

	vf_s3_xml_begin(body, data, size);
	for (i = 0; i < n; i++)
		vf_s3_xml_key(body, keys[i], strlen(keys[i]));
	return vf_s3_xml_end(body);
}

static void
test_writer(void)
{
	static const char *const keys[] = {
		"a/b.jpg", "&<>\"'", "cr\rlf\ntab\t", " space ", "\xC3\xBC",
		"]]>", "&amp;", "a", "aa"
	};
	const int	n = sizeof(keys) / sizeof(keys[0]);
	size_t		need = body_size(keys, n);
	VfS3XmlBody body;
	size_t		size;
	int			wrong = 0;

	for (size = 0; size <= need + 1; size++)
	{
		char	   *data = malloc(size ? size : 1);

		if (write_keys(&body, data, size, keys, n) != (size == need + 1))
			wrong++;
		if (size == need + 1)
		{
			CHECK(body.len == need && strlen(data) == need);
			CHECK(strstr(data, "<Key>&amp;&lt;&gt;&quot;'</Key>") != NULL);
			CHECK(strstr(data, "<Key>cr&#13;lf&#10;tab&#9;</Key>") != NULL);
			CHECK(strstr(data, "<Key>&amp;amp;</Key>") != NULL);
			CHECK(strstr(data, "<Quiet>false</Quiet>") != NULL);
		}
		free(data);
	}
	CHECK(wrong == 0);
}

/* What we write, our own reader reads back byte for byte. */
static void
test_round_trip(void)
{
	char		text[4096];
	char		want[4096];
	VfS3XmlBody body;
	VfS3XmlDocument doc;
	char	   *in;
	int			c;

	vf_s3_xml_begin(&body, text, sizeof(text));
	for (c = 1; c < 128; c++)
	{
		char		key = (char) c;

		if (vf_s3_xml_can_carry(&key, 1))
			vf_s3_xml_key(&body, &key, 1);
	}
	CHECK(vf_s3_xml_end(&body));
	/* The same elements under the names of an answer. */
	in = strstr(text, "<Delete");
	heard[0] = '\0';
	strcpy(want, "<DeleteResult>");
	for (in = strchr(in, '>') + 1; *in && strncmp(in, "<Quiet", 6) != 0;)
	{
		if (strncmp(in, "<Object>", 8) == 0)
		{
			strcat(want, "<Deleted>");
			in += 8;
		}
		else if (strncmp(in, "</Object>", 9) == 0)
		{
			strcat(want, "</Deleted>");
			in += 9;
		}
		else
			strncat(want, in++, 1);
	}
	strcat(want, "</DeleteResult>");
	CHECK(read_text(want, &doc));
	in = heard;
	for (c = 1; c < 128; c++)
	{
		char		key = (char) c;

		if (!vf_s3_xml_can_carry(&key, 1))
			continue;
		CHECK(in[0] == '+' && in[1] == key && in[2] == ';');
		in += 3;
	}
	CHECK(*in == '\0');
}

int
main(void)
{
	test_carry();
	test_writer();
	test_round_trip();
	test_good();
	test_bad();
	test_utf16();
	test_cut();
	test_error_documents();
	test_sts();
	test_versioning();
	test_versions();
	test_long_texts();
	return unit_end();
}
