/*-------------------------------------------------------------------------
 *
 * source_guard.c
 *	  The payment guard on orders, and the trigger that queues the keys of
 *	  sessions which the application deletes itself.
 *
 * The guard makes a payment and a purge of the same session wait for each
 * other.  It is PL/pgSQL, made for the registered names, so that a missing
 * library never stops a payment; the purge holds the standing function against
 * the one it would write, and where they differ it takes a table lock instead.
 * Nothing about P1 hangs on the guard being there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "source.h"

/* How long DDL on the application's tables waits for its lock, ms. */
#define DDL_LOCK_TIMEOUT 10000

static void
append_row(StringInfo buf, const VfSource *source, const char *alias)
{
	appendStringInfo(buf, "ROW(%s.%s", alias, source->quoted[VF_O_TOKEN]);
	for (int part = VF_O_STATUS; part < VF_N_COLUMNS; part++)
	{
		if (source->column[part] != NULL)
			appendStringInfo(buf, ", %s.%s", alias, source->quoted[part]);
	}
	for (int i = 0; i < source->orders.nkeys; i++)
	{
		if (source->orders.keys[i].permanent)
			appendStringInfo(buf, ", %s.%s", alias,
							 source->orders.keys[i].quoted);
	}
	appendStringInfoString(buf, ")");
}

/* The advisory lock of payments whose guard has no session to lock. */
#define VF_GUARD_FAILED_LOCK "8602374650911"

/*
 * The guard's body.  It catches only what changed names and rights raise; such
 * a payment has no lock on its session, and says so by a lock of its own that
 * a purge asks for (vf_source_guard_failing).  So does one whose session is
 * not there, as it may be that it is not there yet; with that lock it looks
 * again, and, while an undo window is open, has it put back if it was purged.
 * That failing is no reason to refuse a payment.  What the row lock raises
 * (40001, 40P01, 55P03, 57014) must reach the payment: it is the protection.
 */
static char *
guard_body(const VfSource *source)
{
	const char *schema = vf_db_schema();
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoString(&buf, "\nBEGIN\n\tIF TG_OP = 'UPDATE' AND\n\t\t");
	append_row(&buf, source, "OLD");
	appendStringInfoString(&buf, "\n\t\tIS NOT DISTINCT FROM\n\t\t");
	append_row(&buf, source, "NEW");
	appendStringInfo(&buf,
					 " THEN\n"
					 "\t\tRETURN NULL;\n"
					 "\tEND IF;\n"
					 "\tPERFORM 1 FROM %s s WHERE s.%s = NEW.%s\n"
					 "\t\tFOR KEY SHARE;\n"
					 "\tIF NOT FOUND AND NEW.%s IS NOT NULL THEN\n"
					 "\t\tPERFORM pg_catalog.pg_advisory_xact_lock_shared("
					 VF_GUARD_FAILED_LOCK ");\n"
					 "\t\tPERFORM 1 FROM %s s WHERE s.%s = NEW.%s\n"
					 "\t\t\tFOR KEY SHARE;\n"
					 "\t\tIF NOT FOUND AND EXISTS (SELECT FROM"
					 " %s.vf_undo_batch b\n"
					 "\t\t\tWHERE b.until >"
					 " pg_catalog.clock_timestamp()) THEN\n"
					 "\t\t\tBEGIN\n"
					 "\t\t\t\tPERFORM %s.vf_undo_for_payment("
					 "NEW.%s::pg_catalog.text);\n"
					 "\t\t\tEXCEPTION\n"
					 "\t\t\t\tWHEN serialization_failure OR"
					 " deadlock_detected OR lock_not_available THEN\n"
					 "\t\t\t\t\tRAISE;\n"
					 "\t\t\t\tWHEN OTHERS THEN\n"
					 "\t\t\t\t\tRAISE LOG 'the session of a payment"
					 " could not be put back: %%', SQLSTATE;\n"
					 "\t\t\tEND;\n"
					 "\t\tEND IF;\n"
					 "\tEND IF;\n"
					 "\tRETURN NULL;\n"
					 "EXCEPTION\n"
					 "\tWHEN syntax_error_or_access_rule_violation OR"
					 " invalid_schema_name THEN\n"
					 "\t\tPERFORM pg_catalog.pg_advisory_xact_lock_shared("
					 VF_GUARD_FAILED_LOCK ");\n"
					 "\t\tRETURN NULL;\n"
					 "END\n",
					 source->sessions.quoted, source->quoted[VF_S_TOKEN],
					 source->quoted[VF_O_TOKEN], source->quoted[VF_O_TOKEN],
					 source->sessions.quoted, source->quoted[VF_S_TOKEN],
					 source->quoted[VF_O_TOKEN], schema, schema,
					 source->quoted[VF_O_TOKEN]);
	return buf.data;
}

static VfDbName *
guard_names(const VfSource *source)
{
	VfDbName	extra[] = {
		{"body", quote_literal_cstr(guard_body(source))},
		{"sessions_owner",
			quote_identifier(GetUserNameFromId(source->sessions.owner, false))},
		{"orders_owner",
			quote_identifier(GetUserNameFromId(source->orders.owner, false))},
		{NULL, NULL}
	};

	return vf_rules_names(source, extra);
}

static void
run_all(const char *const *templates, const VfDbName *names)
{
	VfDbSection section;

	vf_db_enter_self(&section);
	vf_db_set("client_min_messages", "warning");
	for (; *templates != NULL; templates++)
		vf_db_run(vf_db_fill(*templates, names), NULL);
	vf_db_leave(&section);
}

void
vf_source_guard_remove(const VfSource *source)
{
	static const char *const statements[] = {
		/* A table that was renamed away may carry it too. */
		"DROP FUNCTION IF EXISTS {vf}.vf_payment_guard() CASCADE",
		"DROP TRIGGER IF EXISTS vf_queue_deleted ON {sessions}",
		NULL
	};

	/* In the order of a purge. */
	vf_db_lock(source->sessions.relid, ShareRowExclusiveLock,
			   DDL_LOCK_TIMEOUT);
	vf_db_lock(source->orders.relid, ShareRowExclusiveLock, DDL_LOCK_TIMEOUT);
	run_all(statements, guard_names(source));
}

static void
install_guard(const VfSource *source)
{
	static const char *const statements[] = {
		"CREATE FUNCTION {vf}.vf_payment_guard() RETURNS trigger"
		" LANGUAGE plpgsql SECURITY DEFINER"
		" SET search_path = pg_catalog, pg_temp AS {body}",
		"COMMENT ON FUNCTION {vf}.vf_payment_guard() IS"
		" 'makes a payment and a purge of the same session wait for each"
		" other; made by vf_configure()'",
		"REVOKE ALL ON FUNCTION {vf}.vf_payment_guard() FROM PUBLIC",
		"GRANT EXECUTE ON FUNCTION {vf}.vf_payment_guard() TO {orders_owner}",
		"ALTER FUNCTION {vf}.vf_payment_guard() OWNER TO {sessions_owner}",
		"ALTER FUNCTION {vf}.vf_payment_guard()"
		" DEPENDS ON EXTENSION voiceframe_retention",
		"CREATE TRIGGER vf_payment_guard AFTER INSERT OR UPDATE ON {orders}"
		" FOR EACH ROW EXECUTE FUNCTION {vf}.vf_payment_guard()",
		"ALTER TABLE {orders} ENABLE ALWAYS TRIGGER vf_payment_guard",
		"ALTER TRIGGER vf_payment_guard ON {orders}"
		" DEPENDS ON EXTENSION voiceframe_retention",
		NULL
	};

	run_all(statements, guard_names(source));
}

static void
install_queue(const VfSource *source)
{
	static const char *const statements[] = {
		"CREATE TRIGGER vf_queue_deleted AFTER DELETE ON {sessions}"
		" REFERENCING OLD TABLE AS gone FOR EACH STATEMENT"
		" EXECUTE FUNCTION {vf}.vf_queue_deleted()",
		"ALTER TRIGGER vf_queue_deleted ON {sessions}"
		" DEPENDS ON EXTENSION voiceframe_retention",
		NULL
	};

	run_all(statements, guard_names(source));
}

void
vf_source_guard_install(const VfSource *source)
{
	vf_source_guard_remove(source);
	if (source->guard)
		install_guard(source);
	if (source->queue_deletes)
		install_queue(source);
}

/*
 * On each table that holds orders there must be a trigger of our function,
 * enabled ALWAYS: replication and restores set session_replication_role.
 */
VfGuardState
vf_source_guard_state(const VfSource *source)
{
	VfDbArgs	args = {0};

	if (!source->guard)
		return VF_GUARD_REFUSED;
	vf_db_arg(&args, OIDOID, ObjectIdGetDatum(source->orders.relid));
	vf_db_arg_text(&args, guard_body(source));
	vf_db_arg(&args, OIDOID, ObjectIdGetDatum(source->sessions.owner));
	vf_db_arg(&args, OIDOID, ObjectIdGetDatum(source->sessions.relid));
	vf_db_run_self("WITH RECURSIVE f AS (SELECT oid FROM pg_catalog.pg_proc"
				   " WHERE proname = 'vf_payment_guard' AND prosrc = $2"
				   " AND proowner = $3 AND prosecdef AND proconfig ="
				   " ARRAY['search_path=pg_catalog, pg_temp']"
				   " AND pronamespace ="
				   " (SELECT extnamespace FROM pg_catalog.pg_extension"
				   " WHERE extname = 'voiceframe_retention')),"
				   " r (oid) AS (SELECT $1 UNION SELECT i.inhrelid"
				   " FROM pg_catalog.pg_inherits i JOIN r"
				   " ON r.oid = i.inhparent)"
				   " SELECT pg_catalog.bool_and(t.tgenabled IS NOT NULL),"
				   " coalesce(pg_catalog.bool_and(t.tgenabled = 'A'), false)"
				   /* without which the owner may not lock rows either */
				   " AND pg_catalog.has_any_column_privilege($3, $4,"
				   " 'UPDATE')"
				   " FROM r LEFT JOIN pg_catalog.pg_trigger t"
				   " ON t.tgrelid = r.oid"
				   " AND t.tgfoid = (SELECT oid FROM f)"
				   /* AFTER, each row, INSERT and UPDATE of any column */
				   " AND t.tgtype = 21 AND t.tgattr::pg_catalog.text = ''"
				   " AND t.tgqual IS NULL", &args);
	if (!vf_db_bool(0, 0))
		return VF_GUARD_MISSING;
	return vf_db_bool(0, 1) ? VF_GUARD_STANDS : VF_GUARD_DISABLED;
}

bool
vf_source_guard_failing(void)
{
	vf_db_run_self("SELECT CASE WHEN pg_catalog.pg_try_advisory_lock("
				   VF_GUARD_FAILED_LOCK ") THEN"
				   " NOT pg_catalog.pg_advisory_unlock("
				   VF_GUARD_FAILED_LOCK ") ELSE true END", NULL);
	return vf_db_bool(0, 0);
}
