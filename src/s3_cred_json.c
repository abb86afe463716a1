/*-------------------------------------------------------------------------
 *
 * s3_cred_json.c
 *	  Reads the JSON in which credentials come, and its errors.
 *
 * The server's own parser does the reading.  It recurses, and complains about
 * a lack of stack or of a character in the database's encoding by an error;
 * so a document is looked through first, and only what is shallow and plain
 * ASCII gets as far as the parser.
 *
 * Its actions cannot stop it on 15.  They note the first fault, and what they
 * store after that does not count.
 *
 *-------------------------------------------------------------------------
 */
#ifdef FRONTEND
#include "postgres_fe.h"
#else
#include "postgres.h"
#endif

#include "compat.h"
#include "s3_cred_json.h"
#include "s3_cred_parse.h"

#define MAX_DEPTH	16

typedef struct Reader
{
	VfS3CredAnswer *out;
	int			depth;
	int			field;			/* the one whose value comes, or -1 */
	unsigned	seen;			/* bits */
} Reader;

typedef struct FieldPlace
{
	const char *name;
	const char *other;			/* in lower case, as some services do */
	size_t		offset;
	size_t		size;
} FieldPlace;

#define PLACE(member) \
	offsetof(VfS3CredAnswer, member), sizeof(((VfS3CredAnswer *) NULL)->member)

static const FieldPlace places[] = {
	{"AccessKeyId", NULL, PLACE(access_key)},
	{"SecretAccessKey", NULL, PLACE(secret_key)},
	{"Token", NULL, PLACE(session_token)},
	{"Expiration", NULL, PLACE(expiration)},
	{"Code", "code", PLACE(code)},
	{"Message", "message", PLACE(message)}
};

static void
fail(Reader *reader, const char *fault)
{
	if (reader->out->fault == NULL)
		reader->out->fault = fault;
}

static int
find_field(const char *name)
{
	int			i;

	for (i = 0; i < (int) lengthof(places); i++)
	{
		if (strcmp(name, places[i].name) == 0 ||
			(places[i].other && strcmp(name, places[i].other) == 0))
			return i;
	}
	return -1;
}

/* What the parser calls */

static void
begin_nested(Reader *reader)
{
	if (reader->field >= 0)
		fail(reader, "a value is not a string");
	reader->field = -1;
	reader->depth++;
}

static VfCompatJsonAction
on_object_start(void *arg)
{
	begin_nested(arg);
	return VF_COMPAT_JSON_DONE;
}

static VfCompatJsonAction
on_array_start(void *arg)
{
	Reader	   *reader = arg;

	if (reader->depth == 0)
		fail(reader, "the document is not an object");
	begin_nested(reader);
	return VF_COMPAT_JSON_DONE;
}

static VfCompatJsonAction
on_end(void *arg)
{
	((Reader *) arg)->depth--;
	return VF_COMPAT_JSON_DONE;
}

static VfCompatJsonAction
on_field_start(void *arg, char *name, bool is_null)
{
	Reader	   *reader = arg;
	int			field = reader->depth == 1 ? find_field(name) : -1;

	if (field >= 0 && (reader->seen & (1u << field)))
		fail(reader, "a field comes twice");
	if (field >= 0)
		reader->seen |= 1u << field;
	reader->field = is_null ? -1 : field;
	return VF_COMPAT_JSON_DONE;
}

static VfCompatJsonAction
on_field_end(void *arg, char *name, bool is_null)
{
	(void) is_null;
	((Reader *) arg)->field = -1;
	pfree(name);
	return VF_COMPAT_JSON_DONE;
}

static void
store(Reader *reader, const char *token, JsonTokenType type)
{
	const FieldPlace *place = &places[reader->field];
	size_t		len = strlen(token);

	if (type != JSON_TOKEN_STRING)
		fail(reader, "a value is not a string");
	else if (len >= place->size)
		fail(reader, "a value is too long");
	else
		memcpy((char *) reader->out + place->offset, token, len + 1);
}

static VfCompatJsonAction
on_scalar(void *arg, char *token, JsonTokenType type)
{
	Reader	   *reader = arg;

	if (reader->depth == 0)
		fail(reader, "the document is not an object");
	else if (reader->field >= 0)
		store(reader, token, type);
	explicit_bzero(token, strlen(token));
	pfree(token);
	return VF_COMPAT_JSON_DONE;
}

/* What the parser must not be given */

/* An escape of a character beyond ASCII, at the backslash of one. */
static bool
is_foreign_escape(const char *at, const char *end)
{
	return end - at >= 5 && at[1] == 'u' &&
		(at[2] != '0' || at[3] != '0' || at[4] > '7');
}

static const char *
look_through(const char *text, size_t len)
{
	const char *end = text + len;
	bool		in_string = false;
	int			depth = 0;

	for (; text < end; text++)
	{
		if ((unsigned char) *text > '~' ||
			(*text < ' ' && *text != '\n' && *text != '\r' && *text != '\t'))
			return "the document is not plain ASCII";
		if (in_string && *text == '\\')
		{
			if (is_foreign_escape(text, end))
				return "the document is not plain ASCII";
			text++;				/* whatever is escaped ends no string */
		}
		else if (*text == '"')
			in_string = !in_string;
		else if (!in_string && (*text == '{' || *text == '['))
		{
			if (++depth > MAX_DEPTH)
				return "the document is nested too deeply";
		}
		else if (!in_string && (*text == '}' || *text == ']'))
			depth--;
	}
	return NULL;
}

static void
parse(Reader *reader, char *text, size_t len)
{
	JsonLexContext *lex = vf_compat_json_open(text, (int) len);
	JsonSemAction actions;

	memset(&actions, 0, sizeof(actions));
	actions.semstate = reader;
	actions.object_start = on_object_start;
	actions.object_end = on_end;
	actions.array_start = on_array_start;
	actions.array_end = on_end;
	actions.object_field_start = on_field_start;
	actions.object_field_end = on_field_end;
	actions.scalar = on_scalar;
	if (pg_parse_json(lex, &actions) != JSON_SUCCESS)
		fail(reader, "the document is not well-formed JSON");
	vf_compat_json_close(lex);
}

bool
vf_s3_cred_json_read(const char *text, size_t len, VfS3CredAnswer *out)
{
	Reader		reader = {0};
	const char *fault = look_through(text, len);
	char	   *copy;

	memset(out, 0, sizeof(*out));
	reader.out = out;
	reader.field = -1;
	if (fault == NULL)
	{
		/* The parser may look one byte further than the length. */
		copy = palloc(len + 1);
		memcpy(copy, text, len);
		copy[len] = '\0';
		parse(&reader, copy, len);
		explicit_bzero(copy, len);
		pfree(copy);
		fault = out->fault;
	}
	if (fault != NULL)
	{
		explicit_bzero(out, sizeof(*out));
		out->fault = fault;
	}
	return fault == NULL;
}

const char *
vf_s3_cred_answer_fault(const VfS3CredAnswer *answer)
{
	if (answer->access_key[0] == '\0')
		return "the answer has no access key";
	if (answer->secret_key[0] == '\0')
		return "the answer has no secret key";
	if (answer->expiration[0] == '\0')
		return "the answer has no time of expiry";
	if (!vf_s3_cred_value_ok(answer->access_key, strlen(answer->access_key)) ||
		!vf_s3_cred_value_ok(answer->secret_key, strlen(answer->secret_key)) ||
		!vf_s3_cred_value_ok(answer->session_token,
							 strlen(answer->session_token)))
		return "a value is not plain ASCII without blanks";
	return NULL;
}
