/*-------------------------------------------------------------------------
 *
 * test_marker.c
 *	  The text of a bucket's owner marker, good and bad, and what it means.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "s3_marker.h"
#include "unit.h"

#define HEAD "voiceframe_retention lease 1\n"
#define FLAGS "released: no\nsettled: yes\n"
#define WHO "system: 7301\ndatabase: 5\nstart: 00ff\n"
#define GOOD HEAD "generation: 3\n" FLAGS WHO

typedef struct Case
{
	const char *text;
	bool		good;
} Case;

static const Case cases[] = {
	{GOOD, true},
	{GOOD "host: web 1\nname: caf%C3%A9\npid: 12\nheartbeat: now\n", true},
	{GOOD "something new: yes\n", true},
	{HEAD WHO FLAGS "generation: 0\n", true},
	{HEAD "generation: 1152921504606846976\n" FLAGS WHO, true},
	{"", false},
	{HEAD, false},
	{"voiceframe_retention lease 2\n" WHO, false},
	{"voiceframe_retention lease 1 \n" "generation: 3\n" FLAGS WHO, false},
	{HEAD "generation: 1152921504606846977\n" FLAGS WHO, false},
	{HEAD "generation: 99999999999999999999\n" FLAGS WHO, false},
	{HEAD "generation: -1\n" FLAGS WHO, false},
	{HEAD "generation: \n" FLAGS WHO, false},
	{HEAD "generation:3\n" FLAGS WHO, false},
	{HEAD "generation: 3x\n" FLAGS WHO, false},
	{HEAD FLAGS WHO, false},
	{HEAD "generation: 3\nreleased: maybe\nsettled: yes\n" WHO, false},
	{HEAD "generation: 3\nsettled: yes\n" WHO, false},
	{HEAD "generation: 3\nreleased: no\n" WHO, false},
	{HEAD "generation: 3\n" FLAGS "system: 1\ndatabase: 5\n", false},
	{HEAD "generation: 3\n" FLAGS "system: \ndatabase: 5\nstart: 0\n", false},
	{HEAD "generation: 3\n" FLAGS "system: x\ndatabase: 5\nstart: 0\n", false},
	{HEAD "generation: 3\n" FLAGS
		"system: 1\ndatabase: 12345678901234567\nstart: 0\n", false},
	{HEAD "generation: 3\n" FLAGS "system: 1\ndatabase: 5\nstart: 0x\n",
	false},
	{GOOD "generation: 4\n", false},
	{GOOD "released: yes\n", false},
	{GOOD "start: 11\n", false},
	{GOOD "host: a\nhost: b\n", false},
	{GOOD "prefixes: a/\nprefixes: b/\n", false},
	{GOOD "prefixes: \n", true},
	{GOOD "prefixes:\n", false},
	{GOOD "prefixes: \xC3\xA9/\n", false},
	{GOOD "no colon\n", false},
	{GOOD "host: caf\xC3\xA9\n", false},
	{GOOD "host: a\tb\n", false},
	{GOOD "host: cut", false},
	{GOOD "\n", false},
	{GOOD "\r\n", false},
	{"<?xml version=\"1.0\"?>\n<Error/>\n", false}
};

static bool
read_copy(const char *text, size_t len, VfS3Marker *m)
{
	char	   *copy = malloc(len ? len : 1);
	bool		good;

	memcpy(copy, text, len);
	good = vf_s3_marker_read(copy, len, m);
	free(copy);
	return good;
}

static void
test_reading(void)
{
	static char big[VF_S3_MARKER_MAX + 2];
	VfS3Marker	m;
	VfS3Marker	zero;
	size_t		i;

	memset(&zero, 0, sizeof(zero));
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		const Case *c = &cases[i];

		unit_check(read_copy(c->text, strlen(c->text), &m) == c->good,
				   __FILE__, __LINE__, c->text);
		unit_check(c->good || memcmp(&m, &zero, sizeof(m)) == 0, __FILE__,
				   __LINE__, c->text);
	}
	CHECK(!read_copy(GOOD "host: \0\n", sizeof(GOOD) - 1 + 8, &m));

	/* Nothing is read past a cut, and a cut is no marker. */
	for (i = 0; i < strlen(GOOD); i++)
		CHECK(!read_copy(GOOD, i, &m));

	/* Long ones: cut where it is for people only, refused past the limit. */
	strcpy(big, GOOD "host: ");
	memset(big + strlen(big), 'h', 500);
	strcat(big, "\n");
	CHECK(read_copy(big, strlen(big), &m));
	CHECK(strlen(m.host) == sizeof(m.host) - 1);
	memset(big, 'x', sizeof(big));
	memcpy(big, GOOD "rest: ", strlen(GOOD "rest: "));
	big[VF_S3_MARKER_MAX - 1] = '\n';
	CHECK(read_copy(big, VF_S3_MARKER_MAX, &m));
	big[VF_S3_MARKER_MAX] = '\n';
	CHECK(!read_copy(big, VF_S3_MARKER_MAX + 1, &m));
}

/* Bytes turned over at random, from a fixed seed: the sanitizers watch. */
static void
test_mutations(void)
{
	char		text[sizeof(GOOD)];
	VfS3Marker	m;
	int			good = 0;

	srandom(20);
	for (int round = 0; round < 200000; round++)
	{
		memcpy(text, GOOD, sizeof(GOOD));
		for (long n = random() % 3; n >= 0; n--)
			text[random() % (long) (sizeof(GOOD) - 1)] =
				(char) (random() % 256);
		good += read_copy(text, sizeof(GOOD) - 1 - (size_t) (random() % 4),
						  &m);
		if (m.generation < 0 || m.generation > VF_S3_MARKER_MAX_GENERATION)
			good = 1000000;
	}
	CHECK(good > 0 && good < 200000);
}

static void
test_writing(void)
{
	static VfS3Marker m;
	VfS3Marker	back;
	VfS3Marker	again;
	char		text[VF_S3_MARKER_MAX];
	size_t		len;

	memset(&m, 0, sizeof(m));
	m.generation = VF_S3_MARKER_MAX_GENERATION;
	m.released = true;
	strcpy(m.system, "18446744073709551615");
	strcpy(m.database, "4294967295");
	strcpy(m.start, "0123456789abcdef");
	strcpy(m.host, "a\nreleased: no\n\xFF%");
	memset(m.name, '\n', sizeof(m.name) - 1);
	len = vf_s3_marker_write(&m, text, sizeof(text));
	CHECK(len == strlen(text));
	CHECK(read_copy(text, len, &back));
	CHECK(back.generation == m.generation);
	CHECK(back.released && !back.settled);
	CHECK(vf_s3_marker_same_holder(&m, &back));
	SAME(back.host, "a%0Areleased: no%0A%FF%");
	len = vf_s3_marker_write(&back, text, sizeof(text));
	CHECK(read_copy(text, len, &again));
	CHECK(memcmp(&again, &back, sizeof(back)) == 0);
	CHECK(strlen(back.name) == sizeof(back.name) - 1);
}

/* ---- prefixes ---- */

static void
add(VfS3Marker *m, const char *prefix)
{
	vf_s3_marker_add_prefix(m, prefix, strlen(prefix));
}

static void
test_prefixes(void)
{
	static VfS3Marker m;
	VfS3Marker	back;
	char		text[VF_S3_MARKER_MAX];
	char		prefix[VF_S3_MARKER_PREFIXES];
	char		odd[] = "caf\xC3\xA9 50%*\n/";
	size_t		at = 0;
	size_t		len;

	memset(&m, 0, sizeof(m));
	CHECK(vf_s3_marker_read(GOOD, strlen(GOOD), &back) && !back.has_prefixes);
	add(&m, "a/");
	add(&m, odd);
	SAME(m.prefixes, "a/ caf%C3%A9%2050%25%2A%0A/");
	CHECK(vf_s3_marker_next_prefix(&m, &at, prefix, &len) && len == 2);
	SAME(prefix, "a/");
	CHECK(vf_s3_marker_next_prefix(&m, &at, prefix, &len));
	CHECK(len == sizeof(odd) - 1);
	SAME(prefix, odd);
	CHECK(!vf_s3_marker_next_prefix(&m, &at, prefix, &len));

	/* Full to the last byte, and one more is everything. */
	memset(&m, 0, sizeof(m));
	strcpy(m.system, "18446744073709551615");
	strcpy(m.database, "4294967295");
	strcpy(m.start, "0123456789abcdef");
	memset(m.name, '\n', sizeof(m.name) - 1);
	memset(m.host, '\n', sizeof(m.host) - 1);
	memset(prefix, 'x', VF_S3_MARKER_PREFIXES - 1);
	vf_s3_marker_add_prefix(&m, prefix, VF_S3_MARKER_PREFIXES - 1);
	CHECK(strlen(m.prefixes) == VF_S3_MARKER_PREFIXES - 1);
	len = vf_s3_marker_write(&m, text, sizeof(text));
	CHECK(read_copy(text, len, &back));
	SAME(back.prefixes, m.prefixes);
	add(&m, "b/");
	SAME(m.prefixes, "*");
	add(&m, "c/");
	SAME(m.prefixes, "*");
}

/* The text of a marker with these prefixes; NULL: it does not say. */
static void
say(VfS3Marker *m, const char *prefixes)
{
	char		text[VF_S3_MARKER_MAX] = GOOD;

	if (prefixes != NULL)
		snprintf(text, sizeof(text), GOOD "prefixes: %s\n", prefixes);
	CHECK(read_copy(text, strlen(text), m));
}

static void
test_overlaps(void)
{
	static const struct
	{
		const char *a;
		const char *b;
		bool		overlap;
	}			t[] = {
		{"a/", "a/", true},
		{"a/ b/", "c/ b/", true},
		{"a/", "a/b/", true},
		{"a/b/", "a/", true},
		{"a/", "b/", false},
		{"images/", "images2/", false},
		{"images2/", "images/", false},
		{"pdfs/preview_", "pdfs/", true},
		{"pdfs/preview_", "pdfs/p/", false},
		{"a%2F", "a/", true},
		{"%61/", "a/", true},
		{"%C3%a9/", "%c3%A9/", true},
		{"%2561/", "a/", false},
		{"*", "a/", true},
		{"a/", "x *", true},
		{"%2A", "a/", false},
		{"%", "a/", true},
		{"b%4", "a/", true},
		{"b%zz", "a/", true},
		{"b%00", "a/", false},
		{"", "a/", false},
		{"", "*", false},
		{"   ", "a/", false},
		{"  a/  b/ ", "b/", true},
		{NULL, "temp_audio/x/", true},
		{NULL, "pdfs/preview_", true},
		{NULL, "other/", false},
		{NULL, NULL, true}
	};
	static char big[VF_S3_MARKER_MAX];
	VfS3MarkerOverlap o;
	VfS3Marker	a;
	VfS3Marker	b;
	char		label[8];

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
	{
		snprintf(label, sizeof(label), "row %d", (int) (i % 100));
		say(&a, t[i].a);
		say(&b, t[i].b);
		unit_check(vf_s3_marker_overlaps(&a, &b, &o) == t[i].overlap,
				   __FILE__, __LINE__, label);
		unit_check(vf_s3_marker_overlaps(&b, &a, &o) == t[i].overlap,
				   __FILE__, __LINE__, label);
	}
	say(&a, "x/ a/b/");
	say(&b, "y/ a/");
	CHECK(vf_s3_marker_overlaps(&a, &b, &o) && o.a_len == 4 && o.b_len == 2);
	SAME(o.a, "a/b/");
	SAME(o.b, "a/");

	/* What a later version may write and we cannot hold. */
	memset(big, 'x', VF_S3_MARKER_PREFIXES);
	say(&a, big);
	SAME(a.prefixes, "*");
	CHECK(vf_s3_marker_overlaps(&a, &b, &o) && o.a_len == 0);
}

static VfS3MarkerFound
found(const char *start, bool released, bool settled, int64_t generation,
	  double age)
{
	VfS3MarkerFound f;

	memset(&f, 0, sizeof(f));
	f.exists = true;
	f.readable = true;
	f.has_age = age >= 0;
	f.age = age;
	f.marker.generation = generation;
	f.marker.released = released;
	f.marker.settled = settled;
	strcpy(f.marker.system, "1");
	strcpy(f.marker.database, "2");
	strcpy(f.marker.start, start);
	return f;
}

/* Each against a database of generation 10. */
static void
test_judging(void)
{
	static const struct
	{
		const char *start;
		bool		released;
		bool		settled;
		int64_t		generation;
		double		age;
		VfS3MarkerState normal;
		VfS3MarkerState adopted;
	}			t[] = {
		{"aa", false, true, 10, 5, VF_S3_MARKER_OURS, VF_S3_MARKER_FREE},
		{"aa", false, true, 10, 5000, VF_S3_MARKER_OURS, VF_S3_MARKER_FREE},
		{"aa", false, true, 10, -1, VF_S3_MARKER_OURS, VF_S3_MARKER_FREE},
		{"aa", false, false, 10, 5, VF_S3_MARKER_FREE, VF_S3_MARKER_FREE},
		{"aa", true, true, 10, 5, VF_S3_MARKER_FREE, VF_S3_MARKER_FREE},
		{"aa", false, true, 11, 5, VF_S3_MARKER_AHEAD, VF_S3_MARKER_FREE},
		{"bb", false, true, 9, 5, VF_S3_MARKER_LIVES, VF_S3_MARKER_LIVES},
		{"bb", false, false, 9, 5, VF_S3_MARKER_LIVES, VF_S3_MARKER_LIVES},
		{"bb", false, true, 99, 5, VF_S3_MARKER_LIVES, VF_S3_MARKER_LIVES},
		{"bb", false, true, 9, 899, VF_S3_MARKER_LIVES, VF_S3_MARKER_LIVES},
		{"bb", false, true, 9, -1, VF_S3_MARKER_LIVES, VF_S3_MARKER_LIVES},
		{"bb", false, true, 9, 900, VF_S3_MARKER_FREE, VF_S3_MARKER_FREE},
		{"bb", false, true, 10, 900, VF_S3_MARKER_FREE, VF_S3_MARKER_FREE},
		{"bb", false, true, 11, 900, VF_S3_MARKER_AHEAD, VF_S3_MARKER_FREE},
		{"bb", true, true, 10, 1, VF_S3_MARKER_FREE, VF_S3_MARKER_FREE},
		{"bb", true, true, 11, 1, VF_S3_MARKER_AHEAD, VF_S3_MARKER_FREE}
	};
	VfS3Marker	self = found("aa", false, true, 0, 0).marker;
	VfS3MarkerFound f;
	char		label[8];

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
	{
		f = found(t[i].start, t[i].released, t[i].settled, t[i].generation,
				  t[i].age);
		snprintf(label, sizeof(label), "row %d", (int) (i % 100));
		unit_check(vf_s3_marker_judge(&f, &self, 10, false) == t[i].normal,
				   __FILE__, __LINE__, label);
		unit_check(vf_s3_marker_judge(&f, &self, 10, true) == t[i].adopted,
				   __FILE__, __LINE__, label);
	}

	/* Another database of this server is another holder. */
	f = found("aa", false, true, 1, 5);
	strcpy(f.marker.database, "3");
	CHECK(vf_s3_marker_judge(&f, &self, 10, true) == VF_S3_MARKER_LIVES);
	f = found("aa", false, true, 1, 5);
	strcpy(f.marker.system, "3");
	CHECK(vf_s3_marker_judge(&f, &self, 10, true) == VF_S3_MARKER_LIVES);

	memset(&f, 0, sizeof(f));
	CHECK(vf_s3_marker_judge(&f, &self, 0, false) == VF_S3_MARKER_FREE);
	f.exists = true;
	f.has_age = true;
	f.age = 5000;
	CHECK(vf_s3_marker_judge(&f, &self, 0, false) ==
		  VF_S3_MARKER_UNREADABLE);
	CHECK(vf_s3_marker_judge(&f, &self, 0, true) == VF_S3_MARKER_FREE);
	f.age = 5;
	CHECK(vf_s3_marker_judge(&f, &self, 0, true) == VF_S3_MARKER_UNREADABLE);
}

int
main(void)
{
	test_reading();
	test_mutations();
	test_writing();
	test_prefixes();
	test_overlaps();
	test_judging();
	return unit_end();
}
