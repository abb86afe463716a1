/*-------------------------------------------------------------------------
 *
 * lease_shared.c
 *	  Other databases in the same bucket: what their owner markers say.
 *
 * Order of things: reading the markers, keeping what they say, our own.
 *
 * In doubt an object is another's.  A marker that cannot be read has the
 * whole bucket; where the markers cannot be listed, or too many are there, or
 * ours cannot be written so that the others do not know of us, the look has a
 * problem, and nobody may call anything an orphan.
 *
 * No request is sent with a snapshot, a transaction id or a lock held, but
 * for a probe that a person calls.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "db.h"
#include "drain_client.h"
#include "lease.h"
#include "lease_shared.h"
#include "lease_take.h"
#include "scan_page.h"
#include "shared.h"
#include "source.h"

/* A bucket with more of them is none that we understand. */
#define MAX_MARKERS 50

/* All of a look that commits, ms. */
#define TIMEOUT 60000

/* One request, ms. */
#define REQUEST_TIMEOUT 10000

/* ---- reading ---- */

static int
time_left(int64 deadline)
{
	return (int) Max(Min(deadline - vf_s3_clock_ms(), REQUEST_TIMEOUT), 1);
}

static void
fail(VfNeighbours *all, const VfS3Answer *answer, const char *what)
{
	all->failed = true;
	all->problem = psprintf("The markers of other databases cannot be %s: %s%s%s",
							what, answer->code,
							answer->message[0] != '\0' ? ", " : "",
							answer->message);
}

/* Markers are named by a uuid; what else lies there is none. */
static bool
is_marker_name(const char *name, size_t len)
{
	if (len != 36)
		return false;
	for (size_t i = 0; i < len; i++)
	{
		if (i == 8 || i == 13 || i == 18 || i == 23 ? name[i] != '-' :
			strchr("0123456789abcdef", name[i]) == NULL)
			return false;
	}
	return true;
}

/*
 * Is it another database's?  One of ours from an earlier registration is not,
 * unless its heart beats elsewhere: then it is a copy's.
 */
static bool
is_foreign(const VfS3MarkerFound *found, const VfS3Marker *self)
{
	if (!found->readable ||
		!vf_s3_marker_same_database(&found->marker, self))
		return true;
	return vf_s3_marker_judge(found, self, VF_S3_MARKER_MAX_GENERATION,
							  false) == VF_S3_MARKER_LIVES;
}

static void
add(VfNeighbours *all, const char *name, const VfS3MarkerFound *found)
{
	VfNeighbour *one = &all->list[all->n++];

	strlcpy(one->marker, name, sizeof(one->marker));
	one->readable = found->readable;
	one->says = found->marker;

	/* Of no length: the whole bucket. */
	if (!one->readable)
		vf_s3_marker_add_prefix(&one->says, "", 0);
}

/* False if the store did not answer. */
static bool
read_marker(VfLeaseAttempt *a, const char *name, int64 deadline,
			VfNeighbours *all)
{
	snprintf(a->key, sizeof(a->key), VF_LEASE_PREFIX "%s", name);
	if (!vf_lease_read(a, time_left(deadline)))
	{
		if (strcmp(a->answer->code, "AnswerTooLarge") != 0)
		{
			fail(all, a->answer, "read");
			return false;
		}

		/* It is there, and is none of ours. */
		a->found.exists = true;
	}
	if (a->found.exists && is_foreign(&a->found, &a->self))
		add(all, name, &a->found);
	return true;
}

static void
read_markers(VfLeaseAttempt *a, const VfS3Page *page, int64 deadline,
			 VfNeighbours *all)
{
	size_t		behind = strlen(VF_LEASE_PREFIX);
	int			n = 0;

	for (int i = 0; i < page->n; i++)
	{
		const VfS3Found *found = &page->found[i];

		if (found->len < behind ||
			memcmp(found->key, VF_LEASE_PREFIX, behind) != 0)
		{
			vf_lease_say(a->answer, "MalformedAnswer",
						 "the store does not keep to the prefix");
			fail(all, a->answer, "listed");
			return;
		}
		if (!is_marker_name(found->key + behind, found->len - behind))
			continue;
		if (n++ == MAX_MARKERS || vf_s3_clock_ms() >= deadline)
		{
			vf_lease_say(a->answer, n > MAX_MARKERS ? "TooMany" : "Timeout",
						 n > MAX_MARKERS ? "more than 50 are there" :
						 "there was no time for all of them");
			fail(all, a->answer, "read");
			return;
		}
		if (!read_marker(a, found->key + behind, deadline, all))
			return;
	}
	if (page->more)
	{
		vf_lease_say(a->answer, "TooMany",
					 "more than 1000 objects lie beside them");
		fail(all, a->answer, "listed");
	}
}

void
vf_lease_neighbours(VfS3Client *client, const VfBucket *bucket,
					int timeout_ms, VfHttpTick tick, void *arg,
					VfNeighbours *all)
{
	int64		deadline = vf_s3_clock_ms() + timeout_ms;
	VfLeaseAttempt *a = palloc(sizeof(VfLeaseAttempt));
	VfS3Answer	answer;
	VfS3Page   *page = palloc0(sizeof(VfS3Page));
	VfS3Page   *done = NULL;

	memset(all, 0, sizeof(*all));
	all->list = palloc0(sizeof(VfNeighbour) * MAX_MARKERS);
	vf_lease_begin(a, client, bucket, tick, arg, &answer);
	page->prefix = VF_LEASE_PREFIX;
	page->after = page->after_version = "";
	page->max_keys = VF_S3_MAX_KEYS;
	page->timeout_ms = time_left(deadline);
	if (vf_s3_page_start(client, page))
	{
		done = vf_s3_page_wait(client, tick, arg);
		if (done == NULL)
			vf_lease_say(&page->answer, "Timeout", "it was stopped");
	}
	if (done == NULL || page->answer.class != VF_S3_OK)
		fail(all, &page->answer, "listed");
	else
		read_markers(a, page, deadline, all);
	vf_s3_page_free(page);
	pfree(page);
	pfree(a);
}

/* ---- what they say ---- */

static char *
to_database(const char *bytes, size_t len)
{
	char	   *text = len == 0 ? NULL : vf_scan_to_database(bytes, len);

	/* What this database cannot say may be anything. */
	return text == NULL ? pstrdup("") : text;
}

static void
read_prefixes(const VfS3Marker *says, VfSharedMarker *to)
{
	char		prefix[VF_S3_MARKER_PREFIXES];
	size_t		at = 0;
	size_t		len;

	to->prefixes = palloc(sizeof(char *) * VF_S3_MARKER_PREFIXES);
	while (vf_s3_marker_next_prefix(says, &at, prefix, &len))
		to->prefixes[to->n_prefixes++] = to_database(prefix, len);
}

void
vf_lease_keep_neighbours(const VfBucket *bucket, const VfNeighbours *all)
{
	VfSharedMarker *markers = palloc0(sizeof(VfSharedMarker) *
									  Max(all->n, 1));

	for (int i = 0; i < all->n; i++)
	{
		VfNeighbour *from = &all->list[i];

		markers[i].marker = from->marker;
		markers[i].system = from->says.system;
		markers[i].database = from->says.database;
		markers[i].name = from->says.name;
		markers[i].host = from->says.host;
		markers[i].heartbeat = from->says.heartbeat;
		read_prefixes(&from->says, &markers[i]);
	}
	vf_shared_store(bucket->id, all->problem, markers, all->n);
}

char *
vf_lease_overlap(const VfNeighbours *all)
{
	VfS3Marker *self = palloc0(sizeof(VfS3Marker));
	VfS3MarkerOverlap *o = palloc(sizeof(VfS3MarkerOverlap));

	vf_lease_declare(self);
	for (int i = 0; i < all->n; i++)
	{
		const VfNeighbour *one = &all->list[i];

		if (!vf_s3_marker_overlaps(&one->says, self, o))
			continue;
		if (!one->readable)
			return psprintf("the object " VF_LEASE_PREFIX "%s is no marker of this version: whose the bucket's objects are is not known",
							one->marker);
		return psprintf("database \"%s\" of server %s, host %s, works under %s as well (object " VF_LEASE_PREFIX "%s)",
						one->says.name, one->says.system, one->says.host,
						o->a_len == 0 ? "the whole bucket" :
						psprintf("\"%s\"", to_database(o->a, o->a_len)),
						one->marker);
	}
	return NULL;
}

/* ---- our own ---- */

/* A VfDbBody. */
static void
load_source(void *arg)
{
	VfSource  **source = arg;

	*source = vf_source_load(VF_SOURCE_LOOK);
}

/*
 * Is it the right bucket?  Nothing is written into another one; NULL, or why
 * not.
 */
static char *
check_bucket(VfS3Client *client, const VfBucket *bucket, VfHttpTick tick,
			 void *arg)
{
	VfSource   *source = NULL;
	ErrorData  *error;
	VfS3Answer	answer;
	bool		active;
	bool		paused;

	if (!vf_source_is_whole())
		return pstrdup("this database is a copy until vf_adopt()");
	if (vf_source_flags(&active, &paused) && paused)
		return pstrdup("purging and draining are paused in this database");
	if (!bucket->probe || bucket->probed)
		return NULL;
	error = vf_db_try(load_source, &source);
	if (error != NULL)
		return error->message;
	switch (vf_drain_probe(client, source, tick, arg, &answer))
	{
		case VF_PROBE_FOUND:
		case VF_PROBE_NONE_TO_LOOK_FOR:
			return NULL;
		case VF_PROBE_NOT_FOUND:
			return pstrdup("none of the objects that must exist is in this bucket");
		case VF_PROBE_FAILED:
			break;
	}
	return psprintf("%s: %s", answer.code, answer.message);
}

/* NULL, or why the marker could not be written. */
static char *
take_marker(VfS3Client *client, const VfBucket *bucket, VfHttpTick tick,
			void *arg)
{
	VfS3Answer	answer;

	switch (vf_lease_hold(client, bucket, 0, tick, arg, &answer))
	{
		case VF_LEASE_OURS:
			return NULL;
		case VF_LEASE_UNGUARDED:
			return pstrdup("the right to write it is missing");
		default:
			return psprintf("%s: %s", answer.code, answer.message);
	}
}

/*
 * NULL, or why other databases do not know of this one.  A marker that says
 * what it should is left as it is, however old: only a drain has to hold the
 * lease, and a scan in a copy must take nothing from its original.
 */
static char *
make_known(VfS3Client *client, const VfBucket *bucket, VfHttpTick tick,
		   void *arg)
{
	VfLeaseAttempt *a = palloc(sizeof(VfLeaseAttempt));
	VfS3Answer	answer;
	char	   *reason;

	vf_lease_begin(a, client, bucket, tick, arg, &answer);
	vf_lease_declare(&a->self);
	vf_db_commit();
	vf_db_assert_idle("the look at our own marker");
	if (vf_lease_read(a, REQUEST_TIMEOUT) && a->found.readable &&
		vf_s3_marker_same_database(&a->found.marker, &a->self) &&
		vf_lease_is_declared(a))
	{
		if (!is_foreign(&a->found, &a->self))
			return NULL;
		reason = pstrdup("LeaseHeldElsewhere: another start of this server, or a copy of it, wrote it in the last 15 minutes");
	}
	else
	{
		reason = check_bucket(client, bucket, tick, arg);
		vf_db_commit();
		if (reason == NULL)
			reason = take_marker(client, bucket, tick, arg);
		if (reason == NULL)
			return NULL;
	}
	return psprintf("This database's own marker is not in the bucket, by which others would know of it: %s",
					reason);
}

void
vf_lease_look_around(VfS3Client *client, const VfBucket *bucket,
					 VfHttpTick tick, void *arg)
{
	VfNeighbours all;
	char	   *hidden = make_known(client, bucket, tick, arg);

	vf_db_commit();
	vf_db_assert_idle("the look at other databases");
	vf_lease_neighbours(client, bucket, TIMEOUT, tick, arg, &all);
	if (!all.failed)
		all.problem = hidden;

	/* Who was stopped has seen nothing. */
	if (tick(arg))
		vf_lease_keep_neighbours(bucket, &all);
	vf_db_commit();
}
