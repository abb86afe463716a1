/*-------------------------------------------------------------------------
 *
 * s3_cred_cache.c
 *	  Keys that expire: kept, renewed in time, forgotten when refused.
 *
 * Each process has its own few, in a memory context that is never part of a
 * dump of another; what is replaced is wiped.  A slot is known by all that its
 * keys come from, so a changed setting finds no old keys.  (The authorization
 * token of the environment is not part of that: a process's environment does
 * not change.)
 *
 * Five minutes before keys expire they are asked for anew.  Where that fails,
 * or brings the same again, the old ones serve until just before their end,
 * and the next try waits a growing while: a service that is ill is not asked
 * at every wave of a drain.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "s3_class.h"
#include "s3_cred_internal.h"
#include "schedule.h"

#define MAX_SLOTS	8

/* Keys that end sooner than this are not worth a request, us. */
#define MIN_LEFT	(10 * USECS_PER_SEC)

/* How long a renewal that failed waits at first, and at most, ms. */
#define BACKOFF_BASE	5000
#define BACKOFF_CAP		60000

typedef struct Slot
{
	char	   *key;			/* NULL: free */
	VfS3Credentials cred;
	int			failures;		/* of renewals, in a row */
	TimestampTz retry_at;
	bool		told;			/* the log knows of them */
} Slot;

static MemoryContext cache_context = NULL;
static Slot slots[MAX_SLOTS];

/* Slots */

static char *
key_of(const VfS3CredSource *source, const VfS3CredQuery *query)
{
#define TEXT(s) ((s) ? (s) : "")
	return psprintf("%d\n%s\n%s\n%s\n%s\n%s\n%s", (int) source->service,
					source->url, TEXT(source->role_arn),
					TEXT(source->role_session), TEXT(source->token_file),
					TEXT(query->proxy), TEXT(query->ca_file));
#undef TEXT
}

static void
clear_slot(Slot *slot)
{
	if (slot->key == NULL)
		return;
	pfree(slot->key);
	slot->key = NULL;
	vf_s3_cred_wipe(&slot->cred);
}

static Slot *
find_slot(const char *key)
{
	int			i;

	for (i = 0; i < MAX_SLOTS; i++)
	{
		if (slots[i].key && strcmp(slots[i].key, key) == 0)
			return &slots[i];
	}
	return NULL;
}

/* A free slot, else the one whose keys end first. */
static Slot *
choose_slot(void)
{
	Slot	   *first = &slots[0];
	int			i;

	for (i = 0; i < MAX_SLOTS; i++)
	{
		if (slots[i].key == NULL)
			return &slots[i];
		if (slots[i].cred.expires_at < first->cred.expires_at)
			first = &slots[i];
	}
	return first;
}

/* The slot keeps copies of its own: origin is a constant. */
static void
keep(Slot *slot, const char *key, const VfS3Credentials *cred)
{
	Slot		fresh;

	if (cache_context == NULL)
		cache_context = AllocSetContextCreate(TopMemoryContext,
											  "voiceframe credentials",
											  ALLOCSET_SMALL_SIZES);
	memset(&fresh, 0, sizeof(fresh));
	fresh.key = MemoryContextStrdup(cache_context, key);
	fresh.cred = *cred;
	fresh.cred.access_key = MemoryContextStrdup(cache_context,
												cred->access_key);
	fresh.cred.secret_key = MemoryContextStrdup(cache_context,
												cred->secret_key);
	if (cred->session_token)
		fresh.cred.session_token = MemoryContextStrdup(cache_context,
													   cred->session_token);
	clear_slot(slot);
	*slot = fresh;
}

static void
copy_out(const Slot *slot, VfS3Credentials *cred)
{
	*cred = slot->cred;
	cred->access_key = pstrdup(slot->cred.access_key);
	cred->secret_key = pstrdup(slot->cred.secret_key);
	cred->session_token = slot->cred.session_token ?
		pstrdup(slot->cred.session_token) : NULL;
}

void
vf_s3_cred_refused(const char *access_key)
{
	int			i;

	for (i = 0; i < MAX_SLOTS; i++)
	{
		if (slots[i].key &&
			strcmp(slots[i].cred.access_key, access_key) == 0)
			clear_slot(&slots[i]);
	}
}

/* Fetching */

static char *
take_answer(const VfS3CredAnswer *answer, TimestampTz now,
			VfS3Credentials *cred)
{
	time_t		expires;

	if (!vf_s3_cred_time(answer->expiration, &expires))
		return pstrdup("Credentials came, but when they expire cannot be "
					   "read.");
	cred->expires_at = time_t_to_timestamptz(expires);
	if (cred->expires_at <= now + MIN_LEFT)
		return pstrdup("Credentials came, but by this server's clock they "
					   "have expired already.");
	cred->access_key = pstrdup(answer->access_key);
	cred->secret_key = pstrdup(answer->secret_key);
	cred->session_token = answer->session_token[0] ?
		pstrdup(answer->session_token) : NULL;
	return NULL;
}

static char *
fetch(const VfS3CredSource *source, const VfS3CredQuery *query,
	  VfS3Credentials *cred, const char **code)
{
	VfS3CredCall call;
	VfS3CredAnswer answer;
	char	   *fault = NULL;

	vf_s3_cred_call_open(&call, source, query);
	switch (source->service)
	{
		case VF_S3_CRED_STS:
			fault = vf_s3_cred_web_fetch(&call, &answer, code);
			break;
		case VF_S3_CRED_CONTAINER:
			fault = vf_s3_cred_container_fetch(&call, &answer, code);
			break;
		case VF_S3_CRED_METADATA:
			fault = vf_s3_cred_imds_fetch(&call, &answer, code);
			break;
	}
	vf_s3_cred_call_close(&call);
	if (fault == NULL)
		fault = take_answer(&answer, GetCurrentTimestamp(), cred);
	explicit_bzero(&answer, sizeof(answer));
	return fault;
}

/* Renewing */

static void
put_off(Slot *slot, TimestampTz now)
{
	double		random = pg_prng_double(&pg_global_prng_state);
	int64		backoff;

	slot->failures++;
	backoff = vf_schedule_backoff_ms(slot->failures, BACKOFF_BASE,
									 BACKOFF_CAP, random);
	slot->retry_at = vf_schedule_next(now, backoff, 0);
}

static void
tell_failure(Slot *slot, const char *code, const char *fault, TimestampTz now)
{
	if (slot->told)
		return;
	slot->told = true;
	ereport(LOG,
			(errmsg("S3 credentials from the %s could not be renewed",
					slot->cred.origin),
			 errdetail("%s: %s Those at hand are good for %lld more seconds.",
					   code, fault,
					   (long long) ((slot->cred.expires_at - now) /
									USECS_PER_SEC)),
			 errhint("%s", vf_s3_cure(code))));
}

static bool
is_same(const VfS3Credentials *a, const VfS3Credentials *b)
{
	return a->expires_at == b->expires_at &&
		strcmp(a->access_key, b->access_key) == 0;
}

static void
tell_success(const Slot *slot)
{
	if (slot->told)
		ereport(LOG,
				(errmsg("S3 credentials from the %s are renewed again",
						slot->cred.origin)));
}

/* The slot's keys end soon: better ones into *cred, or the same. */
static char *
renew(Slot *slot, const VfS3CredSource *source, const VfS3CredQuery *query,
	  VfS3Credentials *cred, const char **code)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		usable = slot->cred.expires_at > now + MIN_LEFT;
	char	   *key = slot->key;
	char	   *fault;

	if (usable && now < slot->retry_at)
	{
		copy_out(slot, cred);
		return NULL;
	}
	fault = fetch(source, query, cred, code);
	if (fault && usable)
	{
		put_off(slot, now);
		tell_failure(slot, *code, fault, now);
		*code = NULL;
		copy_out(slot, cred);
		return NULL;
	}
	if (fault)
	{
		clear_slot(slot);
		return fault;
	}
	tell_success(slot);
	if (is_same(&slot->cred, cred))
	{
		slot->told = false;
		put_off(slot, now);
		return NULL;
	}
	key = pstrdup(key);
	keep(slot, key, cred);
	pfree(key);
	return NULL;
}

char *
vf_s3_cred_cached(const VfS3CredSource *source, const VfS3CredQuery *query,
				  VfS3Credentials *cred, const char **code)
{
	char	   *key = key_of(source, query);
	Slot	   *slot = find_slot(key);
	char	   *fault = NULL;

	if (slot && !vf_s3_cred_due(&slot->cred, GetCurrentTimestamp()))
		copy_out(slot, cred);
	else if (slot)
		fault = renew(slot, source, query, cred, code);
	else
	{
		fault = fetch(source, query, cred, code);
		if (fault == NULL)
			keep(choose_slot(), key, cred);
	}
	pfree(key);
	if (fault == NULL)
		*code = NULL;
	return fault;
}
