/*-------------------------------------------------------------------------
 *
 * fuzz_xml.c
 *	  Any bytes as the answer of a store.
 *
 * Promises: the size of the pieces does not matter; texts keep their limits;
 * keys are UTF-8; a key told stands in the document, whole; no document with a
 * DOCTYPE or a NUL counts; none that counts would do so if it were cut.
 *
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"
#include "s3_name.h"
#include "s3_xml.h"

#define MAX_KEY		4096
#define MAX_HEARD	100000

/* All that the callbacks told, one behind the other, and each key by itself. */
typedef struct Heard
{
	char	   *text;
	size_t		len;
	const char *document;		/* NULL: keys need not stand in it */
	size_t		document_len;
} Heard;

static void
note(Heard *heard, const char *text, size_t len)
{
	if (heard->len + len + 1 > MAX_HEARD)
		return;
	memcpy(heard->text + heard->len, text, len);
	heard->len += len;
	heard->text[heard->len++] = '\0';
}

/* Whole, between two tags: a key cut short would be somebody else's. */
static void
check_place(const Heard *heard, const char *key, size_t len)
{
	static char place[MAX_KEY + 4];

	place[0] = '>';
	memcpy(place + 1, key, len);
	memcpy(place + 1 + len, "</", 2);
	PROMISE(fuzz_contains(heard->document, heard->document_len, place,
						  len + 3));
}

static void
check_key(const Heard *heard, const char *key, size_t len)
{
	const char *fault = vf_s3_key_fault(key, len);

	PROMISE(len <= MAX_KEY && strlen(key) == len);
	PROMISE(fault == NULL || strcmp(fault, "KeyNotUtf8") != 0);
	if (heard->document != NULL && len > 0)
		check_place(heard, key, len);
}

static void
on_deleted(void *arg, const char *key, size_t len)
{
	check_key(arg, key, len);
	note(arg, "+", 1);
	note(arg, key, len);
}

static void
on_failed(void *arg, const char *key, size_t len, const char *code,
		  const char *message)
{
	check_key(arg, key, len);
	PROMISE(strlen(code) < 64 && strlen(message) < 1024);
	note(arg, "-", 1);
	note(arg, key, len);
	note(arg, code, strlen(code));
	note(arg, message, strlen(message));
}

static void
on_listed(void *arg, const VfS3XmlObject *object)
{
	const char *texts[] = {object->version, object->size, object->etag,
	object->modified, object->storage_class};

	check_key(arg, object->key, object->len);
	note(arg, object->marker ? "x" : object->latest ? "!" : "#", 1);
	note(arg, object->key, object->len);
	for (int i = 0; i < 5; i++)
	{
		PROMISE(strlen(texts[i]) <= 1024);
		note(arg, texts[i], strlen(texts[i]));
	}
}

/* Without references, sections and comments a text is what is written. */
static bool
is_literal(const char *text, size_t len)
{
	return memchr(text, '&', len) == NULL && memchr(text, '\r', len) == NULL &&
		!CONTAINS(text, len, "<!") && !CONTAINS(text, len, "<?");
}

static bool
read_in_pieces(const char *text, size_t len, size_t piece, Heard *heard,
			   VfS3XmlDocument *doc)
{
	VfS3XmlHandler handler = {
		.deleted = on_deleted, .failed = on_failed, .listed = on_listed,
		.arg = heard
	};
	VfS3XmlReader *reader = vf_s3_xml_open(&handler);
	size_t		at;

	for (at = 0; at < len; at += piece)
	{
		size_t		n = piece < len - at ? piece : len - at;
		char	   *copy = fuzz_copy(text + at, n);

		vf_s3_xml_feed(reader, copy, n);
		free(copy);
	}
	return vf_s3_xml_finish(reader, doc);
}

static void
check_document(const VfS3XmlDocument *doc, bool ok)
{
	PROMISE(ok == (doc->fault == NULL));
	PROMISE(memchr(doc->code, '\0', sizeof(doc->code)) != NULL);
	PROMISE(memchr(doc->message, '\0', sizeof(doc->message)) != NULL);
	PROMISE(memchr(doc->region, '\0', sizeof(doc->region)) != NULL);
	PROMISE(memchr(doc->status, '\0', sizeof(doc->status)) != NULL);
	PROMISE(doc->root != VF_S3_XML_NOTHING || !ok);
}

/* A few of the places where the document could have been cut. */
static void
check_cuts(const char *text, size_t len)
{
	size_t		end = len;
	size_t		step;
	size_t		at;

	while (end > 0 && text[end - 1] != '>')
		end--;
	PROMISE(end > 0);
	/* What is behind the root may go: blanks, comments, instructions. */
	if (CONTAINS(text, len, "<!") || CONTAINS(text, len, "<?"))
		return;
	step = end / 8 + 1;
	for (at = end - 1; ; at -= step)
	{
		VfS3XmlDocument doc;
		char	   *copy = fuzz_copy(text, at);

		PROMISE(!vf_s3_xml_read(copy, at, NULL, &doc));
		free(copy);
		if (at < step)
			break;
	}
}

/* Only these tell of something on the way. */
static bool
has_entries(VfS3XmlRoot root)
{
	return root == VF_S3_XML_DELETE_RESULT || root == VF_S3_XML_LIST ||
		root == VF_S3_XML_VERSIONS || root == VF_S3_XML_UPLOADS ||
		root == VF_S3_XML_PARTS;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char first[MAX_HEARD];
	static char second[MAX_HEARD];
	Heard		whole = {first, 0, NULL, 0};
	Heard		parts = {second, 0, NULL, 0};
	VfS3XmlDocument one;
	VfS3XmlDocument two;
	const char *text = (const char *) data + 1;
	bool		ok;

	if (size < 2)
		return 0;
	size--;
	if (is_literal(text, size))
	{
		whole.document = text;
		whole.document_len = size;
	}
	ok = read_in_pieces(text, size, size, &whole, &one);
	check_document(&one, ok);
	PROMISE(read_in_pieces(text, size, data[0] % 64 + 1, &parts, &two) == ok);
	check_document(&two, ok);
	if (!ok)
		return 0;
	PROMISE(one.root == two.root && strcmp(one.code, two.code) == 0 &&
			strcmp(one.message, two.message) == 0 &&
			strcmp(one.region, two.region) == 0 &&
			strcmp(one.status, two.status) == 0);
	PROMISE(whole.len == parts.len &&
			memcmp(first, second, whole.len) == 0);
	PROMISE(has_entries(one.root) || whole.len == 0);
	PROMISE(memchr(text, '\0', size) == NULL);
	PROMISE(!CONTAINS(text, size, "<!DOCTYPE") ||
			CONTAINS(text, size, "<!--") || CONTAINS(text, size, "<![") ||
			CONTAINS(text, size, "<?"));
	check_cuts(text, size);
	return 0;
}
