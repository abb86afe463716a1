# voiceframe_retention: PGXS build.  `make demo` and `make test` need root on
# Debian 12 and install what is missing; everything else is plain PGXS.

MODULE_big = voiceframe_retention
OBJS = \
	src/voiceframe_retention.o \
	src/sql_source.o \
	src/sql_purge.o \
	src/sql_control.o \
	src/sql_bucket.o \
	src/sql_watch.o \
	src/sql_undo.o \
	src/sql_scan.o \
	src/sql_orphans.o \
	src/sql_lifecycle.o \
	src/sql_promote.o \
	src/sql_rights.o \
	src/worker.o \
	src/worker_launch.o \
	src/purge.o \
	src/purge_batch.o \
	src/purge_part.o \
	src/purge_pick.o \
	src/purge_plan.o \
	src/purge_preview.o \
	src/purge_deleted.o \
	src/brake.o \
	src/restore.o \
	src/erase.o \
	src/retain.o \
	src/drain.o \
	src/drain_wave.o \
	src/drain_keep.o \
	src/drain_send.o \
	src/drain_judge.o \
	src/drain_versions.o \
	src/drain_orphans.o \
	src/drain_client.o \
	src/drain_lookup.o \
	src/drain_cred.o \
	src/drain_gate.o \
	src/promote.o \
	src/promote_copy.o \
	src/promote_queue.o \
	src/scan.o \
	src/scan_page.o \
	src/orphans.o \
	src/scan_uploads.o \
	src/lifecycle.o \
	src/lifecycle_change.o \
	src/lifecycle_loss.o \
	src/lease.o \
	src/lease_shared.o \
	src/lease_take.o \
	src/check.o \
	src/register.o \
	src/register_bucket.o \
	src/watch.o \
	src/watch_bucket.o \
	src/watch_shared.o \
	src/preflight.o \
	src/source.o \
	src/source_find.o \
	src/source_rules.o \
	src/source_refs.o \
	src/source_added.o \
	src/source_guard.o \
	src/source_rows.o \
	src/source_copy.o \
	src/undo.o \
	src/hold.o \
	src/lookup.o \
	src/inventory.o \
	src/shared.o \
	src/scanlog.o \
	src/lclog.o \
	src/outbox.o \
	src/outbox_pack.o \
	src/outbox_copy.o \
	src/bucket.o \
	src/bucket_pace.o \
	src/runlog.o \
	src/sweep.o \
	src/s3.o \
	src/s3_delete.o \
	src/s3_heads.o \
	src/s3_versions.o \
	src/s3_list.o \
	src/s3_uploads.o \
	src/s3_lifecycle.o \
	src/s3_copy.o \
	src/s3_probe.o \
	src/s3_judge.o \
	src/s3_class.o \
	src/s3_marker.o \
	src/s3_name.o \
	src/s3_cred.o \
	src/s3_cred_cache.o \
	src/s3_cred_call.o \
	src/s3_cred_container.o \
	src/s3_cred_file.o \
	src/s3_cred_imds.o \
	src/s3_cred_json.o \
	src/s3_cred_parse.o \
	src/s3_cred_url.o \
	src/s3_cred_web.o \
	src/http.o \
	src/http_request.o \
	src/s3_sign.o \
	src/s3_lcdoc.o \
	src/s3_lcdoc_rules.o \
	src/s3_lcdoc_text.o \
	src/s3_xml.o \
	src/s3_xml_write.o \
	src/s3_xml_acl.o \
	src/db.o \
	src/digest.o \
	src/schedule.o \
	src/schedule_pace.o \
	src/stats.o \
	src/server.o \
	src/pages.o \
	src/texts.o \
	src/wake.o \
	src/report.o \
	src/settings.o

EXTENSION = voiceframe_retention
DATA = \
	sql/voiceframe_retention--1.0.sql \
	sql/voiceframe_retention--1.0--1.1.sql \
	sql/voiceframe_retention--1.1--1.2.sql
PGFILEDESC = "voiceframe_retention - data retention for rows and their S3 objects"

PG_CONFIG ?= pg_config
# The version that the library expects its objects to be of.
VF_VERSION = $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" \
	$(srcdir)/voiceframe_retention.control)
# The server's headers do not stand -Wextra; as system headers they need not.
PG_CPPFLAGS = -isystem $(shell $(PG_CONFIG) --includedir-server) -I$(srcdir)/src \
	-DVF_VERSION='"$(VF_VERSION)"'
PG_CFLAGS = -Wall -Wextra $(if $(WERROR),-Werror)
SHLIB_LINK = -lcurl -lexpat

REGRESS_OPTS = --inputdir=test

PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

src/db.o: voiceframe_retention.control

.PHONY: test demo
test:
	bash test/run.sh

demo:
	bash test/demo/demo.sh
