/*-------------------------------------------------------------------------
 *
 * s3_delete.c
 *	  Deletes, many in flight, and the account of every key.
 *
 * A batch goes out as one DeleteObjects; a single key that XML cannot carry
 * goes out as DELETE with the key in the path.  Order of things: the account
 * of the keys; starting; answers; waiting.
 *
 * The account: before an answer is read every key counts as missing from it.
 * Only a whole, well-formed answer changes that, and only for keys that are
 * byte for byte those sent; an error beats a success for the same key.
 *
 * Content-MD5 goes with every body.  A store that refuses it gets, from then
 * on and once more for this batch, the SHA-256 checksum instead.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "digest.h"
#include "s3.h"
#include "s3_internal.h"
#include "s3_sign.h"

/* An id of 1,024 bytes, all encoded. */
#define MAX_QUERY	3200

/*
 * Finds keys by their bytes, and by version where the batch names versions,
 * first where the order sent lets expect them.
 */
typedef struct Account
{
	VfS3Delete *batch;
	int			next;			/* the key expected */
	char		version[1025];	/* that the answer's entry names */
	VfS3Key    *sorted[VF_S3_MAX_KEYS];
	bool		is_sorted;
} Account;

/* The account of the keys */

static int
compare_bytes(const char *a, size_t a_len, const char *b, size_t b_len)
{
	int			order = memcmp(a, b, Min(a_len, b_len));

	if (order == 0 && a_len != b_len)
		order = a_len < b_len ? -1 : 1;
	return order;
}

static const char *
version_of(const VfS3Key *key)
{
	return key->version ? key->version : "";
}

static int
compare_key(const char *key, size_t len, const char *version,
			const VfS3Key *with)
{
	int			order = compare_bytes(key, len, with->key, with->len);

	return order != 0 ? order : strcmp(version, version_of(with));
}

static int
compare_keys(const void *a, const void *b)
{
	const VfS3Key *x = *(VfS3Key *const *) a;

	return compare_key(x->key, x->len, version_of(x),
					   *(VfS3Key *const *) b);
}

/*
 * The version that an entry of the answer is about.  Where the batch named
 * none, what the answer says of versions is not about what was asked.
 */
static const char *
answered_version(const Account *account)
{
	return account->batch->keys[0].version ? account->version : "";
}

static void
sort_keys(Account *account)
{
	int			i;

	for (i = 0; i < account->batch->nkeys; i++)
		account->sorted[i] = &account->batch->keys[i];
	qsort(account->sorted, account->batch->nkeys, sizeof(VfS3Key *),
		  compare_keys);
	account->is_sorted = true;
}

static VfS3Key *
search_key(Account *account, const char *key, size_t len)
{
	int			low = 0;
	int			high = account->batch->nkeys;

	if (!account->is_sorted)
		sort_keys(account);
	while (low < high)
	{
		int			middle = (low + high) / 2;
		VfS3Key    *found = account->sorted[middle];
		int			order = compare_key(key, len, answered_version(account),
										found);

		if (order == 0)
			return found;
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

static VfS3Key *
find_key(Account *account, const char *key, size_t len)
{
	VfS3Key    *found;

	if (account->next < account->batch->nkeys)
	{
		found = &account->batch->keys[account->next];
		if (compare_key(key, len, answered_version(account), found) == 0)
		{
			account->next++;
			return found;
		}
	}
	found = search_key(account, key, len);
	if (found == NULL)
		account->batch->unasked++;
	else
		account->next = (int) (found - account->batch->keys) + 1;
	return found;
}

static void
set_verdict(VfS3Key *key, VfS3Class class, const char *code,
			const char *message)
{
	key->class = class;
	strlcpy(key->code, class == VF_S3_OK ? "" : code, sizeof(key->code));
	strlcpy(key->message, class == VF_S3_OK ? "" : message,
			sizeof(key->message));
}

static bool
is_unanswered(const VfS3Key *key)
{
	return strcmp(key->code, "MissingFromAnswer") == 0;
}

static void
on_version(void *arg, const char *version)
{
	Account    *account = arg;

	strlcpy(account->version, version, sizeof(account->version));
}

static void
on_deleted(void *arg, const char *text, size_t len)
{
	VfS3Key    *key = find_key(arg, text, len);

	if (key && is_unanswered(key))
		set_verdict(key, VF_S3_OK, "", "");
}

static void
on_failed(void *arg, const char *text, size_t len, const char *code,
		  const char *message)
{
	VfS3Key    *key = find_key(arg, text, len);
	char		clean_code[sizeof(key->code)];
	char		clean_message[sizeof(key->message)];

	if (key == NULL)
		return;
	vf_s3_clean_code(code, clean_code, sizeof(clean_code));
	vf_s3_clean_message(message, key->key, key->len, clean_message,
						sizeof(clean_message));
	if (clean_code[0] == '\0')
		strlcpy(clean_code, "UnknownError", sizeof(clean_code));
	set_verdict(key, vf_s3_class_of_key(clean_code), clean_code,
				clean_message);
}

static void
open_account(Account *account, VfS3Delete *batch)
{
	int			i;

	account->batch = batch;
	account->next = 0;
	account->version[0] = '\0';
	account->is_sorted = false;
	batch->unasked = 0;
	for (i = 0; i < batch->nkeys; i++)
		set_verdict(&batch->keys[i], VF_S3_KEY_PASSING, "MissingFromAnswer",
					"the answer does not mention the key");
}

/* Starting */

static bool
write_body(VfS3Exchange *exchange, MemoryContext cxt)
{
	const VfS3Delete *batch = exchange->batch;
	size_t		size = vf_s3_xml_frame_size();
	VfS3XmlBody body;
	int			i;

	for (i = 0; i < batch->nkeys; i++)
		size += vf_s3_xml_version_size(batch->keys[i].key, batch->keys[i].len,
									   batch->keys[i].version);
	if (size > VF_S3_MAX_BODY)
		return false;
	exchange->body = MemoryContextAlloc(cxt, size + 1);
	vf_s3_xml_begin(&body, exchange->body, size + 1);
	for (i = 0; i < batch->nkeys; i++)
		vf_s3_xml_version(&body, batch->keys[i].key, batch->keys[i].len,
						  batch->keys[i].version);
	if (!vf_s3_xml_end(&body) || body.len != size)
		elog(ERROR, "DeleteObjects body has %zu bytes, expected %zu",
			 body.len, size);
	exchange->body_len = body.len;
	return true;
}

/* Our side ended it: hand it out with the next wait. */
static void
end_early(VfS3Client *client, VfS3Exchange *exchange, const char *code,
		  const char *message)
{
	vf_s3_judge_own(code, message, &exchange->batch->answer);
	dlist_push_tail(&client->ready, &exchange->node);
}

static void
send_batch(VfS3Client *client, VfS3Exchange *exchange, int timeout_ms)
{
	VfS3Request req = {0};
	char		query[MAX_QUERY];

	req.timeout_ms = timeout_ms;
	req.tag = exchange;
	if (exchange->by_path)
	{
		req.method = "DELETE";
		req.key = exchange->batch->keys[0].key;
		req.key_len = exchange->batch->keys[0].len;
		if (exchange->batch->keys[0].version)
		{
			strlcpy(query, "versionId=", sizeof(query));
			if (!vf_s3_sign_encode(exchange->batch->keys[0].version,
								   strlen(exchange->batch->keys[0].version),
								   false, query + strlen(query),
								   sizeof(query) - strlen(query)))
			{
				end_early(client, exchange, "CannotSign",
						  "the id of the version is too long");
				return;
			}
			req.query = query;
		}
	}
	else
	{
		req.method = "POST";
		req.query = "delete=";
		req.body = exchange->body;
		req.body_len = exchange->body_len;
		req.content_type = "application/xml";
		req.checksum = exchange->checksum;
	}
	if (vf_s3_send(client, &req))
		dlist_push_tail(&client->pending, &exchange->node);
	else
		end_early(client, exchange, "CannotSign",
				  "the request could not be signed");
}

VfS3Checksum
vf_s3_choose_checksum(VfS3Client *client)
{
	unsigned char sum[VF_MD5_LEN];

	/* FIPS: our own library may be the one that refuses. */
	if (!client->refuses_md5 && !vf_digest_md5("", 0, sum))
		client->refuses_md5 = true;
	return client->refuses_md5 ? VF_S3_CHECKSUM_SHA256 : VF_S3_CHECKSUM_MD5;
}

static void
check_batch(const VfS3Delete *batch)
{
	int			i;

	if (batch->nkeys < 1 || batch->nkeys > VF_S3_MAX_KEYS)
		elog(ERROR, "batch has %d keys", batch->nkeys);
	for (i = 0; batch->nkeys > 1 && i < batch->nkeys; i++)
	{
		if (vf_s3_key_needs_path(batch->keys[i].key, batch->keys[i].len))
			elog(ERROR, "batch has a key that must travel alone");
	}
}

void
vf_s3_delete_start(VfS3Client *client, VfS3Delete *batch)
{
	VfS3Exchange *exchange;

	check_batch(batch);
	memset(&batch->answer, 0, sizeof(batch->answer));
	batch->unasked = 0;
	exchange = MemoryContextAllocZero(client->cxt, sizeof(VfS3Exchange));
	exchange->batch = batch;
	exchange->deadline = vf_s3_clock_ms() + batch->timeout_ms;
	exchange->by_path = batch->nkeys == 1 &&
		vf_s3_key_needs_path(batch->keys[0].key, batch->keys[0].len);
	if (!exchange->by_path)
	{
		exchange->checksum = vf_s3_choose_checksum(client);
		if (!write_body(exchange, client->cxt))
		{
			end_early(client, exchange, "BodyTooLarge",
					  "the keys make a body of more than a megabyte");
			return;
		}
	}
	send_batch(client, exchange, batch->timeout_ms);
}

/* Answers */

static bool
mentions(const char *text, const char *part)
{
	size_t		len = strlen(part);

	for (; *text; text++)
	{
		if (pg_strncasecmp(text, part, len) == 0)
			return true;
	}
	return false;
}

static bool
is_refusal_of_md5(const VfS3Answer *answer, const VfS3XmlDocument *doc)
{
	if (answer->status != 400 && answer->status != 501)
		return false;
	if (strcmp(answer->code, "BadDigest") == 0 ||
		strcmp(answer->code, "InvalidDigest") == 0)
		return true;
	return (strcmp(answer->code, "InvalidRequest") == 0 ||
			strcmp(answer->code, "InvalidArgument") == 0 ||
			strcmp(answer->code, "NotImplemented") == 0) &&
		(mentions(doc->message, "md5") || mentions(doc->message, "checksum"));
}

/* Did the batch start again? */
static bool
retry_with_sha256(VfS3Client *client, VfS3Exchange *exchange,
				  const VfS3XmlDocument *doc)
{
	int64		left = exchange->deadline - vf_s3_clock_ms();

	if (exchange->checksum != VF_S3_CHECKSUM_MD5 ||
		!is_refusal_of_md5(&exchange->batch->answer, doc))
		return false;
	client->refuses_md5 = true;
	if (left <= 0)
		return false;
	exchange->checksum = VF_S3_CHECKSUM_SHA256;
	send_batch(client, exchange, (int) left);
	return true;
}

/*
 * The verdict of DELETE by path.  Nothing tells a refusal of this one object
 * from one of the whole bucket, and a single key must not stop the bucket:
 * it is tried again, counted.
 */
static void
settle_path(VfS3Delete *batch)
{
	VfS3Answer *answer = &batch->answer;
	VfS3Key    *key = &batch->keys[0];

	if (answer->class == VF_S3_OK || strcmp(answer->code, "NoSuchKey") == 0)
		set_verdict(key, VF_S3_OK, "", "");
	else if (strcmp(answer->code, "AccessDenied") == 0 ||
			 strcmp(answer->code, "MethodNotAllowed") == 0)
		set_verdict(key, VF_S3_KEY_PASSING, answer->code, answer->message);
	else
		return;
	answer->class = VF_S3_OK;
	answer->code[0] = '\0';
	answer->message[0] = '\0';
	answer->uncertain = false;
}

static void
note_refusals(VfS3Client *client, const VfS3Delete *batch)
{
	int			i;

	vf_s3_note_refusal(client, batch->answer.code, 0);
	for (i = 0; i < batch->nkeys; i++)
	{
		if (batch->keys[i].class == VF_S3_KEY_PASSING)
			vf_s3_note_refusal(client, batch->keys[i].code, 0);
	}
}

void
vf_s3_delete_settle(VfS3Client *client, VfHttpAnswer *http)
{
	VfS3Exchange *exchange = http->tag;
	Account		account;
	VfS3XmlHandler handler = {0};
	VfS3XmlDocument doc;

	/* A single request whose waiter left by an error. */
	if (exchange->batch == NULL)
	{
		vf_http_free(http);
		pfree(exchange);
		return;
	}
	dlist_delete(&exchange->node);
	open_account(&account, exchange->batch);
	handler.deleted = on_deleted;
	handler.failed = on_failed;
	handler.of_version = on_version;
	handler.arg = &account;
	vf_s3_judge(http, client->region,
				exchange->by_path ? VF_S3_XML_NOTHING :
				VF_S3_XML_DELETE_RESULT,
				exchange->by_path ? NULL : &handler,
				&exchange->batch->answer, &doc);
	vf_http_free(http);
	note_refusals(client, exchange->batch);
	if (exchange->by_path)
		settle_path(exchange->batch);
	else if (retry_with_sha256(client, exchange, &doc))
		return;
	dlist_push_tail(&client->ready, &exchange->node);
}

static void
free_exchange(VfS3Exchange *exchange)
{
	if (exchange->body)
		pfree(exchange->body);
	pfree(exchange);
}

void
vf_s3_delete_abandon(VfS3Client *client)
{
	while (!dlist_is_empty(&client->pending))
	{
		dlist_node *node = dlist_pop_head_node(&client->pending);

		free_exchange(dlist_container(VfS3Exchange, node, node));
	}
}

/* Waiting */

VfS3Delete *
vf_s3_delete_wait(VfS3Client *client, VfHttpTick tick, void *arg)
{
	VfS3Exchange *exchange;
	VfS3Delete *batch;

	while (dlist_is_empty(&client->ready))
	{
		VfHttpAnswer *http = vf_http_wait(client->http, tick, arg);

		if (http == NULL)
		{
			vf_s3_delete_abandon(client);
			return NULL;
		}
		vf_s3_delete_settle(client, http);
	}
	exchange = dlist_head_element(VfS3Exchange, node, &client->ready);
	dlist_delete(&exchange->node);
	batch = exchange->batch;
	free_exchange(exchange);
	return batch;
}

static int
count(const dlist_head *list)
{
	dlist_iter	iter;
	int			n = 0;

	dlist_foreach(iter, (dlist_head *) list)
		n++;
	return n;
}

int
vf_s3_in_flight(const VfS3Client *client)
{
	return count(&client->pending) + count(&client->ready);
}
