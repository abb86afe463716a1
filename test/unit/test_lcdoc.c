/*-------------------------------------------------------------------------
 *
 * test_lcdoc.c
 *	  Lifecycle documents: read, compared, merged, written.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "s3_lcdoc.h"
#include "unit.h"

#define NS "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""
#define DOC(rules) "<LifecycleConfiguration " NS ">" rules \
	"</LifecycleConfiguration>"
#define RULE(id, filter, rest) "<Rule><ID>" id "</ID>" filter \
	"<Status>Enabled</Status>" rest "</Rule>"
#define PREFIX(p) "<Filter><Prefix>" p "</Prefix></Filter>"
#define DAYS(n) "<Expiration><Days>" n "</Days></Expiration>"

static const VfLcWish all = {"STANDARD_IA", "GLACIER_IR", true, true, true,
true, true};
static const VfLcWish least = {NULL, NULL, false, false, false, false, false};

static VfLcDoc *
read_text(const char *text)
{
	const char *fault;
	VfLcDoc    *doc = vf_s3_lcdoc_read(text, strlen(text), &fault);

	CHECK(doc != NULL && fault == NULL);
	return doc;
}

/* Its text, compared and freed. */
static void
same_text(const VfLcDoc *doc, VfLcForm form, bool ascii, const char *want)
{
	char	   *text = vf_s3_lcdoc_text(doc, form, ascii);

	SAME(text, want);
	free(text);
}

/* What is written is read as what it was. */
static void
same_again(const VfLcDoc *doc)
{
	char	   *text = vf_s3_lcdoc_text(doc, VF_LC_XML, false);
	VfLcDoc    *copy = read_text(text);

	unit_check(vf_s3_lcdoc_same(doc, copy, true) == 1, __FILE__, __LINE__,
			   text);
	free(text);
	vf_s3_lcdoc_free(copy);
}

static void
test_faults(void)
{
	static const struct
	{
		const char *text;
		const char *fault;
	}			cases[] = {
		{"", "the document is malformed"},
		{"x", "the document is malformed"},
		{"<ListBucketResult/>", "the document is no LifecycleConfiguration"},
		{"<LifecycleConfiguration xmlns='urn:x'/>",
		"the document is no LifecycleConfiguration"},
		{"<LifecycleConfiguration>", "the document is malformed"},
		{"<LifecycleConfiguration/><x/>", "the document is malformed"},
		{"<!DOCTYPE x><LifecycleConfiguration/>",
		"the document has a DOCTYPE"},
		{"<LifecycleConfiguration>&x;</LifecycleConfiguration>",
		"the document is malformed"},
		{"<LifecycleConfiguration>\xff</LifecycleConfiguration>",
		"the document is malformed"},
		{DOC("x"), "the document has text between its rules"},
		{DOC("<Rule/>x<Rule/>"), "the document has text between its rules"},
	};
	const char *fault;
	char		deep[600] = "<LifecycleConfiguration>";

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		CHECK(vf_s3_lcdoc_read(cases[i].text, strlen(cases[i].text),
							   &fault) == NULL);
		LABELLED(fault, cases[i].fault, cases[i].text);
	}
	CHECK(vf_s3_lcdoc_read("<a>\0</a>", 8, &fault) == NULL);
	SAME(fault, "the document has a NUL");
	for (int i = 0; i < 40; i++)
		strcat(deep, "<a>");
	CHECK(vf_s3_lcdoc_read(deep, strlen(deep), &fault) == NULL);
	SAME(fault, "the document is too deep");
}

static void
test_too_many(void)
{
	size_t		size = 5000 * 7 + 100;
	char	   *text = malloc(size);
	size_t		len = (size_t) sprintf(text, "<LifecycleConfiguration>");
	const char *fault;

	for (int i = 0; i < 4001; i++)
		len += (size_t) sprintf(text + len, "<Rule/>");
	CHECK(vf_s3_lcdoc_read(text, len, &fault) == NULL);
	SAME(fault, "the document has too many elements");
	free(text);
}

static void
test_written(void)
{
	VfLcDoc    *doc = read_text("<?xml version=\"1.0\"?><!-- c -->\n" DOC("\n "
																	   RULE("a", PREFIX(" &lt;\xc3\xa9\xf0\x9f\x98\x80&#13;\""),
																			"<x:New xmlns:x='u' x:y='&amp;'><Deep> </Deep> <More/>"
																			"</x:New>") "\n"));

	same_text(doc, VF_LC_XML, false,
			  "<?xml version=\"1.0\" encoding=\"UTF-8\"?>"
			  DOC(RULE("a", PREFIX(" &lt;\xc3\xa9\xf0\x9f\x98\x80&#13;&quot;"),
					   "<x:New xmlns:x=\"u\" x:y=\"&amp;\"><Deep> </Deep>"
					   "<More></More></x:New>")));
	same_text(doc, VF_LC_XML, true,
			  "<?xml version=\"1.0\" encoding=\"UTF-8\"?>"
			  DOC(RULE("a", PREFIX(" &lt;&#233;&#128512;&#13;&quot;"),
					   "<x:New xmlns:x=\"u\" x:y=\"&amp;\"><Deep> </Deep>"
					   "<More></More></x:New>")));
	same_text(doc, VF_LC_JSON, true,
			  "{\n  \"Rules\": [\n    {\n      \"ID\": \"a\",\n"
			  "      \"Filter\": {\n"
			  "        \"Prefix\": \" <\\u00e9\\ud83d\\ude00\\u000d\\\"\"\n"
			  "      },\n      \"Status\": \"Enabled\",\n"
			  "      \"New\": {\n        \"Deep\": \" \",\n"
			  "        \"More\": \"\"\n      }\n    }\n  ]\n}");
	vf_s3_lcdoc_free(doc);
}

static void
test_json(void)
{
	VfLcDoc    *doc = read_text(DOC(RULE("a",
										 "<Filter><And><Prefix>p</Prefix><Tag><Key>k</Key><Value>7</Value></Tag>"
										 "<ObjectSizeGreaterThan>5</ObjectSizeGreaterThan></And></Filter>",
										 "<Transition><Days>30</Days><StorageClass>X</StorageClass></Transition>"
										 "<Expiration><ExpiredObjectDeleteMarker>true"
										 "</ExpiredObjectDeleteMarker></Expiration>")
									RULE("007", "<Filter/>", DAYS("007") "<A>1</A><A>2</A>")));
	char	   *text = vf_s3_lcdoc_rule_text(doc, 0, VF_LC_JSON, false);

	CHECK(strstr(text, "\"Tags\": [\n") != NULL);
	CHECK(strstr(text, "\"Transitions\": [\n") != NULL);
	CHECK(strstr(text, "\"Days\": 30,") != NULL);
	CHECK(strstr(text, "\"Value\": \"7\"") != NULL);
	CHECK(strstr(text, "\"ObjectSizeGreaterThan\": 5\n") != NULL);
	CHECK(strstr(text, "\"ExpiredObjectDeleteMarker\": true\n") != NULL);
	free(text);
	text = vf_s3_lcdoc_rule_text(doc, 1, VF_LC_JSON, false);
	CHECK(strstr(text, "\"Filter\": {},") != NULL);
	CHECK(strstr(text, "\"ID\": \"007\"") != NULL);
	CHECK(strstr(text, "\"Days\": \"007\"") != NULL);
	CHECK(strstr(text, "\"A\": [\n    \"1\",\n    \"2\"\n  ]") != NULL);
	free(text);
	vf_s3_lcdoc_free(doc);
}

/* Pairs of rules that mean the same to a store, and that do not. */
static void
test_canonical(void)
{
	static const struct
	{
		const char *a;
		const char *b;
		int			same;
	}			cases[] = {
		{DOC("<Rule><ID>a</ID><B>1</B></Rule>"),
			"<LifecycleConfiguration>\n <Rule>\n  <B>1</B> <ID>a</ID></Rule>"
		"</LifecycleConfiguration>", 1},
		{DOC("<Rule><ID>a</ID></Rule>"),
			"<x:LifecycleConfiguration xmlns:x=\"http://s3.amazonaws.com/doc/"
		"2006-03-01\"><x:Rule><x:ID>a</x:ID></x:Rule></x:LifecycleConfiguration>", 1},
		{DOC("<Rule><ID>a</ID></Rule>"),
		DOC("<Rule><ID xmlns='urn:x'>a</ID></Rule>"), 0},
		{DOC("<Rule><P>a</P></Rule>"), DOC("<Rule><P> a</P></Rule>"), 0},
		{DOC("<Rule><P> </P></Rule>"), DOC("<Rule><P></P></Rule>"), 0},
		{DOC("<Rule><P/></Rule>"), DOC("<Rule><P></P></Rule>"), 1},
		{DOC("<Rule><P>&#60;&amp;</P></Rule>"),
		DOC("<Rule><P><![CDATA[<&]]></P></Rule>"), 1},
		{DOC("<Rule><P x='1' y='2'/></Rule>"),
		DOC("<Rule><P y='2' x='1'/></Rule>"), 1},
		{DOC("<Rule><P x='1'/></Rule>"), DOC("<Rule><P x='2'/></Rule>"), 0},
		{DOC("<Rule xmlns:p='u'><P p:x='1'/></Rule>"),
		DOC("<Rule><P xmlns:q='u' q:x='1'/></Rule>"), 1},
		{DOC("<Rule><T>1</T><T>2</T></Rule>"),
		DOC("<Rule><T>2</T><T>1</T></Rule>"), 1},
		{DOC("<Rule><T>1</T><T>1</T></Rule>"), DOC("<Rule><T>1</T></Rule>"), 0},
		{DOC("<Rule><T><A/></T><B/></Rule>"), DOC("<Rule><T><A/><B/></T></Rule>"), 0},
		{DOC("<Rule><A>B</A></Rule>"), DOC("<Rule><AB></AB></Rule>"), 0},
		{DOC("<Rule>" PREFIX("p") "</Rule>"),
		DOC("<Rule><Prefix>p</Prefix></Rule>"), 1},
		{DOC("<Rule>" PREFIX("p") "</Rule>"),
		DOC("<Rule><Prefix></Prefix></Rule>"), 0},
		{DOC("<Rule><Filter/></Rule>"),
		DOC("<Rule><Prefix></Prefix></Rule>"), 0},
		/* As Ceph writes conditions. */
		{DOC("<Rule><Filter><And><Prefix>p</Prefix><Tag/><Tag/></And></Filter></Rule>"),
		DOC("<Rule><Filter><Prefix>p</Prefix><And><Tag/><Tag/></And></Filter></Rule>"), 1},
		{DOC("<Rule><Filter><And><Prefix>p</Prefix><Tag/></And></Filter></Rule>"),
		DOC("<Rule><Filter><Prefix>p</Prefix><Tag/></Filter></Rule>"), 1},
		{DOC("<Rule><Filter><And><Prefix>p</Prefix><Tag/></And></Filter></Rule>"),
		DOC("<Rule><Filter><And><Tag/></And></Filter></Rule>"), 0},
		/* As nobody does. */
		{DOC("<Rule><Filter>x<And>y</And></Filter></Rule>"),
		DOC("<Rule><Filter><And>yx</And></Filter></Rule>"), 0},
		{DOC("<Rule><Filter><And> </And><Tag/></Filter></Rule>"),
		DOC("<Rule><Filter><And> <Tag/></And></Filter></Rule>"), 0},
		{DOC("<Rule><Filter><And xmlns:p='u'/><p:Tag/></Filter></Rule>"),
		DOC("<Rule><Filter><And xmlns:p='u'><p:Tag/></And></Filter></Rule>"), 0},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		VfLcDoc    *a = read_text(cases[i].a);
		VfLcDoc    *b = read_text(cases[i].b);

		unit_check(vf_s3_lcdoc_same_rule(a, 0, b, 0) == cases[i].same,
				   __FILE__, __LINE__, cases[i].b);
		CHECK(vf_s3_lcdoc_same(a, b, true) == cases[i].same);
		same_again(a);
		same_again(b);
		vf_s3_lcdoc_free(a);
		vf_s3_lcdoc_free(b);
	}
}

static void
test_wish(void)
{
	VfLcDoc    *doc = vf_s3_lcdoc_wish(NULL, &least);

	same_text(doc, VF_LC_XML, false,
			  "<?xml version=\"1.0\" encoding=\"UTF-8\"?>"
			  DOC(RULE(VF_LC_OURS "temp", PREFIX("temp_"), DAYS("7"))));
	CHECK(vf_s3_lcdoc_expires(doc, 0));
	SAME(vf_s3_lcdoc_prefix(doc, 0), "temp_");
	vf_s3_lcdoc_free(doc);
	doc = vf_s3_lcdoc_wish(NULL, &all);
	CHECK(vf_s3_lcdoc_count(doc) == 6);
	for (int i = 0; i < 6; i++)
		CHECK(vf_s3_lcdoc_is_ours(doc, i));
	CHECK(!vf_s3_lcdoc_expires(doc, vf_s3_lcdoc_find(doc,
													 VF_LC_OURS "permanent")));
	CHECK(!vf_s3_lcdoc_expires(doc,
							   vf_s3_lcdoc_find(doc, VF_LC_OURS
												"delete-markers")));
	vf_s3_lcdoc_free(doc);
	doc = vf_s3_lcdoc_wish(NULL, NULL);
	CHECK(vf_s3_lcdoc_count(doc) == 0);
	vf_s3_lcdoc_free(doc);
}

/* What a document becomes when our rules are merged into it. */
static void
merged(const char *text, const VfLcWish *wish, const char *want)
{
	VfLcDoc    *doc = read_text(text);
	VfLcDoc    *before = read_text(text);
	VfLcDoc    *ours = vf_s3_lcdoc_wish(doc, wish);
	VfLcDoc    *after;
	char	   *written;

	CHECK(vf_s3_lcdoc_merge(doc, ours));
	CHECK(vf_s3_lcdoc_same(doc, before, false) == 1);
	written = vf_s3_lcdoc_text(doc, VF_LC_XML, false);
	SAME(strstr(written, "?>") + 2, want);
	after = read_text(written);
	CHECK(vf_s3_lcdoc_same(doc, after, true) == 1);
	CHECK(vf_s3_lcdoc_merge(after, ours));
	CHECK(vf_s3_lcdoc_same(doc, after, true) == 1);
	free(written);
	vf_s3_lcdoc_free(after);
	vf_s3_lcdoc_free(ours);
	vf_s3_lcdoc_free(before);
	vf_s3_lcdoc_free(doc);
}

#define FOREIGN RULE("theirs", PREFIX("x/"), DAYS("9") "<New a=\"1\">y</New>")
#define OURS(days) RULE(VF_LC_OURS "temp", PREFIX("temp_"), DAYS(days))
#define OLD(id, p, days) RULE(id, "<Prefix>" p "</Prefix>", DAYS(days))

static void
test_merge(void)
{
	merged(DOC(""), &least, DOC(OURS("7")));
	merged(DOC(FOREIGN), &least, DOC(FOREIGN OURS("7")));
	merged(DOC(OURS("8") FOREIGN), &least, DOC(OURS("7") FOREIGN));
	merged(DOC(OURS("7") FOREIGN), NULL, DOC(FOREIGN));
	merged(DOC(FOREIGN OURS("7")), NULL, DOC(FOREIGN));
	merged(DOC(OURS("7")), NULL, DOC(""));
	/* Twice, and one that nobody knows. */
	merged(DOC(OURS("7") FOREIGN OURS("8")
			   RULE(VF_LC_OURS "x", PREFIX("y"), "") "<Note>n</Note>"), &least,
		   DOC(OURS("7") FOREIGN "<Note>n</Note>"));
	merged(DOC(OURS("8") OURS("8") FOREIGN), &least, DOC(OURS("7") FOREIGN));
	/* The version of the document, and rules without ID. */
	merged(DOC(OLD("o", "x", "1")), &least,
		   DOC(OLD("o", "x", "1") OLD(VF_LC_OURS "temp", "temp_", "7")));
	merged(DOC("<Rule><Status>Disabled</Status></Rule>"), &least,
		   DOC("<Rule><Status>Disabled</Status></Rule>" OURS("7")));
	merged(DOC(OLD(VF_LC_OURS "temp", "temp_", "7")), &least,
		   DOC(OLD(VF_LC_OURS "temp", "temp_", "7")));
	/* Prefixes of namespaces. */
	merged("<a:LifecycleConfiguration xmlns:a=\"http://s3.amazonaws.com/doc/"
		   "2006-03-01/\"></a:LifecycleConfiguration>", &least,
		   "<a:LifecycleConfiguration xmlns:a=\"http://s3.amazonaws.com/doc/"
		   "2006-03-01/\"><a:Rule><a:ID>" VF_LC_OURS "temp</a:ID><a:Filter>"
		   "<a:Prefix>temp_</a:Prefix></a:Filter><a:Status>Enabled</a:Status>"
		   "<a:Expiration><a:Days>7</a:Days></a:Expiration></a:Rule>"
		   "</a:LifecycleConfiguration>");
	/* A rule of another namespace is none of S3's. */
	merged(DOC("<Rule xmlns=\"urn:x\"><ID>" VF_LC_OURS "temp</ID></Rule>"),
		   NULL,
		   DOC("<Rule xmlns=\"urn:x\"><ID>" VF_LC_OURS "temp</ID></Rule>"));
}

static void
test_looks(void)
{
	VfLcDoc    *doc = read_text(DOC(RULE("a", "<Filter><And><Prefix>p"
										 "</Prefix><Tag/></And></Filter>",
										 "<Expiration><Date>x</Date></Expiration>")
									"<Rule><Prefix>q</Prefix><Status>Disabled</Status>"
									DAYS("1") "</Rule>"));

	SAME(vf_s3_lcdoc_prefix(doc, 0), "p");
	CHECK(vf_s3_lcdoc_expires(doc, 0));
	SAME(vf_s3_lcdoc_id(doc, 1), "");
	SAME(vf_s3_lcdoc_prefix(doc, 1), "q");
	CHECK(!vf_s3_lcdoc_expires(doc, 1));
	CHECK(vf_s3_lcdoc_find(doc, "a") == 0);
	CHECK(vf_s3_lcdoc_find(doc, "b") == -1);
	CHECK(!vf_s3_lcdoc_is_ours(doc, 0));
	vf_s3_lcdoc_free(doc);
	vf_s3_lcdoc_free(NULL);
}

int
main(void)
{
	test_faults();
	test_too_many();
	test_written();
	test_json();
	test_canonical();
	test_wish();
	test_merge();
	test_looks();
	return unit_end();
}
