/*-------------------------------------------------------------------------
 *
 * s3_marker.c
 *	  The text of a bucket's owner marker, and what it says about its lease.
 *
 * Order of things: writing, reading, prefixes, judging.  A marker is read from
 * a bucket that others may write into, so nothing is believed: lengths, digits
 * and characters are checked, a field that appears twice is an error.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <string.h>

#include "s3_marker.h"

#define FIRST_LINE "voiceframe_retention lease 1"

/* Fields of text, in the order in which they are written. */
typedef struct Field
{
	const char *name;
	size_t		offset;
	size_t		size;
	bool		required;
	const char *allowed;		/* NULL: any character */
} Field;

#define DIGITS "0123456789"

#define FIELD(name, required, allowed) \
	{#name, offsetof(VfS3Marker, name), sizeof(((VfS3Marker *) 0)->name), \
	required, allowed}

static const Field fields[] = {
	FIELD(system, true, DIGITS),
	FIELD(database, true, DIGITS),
	FIELD(start, true, DIGITS "abcdef"),
	FIELD(heartbeat, false, NULL),
	FIELD(name, false, NULL),
	FIELD(host, false, NULL),
	FIELD(pid, false, DIGITS),
	FIELD(prefixes, false, NULL),
};

/* Of those that do not say: where 1.1 worked, unless it was told otherwise. */
#define DEFAULT_PREFIXES "temp_photos/ temp_audio/ waveforms/ pdfs/preview_"

/* The whole bucket. */
#define EVERYTHING "*"

#define NFIELDS ((int) (sizeof(fields) / sizeof(fields[0])))

/* Flags and numbers, by the bit that says they were seen. */
enum
{
	SEEN_GENERATION = NFIELDS,
	SEEN_RELEASED,
	SEEN_SETTLED
};

/* ---- writing ---- */

typedef struct Writer
{
	char	   *text;
	size_t		size;
	size_t		len;
} Writer;

static void
put(Writer *w, char c)
{
	if (w->len + 1 < w->size)
		w->text[w->len++] = c;
}

static void
put_text(Writer *w, const char *text)
{
	while (*text)
		put(w, *text++);
}

static void
put_value(Writer *w, const char *value)
{
	static const char hex[] = "0123456789ABCDEF";

	for (; *value; value++)
	{
		unsigned char c = (unsigned char) *value;

		/* A % stays: what was read is written again as it was. */
		if (c >= ' ' && c <= '~')
		{
			put(w, *value);
			continue;
		}
		put(w, '%');
		put(w, hex[c >> 4]);
		put(w, hex[c & 15]);
	}
}

static void
put_line(Writer *w, const char *name, const char *value)
{
	put_text(w, name);
	put_text(w, ": ");
	put_value(w, value);
	put(w, '\n');
}

size_t
vf_s3_marker_write(const VfS3Marker *marker, char *text, size_t size)
{
	Writer		w = {text, size, 0};
	char		number[24];

	put_text(&w, FIRST_LINE "\n");
	snprintf(number, sizeof(number), "%lld",
			 (long long) marker->generation);
	put_line(&w, "generation", number);
	put_line(&w, "released", marker->released ? "yes" : "no");
	put_line(&w, "settled", marker->settled ? "yes" : "no");
	for (int i = 0; i < NFIELDS; i++)
	{
		const char *value = (const char *) marker + fields[i].offset;

		if (value != marker->prefixes || marker->has_prefixes)
			put_line(&w, fields[i].name, value);
	}
	text[w.len] = '\0';
	return w.len;
}

/* ---- reading ---- */

static bool
is(const char *from, size_t len, const char *text)
{
	return len == strlen(text) && memcmp(from, text, len) == 0;
}

static bool
read_number(const char *from, size_t len, int64_t *number)
{
	int64_t		n = 0;

	if (len == 0 || len > 19)
		return false;
	for (size_t i = 0; i < len; i++)
	{
		if (from[i] < '0' || from[i] > '9')
			return false;
		if (n > VF_S3_MARKER_MAX_GENERATION / 10)
			return false;
		n = n * 10 + (from[i] - '0');
	}
	*number = n;
	return n <= VF_S3_MARKER_MAX_GENERATION;
}

static bool
read_flag(const char *from, size_t len, bool *flag)
{
	*flag = is(from, len, "yes");
	return *flag || is(from, len, "no");
}

/*
 * A value that is too long is cut where it is for people only.  Prefixes that
 * do not fit are more than we can know: all of the bucket.
 */
static bool
read_field(const Field *f, const char *from, size_t len, VfS3Marker *marker)
{
	char	   *to = (char *) marker + f->offset;

	if (to == marker->prefixes)
	{
		marker->has_prefixes = true;
		if (len >= f->size)
		{
			from = EVERYTHING;
			len = strlen(EVERYTHING);
		}
	}
	if (len >= f->size)
	{
		if (f->required)
			return false;
		len = f->size - 1;
	}
	for (size_t i = 0; f->allowed != NULL && i < len; i++)
	{
		if (strchr(f->allowed, from[i]) == NULL)
			return false;
	}
	memcpy(to, from, len);
	to[len] = '\0';
	return len > 0 || !f->required;
}

static bool
see(unsigned *seen, int bit)
{
	bool		first = (*seen & (1U << bit)) == 0;

	*seen |= 1U << bit;
	return first;
}

/* One "name: value"; false if it makes the marker unreadable. */
static bool
read_line(const char *line, size_t len, VfS3Marker *marker, unsigned *seen)
{
	const char *colon = memchr(line, ':', len);
	size_t		name_len;
	const char *value;
	size_t		value_len;

	if (colon == NULL || colon + 1 == line + len || colon[1] != ' ')
		return false;
	name_len = (size_t) (colon - line);
	value = colon + 2;
	value_len = len - name_len - 2;
	for (size_t i = 0; i < value_len; i++)
	{
		if (value[i] < ' ' || value[i] > '~')
			return false;
	}
	if (is(line, name_len, "generation"))
		return see(seen, SEEN_GENERATION) &&
			read_number(value, value_len, &marker->generation);
	if (is(line, name_len, "released"))
		return see(seen, SEEN_RELEASED) &&
			read_flag(value, value_len, &marker->released);
	if (is(line, name_len, "settled"))
		return see(seen, SEEN_SETTLED) &&
			read_flag(value, value_len, &marker->settled);
	for (int i = 0; i < NFIELDS; i++)
	{
		if (is(line, name_len, fields[i].name))
			return see(seen, i) &&
				read_field(&fields[i], value, value_len, marker);
	}
	return true;
}

static bool
read_all(const char *text, size_t len, VfS3Marker *marker)
{
	unsigned	seen = 0;
	unsigned	needed = 1U << SEEN_GENERATION | 1U << SEEN_RELEASED |
		1U << SEEN_SETTLED;
	bool		first = true;

	for (int i = 0; i < NFIELDS; i++)
	{
		if (fields[i].required)
			needed |= 1U << i;
	}
	while (len > 0)
	{
		const char *end = memchr(text, '\n', len);
		size_t		line_len;

		if (end == NULL)
			return false;		/* cut */
		line_len = (size_t) (end - text);
		if (first ? !is(text, line_len, FIRST_LINE) :
			!read_line(text, line_len, marker, &seen))
			return false;
		first = false;
		text += line_len + 1;
		len -= line_len + 1;
	}
	return (seen & needed) == needed;
}

bool
vf_s3_marker_read(const char *text, size_t len, VfS3Marker *marker)
{
	memset(marker, 0, sizeof(*marker));
	if (len <= VF_S3_MARKER_MAX && read_all(text, len, marker))
		return true;
	memset(marker, 0, sizeof(*marker));
	return false;
}

/* ---- prefixes ---- */

/* Does it stand for itself?  Not what parts prefixes, nor what encodes. */
static bool
is_plain(unsigned char c)
{
	return c > ' ' && c <= '~' && c != '%' && c != EVERYTHING[0];
}

void
vf_s3_marker_add_prefix(VfS3Marker *marker, const char *prefix, size_t len)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t		used = strlen(marker->prefixes);
	Writer		w = {marker->prefixes, VF_S3_MARKER_PREFIXES, used};
	size_t		size = used > 0 ? 1 : 0;

	for (size_t i = 0; i < len; i++)
		size += is_plain((unsigned char) prefix[i]) ? 1 : 3;
	marker->has_prefixes = true;
	if (strcmp(marker->prefixes, EVERYTHING) == 0)
		return;
	if (len == 0 || size >= VF_S3_MARKER_PREFIXES - used)
	{
		strcpy(marker->prefixes, EVERYTHING);
		return;
	}
	if (used > 0)
		put(&w, ' ');
	for (size_t i = 0; i < len; i++)
	{
		unsigned char c = (unsigned char) prefix[i];

		if (is_plain(c))
		{
			put(&w, prefix[i]);
			continue;
		}
		put(&w, '%');
		put(&w, hex[c >> 4]);
		put(&w, hex[c & 15]);
	}
	w.text[w.len] = '\0';
}

static int
hex_value(char c)
{
	const char *digits = "0123456789ABCDEF0123456789abcdef";
	const char *at = c == '\0' ? NULL : strchr(digits, c);

	return at == NULL ? -1 : (int) (at - digits) & 15;
}

/* One word; an odd one is the whole bucket: nobody knows what it means. */
static size_t
decode_prefix(const char *word, size_t len, char *prefix)
{
	size_t		n = 0;

	for (size_t i = 0; i < len; i++)
	{
		if (is_plain((unsigned char) word[i]))
		{
			prefix[n++] = word[i];
			continue;
		}
		if (word[i] != '%' || len - i < 3 || hex_value(word[i + 1]) < 0 ||
			hex_value(word[i + 2]) < 0)
			return 0;
		prefix[n++] = (char) (hex_value(word[i + 1]) * 16 +
							  hex_value(word[i + 2]));
		i += 2;
	}
	return n;
}

bool
vf_s3_marker_next_prefix(const VfS3Marker *marker, size_t *at,
						 char prefix[VF_S3_MARKER_PREFIXES], size_t *len)
{
	const char *word = (marker->has_prefixes ? marker->prefixes :
						DEFAULT_PREFIXES) + *at;
	size_t		spaces = strspn(word, " ");
	size_t		word_len = strcspn(word + spaces, " ");

	if (word_len == 0)
		return false;
	*len = decode_prefix(word + spaces, word_len, prefix);
	prefix[*len] = '\0';
	*at += spaces + word_len;
	return true;
}

bool
vf_s3_marker_overlaps(const VfS3Marker *a, const VfS3Marker *b,
					  VfS3MarkerOverlap *o)
{
	size_t		at_a = 0;

	while (vf_s3_marker_next_prefix(a, &at_a, o->a, &o->a_len))
	{
		size_t		at_b = 0;

		while (vf_s3_marker_next_prefix(b, &at_b, o->b, &o->b_len))
		{
			size_t		both = o->a_len < o->b_len ? o->a_len : o->b_len;

			if (memcmp(o->a, o->b, both) == 0)
				return true;
		}
	}
	return false;
}

/* ---- judging ---- */

bool
vf_s3_marker_same_database(const VfS3Marker *a, const VfS3Marker *b)
{
	return strcmp(a->system, b->system) == 0 &&
		strcmp(a->database, b->database) == 0;
}

bool
vf_s3_marker_same_holder(const VfS3Marker *a, const VfS3Marker *b)
{
	return vf_s3_marker_same_database(a, b) &&
		strcmp(a->start, b->start) == 0;
}

VfS3MarkerState
vf_s3_marker_judge(const VfS3MarkerFound *found, const VfS3Marker *self,
				   int64_t generation, bool adopted)
{
	const VfS3Marker *m = &found->marker;
	bool		young = !found->has_age || found->age < VF_S3_MARKER_STALE;
	bool		ours;

	if (!found->exists)
		return VF_S3_MARKER_FREE;
	if (!found->readable)
		return adopted && !young ? VF_S3_MARKER_FREE :
			VF_S3_MARKER_UNREADABLE;
	ours = vf_s3_marker_same_holder(m, self);
	if (!ours && !m->released && young)
		return VF_S3_MARKER_LIVES;
	if (m->generation > generation && !adopted)
		return VF_S3_MARKER_AHEAD;
	if (ours && !m->released && m->settled && !adopted)
		return VF_S3_MARKER_OURS;
	return VF_S3_MARKER_FREE;
}
