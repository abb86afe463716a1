/*-------------------------------------------------------------------------
 *
 * s3_judge.c
 *	  What an answer means: from transport, status and document to a class.
 *
 * Order of things: texts of strangers made harmless; dates; then the
 * judgement: transport, success, failure, and what makes a failure clearer
 * (the right region, the difference of the clocks).
 *
 * The classes themselves are decided in s3_class.c.  S3's own message may
 * name the key, the object's address or the user, so it never passes as it
 * is.  Nothing here raises.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>
#include <math.h>
#include <sys/time.h>

#include "s3.h"
#include "s3_internal.h"

/* S3 refuses requests that are further off. */
#define MAX_SKEW	900
#define MAX_WORD	32

/* Texts of strangers */

void
vf_s3_clean_code(const char *from, char *to, size_t size)
{
	size_t		n = 0;

	for (; *from && n < size - 1; from++)
	{
		if (isalnum((unsigned char) *from) || strchr("._-", *from))
			to[n++] = *from;
	}
	to[n] = '\0';
}

/* A region's name, or nothing. */
static void
clean_region(const char *from, char *to, size_t size)
{
	size_t		len = strspn(from, "abcdefghijklmnopqrstuvwxyz0123456789-");

	to[0] = '\0';
	if (from[len] == '\0' && len < size)
		memcpy(to, from, len + 1);
}

static bool
is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool
all_of(const char *word, size_t len, const char *allowed)
{
	size_t		i;

	for (i = 0; i < len; i++)
	{
		if (!is_letter(word[i]) &&
			(word[i] == '\0' || strchr(allowed, word[i]) == NULL))
			return false;
	}
	return true;
}

static bool
is_number(const char *word, size_t len)
{
	size_t		i;

	for (i = 0; i < len; i++)
	{
		if (word[i] < '0' || word[i] > '9')
			return false;
	}
	return len > 0 && len <= 6;
}

/*
 * Is this a word of a language, an action such as s3:DeleteObject, a header's
 * name or a small number?  Anything else may be part of a key.
 */
static bool
is_plain_word(const char *word, size_t len)
{
	static const char marks[] = ".,:;!?()\"'";

	while (len > 0 && strchr(marks, word[0]))
	{
		word++;
		len--;
	}
	while (len > 0 && strchr(marks, word[len - 1]))
		len--;
	if (len > MAX_WORD)
		return false;
	if (len > 6 && pg_strncasecmp(word, "x-amz-", 6) == 0)
		return all_of(word, len, "-0123456789");
	if (len == 11 && pg_strncasecmp(word, "Content-MD5", 11) == 0)
		return true;
	if (len > 3 && memcmp(word, "s3:", 3) == 0)
		return all_of(word + 3, len - 3, "");
	return is_number(word, len) || all_of(word, len, "-'");
}

static size_t
put_word(char *to, size_t size, size_t n, const char *word, size_t len)
{
	if (n > 0 && n < size - 1)
		to[n++] = ' ';
	len = Min(len, size - 1 - n);
	memcpy(to + n, word, len);
	return n + len;
}

/* Where a word ends: at a blank, or at the end of the key that begins it. */
static size_t
word_length(const char *from, const char *key, size_t key_len, bool *is_key)
{
	size_t		len = 0;

	*is_key = false;
	while (from[len] && !isspace((unsigned char) from[len]))
	{
		if (key_len > 0 && strncmp(from + len, key, key_len) == 0)
		{
			*is_key = true;
			len += key_len;
		}
		else
			len++;
	}
	return len;
}

void
vf_s3_clean_message(const char *from, const char *key, size_t key_len,
					char *to, size_t size)
{
	bool		dropped = false;
	size_t		n = 0;

	if (key == NULL)
		key_len = 0;
	for (;;)
	{
		bool		is_key;
		size_t		len;

		while (isspace((unsigned char) *from))
			from++;
		if (*from == '\0')
			break;
		len = word_length(from, key, key_len, &is_key);
		if (!is_key && is_plain_word(from, len))
		{
			n = put_word(to, size, n, from, len);
			dropped = false;
		}
		else if (!dropped)
		{
			n = put_word(to, size, n, "...", 3);
			dropped = true;
		}
		from += len;
	}
	to[n] = '\0';
}

/* Dates */

static int
month_number(const char *name)
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	const char *found = strlen(name) == 3 ? strstr(months, name) : NULL;

	if (found == NULL || (found - months) % 3 != 0)
		return 0;
	return (int) (found - months) / 3 + 1;
}

/* Days since 1970-01-01, with years that begin in March. */
static int
days_from_date(int year, int month, int day)
{
	int			y = month <= 2 ? year - 1 : year;
	int			m = month <= 2 ? month + 9 : month - 3;

	return 365 * y + y / 4 - y / 100 + y / 400 +
		(153 * m + 2) / 5 + day - 1 - 719468;
}

bool
vf_s3_parse_date(const char *text, double *seconds)
{
	char		name[4];
	int			day;
	int			month;
	int			year;
	int			hour;
	int			minute;
	int			second;

	if (sscanf(text, "%*3s, %2d %3s %4d %2d:%2d:%2d GMT",
			   &day, name, &year, &hour, &minute, &second) != 6)
		return false;
	month = month_number(name);
	if (month == 0 || day < 1 || day > 31 || year < 1970 || hour < 0 ||
		hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60)
		return false;
	*seconds = days_from_date(year, month, day) * 86400.0 +
		hour * 3600.0 + minute * 60.0 + second;
	return true;
}

bool
vf_s3_parse_iso(const char *text, double *seconds)
{
	int			year;
	int			month;
	int			day;
	int			hour;
	int			minute;
	double		second;
	char		zone;

	if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%lf%c", &year, &month, &day, &hour,
			   &minute, &second, &zone) != 7 || zone != 'Z')
		return false;
	if (month < 1 || month > 12 || day < 1 || day > 31 || year < 1970 ||
		hour < 0 || hour > 23 || minute < 0 || minute > 59 ||
		!(second >= 0 && second < 61))
		return false;
	*seconds = days_from_date(year, month, day) * 86400.0 +
		hour * 3600.0 + minute * 60.0 + second;
	return true;
}

static void
note_offset(VfS3Answer *answer, const char *date)
{
	struct timeval now;
	double		theirs;

	if (!vf_s3_parse_date(date, &theirs))
		return;
	gettimeofday(&now, NULL);
	answer->has_offset = true;
	answer->offset = theirs - (now.tv_sec + now.tv_usec / 1e6);
}

/* The judgement */

static void
set_failure(VfS3Answer *answer, int status, const char *code)
{
	const char *name;

	answer->class = vf_s3_class_of_request(status, code, &name);
	strlcpy(answer->code, name, sizeof(answer->code));
}

void
vf_s3_judge_own(const char *code, const char *message, VfS3Answer *answer)
{
	memset(answer, 0, sizeof(*answer));
	set_failure(answer, 0, code);
	strlcpy(answer->message, message, sizeof(answer->message));
}

static void
judge_transport(const VfHttpAnswer *http, VfS3Answer *answer)
{
	static const char *const codes[] = {
		[VF_HTTP_ANSWERED] = "",
		[VF_HTTP_RESOLVE] = "ResolveError",
		[VF_HTTP_CONNECT] = "ConnectError",
		[VF_HTTP_TLS] = "TlsError",
		[VF_HTTP_TIMEOUT] = "Timeout",
		[VF_HTTP_CUT] = "ConnectionCut",
		[VF_HTTP_TOO_LARGE] = "AnswerTooLarge",
		[VF_HTTP_UNUSABLE] = "TransportError"
	};

	set_failure(answer, 0, codes[http->outcome]);
	strlcpy(answer->message, http->error, sizeof(answer->message));
	answer->uncertain = http->sent;
}

static void
judge_malformed(const VfS3XmlDocument *doc, VfS3Answer *answer)
{
	const char *fault = doc->fault;

	if (doc->root == VF_S3_XML_NOTHING && fault == NULL)
		fault = "the answer is empty";
	set_failure(answer, 0, "MalformedAnswer");
	strlcpy(answer->message,
			fault ? fault : "the answer is not the one asked for",
			sizeof(answer->message));
	answer->uncertain = true;
}

/*
 * A request for the wrong region is answered with 301, 307 or 400; a HEAD
 * has only a header to say so.
 */
static bool
is_wrong_region(const VfS3Answer *answer, const char *code,
				const char *region)
{
	if (answer->region[0] == '\0' || strcmp(answer->region, region) == 0)
		return false;
	switch (answer->status)
	{
		case 301:
		case 302:
		case 307:
			return true;
		case 400:
			return code[0] == '\0' ||
				strcmp(code, "AuthorizationHeaderMalformed") == 0 ||
				strcmp(code, "IllegalLocationConstraintException") == 0;
		default:
			return false;
	}
}

/* The refusal of a HEAD does not say that the clock is why. */
static bool
is_skewed(const VfS3Answer *answer, const char *code)
{
	if (strcmp(code, "RequestTimeTooSkewed") == 0)
		return true;
	return code[0] == '\0' && answer->status == 403 && answer->has_offset &&
		fabs(answer->offset) > MAX_SKEW;
}

static void
judge_failure(const VfS3XmlDocument *doc, const char *region,
			  VfS3Answer *answer)
{
	char		code[sizeof(answer->code)] = "";
	int			status = answer->status;

	/* A cut document may have cut the code as well. */
	if (doc->root == VF_S3_XML_ERROR && doc->fault == NULL)
	{
		vf_s3_clean_code(doc->code, code, sizeof(code));
		vf_s3_clean_message(doc->message, NULL, 0, answer->message,
							sizeof(answer->message));
		if (answer->region[0] == '\0')
			clean_region(doc->region, answer->region,
						 sizeof(answer->region));
	}
	if (answer->message[0] == '\0')
		snprintf(answer->message, sizeof(answer->message),
				 "HTTP status %d", status);
	answer->uncertain = status >= 500 || status == 408 || status < 300;

	if (is_wrong_region(answer, code, region))
	{
		set_failure(answer, status, "WrongRegion");
		snprintf(answer->message, sizeof(answer->message),
				 "the bucket is in region \"%s\", not \"%s\"",
				 answer->region, region);
	}
	else if (is_skewed(answer, code))
	{
		set_failure(answer, status, "RequestTimeTooSkewed");
		if (answer->has_offset)
			snprintf(answer->message, sizeof(answer->message),
					 "the store's clock is %.0f seconds %s this server's",
					 fabs(answer->offset),
					 answer->offset < 0 ? "behind" : "ahead of");
	}
	else
		set_failure(answer, status, code);
}

void
vf_s3_judge(const VfHttpAnswer *http, const char *region, VfS3XmlRoot wanted,
			const VfS3XmlHandler *handler, VfS3Answer *answer,
			VfS3XmlDocument *doc)
{
	bool		success = http->status >= 200 && http->status < 300;

	memset(answer, 0, sizeof(*answer));
	memset(doc, 0, sizeof(*doc));
	answer->status = http->status;
	answer->retry_after = http->retry_after;
	clean_region(http->bucket_region, answer->region,
				 sizeof(answer->region));
	note_offset(answer, http->date);
	if (http->outcome != VF_HTTP_ANSWERED)
	{
		judge_transport(http, answer);
		return;
	}
	if (http->body.len > 0)
		vf_s3_xml_read(http->body.data, http->body.len,
					   success ? handler : NULL, doc);
	if (!success || (doc->root == VF_S3_XML_ERROR && doc->fault == NULL))
		judge_failure(doc, region, answer);
	else if (doc->root != wanted || doc->fault != NULL)
		judge_malformed(doc, answer);
}
