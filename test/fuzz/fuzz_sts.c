/*-------------------------------------------------------------------------
 *
 * fuzz_sts.c
 *	  Any bytes as the answer of STS; the first is the size of the pieces.
 *
 * Promises: the size of the pieces does not matter; credentials are told by
 * an AssumeRoleWithWebIdentityResponse alone, keep their limits, stand in the
 * document, and are the same however often they are told; nothing is told of
 * keys to delete; no cut document counts.
 *
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"
#include "s3_xml.h"

#define MAX_ACCESS_KEY	128
#define MAX_SECRET_KEY	256
#define MAX_TOKEN		8192
#define MAX_TIME		64

typedef struct Heard
{
	int			times;
	char		access_key[MAX_ACCESS_KEY + 1];
	char		secret_key[MAX_SECRET_KEY + 1];
	char		token[MAX_TOKEN + 1];
	char		expiration[MAX_TIME + 1];
	const char *document;		/* NULL: values need not stand in it */
	size_t		len;
} Heard;

static void
hear(Heard *heard, char *to, const char *value, size_t max)
{
	size_t		n = strlen(value);

	PROMISE(n <= max);
	PROMISE(n == 0 || (strchr(" \t\r\n", value[0]) == NULL &&
					   strchr(" \t\r\n", value[n - 1]) == NULL));
	if (heard->document != NULL)
		PROMISE(fuzz_contains(heard->document, heard->len, value, n));

	/* A second element may add what the first had not; it changes nothing. */
	if (heard->times > 0 && to[0] != '\0')
		PROMISE(strcmp(to, value) == 0);
	memcpy(to, value, n + 1);
}

static void
on_credentials(void *arg, const char *access_key, const char *secret_key,
			   const char *token, const char *expiration)
{
	Heard	   *heard = arg;

	hear(heard, heard->access_key, access_key, MAX_ACCESS_KEY);
	hear(heard, heard->secret_key, secret_key, MAX_SECRET_KEY);
	hear(heard, heard->token, token, MAX_TOKEN);
	hear(heard, heard->expiration, expiration, MAX_TIME);
	heard->times++;
}

static void
on_deleted(void *arg, const char *key, size_t len)
{
	(void) key;
	(void) len;
	*(bool *) ((Heard *) arg)->document = true;
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
	VfS3XmlHandler handler = {.credentials = on_credentials, .arg = heard};
	VfS3XmlReader *reader = vf_s3_xml_open(&handler);
	size_t		at;
	bool		ok;

	memset(heard, 0, sizeof(*heard));
	if (is_literal(text, len))
	{
		heard->document = text;
		heard->len = len;
	}
	for (at = 0; at < len; at += piece)
	{
		size_t		n = piece < len - at ? piece : len - at;
		char	   *copy = fuzz_copy(text + at, n);

		vf_s3_xml_feed(reader, copy, n);
		free(copy);
	}
	ok = vf_s3_xml_finish(reader, doc);
	PROMISE(ok == (doc->fault == NULL));
	PROMISE(heard->times == 0 || doc->root == VF_S3_XML_WEB_IDENTITY);
	return ok;
}

static void
check_error(const VfS3XmlDocument *doc)
{
	PROMISE(memchr(doc->code, '\0', sizeof(doc->code)) != NULL);
	PROMISE(memchr(doc->message, '\0', sizeof(doc->message)) != NULL);
	PROMISE(doc->root == VF_S3_XML_STS_ERROR ||
			doc->root == VF_S3_XML_ERROR ||
			(doc->code[0] == '\0' && doc->message[0] == '\0'));
}

static void
check_cut(const char *text, size_t len)
{
	Heard		heard;
	VfS3XmlDocument doc;
	size_t		end = len;

	while (end > 0 && text[end - 1] != '>')
		end--;
	PROMISE(end > 0);
	/* What is behind the root may go: blanks, comments, instructions. */
	if (!CONTAINS(text, len, "<!") && !CONTAINS(text, len, "<?"))
		PROMISE(!read_in_pieces(text, end - 1, len, &heard, &doc));
}

/* The same document as an answer of the store: no key may come of it. */
static void
check_no_keys(const char *text, size_t len)
{
	bool		told = false;
	Heard		heard = {.document = (const char *) &told};
	VfS3XmlHandler handler = {.deleted = on_deleted, .arg = &heard};
	VfS3XmlDocument doc;

	vf_s3_xml_read(text, len, &handler, &doc);
	PROMISE(!told);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static Heard one;
	static Heard two;
	VfS3XmlDocument doc;
	VfS3XmlDocument again;
	const char *text = (const char *) data + 1;
	bool		ok;

	if (size < 2)
		return 0;
	size--;
	ok = read_in_pieces(text, size, size, &one, &doc);
	PROMISE(read_in_pieces(text, size, data[0] % 64 + 1, &two, &again) == ok);
	if (!ok)
		return 0;
	check_error(&doc);
	PROMISE(doc.root == again.root && strcmp(doc.code, again.code) == 0 &&
			strcmp(doc.message, again.message) == 0);
	PROMISE(memcmp(&one, &two, sizeof(one)) == 0);
	check_cut(text, size);
	if (doc.root == VF_S3_XML_WEB_IDENTITY || doc.root == VF_S3_XML_STS_ERROR)
		check_no_keys(text, size);
	return 0;
}
