/*-------------------------------------------------------------------------
 *
 * fuzz_judge.c
 *	  Any bytes as a whole answer: status, region, date, key and body, a line
 *	  for each but the body.
 *
 * Promises: only a success with the document asked for is one; a code and a
 * message always say why not; neither they nor a region hold anything that
 * could be a key, an address or a control character; a date that is read can
 * be written again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>
#include <time.h>

#include "fuzz.h"
#include "s3.h"
#include "s3_internal.h"

static void
check_text(const char *text, size_t size, const char *never)
{
	PROMISE(memchr(text, '\0', size) != NULL);
	for (; *text; text++)
		PROMISE(*text >= ' ' && *text <= '~' && !strchr(never, *text));
}

static void
check_message(const char *from, const char *key)
{
	char		to[64];
	size_t		size;

	for (size = 1; size <= sizeof(to); size += 21)
	{
		memset(to, 'x', sizeof(to));
		vf_s3_clean_message(from, key, strlen(key), to, size);
		check_text(to, size, "/\\@=%&<>#+*|{}[]$^`~");
		PROMISE(strchr(key, '/') == NULL || strstr(to, key) == NULL);
	}
	vf_s3_clean_code(from, to, sizeof(to));
	check_text(to, sizeof(to), "/\\@=%&<>?#+*|{}[]$^`~ :;,\"'()!");
}

static void
check_date(const char *text)
{
	char		again[64];
	double		seconds;
	double		same;
	time_t		when;
	struct tm	tm;

	if (!vf_s3_parse_date(text, &seconds))
		return;
	PROMISE(seconds >= 0 && seconds < 253402300800.0 + 86400);
	when = (time_t) seconds;
	PROMISE(gmtime_r(&when, &tm) != NULL);
	if (tm.tm_year > 8099)
		return;
	strftime(again, sizeof(again), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	PROMISE(vf_s3_parse_date(again, &same) && same == seconds);
}

static void
check_answer(const VfS3Answer *answer, const VfS3XmlDocument *doc,
			 const VfHttpAnswer *http)
{
	bool		success = http->status >= 200 && http->status < 300;

	if (answer->class == VF_S3_OK)
	{
		PROMISE(success && doc->root == VF_S3_XML_DELETE_RESULT &&
				doc->fault == NULL);
		PROMISE(answer->code[0] == '\0' && !answer->uncertain);
	}
	else
	{
		PROMISE(answer->class == VF_S3_BUCKET || answer->class == VF_S3_BATCH);
		PROMISE(answer->code[0] != '\0');
		PROMISE(!success || answer->uncertain);
	}
	check_text(answer->code, sizeof(answer->code), "/@=%&<> ");
	check_text(answer->message, sizeof(answer->message), "/\\@=%&<>#+");
	check_text(answer->region, sizeof(answer->region), "/@=%&<> .");
	PROMISE(answer->status == http->status);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *status = fuzz_line(&data, &size);
	char	   *region = fuzz_line(&data, &size);
	char	   *date = fuzz_line(&data, &size);
	char	   *key = fuzz_line(&data, &size);
	char	   *body = fuzz_copy(data, size);
	char	   *words = fuzz_string(data, size);
	VfHttpAnswer http = {0};
	VfS3Answer	answer;
	VfS3XmlDocument doc;

	http.outcome = VF_HTTP_ANSWERED;
	http.status = atoi(status) % 1000;
	http.error = "";
	http.body.data = body;
	http.body.len = (int) size;
	strlcpy(http.bucket_region, region, sizeof(http.bucket_region));
	strlcpy(http.date, date, sizeof(http.date));
	vf_s3_judge(&http, "us-east-1", VF_S3_XML_DELETE_RESULT, NULL, &answer,
				&doc);
	check_answer(&answer, &doc, &http);
	check_message(words, key);
	check_date(date);
	check_date(words);
	free(status);
	free(region);
	free(date);
	free(key);
	free(body);
	free(words);
	return 0;
}
