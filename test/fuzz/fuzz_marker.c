/*-------------------------------------------------------------------------
 *
 * fuzz_marker.c
 *	  Any bytes as the marker in a bucket; the first line has its age, our
 *	  generation, and an 'a' where a person has adopted the bucket.
 *
 * Promises: what cannot be read leaves nothing behind; what can is printable
 * and is written and read again as it was, never when it is cut; a marker
 * whose heartbeat lives is only its writer's, one that knows more than we do
 * is nobody's until a person says so.
 *
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"
#include "s3_marker.h"

static bool
read_copy(const char *text, size_t len, VfS3Marker *marker)
{
	char	   *copy = fuzz_copy(text, len);
	bool		ok;

	memset(marker, 'x', sizeof(*marker));
	ok = vf_s3_marker_read(copy, len, marker);
	free(copy);
	return ok;
}

static void
check_text(const char *text, size_t size)
{
	PROMISE(memchr(text, '\0', size) != NULL);
	for (; *text; text++)
		PROMISE(*text >= ' ' && *text <= '~');
}

/*
 * Prefixes come to an end, overlap themselves, and are the same when they are
 * said again.
 */
static void
check_prefixes(const VfS3Marker *m)
{
	VfS3Marker	again = {.has_prefixes = true};
	VfS3MarkerOverlap overlap;
	char		prefix[VF_S3_MARKER_PREFIXES];
	char		other[VF_S3_MARKER_PREFIXES];
	size_t		at = 0;
	size_t		at_other = 0;
	size_t		len;
	size_t		other_len;
	int			n = 0;

	while (vf_s3_marker_next_prefix(m, &at, prefix, &len))
	{
		PROMISE(len < sizeof(prefix) && prefix[len] == '\0');
		PROMISE(n++ < VF_S3_MARKER_PREFIXES);
		vf_s3_marker_add_prefix(&again, prefix, len);
	}
	PROMISE(vf_s3_marker_overlaps(m, m, &overlap) == (n > 0));
	PROMISE(vf_s3_marker_overlaps(m, &again, &overlap) == (n > 0));
	if (strcmp(again.prefixes, "*") == 0)
		return;
	for (at = 0; vf_s3_marker_next_prefix(m, &at, prefix, &len);)
	{
		PROMISE(vf_s3_marker_next_prefix(&again, &at_other, other,
										 &other_len));
		PROMISE(len == other_len && memcmp(prefix, other, len) == 0);
	}
}

static void
check_read(const VfS3Marker *m, const char *text, size_t len)
{
	VfS3Marker	again;
	char		written[VF_S3_MARKER_MAX];
	size_t		n;

	PROMISE(len <= VF_S3_MARKER_MAX);
	PROMISE(m->generation >= 0 &&
			m->generation <= VF_S3_MARKER_MAX_GENERATION);
	check_text(m->system, sizeof(m->system));
	check_text(m->database, sizeof(m->database));
	check_text(m->start, sizeof(m->start));
	check_text(m->heartbeat, sizeof(m->heartbeat));
	check_text(m->name, sizeof(m->name));
	check_text(m->host, sizeof(m->host));
	check_text(m->pid, sizeof(m->pid));
	check_text(m->prefixes, sizeof(m->prefixes));
	PROMISE(m->has_prefixes || m->prefixes[0] == '\0');
	check_prefixes(m);
	PROMISE(m->system[0] && m->database[0] && m->start[0]);
	PROMISE(vf_s3_marker_same_holder(m, m));
	PROMISE(!read_copy(text, len - 1, &again));

	n = vf_s3_marker_write(m, written, sizeof(written));
	PROMISE(n == strlen(written) && n < VF_S3_MARKER_MAX);
	PROMISE(read_copy(written, n, &again));
	PROMISE(memcmp(m, &again, offsetof(VfS3Marker, name)) == 0 &&
			strcmp(m->name, again.name) == 0 &&
			strcmp(m->host, again.host) == 0 &&
			strcmp(m->pid, again.pid) == 0 &&
			m->has_prefixes == again.has_prefixes &&
			strcmp(m->prefixes, again.prefixes) == 0);
}

/* Any bytes as what we would write ourselves: a database's name, a host's. */
static void
check_write(const char *text)
{
	VfS3Marker	own = {.generation = 1, .system = "1", .database = "2",
	.start = "3"};
	VfS3Marker	back;
	char		written[VF_S3_MARKER_MAX];
	char		prefix[VF_S3_MARKER_PREFIXES];
	size_t		at = 0;
	size_t		len;
	size_t		n;

	snprintf(own.name, sizeof(own.name), "%s", text);
	snprintf(own.host, sizeof(own.host), "%s", text);
	n = vf_s3_marker_write(&own, written, sizeof(written));
	PROMISE(read_copy(written, n, &back));
	PROMISE(vf_s3_marker_same_holder(&own, &back) && back.generation == 1 &&
			!back.released && !back.settled);

	/* A prefix of ours is read as what it was, or as everything. */
	vf_s3_marker_add_prefix(&own, text, strlen(text));
	n = vf_s3_marker_write(&own, written, sizeof(written));
	PROMISE(read_copy(written, n, &back) && back.has_prefixes);
	PROMISE(vf_s3_marker_next_prefix(&back, &at, prefix, &len));
	PROMISE(len == 0 || (len == strlen(text) &&
						 memcmp(prefix, text, len) == 0));
	PROMISE(len > 0 || text[0] == '\0' ||
			strlen(text) * 3 >= VF_S3_MARKER_PREFIXES);
}

static void
check_judged(const VfS3MarkerFound *found, const VfS3Marker *self,
			 int64_t generation, bool adopted)
{
	VfS3MarkerState state = vf_s3_marker_judge(found, self, generation,
											   adopted);
	bool		young = !found->has_age || found->age < VF_S3_MARKER_STALE;
	bool		ours = found->readable &&
		vf_s3_marker_same_holder(&found->marker, self);

	if (!found->exists)
		PROMISE(state == VF_S3_MARKER_FREE);
	else if (!found->readable)
		PROMISE(state == VF_S3_MARKER_UNREADABLE ||
				(state == VF_S3_MARKER_FREE && adopted && !young));
	else if (!ours && young && !found->marker.released)
		PROMISE(state == VF_S3_MARKER_LIVES);
	else if (found->marker.generation > generation && !adopted)
		PROMISE(state == VF_S3_MARKER_AHEAD);
	else
		PROMISE(state == VF_S3_MARKER_FREE ||
				(state == VF_S3_MARKER_OURS && ours && !adopted &&
				 found->marker.settled && !found->marker.released));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *line = fuzz_line(&data, &size);
	const char *text = (const char *) data;
	char	   *words = fuzz_string(data, size);
	VfS3MarkerFound found = {.exists = true, .has_age = true};
	VfS3Marker	other = {.system = "1", .database = "2", .start = "3"};
	long long	generation = 0;
	char		adopted = ' ';
	static const VfS3Marker none;

	sscanf(line, "%lf %18lld %c", &found.age, &generation, &adopted);
	found.readable = read_copy(text, size, &found.marker);
	if (found.readable)
		check_read(&found.marker, text, size);
	else
		PROMISE(memcmp(&found.marker, &none, sizeof(none)) == 0);
	check_write(words);
	check_judged(&found, &other, generation, adopted == 'a');
	check_judged(&found, &found.marker, generation, adopted == 'a');
	found.has_age = false;
	check_judged(&found, &other, generation, adopted == 'a');
	found.exists = false;
	check_judged(&found, &other, generation, adopted == 'a');
	free(line);
	free(words);
	return 0;
}
