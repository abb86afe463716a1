/*-------------------------------------------------------------------------
 *
 * drain_client.c
 *	  A client for a registered bucket, and the probe for a wrong one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/timestamp.h"

#include "db.h"
#include "drain_client.h"
#include "drain_cred.h"
#include "settings.h"
#include "source.h"

/* The largest answer to a DeleteObjects: 1,000 keys with their errors. */
#define MAX_ANSWER (8 * 1024 * 1024)

#define CONNECT_TIMEOUT 10000

/* Too long for a key of S3 in any encoding: not worth converting, bytes. */
#define MAX_CONVERTED 65536

/* How many known objects the probe looks for, and how long for each, ms. */
#define PROBE_KEYS 20
#define PROBE_TIMEOUT 10000

static void
target_of(const VfBucket *b, VfS3Target *target)
{
	target->endpoint = b->endpoint;
	target->bucket = b->bucket;
	target->region = b->region;
	target->path_style = strcmp(b->path_style, "path") == 0 ?
		VF_S3_PATH_ALWAYS : strcmp(b->path_style, "virtual") == 0 ?
		VF_S3_PATH_NEVER : VF_S3_PATH_AUTO;
	target->expected_owner = b->expected_owner;
	target->request_payer = b->request_payer;
}

VfS3Client *
vf_drain_client(MemoryContext context, const VfBucket *b, int timeout_ms,
				VfHttpTick tick, void *arg, VfS3Answer *answer)
{
	VfS3Target	target;
	VfHttpOptions http;
	VfS3Credentials cred;
	VfS3Client *client;

	if (!vf_drain_cred_find(b, timeout_ms, tick, arg, &cred, answer))
		return NULL;
	target_of(b, &target);
	memset(&http, 0, sizeof(http));
	http.ca_file = vf_s3_ca_file;
	http.proxy = vf_s3_proxy;
	http.connect_timeout_ms = CONNECT_TIMEOUT;
	http.max_connections = vf_s3_concurrency;
	http.max_answer = MAX_ANSWER;
	client = vf_s3_open(context, &target, &cred, &http);
	vf_s3_cred_wipe(&cred);
	return client;
}

/* ---- keys ---- */

char *
vf_drain_utf8(const char *key, size_t *len)
{
	int			encoding = GetDatabaseEncoding();
	int			size = (int) strlen(key);
	int			room = Min(size, MAX_CONVERTED) * MAX_CONVERSION_GROWTH + 1;
	char	   *utf8;
	Oid			proc;
	int			done;

	*len = size;
	if (encoding == PG_UTF8 || encoding == PG_SQL_ASCII ||
		size > MAX_CONVERTED)
		return pstrdup(key);
	proc = FindDefaultConversionProc(encoding, PG_UTF8);
	if (!OidIsValid(proc))
		return NULL;

	/* Without errors: what cannot be said in UTF-8 is that key's affair. */
	utf8 = palloc(room);
	done = pg_do_encoding_conversion_buf(proc, encoding, PG_UTF8,
										 (unsigned char *) key, size,
										 (unsigned char *) utf8, room, true);
	if (done != size)
		return NULL;
	*len = strlen(utf8);
	return utf8;
}

/* ---- the probe ---- */

/*
 * Keys whose objects must exist: permanent files of paying orders, then files
 * of sessions younger than a day.  (Temporary files of paid sessions are
 * rightly gone.)
 */
static char **
keys_to_probe(const VfSource *source, int *n)
{
	VfRules		rules;
	VfDbArgs	args = {0};
	VfDbSection section;
	StringInfoData permanent;
	VfDbName	extra[] = {{"permanent", NULL}, {NULL, NULL}};
	char	  **keys;

	initStringInfo(&permanent);
	for (int i = 0; i < source->orders.nkeys; i++)
		if (source->orders.keys[i].permanent)
			appendStringInfo(&permanent, "%so.%s::pg_catalog.text",
							 permanent.len == 0 ? "" : ", ",
							 source->orders.keys[i].quoted);
	extra[0].text = permanent.data;
	vf_rules_at(source, GetCurrentTimestamp(), &rules);
	vf_rules_args(source, &rules, &args);
	vf_rules_arg_time(source, VF_S_CREATED,
					  rules.now - USECS_PER_DAY, &args);
	vf_db_arg(&args, INT4OID, Int32GetDatum(PROBE_KEYS));
	vf_db_enter_owner(&section, source->sessions.owner);
	*n = (int) vf_db_run(vf_db_fill("(SELECT u.k FROM {orders} o,"
									" pg_catalog.unnest(ARRAY[{permanent}]) u(k)"
									" WHERE u.k <> '' AND {pays} LIMIT $8)"
									" UNION ALL (SELECT u.k FROM {sessions} s,"
									" pg_catalog.unnest({session_keys}) u(k)"
									" WHERE u.k <> '' AND s.{created} > $7"
									" LIMIT $8) LIMIT $8",
									vf_rules_names(source, extra)), &args);
	vf_db_leave(&section);
	keys = palloc(sizeof(char *) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
		keys[i] = vf_db_text(i, 0);
	return keys;
}

VfProbe
vf_drain_probe(VfS3Client *client, const VfSource *source, VfHttpTick tick,
			   void *arg, VfS3Answer *answer)
{
	int			n;
	char	  **keys = keys_to_probe(source, &n);
	char	  **utf8 = palloc(sizeof(char *) * Max(n, 1));
	size_t	   *len = palloc(sizeof(size_t) * Max(n, 1));

	for (int i = 0; i < n; i++)
		utf8[i] = vf_drain_utf8(keys[i], &len[i]);
	vf_db_commit();
	if (n == 0)
		return VF_PROBE_NONE_TO_LOOK_FOR;
	vf_db_assert_idle("the probe");

	/* A HEAD answers 404 for a missing bucket as for a missing key. */
	vf_s3_head_bucket(client, PROBE_TIMEOUT, tick, arg, answer);

	/* Nor does it say what a 400 is about, such as a token that expired. */
	if (answer->status == 400)
		vf_s3_list_probe(client, "", PROBE_TIMEOUT, tick, arg, answer);
	if (answer->class != VF_S3_OK)
		return VF_PROBE_FAILED;
	for (int i = 0; i < n; i++)
	{
		bool		exists;

		if (utf8[i] == NULL || vf_s3_key_fault(utf8[i], len[i]) != NULL)
			continue;
		vf_s3_head_object(client, utf8[i], len[i], PROBE_TIMEOUT, tick, arg,
						  answer, &exists);
		if (answer->class != VF_S3_OK)
			return VF_PROBE_FAILED;
		if (exists)
			return VF_PROBE_FOUND;
	}
	return VF_PROBE_NOT_FOUND;
}
