/*-------------------------------------------------------------------------
 *
 * purge_pick.h
 *	  What of a part is due, and what stays and why.
 *
 * Both are VfDbBody's: the argument is a VfPass.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_PURGE_PICK_H
#define VF_PURGE_PICK_H

#include "purge_part.h"

/* Fill in the findings of the pass's part. */
extern void vf_purge_pick(void *pass);

/* Count and tell why the rows in left were left. */
extern void vf_purge_look(void *pass);

/*
 * Are the part's rows where the pick met them?  A table that was rewritten has
 * other rows at its addresses, one that was detached is not ours any more, and
 * one that was dropped has none.  To be asked with the tables locked.
 */
extern bool vf_purge_part_stands(const VfPass *pass);

/*
 * Does what the pick saw still decide, for rows and orders that nobody has
 * written since?  False once a table was rewritten or has children, whose rows
 * may be old and new here all the same.  To be asked with the tables locked.
 */
extern bool vf_purge_pick_holds(const VfPass *pass);

#endif							/* VF_PURGE_PICK_H */
