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
 * Order of things: what this process holds; what others say, in words;
 * holding; the worker's heartbeat and release; a look for a person.
 * lease_take.c has one attempt to take or renew, and the races.
 *
 * No request is sent with a snapshot, a transaction id or a lock held.  What
 * this process holds is plain memory and changes only after an answer: an
 * error in between leaves it as it was.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "db.h"
#include "drain_client.h"
#include "drain_cred.h"
#include "lease.h"
#include "lease_take.h"
#include "s3_marker.h"
#include "server.h"
#include "source.h"
#include "stats.h"

/* What all of them may take when the process ends, ms. */
#define RELEASE_TIMEOUT 2000

/* How often a lost race is looked at again at once. */
#define ATTEMPTS 5

/* The pause before a bucket that another holds is looked at again, ms. */
#define PAUSE_MIN 30000
#define PAUSE_MAX 60000

/* How often the worker looks, and when other work makes way for it, ms. */
#define LOOK_INTERVAL 60000
#define OVERDUE (8 * 60 * INT64CONST(1000))

/* ---- what this process holds ---- */

typedef struct Held
{
	struct Held *next;
	MemoryContext context;		/* of its own; has all of this */
	VfBucket	bucket;			/* what a client needs of it */
	bool		guarded;		/* else we may not write the marker */
	VfS3Marker	marker;			/* as it stands in the bucket */
	char		etag[128];
	VfLeaseStyle style;
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
	h->bucket.expected_owner = copy(b->expected_owner);
	h->next = held;
	held = h;
	MemoryContextSwitchTo(old);
	return h;
}

static void
remember(const VfLeaseAttempt *a, bool guarded)
{
	Held	   *h = find(a->bucket);

	if (h == NULL)
		h = new_held(a->bucket);
	h->guarded = guarded;
	h->beat = a->beat;
	h->marker = a->self;
	strlcpy(h->etag, a->object.etag, sizeof(h->etag));
	h->style = a->style;
}

static bool
code_is(const VfS3Answer *answer, const char *code)
{
	return strcmp(answer->code, code) == 0;
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
note_hold(const VfLeaseAttempt *a)
{
	double		random = pg_prng_double(&pg_global_prng_state);
	int64		pause = PAUSE_MIN + (int64) (random * (PAUSE_MAX - PAUSE_MIN));

	vf_bucket_failed(a->bucket, GetCurrentTimestamp() + pause * 1000,
					 a->answer->code, a->answer->message);
	vf_db_commit();
}

/* ---- holding ---- */

static VfLease
conclude(VfLeaseAttempt *a, VfLeaseOutcome outcome)
{
	switch (outcome)
	{
		case VF_TRY_TAKEN:
			remember(a, true);
			vf_bucket_lease_taken(a->bucket);
			vf_db_commit();
			return VF_LEASE_OURS;
		case VF_TRY_DENIED:
			vf_server_now(&a->beat);
			remember(a, false);
			return VF_LEASE_UNGUARDED;
		case VF_TRY_LIVES:
			vf_lease_say(a->answer, "LeaseHeldElsewhere", holder(&a->found));
			note_hold(a);
			return VF_LEASE_HELD;
		case VF_TRY_RACED:
			vf_lease_say(a->answer, "LeaseHeldElsewhere",
						 "another server takes the lease at this moment");
			note_hold(a);
			return VF_LEASE_HELD;
		case VF_TRY_UNREADABLE:
			vf_lease_say(a->answer, "LeaseUnreadable",
						 psprintf("the object %s is no marker of this version",
								  a->key));
			note_hold(a);
			return VF_LEASE_HELD;
		case VF_TRY_AHEAD:
			vf_lease_say(a->answer, "LostHistory",
						 lost_words(&a->found.marker, a->generation));
			vf_source_set_lost(a->answer->message);
			note_hold(a);
			return VF_LEASE_LOST;
		case VF_TRY_FAILED:
			break;
	}
	return VF_LEASE_FAILED;
}

VfLease
vf_lease_hold(VfS3Client *client, const VfBucket *bucket, int64 max_age,
			  VfHttpTick tick, void *arg, VfS3Answer *answer)
{
	Held	   *h = find(bucket);
	VfLeaseAttempt a;
	VfLeaseOutcome outcome = VF_TRY_RACED;
	VfLease		lease;

	memset(answer, 0, sizeof(*answer));
	if (h != NULL && vf_server_since(&h->beat) < max_age)
		return h->guarded ? VF_LEASE_OURS : VF_LEASE_UNGUARDED;
	vf_lease_begin(&a, client, bucket, tick, arg, answer);
	if (h != NULL)
		a.style = h->style;
	for (int i = 0; i < ATTEMPTS && outcome == VF_TRY_RACED; i++)
		outcome = vf_lease_attempt(&a);
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
	VfS3Client *client = vf_drain_cred_client(CurrentMemoryContext, b, tick,
											  arg, &answer);

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
send_release(VfLeaseAttempt *a, VfS3Marker *marker, const char *given,
			 const VfServerTime *begin_at)
{
	VfS3Condition condition;
	VfS3Object	written;
	char		etag[128];
	char		text[VF_S3_MARKER_MAX];
	size_t		len;
	bool		unmet;

	marker->released = true;
	vf_lease_condition(&condition, a->style, true, given, etag);
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
	VfS3Client *client = vf_drain_client(h->context, &h->bucket,
										 time_left(begin_at), NULL, NULL,
										 &answer);
	VfLeaseAttempt a;

	if (client == NULL)
		return;
	vf_lease_begin(&a, client, &h->bucket, NULL, NULL, &answer);
	a.style = h->style;
	if (!send_release(&a, &h->marker, h->etag, begin_at) &&
		vf_lease_read(&a, time_left(begin_at)) && a.found.readable &&
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
look_at_state(VfLeaseAttempt *a, bool writable, VfLeaseLook *look)
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
	VfLeaseAttempt a;

	vf_lease_begin(&a, client, bucket, tick, arg, &answer);
	if (!vf_lease_read(&a, timeout_ms))
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
