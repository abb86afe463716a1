/*-------------------------------------------------------------------------
 *
 * texts.h
 *	  Many short texts in one piece of memory, which is used again.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_TEXTS_H
#define VF_TEXTS_H

typedef struct VfTexts
{
	char	   *bytes;			/* values of type text, each aligned */
	Size		used;
	Size		size;
	Size	   *at;				/* where each begins */
	int			n;
	int			max;
} VfTexts;

/* An empty list; it grows in the memory context that is current now. */
extern void vf_texts_init(VfTexts *texts);

/* Forget the texts, keep the memory. */
extern void vf_texts_clear(VfTexts *texts);

/* Add one of len bytes at the end. */
extern void vf_texts_add(VfTexts *texts, const char *data, int len);

/* The i-th, until the next one is added. */
extern text *vf_texts_get(const VfTexts *texts, int i);

/* All of them, as an array of datums, palloc'd, until the next is added. */
extern Datum *vf_texts_datums(const VfTexts *texts);

#endif							/* VF_TEXTS_H */
