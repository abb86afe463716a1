/*-------------------------------------------------------------------------
 *
 * lease_take.c
 *	  One attempt to hold the lease: asking the store, and taking.
 *
 * A marker is written under the condition that it is still the one that was
 * read.  Whether the store honours that is found out whenever a lease is
 * taken: the same write once more must be refused.  Where it is not, the
 * writer waits and reads back who won.  Until then the marker is not
 * "settled", and no other process of the same server trusts it either.
 *
 * Ceph 16 wants the ETag without its quotes; on a versioned bucket it ignores
 * If-None-Match and refuses every If-Match.  So a write that was refused
 * although the marker has not changed is tried in the next style.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "access/xlog.h"
#include "commands/dbcommands.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "db.h"
#include "drain_client.h"
#include "lease.h"
#include "lease_take.h"
#include "server.h"
#include "settings.h"
#include "wake.h"

/* One request of ours, ms. */
#define TIMEOUT 10000

/* How long we wait before we read back who won, ms. */
#define SETTLE_MIN 1000
#define SETTLE_MAX 3000

/* ---- asking the store ---- */

void
vf_lease_begin(VfLeaseAttempt *a, VfS3Client *client, const VfBucket *b,
			   VfHttpTick tick, void *arg, VfS3Answer *answer)
{
	memset(a, 0, sizeof(*a));
	a->client = client;
	a->bucket = b;
	a->tick = tick;
	a->arg = arg;
	a->answer = answer;
	snprintf(a->key, sizeof(a->key), VF_LEASE_PREFIX "%s", b->marker);
	snprintf(a->self.system, sizeof(a->self.system), UINT64_FORMAT,
			 GetSystemIdentifier());
	snprintf(a->self.database, sizeof(a->self.database), "%u", MyDatabaseId);
	snprintf(a->self.pid, sizeof(a->self.pid), "%d", MyProcPid);
	vf_server_start(a->self.start);
	vf_server_host(a->self.host, sizeof(a->self.host));
}

/* Does the marker have the prefix already? */
static bool
has_prefix(const VfS3Marker *marker, const char *prefix, size_t len)
{
	char		other[VF_S3_MARKER_PREFIXES];
	size_t		other_len;
	size_t		at = 0;

	while (vf_s3_marker_next_prefix(marker, &at, other, &other_len))
	{
		if (other_len == len && memcmp(other, prefix, len) == 0)
			return true;
	}
	return false;
}

static void
declare(VfS3Marker *self, const char *setting)
{
	ListCell   *lc;

	foreach(lc, vf_settings_list(setting))
	{
		size_t		len;
		char	   *prefix = vf_drain_utf8(lfirst(lc), &len);

		/* One that cannot be said may be anything. */
		if (prefix == NULL)
			vf_s3_marker_add_prefix(self, "", 0);
		else if (!has_prefix(self, prefix, len))
			vf_s3_marker_add_prefix(self, prefix, len);
	}
}

void
vf_lease_declare(VfS3Marker *self)
{
	self->has_prefixes = true;
	self->prefixes[0] = '\0';
	declare(self, vf_deletable_prefixes);
	declare(self, vf_orphan_prefixes);
}

bool
vf_lease_is_declared(const VfLeaseAttempt *a)
{
	return a->found.marker.has_prefixes &&
		strcmp(a->found.marker.prefixes, a->self.prefixes) == 0;
}

static bool
code_is(const VfS3Answer *answer, const char *code)
{
	return strcmp(answer->code, code) == 0;
}

bool
vf_lease_read(VfLeaseAttempt *a, int timeout_ms)
{
	vf_s3_get_object(a->client, a->key, strlen(a->key), timeout_ms, a->tick,
					 a->arg, a->answer, &a->object);
	memset(&a->found, 0, sizeof(a->found));
	if (a->answer->class != VF_S3_OK)
		return false;
	a->found.exists = a->object.exists;
	a->found.has_age = a->object.has_age;
	a->found.age = a->object.age;
	a->found.readable = a->object.exists &&
		vf_s3_marker_read(a->object.body, a->object.len, &a->found.marker);
	return true;
}

/* The store's clock, for people; ours is nobody's business. */
static void
write_heartbeat(VfLeaseAttempt *a)
{
	time_t		now = (time_t) a->object.date;
	struct tm	tm;

	a->self.heartbeat[0] = '\0';
	if (a->object.has_date && gmtime_r(&now, &tm) != NULL)
		strftime(a->self.heartbeat, sizeof(a->self.heartbeat),
				 "%Y-%m-%dT%H:%M:%SZ", &tm);
}

void
vf_lease_condition(VfS3Condition *condition, VfLeaseStyle style, bool exists,
				   const char *given, char etag[128])
{
	size_t		len = strlen(given);

	condition->etag = NULL;
	condition->absent = style != VF_LEASE_UNCONDITIONAL && !exists;
	if (style == VF_LEASE_UNCONDITIONAL || !exists || len == 0)
		return;
	strlcpy(etag, given, 128);
	if (style == VF_LEASE_BARE && len > 1 && given[0] == '"')
	{
		memcpy(etag, given + 1, len - 2);
		etag[len - 2] = '\0';
	}
	condition->etag = etag;
}

/*
 * Write what self says, under the condition that the marker is what was read.
 * The text must live until the answer: it is the caller's.
 */
static void
send_marker(VfLeaseAttempt *a, const char *text, size_t len, bool *unmet,
			VfS3Object *written)
{
	VfS3Condition condition;
	char		etag[128];

	vf_lease_condition(&condition, a->style, a->object.exists,
					   a->object.etag, etag);
	vf_s3_put_if(a->client, a->key, strlen(a->key), text, len, &condition,
				 TIMEOUT, a->tick, a->arg, a->answer, unmet, written);
	if (code_is(a->answer, "NotImplemented") &&
		a->style != VF_LEASE_UNCONDITIONAL)
	{
		a->style = VF_LEASE_UNCONDITIONAL;
		send_marker(a, text, len, unmet, written);
	}
}

/*
 * On a versioned bucket a version that was replaced would stay for ever.  No
 * failure of ours: whoever may not do that has a lifecycle rule.
 */
static void
remove_version(VfLeaseAttempt *a, const VfS3Object *old, const VfS3Object *new)
{
	VfS3Answer	answer;

	if (!old->exists || old->version[0] == '\0' || new->version[0] == '\0' ||
		strcmp(old->version, new->version) == 0)
		return;
	vf_s3_delete_version(a->client, a->key, strlen(a->key), old->version,
						 TIMEOUT, a->tick, a->arg, &answer);
}

void
vf_lease_say(VfS3Answer *answer, const char *code, const char *message)
{
	memset(answer, 0, sizeof(*answer));
	answer->class = VF_S3_BUCKET;
	strlcpy(answer->code, code, sizeof(answer->code));
	strlcpy(answer->message, message, sizeof(answer->message));
}

/* ---- taking ---- */

static VfLeaseOutcome
outcome_of(const VfLeaseAttempt *a)
{
	return code_is(a->answer, "AccessDenied") ? VF_TRY_DENIED : VF_TRY_FAILED;
}

/* Somebody took the registration away while we spoke. */
static VfLeaseOutcome
not_registered(VfLeaseAttempt *a)
{
	vf_lease_say(a->answer, "NoSuchBucket",
				 "the bucket is no longer registered");
	return VF_TRY_FAILED;
}

static void
wait_to_settle(void)
{
	double		random = pg_prng_double(&pg_global_prng_state);
	int64		pause = SETTLE_MIN +
		(int64) (random * (SETTLE_MAX - SETTLE_MIN));

	vf_wake_wait_until(GetCurrentTimestamp() + pause * 1000, NULL);
}

/*
 * Did we win?  replaced is the marker that ours took the place of.  A store
 * that refuses the same write now has refused everybody else's as well; any
 * other is asked who was last, after all who began with us have written.
 */
static VfLeaseOutcome
make_sure(VfLeaseAttempt *a, const VfS3Object *replaced, const char *text,
		  size_t len)
{
	VfS3Object	mine = a->object;
	VfS3Object	again;
	bool		unmet;

	if (a->style != VF_LEASE_UNCONDITIONAL)
	{
		a->object = *replaced;
		send_marker(a, text, len, &unmet, &again);
		a->object = mine;
		if (unmet)
			return VF_TRY_TAKEN;
		if (a->answer->class != VF_S3_OK)
			return outcome_of(a);
		remove_version(a, &mine, &again);
	}
	wait_to_settle();
	if (!vf_lease_read(a, TIMEOUT))
		return outcome_of(a);
	return a->object.exists && a->object.len == len &&
		memcmp(a->object.body, text, len) == 0 ? VF_TRY_TAKEN : VF_TRY_RACED;
}

/* Raise the generation, on disk; false if the bucket is not ours any more. */
static bool
raise_generation(VfLeaseAttempt *a)
{
	char	   *name = get_database_name(MyDatabaseId);

	a->self.generation = vf_bucket_raise_generation(a->bucket, a->adopted ?
													a->found.marker.generation :
													0);
	strlcpy(a->self.name, name != NULL ? name : "", sizeof(a->self.name));
	vf_db_commit_flushed();
	return a->self.generation > 0;
}

/* Write the marker; to_settle: somebody else may try to at this moment. */
static VfLeaseOutcome
take(VfLeaseAttempt *a, bool to_settle)
{
	VfS3Object	replaced = a->object;
	VfS3Object	written;
	VfServerTime before;
	char		text[VF_S3_MARKER_MAX];
	size_t		len;
	bool		unmet;
	VfLeaseOutcome outcome = VF_TRY_TAKEN;

	if (!raise_generation(a))
		return not_registered(a);
	vf_db_assert_idle("the lease");
	a->self.released = false;
	a->self.settled = !to_settle;
	write_heartbeat(a);
	len = vf_s3_marker_write(&a->self, text, sizeof(text));
	vf_server_now(&before);
	send_marker(a, text, len, &unmet, &written);
	a->refused = unmet && a->answer->status == 412;
	if (unmet)
	{
		a->refused_exists = replaced.exists;
		strlcpy(a->refused_etag, replaced.etag, sizeof(a->refused_etag));
		return VF_TRY_RACED;
	}
	if (a->answer->class != VF_S3_OK)
		return outcome_of(a);
	remove_version(a, &replaced, &written);
	a->object = written;
	if (to_settle)
		outcome = make_sure(a, &replaced, text, len);
	a->beat = before;
	return outcome;
}

/* ---- one attempt ---- */

/* Ours, and its heart beat just now: by another process of this server. */
static bool
is_young(const VfLeaseAttempt *a)
{
	return a->found.has_age && a->found.age * 1000 < VF_LEASE_BEGIN;
}

static void
trust(VfLeaseAttempt *a, const VfServerTime *before)
{
	int64		age = (int64) (a->found.age * 1000) + 1000;

	/* Both dates are cut to the second. */
	a->beat.steady = before->steady - age;
	a->beat.wall = before->wall - age;
	a->self = a->found.marker;
}

VfLeaseOutcome
vf_lease_attempt(VfLeaseAttempt *a)
{
	VfServerTime before;
	bool		registered;

	vf_db_assert_idle("the lease");
	vf_server_now(&before);
	if (!vf_lease_read(a, TIMEOUT))
		return outcome_of(a);
	if (a->refused && a->style != VF_LEASE_UNCONDITIONAL &&
		a->refused_exists == a->object.exists &&
		strcmp(a->refused_etag, a->object.etag) == 0)
		a->style++;

	/* Read after the marker: ours may have been raised just now. */
	registered = vf_bucket_generation(a->bucket, &a->generation, &a->adopted);
	vf_lease_declare(&a->self);
	vf_db_commit();
	if (!registered)
		return not_registered(a);
	switch (vf_s3_marker_judge(&a->found, &a->self, a->generation,
							   a->adopted))
	{
		case VF_S3_MARKER_OURS:
			if (!is_young(a) || !vf_lease_is_declared(a))
				return take(a, !a->found.has_age ||
							a->found.age * 1000 >= VF_LEASE_LIMIT);
			trust(a, &before);
			return VF_TRY_TAKEN;
		case VF_S3_MARKER_FREE:
			return take(a, true);
		case VF_S3_MARKER_LIVES:
			return VF_TRY_LIVES;
		case VF_S3_MARKER_AHEAD:
			return VF_TRY_AHEAD;
		case VF_S3_MARKER_UNREADABLE:
			return VF_TRY_UNREADABLE;
	}
	return VF_TRY_FAILED;
}
