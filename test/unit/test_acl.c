/*-------------------------------------------------------------------------
 *
 * test_acl.c
 *	  The access control of an object: read, compared, written.
 *
 *-------------------------------------------------------------------------
 */
#include "s3_xml_acl.h"
#include "unit.h"

#define ALL "http://acs.amazonaws.com/groups/global/AllUsers"
#define XSI " xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type="

#define GRANT(type, name, who, permission) \
	"<Grant><Grantee" XSI "\"" type "\"><" name ">" who "</" name ">" \
	"<DisplayName>x</DisplayName></Grantee><Permission>" permission \
	"</Permission></Grant>"
#define POLICY(owner, grants) \
	"<?xml version=\"1.0\"?><AccessControlPolicy><Owner><ID>" owner "</ID>" \
	"<DisplayName>y</DisplayName></Owner><AccessControlList>" grants \
	"</AccessControlList></AccessControlPolicy>"
#define FULL(who) GRANT("CanonicalUser", "ID", who, "FULL_CONTROL")
#define PUBLIC GRANT("Group", "URI", ALL, "READ")

static VfS3Acl a;
static VfS3Acl b;

static const char *
read_acl(const char *text, VfS3Acl *acl)
{
	return vf_s3_acl_read(text, strlen(text), acl);
}

static void
test_reading(void)
{
	static const char *const wrong[] = {
		"", "x", "<AccessControlPolicy/>", "<Other/>",
		POLICY("", ""),
		POLICY("o", "<Grant/>"),
		POLICY("o", "<Grant><Grantee/><Permission>READ</Permission></Grant>"),
		POLICY("o", GRANT("CanonicalUser", "ID", "", "READ")),
		POLICY("o", GRANT("CanonicalUser", "ID", "u", "")),
		POLICY("o", "<Grant><Grantee><Strange>x</Strange></Grantee>"
			   "<Permission>READ</Permission></Grant>"),
		POLICY("o", "<Grant><Grantee><ID>x</ID><URI>y</URI></Grantee>"
			   "<Permission>READ</Permission></Grant>"),
		POLICY("o", "<Grant><Grantee><ID>x</ID></Grantee>"
			   "<Permission>READ</Permission>"
			   "<Permission>WRITE</Permission></Grant>"),
		POLICY("o", "<Grant><Grantee><ID>x<b/></ID></Grantee>"
			   "<Permission>READ</Permission></Grant>"),
		"<!DOCTYPE x><AccessControlPolicy><Owner><ID>o</ID></Owner>"
		"</AccessControlPolicy>",
		"<AccessControlPolicy><Owner><ID>o</ID></Owner>",
		"<AccessControlPolicy><Owner><ID>o</ID></Owner>"
		"<a><a><a><a><a><a><a><a/></a></a></a></a></a></a></a>"
		"</AccessControlPolicy>"
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		unit_check(read_acl(wrong[i], &a) != NULL, __FILE__, __LINE__,
				   wrong[i]);
	CHECK(vf_s3_acl_read("a\0b", 3, &a) != NULL);

	SAME(read_acl(POLICY("me", FULL("me") PUBLIC), &a), NULL);
	SAME(a.owner, "me");
	CHECK(a.n == 2);
	CHECK(a.grants[0].kind == VF_S3_GRANTEE_ID);
	SAME(a.grants[0].who, "me");
	SAME(a.grants[0].permission, "FULL_CONTROL");
	CHECK(a.grants[1].kind == VF_S3_GRANTEE_GROUP);
	SAME(a.grants[1].who, ALL);
	CHECK(!vf_s3_acl_is_private(&a));
	SAME(read_acl(POLICY("me", FULL("me")), &a), NULL);
	CHECK(vf_s3_acl_is_private(&a));
	SAME(read_acl(POLICY("me", ""), &a), NULL);
	CHECK(vf_s3_acl_is_private(&a));
	SAME(read_acl(POLICY("me", FULL("you")), &a), NULL);
	CHECK(!vf_s3_acl_is_private(&a));
}

/* A text that is cut would be somebody else's name. */
static void
test_limits(void)
{
	char		text[200000] = "<AccessControlPolicy><Owner><ID>";
	size_t		len = strlen(text);

	memset(text + len, 'x', VF_S3_ACL_NAME);
	strcpy(text + len + VF_S3_ACL_NAME, "</ID></Owner></AccessControlPolicy>");
	CHECK(read_acl(text, &a) != NULL);
	strcpy(text + len + VF_S3_ACL_NAME - 1,
		   "</ID></Owner></AccessControlPolicy>");
	SAME(read_acl(text, &a), NULL);
	CHECK(strlen(a.owner) == VF_S3_ACL_NAME - 1);

	strcpy(text, "<AccessControlPolicy><Owner><ID>o</ID></Owner>"
		   "<AccessControlList>");
	for (int i = 0; i <= VF_S3_ACL_GRANTS; i++)
		strcat(text, PUBLIC);
	strcat(text, "</AccessControlList></AccessControlPolicy>");
	CHECK(read_acl(text, &a) != NULL);
}

static void
test_adding(void)
{
	bool		full;

	/* What the source grants its owner, the copy grants its own. */
	read_acl(POLICY("them", FULL("them") PUBLIC), &a);
	read_acl(POLICY("us", FULL("us")), &b);
	CHECK(vf_s3_acl_add(&b, &a, &full) && !full);
	CHECK(b.n == 2);
	SAME(b.owner, "us");
	SAME(b.grants[1].who, ALL);
	CHECK(!vf_s3_acl_add(&b, &a, &full) && !full);

	/* Who may do all may do each; nothing is taken away. */
	read_acl(POLICY("me", GRANT("CanonicalUser", "ID", "you", "READ")), &a);
	read_acl(POLICY("me", FULL("you") PUBLIC), &b);
	CHECK(!vf_s3_acl_add(&b, &a, &full));
	CHECK(b.n == 2);
	CHECK(vf_s3_acl_add(&a, &b, &full));
	CHECK(a.n == 3);

	/* A group that is called like a user is another. */
	read_acl(POLICY("me", GRANT("Group", "URI", "x", "READ")), &a);
	read_acl(POLICY("me", GRANT("CanonicalUser", "ID", "x", "READ")), &b);
	CHECK(vf_s3_acl_add(&b, &a, &full));

	b.n = VF_S3_ACL_GRANTS;
	for (int i = 0; i < b.n; i++)
		b.grants[i] = b.grants[0];
	CHECK(vf_s3_acl_add(&b, &a, &full) && full);
}

static void
test_writing(void)
{
	char		text[4096];
	size_t		len;

	read_acl(POLICY("o&amp;&lt;", FULL("o&amp;&lt;") PUBLIC
					GRANT("AmazonCustomerByEmail", "EmailAddress",
						  "a&quot;@b", "READ_ACP")), &a);
	len = vf_s3_acl_write(&a, text, sizeof(text));
	CHECK(len == strlen(text) && len > 0);
	SAME(vf_s3_acl_read(text, len, &b), NULL);
	SAME(b.owner, "o&<");
	CHECK(b.n == 3);
	for (int i = 0; i < 3; i++)
	{
		CHECK(a.grants[i].kind == b.grants[i].kind);
		SAME(a.grants[i].who, b.grants[i].who);
		SAME(a.grants[i].permission, b.grants[i].permission);
	}
	for (size_t size = 0; size <= len; size++)
		CHECK(vf_s3_acl_write(&a, text, size) == 0);
	CHECK(vf_s3_acl_write(&a, text, len + 1) == len);
}

int
main(void)
{
	test_reading();
	test_limits();
	test_adding();
	test_writing();
	return unit_end();
}
