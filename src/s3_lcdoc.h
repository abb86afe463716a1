/*-------------------------------------------------------------------------
 *
 * s3_lcdoc.h
 *	  A bucket's lifecycle document: read, compared, merged, written.
 *
 * The document belongs to whoever writes rules into it.  Ours are those whose
 * ID begins with VF_LC_OURS; all others are kept as they are, also what is in
 * them that nobody knew of when this was written.
 *
 * Pure: no postgres.h, nothing raised.  A document is to be freed; texts that
 * are returned are malloc'd; NULL means that there was no memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_S3_LCDOC_H
#define VF_S3_LCDOC_H

#include <stdbool.h>
#include <stddef.h>

#define VF_LC_OURS		"voiceframe-retention-"

/* When our rules act, days. */
#define VF_LC_EXPIRE_DAYS		7
#define VF_LC_INFREQUENT_DAYS	30
#define VF_LC_ARCHIVE_DAYS		90

typedef struct VfLcDoc VfLcDoc;

/*
 * NULL with a fault, a constant, if it is no LifecycleConfiguration, is cut,
 * malformed, too deep or too large, or has a DOCTYPE.
 */
extern VfLcDoc *vf_s3_lcdoc_read(const char *data, size_t len,
								 const char **fault);
extern void vf_s3_lcdoc_free(VfLcDoc *doc);

/* Which of our rules are wanted. */
typedef struct VfLcWish
{
	const char *infrequent_class;	/* for permanent/; NULL: none */
	const char *archive_class;	/* the same */
	bool		noncurrent;		/* versions that expired rules leave behind */
	bool		waveforms;
	bool		previews;
	bool		delete_markers;
	bool		uploads;		/* unfinished ones */
} VfLcWish;

/*
 * A document with the wanted rules alone, in the version and with the names
 * of another one; NULL for one of today.  wish is NULL if none is wanted.
 */
extern VfLcDoc *vf_s3_lcdoc_wish(const VfLcDoc *like, const VfLcWish *wish);

/*
 * Make the rules with our ID in a document those of wanted, and leave all
 * others alone.  False for want of memory: then the document is of no use.
 */
extern bool vf_s3_lcdoc_merge(VfLcDoc *doc, const VfLcDoc *wanted);

/* Its rules; they count from 0, in their order. */
extern int	vf_s3_lcdoc_count(const VfLcDoc *doc);
extern const char *vf_s3_lcdoc_id(const VfLcDoc *doc, int n);	/* "": none */
extern bool vf_s3_lcdoc_is_ours(const VfLcDoc *doc, int n);
/* The first rule of that ID, or -1. */
extern int	vf_s3_lcdoc_find(const VfLcDoc *doc, const char *id);
/* The prefix that it is for, maybe with other conditions; "": none. */
extern const char *vf_s3_lcdoc_prefix(const VfLcDoc *doc, int n);
/* Does it delete what is current after some time, or at a date, now? */
extern bool vf_s3_lcdoc_expires(const VfLcDoc *doc, int n);

/*
 * Texts.  Canonical ones are equal where documents mean the same to a store:
 * without blanks between elements, prefixes of namespaces, and order.  ASCII:
 * other letters as references.  JSON is that of AWS's tools.
 */
typedef enum VfLcForm
{
	VF_LC_XML,					/* UTF-8, as it is sent */
	VF_LC_XML_LINES,			/* for people */
	VF_LC_JSON,
	VF_LC_CANONICAL
} VfLcForm;

extern char *vf_s3_lcdoc_text(const VfLcDoc *doc, VfLcForm form, bool ascii);
extern char *vf_s3_lcdoc_rule_text(const VfLcDoc *doc, int n, VfLcForm form,
								   bool ascii);

/* 1: they are the same, canonically; 0: not; -1: no memory. */
extern int	vf_s3_lcdoc_same_rule(const VfLcDoc *a, int i,
								  const VfLcDoc *b, int j);
/* The same of all rules, or but ours; their order does not count. */
extern int	vf_s3_lcdoc_same(const VfLcDoc *a, const VfLcDoc *b,
							 bool with_ours);

#endif							/* VF_S3_LCDOC_H */
