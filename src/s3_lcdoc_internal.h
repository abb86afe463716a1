/*-------------------------------------------------------------------------
 *
 * s3_lcdoc_internal.h
 *	  The tree of a lifecycle document, for the files of its room alone.
 *
 * s3_lcdoc.c: the tree, read.  s3_lcdoc_rules.c: rules, wanted, compared and
 * merged.  s3_lcdoc_text.c: written.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_S3_LCDOC_INTERNAL_H
#define VF_S3_LCDOC_INTERNAL_H

#include "s3_lcdoc.h"

#define VF_LC_NAMESPACE "http://s3.amazonaws.com/doc/2006-03-01/"

/* Deeper than any rule is; what follows the tree may call itself. */
#define VF_LC_MAX_DEPTH 32

typedef struct VfLcAttribute
{
	struct VfLcAttribute *next;
	const char *name;			/* as it was written, with its prefix */
	const char *value;
} VfLcAttribute;

/* An element, or a text. */
typedef struct VfLcNode
{
	struct VfLcNode *parent;
	struct VfLcNode *first;
	struct VfLcNode *last;
	struct VfLcNode *next;
	VfLcAttribute *attributes;
	const char *name;			/* as it was written; NULL: a text */
	const char *text;
} VfLcNode;

typedef struct VfLcBlock VfLcBlock;

/* Everything is in blocks, which go with the document. */
struct VfLcDoc
{
	VfLcBlock  *blocks;
	VfLcNode   *root;
	int			deepest;		/* element, as it was read */
};

/* NULL if there is no memory. */
extern void *vf_s3_lcdoc_alloc(VfLcDoc *doc, size_t size);
extern const char *vf_s3_lcdoc_copy(VfLcDoc *doc, const char *text,
									size_t len);
extern VfLcDoc *vf_s3_lcdoc_empty(void);
/* Put a new element, or a text if name is NULL, at the end of another. */
extern VfLcNode *vf_s3_lcdoc_add(VfLcDoc *doc, VfLcNode *parent,
								 const char *name, const char *text);
extern bool vf_s3_lcdoc_add_attribute(VfLcDoc *doc, VfLcNode *node,
									  const char *name, const char *value);

/* The name without its prefix. */
extern const char *vf_s3_lcdoc_local(const char *name);
/* What a prefix of so many bytes, none at all too, stands for here; or NULL. */
extern const char *vf_s3_lcdoc_declared(const VfLcNode *node,
										const char *prefix, size_t len);
/*
 * The namespace of an element; "" for S3's, whichever way it is written, and
 * for none.
 */
extern const char *vf_s3_lcdoc_namespace(const VfLcNode *node);
/* Is it an element of S3's of that name? */
extern bool vf_s3_lcdoc_is(const VfLcNode *node, const char *local);
/* The first such child, or NULL. */
extern VfLcNode *vf_s3_lcdoc_child(const VfLcNode *node, const char *local);
/* The text of an element that has no other content; "" otherwise. */
extern const char *vf_s3_lcdoc_leaf(const VfLcNode *node);
/* The rule at that place, or NULL. */
extern VfLcNode *vf_s3_lcdoc_rule(const VfLcDoc *doc, int n);
/* Make what a store has written wrong what it means; false: no memory. */
extern bool vf_s3_lcdoc_mend(VfLcDoc *doc);
extern char *vf_s3_lcdoc_node_text(const VfLcNode *node, VfLcForm form,
								   bool ascii);

#endif							/* VF_S3_LCDOC_INTERNAL_H */
