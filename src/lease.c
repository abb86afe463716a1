/*-------------------------------------------------------------------------
 *
 * lease.c
 *	  The lease on a bucket: which of several copies of a database drains.
 *
 * Copies of a database carry the same id of the bucket's marker, and so they
 * contend for the same object, .voiceframe_retention/<id>.  It says which
 * start of which server holds the lease, when its heart beat last (the
 * store's own Last-Modified, against the Date of the same answer), and the
 * generation: a number that database and marker raise together, the database
 * first and on disk.  A marker that is ahead of the database knows of history
 * that the database has lost.
 *
 * Order of things: what this process holds; asking the store; taking; one
 * attempt; holding; the worker's heartbeat and release; a look for a person.
 *
 * Races.  A marker is written under the condition that it is still the one
 * that was read.  Whether the store honours that is found out whenever a
 * lease is taken: the same write once more must be refused.  Where it is not,
 * the writer waits and reads back who won.  (Ceph 16 wants the ETag without
 * its quotes; on a versioned bucket it ignores If-None-Match and refuses
 * every If-Match.  A write that was refused although the marker has not
 * changed is tried in the next style.)  Until then the marker is not
 * "settled", and no other process of the same server trusts it either.
 *
 * No request is sent with a snapshot, a transaction id or a lock held.  What
 * this process holds is plain memory and changes only after an answer: an
 * error in between leaves it as it was.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "access/xlog.h"
#include "commands/dbcommands.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "db.h"
#include "drain_client.h"
#include "lease.h"
#include "s3_marker.h"
#include "server.h"
#include "source.h"
#include "stats.h"
#include "wake.h"

#define MARKER_PREFIX ".voiceframe_retention/"

/* One request of ours, and all of them when the process ends, ms. */
#define TIMEOUT 10000
#define RELEASE_TIMEOUT 2000

/* How often a lost race is looked at again at once. */
#define ATTEMPTS 5

/* The pause before a bucket that another holds is looked at again, ms. */
#define PAUSE_MIN 30000
#define PAUSE_MAX 60000

/* How long we wait before we read back who won, ms. */
#define SETTLE_MIN 1000
#define SETTLE_MAX 3000

/* How often the worker looks, and when other work makes way for it, ms. */
#define LOOK_INTERVAL 60000
#define OVERDUE (8 * 60 * INT64CONST(1000))

/* ---- what this process holds ---- */

/* How a condition is put: what this store understands. */
typedef enum Style
{
	QUOTED,						/* as the standard has it */
	BARE,						/* an ETag without its quotes */
	UNCONDITIONAL
} Style;

typedef struct Held
{
	struct Held *next;
	MemoryContext context;		/* of its own; has all of this */
	VfBucket	bucket;			/* what a client needs of it */
	bool		guarded;		/* else we may not write the marker */
	VfS3Marker	marker;			/* as it stands in the bucket */
	char		etag[128];
	Style		style;
	VfServerTime beat;			/* not later than the heartbeat */
} Held;

static Held *held = NULL;

/* When the worker looked last; zero: never. */
static VfServerTime looked = {0, 0};

static char *
copy(const char *text)
{
	return text != NULL ? pstrdup(text) : NULL;
}

static bool
same_bucket(const Held *h, const VfBucket *b)
{
	return strcmp(h->bucket.endpoint, b->endpoint) == 0 &&
		strcmp(h->bucket.bucket, b->bucket) == 0 &&
		strcmp(h->bucket.marker, b->marker) == 0;
}

static Held *
find(const VfBucket *b)
{
	for (Held *h = held; h != NULL; h = h->next)
	{
		if (same_bucket(h, b))
			return h;
	}
	return NULL;
}

static void
forget(const VfBucket *b)
{
	for (Held **at = &held; *at != NULL; at = &(*at)->next)
	{
		Held	   *h = *at;

		if (!same_bucket(h, b))
			continue;
		*at = h->next;
		MemoryContextDelete(h->context);
		return;
	}
}

static Held *
new_held(const VfBucket *b)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext,
												  "voiceframe lease",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Held	   *h = palloc0(sizeof(Held));

	h->context = context;
	h->bucket = *b;
	h->bucket.endpoint = copy(b->endpoint);
	h->bucket.bucket = copy(b->bucket);
	h->bucket.region = copy(b->region);
	h->bucket.path_style = copy(b->path_style);
	h->bucket.profile = copy(b->profile);
	h->bucket.marker = copy(b->marker);
	h->next = held;
	held = h;
	MemoryContextSwitchTo(old);
	return h;
}

/* ---- asking the store ---- */

/* One attempt to hold one lease. */
typedef struct Attempt
{
	VfS3Client *client;
	const VfBucket *bucket;
	VfHttpTick	tick;
	void	   *arg;
	VfS3Answer *answer;			/* the last one, or what to say */
	char		key[128];
	VfS3Marker	self;			/* who we are */
	VfS3Object	object;			/* the marker as read, or as written */
	VfS3MarkerFound found;
	int64		generation;		/* the database's */
	bool		adopted;
	Style		style;

	/* The marker that a write was refused for the sake of. */
	bool		refused;
	bool		refused_exists;
	char		refused_etag[128];
} Attempt;

static void
begin(Attempt *a, VfS3Client *client, const VfBucket *b, VfHttpTick tick,
	  void *arg, VfS3Answer *answer)
{
	memset(a, 0, sizeof(*a));
	a->client = client;
	a->bucket = b;
	a->tick = tick;
	a->arg = arg;
	a->answer = answer;
	snprintf(a->key, sizeof(a->key), MARKER_PREFIX "%s", b->marker);
	snprintf(a->self.system, sizeof(a->self.system), UINT64_FORMAT,
			 GetSystemIdentifier());
	snprintf(a->self.database, sizeof(a->self.database), "%u", MyDatabaseId);
	snprintf(a->self.pid, sizeof(a->self.pid), "%d", MyProcPid);
	vf_server_start(a->self.start);
	vf_server_host(a->self.host, sizeof(a->self.host));
}

static bool
code_is(const VfS3Answer *answer, const char *code)
{
	return strcmp(answer->code, code) == 0;
}

/* False if the answer is a failure. */
static bool
read_marker(Attempt *a, int timeout_ms)
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
write_heartbeat(Attempt *a)
{
	time_t		now = (time_t) a->object.date;
	struct tm	tm;

	a->self.heartbeat[0] = '\0';
	if (a->object.has_date && gmtime_r(&now, &tm) != NULL)
		strftime(a->self.heartbeat, sizeof(a->self.heartbeat),
				 "%Y-%m-%dT%H:%M:%SZ", &tm);
}

/* etag is room for one, and lives as long as the condition. */
static void
set_condition(VfS3Condition *condition, Style style, bool exists,
			  const char *given, char etag[128])
{
	size_t		len = strlen(given);

	condition->etag = NULL;
	condition->absent = style != UNCONDITIONAL && !exists;
	if (style == UNCONDITIONAL || !exists || len == 0)
		return;
	strlcpy(etag, given, 128);
	if (style == BARE && len > 1 && given[0] == '"')
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
send_marker(Attempt *a, const char *text, size_t len, bool *unmet,
			VfS3Object *written)
{
	VfS3Condition condition;
	char		etag[128];

	set_condition(&condition, a->style, a->object.exists, a->object.etag,
				  etag);
	vf_s3_put_if(a->client, a->key, strlen(a->key), text, len, &condition,
				 TIMEOUT, a->tick, a->arg, a->answer, unmet, written);
	if (code_is(a->answer, "NotImplemented") && a->style != UNCONDITIONAL)
	{
		a->style = UNCONDITIONAL;
		send_marker(a, text, len, unmet, written);
	}
}

/*
 * On a versioned bucket a version that was replaced would stay for ever.  No
 * failure of ours: whoever may not do that has a lifecycle rule.
 */
static void
remove_version(Attempt *a, const VfS3Object *old, const VfS3Object *new)
{
	VfS3Answer	answer;

	if (!old->exists || old->version[0] == '\0' || new->version[0] == '\0' ||
		strcmp(old->version, new->version) == 0)
		return;
	vf_s3_delete_version(a->client, a->key, strlen(a->key), old->version,
						 TIMEOUT, a->tick, a->arg, &answer);
}

static void
say(VfS3Answer *answer, const char *code, const char *message)
{
	memset(answer, 0, sizeof(*answer));
	answer->class = VF_S3_BUCKET;
	strlcpy(answer->code, code, sizeof(answer->code));
	strlcpy(answer->message, message, sizeof(answer->message));
}

/* ---- taking ---- */

/* How one attempt ended: as VfLease, or somebody was quicker. */
typedef enum Outcome
{
	TAKEN,
	DENIED,
	LIVES,
	AHEAD,
	UNREADABLE,
	RACED,
	FAILED
} Outcome;

static Outcome
outcome_of(const Attempt *a)
{
	return code_is(a->answer, "AccessDenied") ? DENIED : FAILED;
}

/* Somebody took the registration away while we spoke. */
static Outcome
not_registered(Attempt *a)
{
	say(a->answer, "NoSuchBucket", "the bucket is no longer registered");
	return FAILED;
}

static void
remember(const Attempt *a, bool guarded, const VfServerTime *beat)
{
	Held	   *h = find(a->bucket);

	if (h == NULL)
		h = new_held(a->bucket);
	h->guarded = guarded;
	h->beat = *beat;
	h->marker = guarded ? a->self : a->found.marker;
	strlcpy(h->etag, a->object.etag, sizeof(h->etag));
	h->style = a->style;
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
static Outcome
make_sure(Attempt *a, const VfS3Object *replaced, const char *text,
		  size_t len)
{
	VfS3Object	mine = a->object;
	VfS3Object	again;
	bool		unmet;

	if (a->style != UNCONDITIONAL)
	{
		a->object = *replaced;
		send_marker(a, text, len, &unmet, &again);
		a->object = mine;
		if (unmet)
			return TAKEN;
		if (a->answer->class != VF_S3_OK)
			return outcome_of(a);
		remove_version(a, &mine, &again);
	}
	wait_to_settle();
	if (!read_marker(a, TIMEOUT))
		return outcome_of(a);
	return a->object.exists && a->object.len == len &&
		memcmp(a->object.body, text, len) == 0 ? TAKEN : RACED;
}

/* Raise the generation, on disk; false if the bucket is not ours any more. */
static bool
raise_generation(Attempt *a)
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
static Outcome
take(Attempt *a, bool to_settle)
{
	VfS3Object	replaced = a->object;
	VfS3Object	written;
	VfServerTime before;
	char		text[VF_S3_MARKER_MAX];
	size_t		len;
	bool		unmet;
	Outcome		outcome = TAKEN;

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
		return RACED;
	}
	if (a->answer->class != VF_S3_OK)
		return outcome_of(a);
	remove_version(a, &replaced, &written);
	a->object = written;
	if (to_settle)
		outcome = make_sure(a, &replaced, text, len);
	if (outcome == TAKEN)
		remember(a, true, &before);
	return outcome;
}

/* ---- one attempt ---- */

/* Ours, and its heart beat just now: by another process of this server. */
static bool
is_young(const Attempt *a)
{
	return a->found.has_age && a->found.age * 1000 < VF_LEASE_BEGIN;
}

static void
trust(Attempt *a, const VfServerTime *before)
{
	VfServerTime beat = *before;

	/* Both dates are cut to the second. */
	beat.steady -= (int64) (a->found.age * 1000) + 1000;
	beat.wall -= (int64) (a->found.age * 1000) + 1000;
	a->self = a->found.marker;
	remember(a, true, &beat);
}

static Outcome
attempt(Attempt *a)
{
	VfServerTime before;
	bool		registered;

	vf_db_assert_idle("the lease");
	vf_server_now(&before);
	if (!read_marker(a, TIMEOUT))
		return outcome_of(a);
	if (a->refused && a->style != UNCONDITIONAL &&
		a->refused_exists == a->object.exists &&
		strcmp(a->refused_etag, a->object.etag) == 0)
		a->style++;

	/* Read after the marker: ours may have been raised just now. */
	registered = vf_bucket_generation(a->bucket, &a->generation, &a->adopted);
	vf_db_commit();
	if (!registered)
		return not_registered(a);
	switch (vf_s3_marker_judge(&a->found, &a->self, a->generation,
							   a->adopted))
	{
		case VF_S3_MARKER_OURS:
			if (!is_young(a))
				return take(a, !a->found.has_age ||
							a->found.age * 1000 >= VF_LEASE_LIMIT);
			trust(a, &before);
			return TAKEN;
		case VF_S3_MARKER_FREE:
			return take(a, true);
		case VF_S3_MARKER_LIVES:
			return LIVES;
		case VF_S3_MARKER_AHEAD:
			return AHEAD;
		case VF_S3_MARKER_UNREADABLE:
			return UNREADABLE;
	}
	return FAILED;
}

/* ---- what others say, in words ---- */

/* Who holds it, palloc'd. */
static char *
holder(const VfS3MarkerFound *found)
{
	const VfS3Marker *m = &found->marker;
	char	   *age = found->has_age ?
		psprintf("%.0f s old", found->age) : pstrdup("of unknown age");

	return psprintf("host %s (server start %s, database %s) holds the lease; its last heartbeat is %s",
					m->host[0] != '\0' ? m->host : "unknown", m->start,
					m->database, age);
}

static char *
lost_words(const VfS3Marker *marker, int64 generation)
{
	return psprintf("The bucket's marker has generation %lld, this database only %lld; host %s wrote it.",
					(long long) marker->generation, (long long) generation,
					marker->host[0] != '\0' ? marker->host : "unknown");
}

/* Put into the bucket's row what holds it up. */
static void
note_hold(const Attempt *a)
{
	double		random = pg_prng_double(&pg_global_prng_state);
	int64		pause = PAUSE_MIN + (int64) (random * (PAUSE_MAX - PAUSE_MIN));

	vf_bucket_failed(a->bucket, GetCurrentTimestamp() + pause * 1000,
					 a->answer->code, a->answer->message);
	vf_db_commit();
}

/* ---- holding ---- */

static VfLease
conclude(Attempt *a, Outcome outcome)
{
	VfServerTime now;

	switch (outcome)
	{
		case TAKEN:
			vf_bucket_lease_taken(a->bucket);
			vf_db_commit();
			return VF_LEASE_OURS;
		case DENIED:
			vf_server_now(&now);
			remember(a, false, &now);
			return VF_LEASE_UNGUARDED;
		case LIVES:
			say(a->answer, "LeaseHeldElsewhere", holder(&a->found));
			note_hold(a);
			return VF_LEASE_HELD;
		case RACED:
			say(a->answer, "LeaseHeldElsewhere",
				"another server takes the lease at this moment");
			note_hold(a);
			return VF_LEASE_HELD;
		case UNREADABLE:
			say(a->answer, "LeaseUnreadable",
				psprintf("the object %s is no marker of this version",
						 a->key));
			note_hold(a);
			return VF_LEASE_HELD;
		case AHEAD:
			say(a->answer, "LostHistory",
				lost_words(&a->found.marker, a->generation));
			vf_source_set_lost(a->answer->message);
			note_hold(a);
			return VF_LEASE_LOST;
		case FAILED:
			break;
	}
	return VF_LEASE_FAILED;
}

VfLease
vf_lease_hold(VfS3Client *client, const VfBucket *bucket, int64 max_age,
			  VfHttpTick tick, void *arg, VfS3Answer *answer)
{
	Held	   *h = find(bucket);
	Attempt		a;
	Outcome		outcome = RACED;
	VfLease		lease;

	memset(answer, 0, sizeof(*answer));
	if (h != NULL && vf_server_since(&h->beat) < max_age)
		return h->guarded ? VF_LEASE_OURS : VF_LEASE_UNGUARDED;
	begin(&a, client, bucket, tick, arg, answer);
	if (h != NULL)
		a.style = h->style;
	for (int i = 0; i < ATTEMPTS && outcome == RACED; i++)
		outcome = attempt(&a);
	lease = conclude(&a, outcome);
	if (lease == VF_LEASE_OURS || lease == VF_LEASE_UNGUARDED)
		return lease;

	/* A heartbeat that cannot be renewed still lives for a while. */
	if (lease == VF_LEASE_FAILED && h != NULL &&
		vf_server_since(&h->beat) < VF_LEASE_LIMIT)
		return h->guarded ? VF_LEASE_OURS : VF_LEASE_UNGUARDED;
	forget(bucket);
	return lease;
}

/* ---- the worker ---- */

static bool
look_is_due(void)
{
	return looked.steady == 0 || vf_server_since(&looked) >= LOOK_INTERVAL;
}

bool
vf_lease_due(void)
{
	return look_is_due();
}

bool
vf_lease_overdue(void)
{
	for (Held *h = held; h != NULL; h = h->next)
	{
		if (vf_server_since(&h->beat) >= OVERDUE)
			return look_is_due();
	}
	return false;
}

/* Leases of buckets that are no longer registered go stale by themselves. */
static void
forget_unregistered(const VfBucket *buckets, int n)
{
	for (Held *h = held; h != NULL;)
	{
		Held	   *next = h->next;
		bool		found = false;

		for (int i = 0; i < n; i++)
			found |= same_bucket(h, &buckets[i]);
		if (!found)
			forget(&h->bucket);
		h = next;
	}
}

static void
beat(const VfBucket *b, VfHttpTick tick, void *arg)
{
	VfS3Answer	answer;
	VfS3Client *client = vf_drain_client(CurrentMemoryContext, b, &answer);

	if (client == NULL)
		return;

	/* A failure is the drain's to tell: here nothing waits for it. */
	(void) vf_lease_hold(client, b, VF_LEASE_RENEW, tick, arg, &answer);
	vf_s3_close(client);
}

void
vf_lease_heartbeat(bool may_take, VfHttpTick tick, void *arg)
{
	TimestampTz now = GetCurrentTimestamp();
	int			n;
	VfBucket   *buckets;

	vf_server_now(&looked);
	may_take = may_take && vf_source_is_whole();
	buckets = vf_bucket_all(&n);
	vf_db_commit();
	forget_unregistered(buckets, n);
	for (int i = 0; i < n; i++)
	{
		const VfBucket *b = &buckets[i];

		/* Nothing is written into a bucket that may be the wrong one. */
		if (find(b) != NULL ||
			(may_take && b->current && (b->probed || !b->probe) &&
			 b->next_attempt <= now))
			beat(b, tick, arg);
	}
}

static int
time_left(const VfServerTime *begin_at)
{
	return (int) Max(RELEASE_TIMEOUT - vf_server_since(begin_at), 1);
}

/* The marker with that text; false if it is no longer that of this ETag. */
static bool
send_release(Attempt *a, VfS3Marker *marker, const char *given,
			 const VfServerTime *begin_at)
{
	VfS3Condition condition;
	VfS3Object	written;
	char		etag[128];
	char		text[VF_S3_MARKER_MAX];
	size_t		len;
	bool		unmet;

	marker->released = true;
	set_condition(&condition, a->style, true, given, etag);
	len = vf_s3_marker_write(marker, text, sizeof(text));
	vf_s3_put_if(a->client, a->key, strlen(a->key), text, len, &condition,
				 time_left(begin_at), NULL, NULL, a->answer, &unmet,
				 &written);
	return !unmet;
}

/* Give one lease back; another process may have renewed it meanwhile. */
static void
release(Held *h, const VfServerTime *begin_at)
{
	VfS3Answer	answer;
	VfS3Client *client = vf_drain_client(h->context, &h->bucket, &answer);
	Attempt		a;

	if (client == NULL)
		return;
	begin(&a, client, &h->bucket, NULL, NULL, &answer);
	a.style = h->style;
	if (!send_release(&a, &h->marker, h->etag, begin_at) &&
		read_marker(&a, time_left(begin_at)) && a.found.readable &&
		vf_s3_marker_same_holder(&a.found.marker, &a.self))
		(void) send_release(&a, &a.found.marker, a.object.etag, begin_at);
	vf_s3_close(client);
}

void
vf_lease_release_all(void)
{
	VfServerTime begin_at;

	vf_server_now(&begin_at);

	/* A drain by hand goes on under the same lease, and leaves it. */
	while (held != NULL)
	{
		Held	   *h = held;

		held = h->next;
		if (h->guarded && !vf_stats_drains_by_hand(MyDatabaseId))
			release(h, &begin_at);
		MemoryContextDelete(h->context);
	}
}

/* ---- a look for a person ---- */

#define UNGUARDED_WORDS \
	"the marker cannot be %s (%s): a file copy, a snapshot or a rewound database that drains this bucket as well is not recognised"
#define UNGUARDED_CURE \
	"Allow s3:GetObject, s3:PutObject and s3:DeleteObject on .voiceframe_retention/* of the bucket; the README has the policy."

static void
set_look(VfLeaseLook *look, char *detail, const char *cure)
{
	look->ok = cure == NULL;
	look->detail = detail;
	look->cure = cure;
}

static void
look_at_state(Attempt *a, bool writable, VfLeaseLook *look)
{
	switch (vf_s3_marker_judge(&a->found, &a->self, a->generation,
							   a->adopted))
	{
		case VF_S3_MARKER_LIVES:
			set_look(look, holder(&a->found),
					 vf_s3_cure("LeaseHeldElsewhere"));
			return;
		case VF_S3_MARKER_AHEAD:
			set_look(look, lost_words(&a->found.marker, a->generation),
					 vf_s3_cure("LostHistory"));
			return;
		case VF_S3_MARKER_UNREADABLE:
			set_look(look, psprintf("the object %s is no marker of this version",
									a->key), vf_s3_cure("LeaseUnreadable"));
			return;
		case VF_S3_MARKER_OURS:
		case VF_S3_MARKER_FREE:
			break;
	}
	if (!writable)
		set_look(look, psprintf(UNGUARDED_WORDS, "written", "AccessDenied"),
				 UNGUARDED_CURE);
	else if (!a->found.exists)
		set_look(look, pstrdup("no marker yet: the first drain makes it"),
				 NULL);
	else if (strcmp(a->found.marker.start, a->self.start) == 0)
		set_look(look, psprintf("this server holds it, generation %lld",
								(long long) a->found.marker.generation),
				 NULL);
	else
		set_look(look, pstrdup("free: the next drain takes it"), NULL);
}

void
vf_lease_look(VfS3Client *client, const VfBucket *bucket, bool writable,
			  int timeout_ms, VfHttpTick tick, void *arg, VfLeaseLook *look)
{
	VfS3Answer	answer;
	Attempt		a;

	begin(&a, client, bucket, tick, arg, &answer);
	if (!read_marker(&a, timeout_ms))
	{
		if (code_is(&answer, "AccessDenied"))
			set_look(look, psprintf(UNGUARDED_WORDS, "read", answer.code),
					 UNGUARDED_CURE);
		else
			set_look(look, psprintf("%s: %s", answer.code, answer.message),
					 vf_s3_cure(answer.code));
		return;
	}
	if (!vf_bucket_generation(bucket, &a.generation, &a.adopted))
		a.generation = 0;
	look_at_state(&a, writable, look);
}
