/*-------------------------------------------------------------------------
 *
 * texts.c
 *	  Many short texts in one piece of memory, which is used again.
 *
 * A batch of a purge collects some hundred thousand keys.  Allocated one by
 * one they would cost a header each, and the kernel would have to hand out and
 * clear the same pages again for every batch.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "compat.h"
#include "texts.h"

#define FIRST_SIZE 8192
#define FIRST_MAX 128

void
vf_texts_init(VfTexts *texts)
{
	texts->size = FIRST_SIZE;
	texts->bytes = palloc(texts->size);
	texts->max = FIRST_MAX;
	texts->at = palloc(sizeof(Size) * texts->max);
	vf_texts_clear(texts);
}

void
vf_texts_clear(VfTexts *texts)
{
	texts->used = 0;
	texts->n = 0;
}

static void
make_room(VfTexts *texts, Size need)
{
	if (texts->n == texts->max)
	{
		texts->max *= 2;
		texts->at = repalloc_huge(texts->at, sizeof(Size) * texts->max);
	}
	if (need > texts->size - texts->used)
	{
		texts->size = Max(texts->size * 2, texts->used + need);
		texts->bytes = repalloc_huge(texts->bytes, texts->size);
	}
}

void
vf_texts_add(VfTexts *texts, const char *data, int len)
{
	Size		size = VARHDRSZ + (Size) len;
	text	   *value;

	make_room(texts, INTALIGN(size));
	value = (text *) (texts->bytes + texts->used);
	SET_VARSIZE(value, size);
	memcpy(VARDATA(value), data, len);
	texts->at[texts->n++] = texts->used;
	texts->used += INTALIGN(size);
}

text *
vf_texts_get(const VfTexts *texts, int i)
{
	return (text *) (texts->bytes + texts->at[i]);
}

Datum *
vf_texts_datums(const VfTexts *texts)
{
	Datum	   *datums = palloc(sizeof(Datum) * Max(texts->n, 1));

	for (int i = 0; i < texts->n; i++)
		datums[i] = PointerGetDatum(vf_texts_get(texts, i));
	return datums;
}
