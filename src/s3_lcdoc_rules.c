/*-------------------------------------------------------------------------
 *
 * s3_lcdoc_rules.c
 *	  The rules of a lifecycle document: looked at, wanted, merged, compared.
 *
 * A document is of one of two versions, and stores refuse a mixture: in the
 * old one a rule names its Prefix itself, in today's it has a Filter.  Ours
 * are written as the others are.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "s3_lcdoc_internal.h"

#define MAX_NAME 512

/* ---- looking ---- */

VfLcNode *
vf_s3_lcdoc_rule(const VfLcDoc *doc, int n)
{
	VfLcNode   *rule;

	for (rule = doc->root->first; rule != NULL; rule = rule->next)
	{
		if (vf_s3_lcdoc_is(rule, "Rule") && n-- == 0)
			return rule;
	}
	return NULL;
}

int
vf_s3_lcdoc_count(const VfLcDoc *doc)
{
	int			n = 0;
	const VfLcNode *rule;

	for (rule = doc->root->first; rule != NULL; rule = rule->next)
		n += vf_s3_lcdoc_is(rule, "Rule");
	return n;
}

/* The text of a rule's child, or "". */
static const char *
child_text(const VfLcNode *node, const char *local)
{
	const VfLcNode *child = node ? vf_s3_lcdoc_child(node, local) : NULL;

	return child ? vf_s3_lcdoc_leaf(child) : "";
}

static bool
is_ours(const VfLcNode *rule)
{
	return strncmp(child_text(rule, "ID"), VF_LC_OURS,
				   sizeof(VF_LC_OURS) - 1) == 0;
}

const char *
vf_s3_lcdoc_id(const VfLcDoc *doc, int n)
{
	return child_text(vf_s3_lcdoc_rule(doc, n), "ID");
}

bool
vf_s3_lcdoc_is_ours(const VfLcDoc *doc, int n)
{
	return is_ours(vf_s3_lcdoc_rule(doc, n));
}

int
vf_s3_lcdoc_find(const VfLcDoc *doc, const char *id)
{
	const VfLcNode *rule;
	int			n = 0;

	for (rule = doc->root->first; rule != NULL; rule = rule->next)
	{
		if (!vf_s3_lcdoc_is(rule, "Rule"))
			continue;
		if (strcmp(child_text(rule, "ID"), id) == 0)
			return n;
		n++;
	}
	return -1;
}

const char *
vf_s3_lcdoc_prefix(const VfLcDoc *doc, int n)
{
	const VfLcNode *rule = vf_s3_lcdoc_rule(doc, n);
	const VfLcNode *filter = vf_s3_lcdoc_child(rule, "Filter");
	const VfLcNode *and = filter ? vf_s3_lcdoc_child(filter, "And") : NULL;

	return child_text(and ? and : filter ? filter : rule, "Prefix");
}

bool
vf_s3_lcdoc_expires(const VfLcDoc *doc, int n)
{
	const VfLcNode *rule = vf_s3_lcdoc_rule(doc, n);
	const VfLcNode *expiration = vf_s3_lcdoc_child(rule, "Expiration");

	return expiration != NULL &&
		strcmp(child_text(rule, "Status"), "Disabled") != 0 &&
		(vf_s3_lcdoc_child(expiration, "Days") != NULL ||
		 vf_s3_lcdoc_child(expiration, "Date") != NULL);
}

/* Is it of the old version? */
static bool
is_old(const VfLcDoc *doc)
{
	bool		old = false;
	const VfLcNode *rule;

	for (rule = doc->root->first; rule != NULL; rule = rule->next)
	{
		if (!vf_s3_lcdoc_is(rule, "Rule"))
			continue;
		if (vf_s3_lcdoc_child(rule, "Filter") != NULL)
			return false;
		old |= vf_s3_lcdoc_child(rule, "Prefix") != NULL;
	}
	return old;
}

/* ---- mending ---- */

static bool
has_text(const VfLcNode *node)
{
	const VfLcNode *child;

	for (child = node->first; child != NULL; child = child->next)
	{
		if (child->name == NULL)
			return true;
	}
	return false;
}

/*
 * A Filter has one condition, and several stand in an And.  Ceph writes the
 * Prefix beside the And, and no And where there are two conditions; it reads
 * its own rule without the Prefix then, which makes it one for the whole
 * bucket.  All that is in the Filter is moved into the And.
 *
 * What no store writes is left as it is: moved, text would run into other
 * text, names would mean what the And declares, or it would be too deep.
 */
static bool
mend_filter(VfLcDoc *doc, VfLcNode *filter)
{
	VfLcNode   *and = vf_s3_lcdoc_child(filter, "And");
	VfLcNode   *child;
	VfLcNode   *next;
	char		name[MAX_NAME + 8];

	if (filter->first == NULL || filter->first->next == NULL ||
		has_text(filter) || doc->deepest == VF_LC_MAX_DEPTH ||
		(and != NULL && (has_text(and) || and->attributes != NULL)))
		return true;
	child = filter->first;
	filter->first = filter->last = NULL;
	if (and == NULL)
	{
		size_t		len = (size_t) (vf_s3_lcdoc_local(filter->name) -
									filter->name);

		snprintf(name, sizeof(name), "%.*sAnd",
				 (int) (len < MAX_NAME ? len : MAX_NAME), filter->name);
		and = vf_s3_lcdoc_add(doc, filter, name, NULL);
		if (and == NULL)
			return false;
	}
	else
		filter->first = filter->last = and;
	for (; child != NULL; child = next)
	{
		next = child->next;
		child->next = NULL;
		if (child == and)
			continue;
		child->parent = and;
		if (and->last == NULL)
			and->first = child;
		else
			and->last->next = child;
		and->last = child;
	}
	return true;
}

bool
vf_s3_lcdoc_mend(VfLcDoc *doc)
{
	VfLcNode   *rule;

	for (rule = doc->root->first; rule != NULL; rule = rule->next)
	{
		VfLcNode   *filter = vf_s3_lcdoc_is(rule, "Rule") ?
			vf_s3_lcdoc_child(rule, "Filter") : NULL;

		if (filter != NULL && !mend_filter(doc, filter))
			return false;
	}
	return true;
}

/* ---- what is wanted ---- */

/* A document being written; once there is no memory it stays failed. */
typedef struct Writer
{
	VfLcDoc    *doc;
	char		prefix[MAX_NAME];	/* of S3's namespace, with its colon */
	bool		old;
	bool		failed;
} Writer;

static VfLcNode *
put(Writer *w, VfLcNode *parent, const char *local, const char *text)
{
	char		name[MAX_NAME + 64];
	VfLcNode   *node;

	if (w->failed)
		return NULL;
	snprintf(name, sizeof(name), "%s%s", w->prefix, local);
	node = vf_s3_lcdoc_add(w->doc, parent, name, NULL);
	if (node == NULL ||
		(text != NULL && text[0] != '\0' &&
		 vf_s3_lcdoc_add(w->doc, node, NULL, text) == NULL))
		w->failed = true;
	return node;
}

static void
put_days(Writer *w, VfLcNode *parent, const char *local, int days)
{
	char		text[16];

	snprintf(text, sizeof(text), "%d", days);
	put(w, parent, local, text);
}

static VfLcNode *
put_rule(Writer *w, const char *id, const char *prefix)
{
	char		text[64];
	VfLcNode   *rule = put(w, w->doc->root, "Rule", NULL);

	snprintf(text, sizeof(text), VF_LC_OURS "%s", id);
	put(w, rule, "ID", text);
	if (w->old)
		put(w, rule, "Prefix", prefix);
	else
		put(w, put(w, rule, "Filter", NULL), "Prefix", prefix);
	put(w, rule, "Status", "Enabled");
	return rule;
}

static void
put_expiring(Writer *w, const char *id, const char *prefix, bool noncurrent)
{
	VfLcNode   *rule = put_rule(w, id, prefix);

	put_days(w, put(w, rule, "Expiration", NULL), "Days", VF_LC_EXPIRE_DAYS);
	if (noncurrent)
		put_days(w, put(w, rule, "NoncurrentVersionExpiration", NULL),
				 "NoncurrentDays", VF_LC_EXPIRE_DAYS);
}

static void
put_transition(Writer *w, VfLcNode *rule, int days, const char *class)
{
	VfLcNode   *transition;

	if (class == NULL)
		return;
	transition = put(w, rule, "Transition", NULL);
	put_days(w, transition, "Days", days);
	put(w, transition, "StorageClass", class);
}

static void
put_wanted(Writer *w, const VfLcWish *wish)
{
	VfLcNode   *rule;

	put_expiring(w, "temp", "temp_", wish->noncurrent);
	if (wish->infrequent_class != NULL || wish->archive_class != NULL)
	{
		rule = put_rule(w, "permanent", "permanent/");
		put_transition(w, rule, VF_LC_INFREQUENT_DAYS,
					   wish->infrequent_class);
		put_transition(w, rule, VF_LC_ARCHIVE_DAYS, wish->archive_class);
	}
	if (wish->waveforms)
		put_expiring(w, "waveforms", "waveforms/", wish->noncurrent);
	if (wish->previews)
		put_expiring(w, "previews", "pdfs/preview_", wish->noncurrent);
	if (wish->delete_markers)
	{
		rule = put_rule(w, "delete-markers", "");
		put(w, put(w, rule, "Expiration", NULL), "ExpiredObjectDeleteMarker",
			"true");
	}
	if (wish->uploads)
	{
		rule = put_rule(w, "uploads", "");
		put_days(w, put(w, rule, "AbortIncompleteMultipartUpload", NULL),
				 "DaysAfterInitiation", VF_LC_EXPIRE_DAYS);
	}
}

static void
copy_root(Writer *w, const VfLcNode *root)
{
	size_t		len = (size_t) (vf_s3_lcdoc_local(root->name) - root->name);
	const VfLcAttribute *a;
	VfLcNode   *copy;

	/* A prefix of that length is nobody's. */
	if (len >= sizeof(w->prefix))
	{
		w->failed = true;
		return;
	}
	memcpy(w->prefix, root->name, len);
	w->prefix[len] = '\0';
	copy = vf_s3_lcdoc_add(w->doc, NULL, root->name, NULL);
	w->failed = copy == NULL;
	for (a = root->attributes; a != NULL && !w->failed; a = a->next)
		w->failed = !vf_s3_lcdoc_add_attribute(w->doc, copy, a->name,
											   a->value);
}

static void
new_root(Writer *w)
{
	VfLcNode   *root = put(w, NULL, "LifecycleConfiguration", NULL);

	w->failed |= root == NULL ||
		!vf_s3_lcdoc_add_attribute(w->doc, root, "xmlns", VF_LC_NAMESPACE);
}

VfLcDoc *
vf_s3_lcdoc_wish(const VfLcDoc *like, const VfLcWish *wish)
{
	Writer		w;

	memset(&w, 0, sizeof(w));
	w.doc = vf_s3_lcdoc_empty();
	if (w.doc == NULL)
		return NULL;
	w.old = like != NULL && is_old(like);
	if (like != NULL)
		copy_root(&w, like->root);
	else
		new_root(&w);
	if (!w.failed && wish != NULL)
		put_wanted(&w, wish);
	if (!w.failed)
		return w.doc;
	vf_s3_lcdoc_free(w.doc);
	return NULL;
}

/* ---- merging ---- */

/* A copy at the end of parent, with all that is in it. */
static VfLcNode *
copy_node(VfLcDoc *doc, VfLcNode *parent, const VfLcNode *from)
{
	VfLcNode   *copy = vf_s3_lcdoc_add(doc, parent, from->name, from->text);
	const VfLcAttribute *a;
	const VfLcNode *child;

	if (copy == NULL)
		return NULL;
	for (a = from->attributes; a != NULL; a = a->next)
	{
		if (!vf_s3_lcdoc_add_attribute(doc, copy, a->name, a->value))
			return NULL;
	}
	for (child = from->first; child != NULL; child = child->next)
	{
		if (copy_node(doc, copy, child) == NULL)
			return NULL;
	}
	return copy;
}

/* What is in the one becomes what is in the other. */
static bool
replace_content(VfLcDoc *doc, VfLcNode *rule, const VfLcNode *with)
{
	const VfLcNode *child;

	rule->first = rule->last = NULL;
	rule->attributes = NULL;
	for (child = with->first; child != NULL; child = child->next)
	{
		if (copy_node(doc, rule, child) == NULL)
			return false;
	}
	return true;
}

static void
remove_node(VfLcNode *parent, VfLcNode *before, VfLcNode *node)
{
	if (before == NULL)
		parent->first = node->next;
	else
		before->next = node->next;
	if (parent->last == node)
		parent->last = before;
}

/* Take those of ours away that are not wanted, or are there twice. */
static void
remove_unwanted(VfLcDoc *doc, const VfLcDoc *wanted)
{
	VfLcNode   *rule = doc->root->first;
	VfLcNode   *before = NULL;
	int			n = 0;

	while (rule != NULL)
	{
		VfLcNode   *next = rule->next;
		bool		is_rule = vf_s3_lcdoc_is(rule, "Rule");
		const char *id = is_rule ? child_text(rule, "ID") : "";

		if (is_rule && is_ours(rule) &&
			(vf_s3_lcdoc_find(wanted, id) < 0 ||
			 vf_s3_lcdoc_find(doc, id) != n))
			remove_node(doc->root, before, rule);
		else
		{
			before = rule;
			n += is_rule;
		}
		rule = next;
	}
}

bool
vf_s3_lcdoc_merge(VfLcDoc *doc, const VfLcDoc *wanted)
{
	int			count = vf_s3_lcdoc_count(wanted);

	remove_unwanted(doc, wanted);
	for (int i = 0; i < count; i++)
	{
		const VfLcNode *rule = vf_s3_lcdoc_rule(wanted, i);
		int			at = vf_s3_lcdoc_find(doc, child_text(rule, "ID"));
		int			same;

		if (at < 0)
		{
			if (copy_node(doc, doc->root, rule) == NULL)
				return false;
			continue;
		}
		same = vf_s3_lcdoc_same_rule(doc, at, wanted, i);
		if (same < 0 ||
			(same == 0 && !replace_content(doc, vf_s3_lcdoc_rule(doc, at),
										   rule)))
			return false;
	}
	return true;
}

/* ---- comparing ---- */

int
vf_s3_lcdoc_same_rule(const VfLcDoc *a, int i, const VfLcDoc *b, int j)
{
	char	   *x = vf_s3_lcdoc_rule_text(a, i, VF_LC_CANONICAL, false);
	char	   *y = vf_s3_lcdoc_rule_text(b, j, VF_LC_CANONICAL, false);
	int			same = x == NULL || y == NULL ? -1 : strcmp(x, y) == 0;

	free(x);
	free(y);
	return same;
}

static int
compare_texts(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

static void
free_texts(char **texts, int n)
{
	for (int i = 0; i < n; i++)
		free(texts[i]);
	free(texts);
}

/*
 * What is in a document, also what is no rule, canonical and in order; NULL
 * for want of memory.
 */
static char **
sorted_content(const VfLcDoc *doc, bool with_ours, int *n)
{
	const VfLcNode *node;
	size_t		count = 1;
	char	  **texts;

	*n = 0;
	for (node = doc->root->first; node != NULL; node = node->next)
		count++;
	texts = calloc(count, sizeof(char *));
	for (node = doc->root->first; texts != NULL && node != NULL;
		 node = node->next)
	{
		if (!with_ours && vf_s3_lcdoc_is(node, "Rule") && is_ours(node))
			continue;
		texts[*n] = vf_s3_lcdoc_node_text(node, VF_LC_CANONICAL, false);
		if (texts[(*n)++] == NULL)
		{
			free_texts(texts, *n);
			return NULL;
		}
	}
	if (texts != NULL)
		qsort(texts, (size_t) *n, sizeof(char *), compare_texts);
	return texts;
}

int
vf_s3_lcdoc_same(const VfLcDoc *a, const VfLcDoc *b, bool with_ours)
{
	int			n_a;
	int			n_b;
	char	  **x = sorted_content(a, with_ours, &n_a);
	char	  **y = sorted_content(b, with_ours, &n_b);
	int			same = x == NULL || y == NULL ? -1 : n_a == n_b;

	for (int i = 0; same == 1 && i < n_a; i++)
		same = strcmp(x[i], y[i]) == 0;
	if (x != NULL)
		free_texts(x, n_a);
	if (y != NULL)
		free_texts(y, n_b);
	return same;
}
