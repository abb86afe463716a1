/*-------------------------------------------------------------------------
 *
 * pages.c
 *	  Has anybody written to a table?
 *
 * SQL can only ask row by row, and calls two functions for each.  A page tells
 * at once: whoever changes a logged table leaves the position of his record in
 * the log on the page (access/transam/README).  A batch of a purge reads all
 * pages of orders this way, which takes milliseconds, and hardly ever a row.
 *
 * The position alone would not do: a transaction may have written before it
 * was read and commit after.  So the caller asks with none first: if no row is
 * there whose transaction is not before the horizon, all that come later are
 * on pages that have changed since.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/pg_am.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "utils/rel.h"

#include "pages.h"

static bool
page_has(Page page, TransactionId horizon)
{
	OffsetNumber max = PageGetMaxOffsetNumber(page);

	for (OffsetNumber i = FirstOffsetNumber; i <= max; i++)
	{
		ItemId		item = PageGetItemId(page, i);
		HeapTupleHeader row;

		if (!ItemIdIsNormal(item))
			continue;
		row = (HeapTupleHeader) PageGetItem(page, item);
		/* Raw: VACUUM may have frozen what was written since. */
		if (!TransactionIdPrecedes(HeapTupleHeaderGetRawXmin(row), horizon))
			return true;
	}
	return false;
}

bool
vf_pages_written(Oid relid, TransactionId horizon, XLogRecPtr lsn)
{
	Relation	rel = table_open(relid, NoLock);
	bool		written = rel->rd_rel->relam != HEAP_TABLE_AM_OID ||
		!RelationIsPermanent(rel);
	BlockNumber n = written ? 0 : RelationGetNumberOfBlocks(rel);
	BufferAccessStrategy strategy = GetAccessStrategy(BAS_BULKREAD);

	for (BlockNumber i = 0; i < n && !written; i++)
	{
		Buffer		buffer = ReadBufferExtended(rel, MAIN_FORKNUM, i,
												RBM_NORMAL, strategy);
		Page		page = BufferGetPage(buffer);

		CHECK_FOR_INTERRUPTS();
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		written = BufferGetLSNAtomic(buffer) >= lsn && page_has(page, horizon);
		UnlockReleaseBuffer(buffer);
	}
	FreeAccessStrategy(strategy);
	table_close(rel, NoLock);
	return written;
}
