/*-------------------------------------------------------------------------
 *
 * source_rules.c
 *	  The rules that decide about a session, as SQL over aliases s and o.
 *
 * They stand in this one place; purge, preview, brakes, guard and views all
 * fill the same fragments into their statements.  Everything is written so
 * that a null keeps the session: (...) IS NOT TRUE, never NOT (...).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "settings.h"
#include "source.h"

static TimestampTz
seconds_before(TimestampTz now, int64 seconds)
{
	return now - seconds * USECS_PER_SEC;
}

void
vf_rules_at(const VfSource *source, TimestampTz now, VfRules *rules)
{
	rules->now = now;
	rules->expires_cut = seconds_before(now, vf_expired_grace);
	rules->created_cut = seconds_before(now, vf_unpaid_after);
	rules->checkout_cut = seconds_before(now, vf_checkout_grace);
	rules->fingerprint =
		psprintf("%u %u %d %d %d %s %s", source->sessions.relid,
				 source->orders.relid, vf_expired_grace, vf_unpaid_after,
				 vf_checkout_grace, vf_timestamp_zone, vf_unpaid_statuses);
}

void
vf_rules_arg_time(const VfSource *source, VfColumn column, TimestampTz time,
				  VfDbArgs *args)
{
	if (source->with_zone[column])
		vf_db_arg(args, TIMESTAMPTZOID, TimestampTzGetDatum(time));
	else
		vf_db_arg(args, TIMESTAMPOID,
				  DirectFunctionCall2(timestamptz_zone,
									  CStringGetTextDatum(vf_timestamp_zone),
									  TimestampTzGetDatum(time)));
}

void
vf_rules_args(const VfSource *source, const VfRules *rules, VfDbArgs *args)
{
	List	   *statuses = vf_settings_list(vf_unpaid_statuses);
	char	  **names = palloc(sizeof(char *) * (list_length(statuses) + 1));
	Interval   *apart = palloc0(sizeof(Interval));
	ListCell   *lc;
	int			n = 0;

	foreach(lc, statuses)
		names[n++] = lfirst(lc);
	apart->time = rules->expires_cut - rules->created_cut;

	vf_rules_arg_time(source, VF_S_EXPIRES, rules->expires_cut, args);
	vf_rules_arg_time(source, VF_S_CREATED, rules->created_cut, args);
	vf_db_arg_texts(args, names, n);
	vf_rules_arg_time(source, VF_O_CREATED, rules->checkout_cut, args);
	if (source->column[VF_O_UPDATED] != NULL)
		vf_rules_arg_time(source, VF_O_UPDATED, rules->checkout_cut, args);
	else
		vf_db_arg_null(args, TIMESTAMPTZOID);
	vf_db_arg(args, INTERVALOID, IntervalPGetDatum(apart));
}

/*
 * A timestamp column of a session as an absolute time.  Where only the two of
 * them are compared and are of one type, none is converted: that costs more
 * than the comparison.
 */
static char *
absolute(const VfSource *source, VfColumn column, bool for_comparison)
{
	bool		alike = source->with_zone[VF_S_EXPIRES] ==
		source->with_zone[VF_S_CREATED];

	if (source->with_zone[column] || (for_comparison && alike))
		return psprintf("s.%s", source->quoted[column]);
	return psprintf("(s.%s AT TIME ZONE %s)", source->quoted[column],
					quote_literal_cstr(vf_timestamp_zone));
}

/* Order o has not paid, as far as its columns tell. */
static char *
unpaid_clause(const VfSource *source)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "o.%s = ANY ($3)", source->quoted[VF_O_STATUS]);
	for (int i = 0; i < source->orders.nkeys; i++)
	{
		const VfKeyColumn *key = &source->orders.keys[i];

		if (key->permanent)
			appendStringInfo(&buf, " AND coalesce(o.%s, '') = ''",
							 key->quoted);
	}
	if (source->column[VF_O_MIGRATION] != NULL)
		appendStringInfo(&buf, " AND coalesce(o.%s, 'pending') = 'pending'",
						 source->quoted[VF_O_MIGRATION]);
	return buf.data;
}

/* The later of the order's two times is before the cut; both null is not. */
static char *
settled_clause(const VfSource *source)
{
	const char *created = source->quoted[VF_O_CREATED];
	const char *updated = source->quoted[VF_O_UPDATED];

	if (source->column[VF_O_UPDATED] == NULL)
		return psprintf("o.%s < $4", created);
	return psprintf("coalesce(o.%s < $4, true) AND coalesce(o.%s < $5, true)"
					" AND (o.%s IS NOT NULL OR o.%s IS NOT NULL)",
					created, updated, created, updated);
}

static char *
key_array(const VfSource *source)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoString(&buf, "ARRAY[");
	for (int i = 0; i < source->sessions.nkeys; i++)
		appendStringInfo(&buf, "%ss.%s::pg_catalog.text", i == 0 ? "" : ", ",
						 source->sessions.keys[i].quoted);
	appendStringInfoString(&buf, "]");
	return buf.data;
}

static int
count_names(const VfDbName *names)
{
	int			n = 0;

	while (names != NULL && names[n].name != NULL)
		n++;
	return n;
}

VfDbName *
vf_rules_names(const VfSource *source, const VfDbName *extra)
{
	char	   *expires = psprintf("s.%s", source->quoted[VF_S_EXPIRES]);
	char	   *created = psprintf("s.%s", source->quoted[VF_S_CREATED]);
	char	   *expires_abs = absolute(source, VF_S_EXPIRES, false);
	char	   *created_abs = absolute(source, VF_S_CREATED, false);
	char	   *unpaid = unpaid_clause(source);
	char	   *keeps = psprintf("(%s AND %s) IS NOT TRUE", unpaid,
								 settled_clause(source));
	char	   *matches = psprintf("o.%s = s.%s", source->quoted[VF_O_TOKEN],
								   source->quoted[VF_S_TOKEN]);
	char	   *first = psprintf("%s < $1 AND (%s < $2 AND %s > %s + $6)"
								 " IS NOT TRUE", expires, created,
								 absolute(source, VF_S_EXPIRES, true),
								 absolute(source, VF_S_CREATED, true));
	VfDbName	own[] = {
		{"sessions", source->sessions.quoted},
		{"orders", source->orders.quoted},
		{"id", source->quoted[VF_S_ID]},
		{"token", source->quoted[VF_S_TOKEN]},
		{"created", source->quoted[VF_S_CREATED]},
		{"expires", source->quoted[VF_S_EXPIRES]},
		{"order_token", source->quoted[VF_O_TOKEN]},
		{"order_status", source->quoted[VF_O_STATUS]},
		{"order_created", source->quoted[VF_O_CREATED]},
		{"matches", matches},
		{"keeps", keeps},
		{"pays", psprintf("(%s) IS NOT TRUE", unpaid)},
		{"blocked", psprintf("EXISTS (SELECT 1 FROM %s o WHERE %s AND %s)",
							 source->orders.quoted, matches, keeps)},
		{"held", psprintf("EXISTS (SELECT 1 FROM %s.vf_hold h WHERE"
						  " h.session_id = s.%s::pg_catalog.text"
						  " AND h.until > pg_catalog.now())",
						  vf_db_schema(), source->quoted[VF_S_ID])},
		{"time_due", psprintf("(%s < $1 OR %s < $2)", expires, created)},
		{"first_expired", psprintf("(%s)", first)},
		{"rule", psprintf("CASE WHEN %s THEN 'expired' ELSE 'unpaid' END",
						  first)},
		{"due_since",
			psprintf("CASE WHEN %s THEN %s + pg_catalog.make_interval(secs => %d)"
					 " ELSE %s + pg_catalog.make_interval(secs => %d) END",
					 first, expires_abs, vf_expired_grace, created_abs,
		vf_unpaid_after)},
		{"session_keys", key_array(source)},
		{"id_type", source->id_type},
	};
	int			n_own = lengthof(own);
	int			n_extra = count_names(extra);
	VfDbName   *names = palloc0(sizeof(VfDbName) * (n_own + n_extra + 1));

	memcpy(names, own, sizeof(own));
	if (n_extra > 0)
		memcpy(names + n_own, extra, sizeof(VfDbName) * n_extra);
	return names;
}
