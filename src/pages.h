/*-------------------------------------------------------------------------
 *
 * pages.h
 *	  Has anybody written to a table?
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_PAGES_H
#define VF_PAGES_H

#include "access/xlogdefs.h"

/*
 * Is there a row, committed or not, of a transaction that is not before the
 * horizon, on a page that has changed since lsn (0: on any page)?  True also
 * where that cannot be told.  The table is locked by the caller.
 */
extern bool vf_pages_written(Oid relid, TransactionId horizon,
							 XLogRecPtr lsn);

#endif							/* VF_PAGES_H */
