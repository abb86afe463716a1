/*-------------------------------------------------------------------------
 *
 * brake.c
 *	  Blast-radius brakes: what a purge refuses to do unconfirmed.
 *
 * (a) Too much: all rows due now plus those purged in the last day, against
 *	   the largest of purge_brake_rows, purge_brake_percent of the table, and
 *	   twice the median of the last seven days.
 * (b) Something is lost, whatever the number: orders is empty where an
 *	   earlier run saw rows, or more than 1 % (at least 10) of the sessions
 *	   that were last kept as paid are now due.  "Last kept" is a sample of up
 *	   to 1,000 sessions, taken by each full sweep by the hash of their id.
 * (c) The clock is wrong: a store's last answer, at most a day old, was more
 *	   than 15 minutes away from ours, or over 1 % (at least 10) of the sessions
 *	   of the last hour are from more than 15 minutes in the future.
 *
 * A full sweep has picked all that is due and brings the number along; for any
 * other run what is due is counted, up to the limit.  The exact figures are
 * worked out for the error alone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "brake.h"
#include "bucket.h"
#include "db.h"
#include "errors.h"
#include "runlog.h"
#include "settings.h"

/* How far clocks may be apart, s: what S3 itself allows a request. */
#define MAX_CLOCK_OFFSET 900

/* Fewer sessions from the future are those sessions' fault, not the clock's. */
#define MIN_FUTURE 10

/* Run a statement with rules and up to one argument more, for one number. */
static int64
count_as_owner(const VfSource *source, const VfRules *rules,
			   const char *template, const VfDbArgs *more)
{
	VfDbArgs	args = {0};
	VfDbSection section;
	int64		n;

	vf_rules_args(source, rules, &args);
	for (int i = 0; more != NULL && i < more->n; i++)
		vf_db_arg(&args, more->types[i], more->values[i]);
	vf_db_enter_owner(&section, source->sessions.owner);
	vf_db_run(vf_db_fill(template, vf_rules_names(source, NULL)), &args);
	n = vf_db_int(0, 0);
	vf_db_leave(&section);
	return n;
}

/* What is due: known, or to be counted. */
typedef struct Due
{
	const VfSource *source;
	const VfRules *rules;
	int64		picked;
	bool		all;			/* picked is all there is */
} Due;

/* Sessions due, counted up to max. */
static int64
count_due(const Due *due, int64 max)
{
	VfDbArgs	more = {0};

	if (due->all)
		return due->picked;
	vf_db_arg(&more, INT8OID, Int64GetDatum(max));
	return count_as_owner(due->source, due->rules,
						  "SELECT pg_catalog.count(*) FROM (SELECT 1"
						  " FROM {sessions} s"
						  " WHERE {time_due} AND NOT {blocked}"
						  " AND NOT {held} LIMIT $7) x",
						  &more);
}

bool
vf_brake_orders_empty(const VfSource *source, const VfRules *rules)
{
	return count_as_owner(source, rules, "SELECT pg_catalog.count(*) FROM"
						  " (SELECT 1 FROM {orders} o LIMIT 1) x", NULL) == 0;
}

/* How many of the sample are due now. */
static int64
count_lost(const VfSource *source, const VfRules *rules, const VfSweep *sweep)
{
	VfDbArgs	more = {0};

	if (sweep->n_sample == 0)
		return 0;
	vf_db_arg_texts(&more, sweep->sample, sweep->n_sample);
	return count_as_owner(source, rules,
						  "SELECT pg_catalog.count(*) FROM {sessions} s"
						  " WHERE s.{id} = ANY ($7::{id_type}[])"
						  " AND {time_due} AND NOT {blocked}"
						  " AND NOT {held}", &more);
}

/*
 * Raise the brake with the exact figures: per rule, oldest and newest, and the
 * call that would allow it.
 */
static void
raise_brake(const VfSource *source, const VfRules *rules, const char *why)
{
	VfDbArgs	args = {0};
	VfDbSection section;
	int64		expired,
				unpaid;
	char	   *oldest,
			   *newest;

	vf_rules_args(source, rules, &args);
	vf_db_enter_owner(&section, source->sessions.owner);
	vf_db_run(vf_db_fill("SELECT pg_catalog.count(*) FILTER"
						 " (WHERE {rule} = 'expired'),"
						 " pg_catalog.count(*) FILTER"
						 " (WHERE {rule} = 'unpaid'),"
						 " pg_catalog.min(s.{created})::pg_catalog.text,"
						 " pg_catalog.max(s.{created})::pg_catalog.text"
						 " FROM {sessions} s"
						 " WHERE {time_due} AND NOT {blocked}"
						 " AND NOT {held}",
						 vf_rules_names(source, NULL)), &args);
	expired = vf_db_int(0, 0);
	unpaid = vf_db_int(0, 1);
	oldest = vf_db_text(0, 2);
	newest = vf_db_text(0, 3);
	vf_db_leave(&section);
	ereport(ERROR,
			(errcode(VF_ERRCODE_BRAKE),
			 errmsg("purge stopped by its brake: %s", why),
			 errdetail("Due now: %lld sessions, %lld of them expired and %lld unpaid, created between %s and %s. Nothing was deleted.",
					   (long long) (expired + unpaid), (long long) expired,
					   (long long) unpaid, oldest ? oldest : "-",
					   newest ? newest : "-"),
			 errhint("If that is right, a superuser allows it once: SELECT * FROM vf_purge_now(confirm => %lld) or CALL vf_purge(confirm => %lld).",
					 (long long) (expired + unpaid),
					 (long long) (expired + unpaid))));
}

/* (a): how many may be due before it is too much, without those purged. */
static int64
daily_limit(const VfSource *source, const VfRules *rules, int64 purged,
			const char **which)
{
	int64		sessions = count_as_owner(source, rules,
										  "SELECT pg_catalog.count(*)"
										  " FROM {sessions}", NULL);
	int64		percent = (sessions + purged) / 100 * vf_purge_brake_percent +
		(sessions + purged) % 100 * vf_purge_brake_percent / 100;
	int64		median = vf_runlog_daily_median(rules->now);
	int64		limit = vf_purge_brake_rows;

	*which = "voiceframe.purge_brake_rows";
	if (percent > limit)
	{
		limit = percent;
		*which = "voiceframe.purge_brake_percent";
	}
	if (median * 2 > limit)
	{
		limit = median * 2;
		*which = "twice the daily median of the last week";
	}
	return limit;
}

static void
check_too_much(const Due *due)
{
	const VfSource *source = due->source;
	const VfRules *rules = due->rules;
	int64		purged = vf_runlog_purged_last_day(rules->now);
	const char *which;
	int64		limit;

	/* A few in a run that looked at what is new: nothing needs counting. */
	if (due->picked + purged <= vf_purge_brake_rows)
		return;
	if (count_due(due, Max(vf_purge_brake_rows - purged, 0) + 1) + purged <=
		vf_purge_brake_rows)
		return;
	limit = daily_limit(source, rules, purged, &which);
	if (count_due(due, Max(limit - purged, 0) + 1) + purged > limit)
		raise_brake(source, rules,
					psprintf("with %lld purged in the last day, more would go than %lld, the limit by %s",
							 (long long) purged, (long long) limit, which));
}

/* (b): has what kept sessions been lost? */
static void
check_loss(const Due *due, const VfSweep *sweep)
{
	int64		lost;

	if (due->picked > 0 && sweep->known && sweep->orders_seen &&
		vf_brake_orders_empty(due->source, due->rules))
		raise_brake(due->source, due->rules,
					"the orders table is empty and was not before");
	if (due->picked < 10)
		return;
	lost = count_lost(due->source, due->rules, sweep);
	if (lost >= 10 && lost * 100 > sweep->n_sample)
		raise_brake(due->source, due->rules,
					psprintf("of %d sessions last kept as paid, %lld are now due",
							 sweep->n_sample, (long long) lost));
}

/* (c): is it really as late as we think? */
static void
check_clock(const Due *due)
{
	const VfRules *rules = due->rules;
	VfDbArgs	args = {0};
	VfDbSection section;
	double		offset;
	int64		future,
				recent;

	if (due->picked == 0)
		return;
	if (vf_bucket_clock_offset(rules->now, &offset) &&
		fabs(offset) > MAX_CLOCK_OFFSET)
		raise_brake(due->source, rules,
					psprintf("the store's clock was %.0f minutes %s this server's",
							 fabs(offset) / 60,
							 offset < 0 ? "behind" : "ahead of"));
	vf_rules_args(due->source, rules, &args);
	vf_rules_arg_time(due->source, VF_S_CREATED,
					  rules->now + MAX_CLOCK_OFFSET * USECS_PER_SEC, &args);
	vf_rules_arg_time(due->source, VF_S_CREATED,
					  rules->now - USECS_PER_HOUR, &args);
	vf_db_enter_owner(&section, due->source->sessions.owner);
	vf_db_run(vf_db_fill("SELECT pg_catalog.count(*) FILTER"
						 " (WHERE s.{created} > $7), pg_catalog.count(*)"
						 " FROM {sessions} s WHERE s.{created} > $8",
						 vf_rules_names(due->source, NULL)), &args);
	future = vf_db_int(0, 0);
	recent = vf_db_int(0, 1);
	vf_db_leave(&section);
	if (future >= MIN_FUTURE && future * 100 > recent)
		raise_brake(due->source, rules,
					psprintf("%lld of the %lld sessions created in the last hour are from more than 15 minutes in the future",
							 (long long) future, (long long) recent));
}

int64
vf_brake_check(const VfSource *source, const VfRules *rules,
			   const VfSweep *sweep, int64 picked, bool full, int64 confirm)
{
	Due			due = {source, rules, picked, full};

	if (confirm > 0)
	{
		int64		allowed = confirm > PG_INT64_MAX / 2 ?
			PG_INT64_MAX - 1 : confirm + confirm / 100;

		if (count_due(&due, allowed + 1) > allowed)
			raise_brake(source, rules,
						psprintf("%lld were confirmed and more than 1 %% above that are due",
								 (long long) confirm));
		return allowed;
	}
	check_clock(&due);
	check_loss(&due, sweep);
	check_too_much(&due);
	return PG_INT64_MAX;
}
