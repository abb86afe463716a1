/*-------------------------------------------------------------------------
 *
 * s3_lcdoc_text.c
 *	  A lifecycle document as text: XML, canonical XML, AWS's JSON.
 *
 * Order of things: the buffer, letters, XML, canonical, JSON.
 *
 * A buffer that finds no memory stays failed, and the text is NULL.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "s3_lcdoc_internal.h"

typedef struct Buffer
{
	char	   *data;
	size_t		len;
	size_t		size;
	bool		failed;
	bool		ascii;
	bool		lines;
} Buffer;

/* ---- the buffer ---- */

static void
add(Buffer *b, const char *text, size_t len)
{
	if (b->failed)
		return;
	if (b->data == NULL || b->len + len + 1 > b->size)
	{
		size_t		size = (b->len + len + 1) * 2;
		char	   *grown = realloc(b->data, size);

		if (grown == NULL)
		{
			b->failed = true;
			return;
		}
		b->data = grown;
		b->size = size;
	}
	if (len > 0)
		memcpy(b->data + b->len, text, len);
	b->len += len;
	b->data[b->len] = '\0';
}

static void
add_string(Buffer *b, const char *text)
{
	add(b, text, strlen(text));
}

static void
new_line(Buffer *b, int depth)
{
	if (!b->lines)
		return;
	add_string(b, "\n");
	while (depth-- > 0)
		add_string(b, "  ");
}

static char *
take(Buffer *b)
{
	if (!b->failed && b->data == NULL)
		add(b, "", 0);
	if (!b->failed)
		return b->data;
	free(b->data);
	return NULL;
}

/* ---- letters ---- */

/*
 * The letter at a place of a text that expat has found to be UTF-8; moves
 * behind it.
 */
static unsigned int
next_letter(const char **text)
{
	const unsigned char *p = (const unsigned char *) *text;
	int			more = p[0] >= 0xF0 ? 3 : p[0] >= 0xE0 ? 2 :
		p[0] >= 0xC0 ? 1 : 0;
	unsigned int letter = more == 0 ? p[0] : p[0] & (0x3Fu >> more);
	int			i;

	for (i = 1; i <= more && (p[i] & 0xC0) == 0x80; i++)
		letter = letter << 6 | (p[i] & 0x3Fu);
	*text += i;
	return letter;
}

static void
add_format(Buffer *b, const char *format, unsigned int letter)
{
	char		text[16];

	snprintf(text, sizeof(text), format, letter);
	add_string(b, text);
}

/* Of a name, which knows no references: for people, not to be sent. */
static void
add_name(Buffer *b, const char *name)
{
	while (*name != '\0')
	{
		const char *from = name;
		unsigned int letter = next_letter(&name);

		if (letter >= 0x80 && b->ascii)
			add_string(b, "?");
		else
			add(b, from, (size_t) (name - from));
	}
}

static void
add_xml(Buffer *b, const char *text)
{
	while (*text != '\0')
	{
		const char *from = text;
		unsigned int letter = next_letter(&text);

		switch (letter)
		{
			case '&':
				add_string(b, "&amp;");
				break;
			case '<':
				add_string(b, "&lt;");
				break;
			case '>':
				add_string(b, "&gt;");
				break;
			case '"':
				add_string(b, "&quot;");
				break;
			case '\t':
			case '\n':
			case '\r':
				/* A parser changes them, in attributes at least. */
				add_format(b, "&#%u;", letter);
				break;
			default:
				if (letter >= 0x80 && b->ascii)
					add_format(b, "&#%u;", letter);
				else
					add(b, from, (size_t) (text - from));
		}
	}
}

/* ---- XML ---- */

static void
write_xml(Buffer *b, const VfLcNode *node, int depth)
{
	const VfLcAttribute *a;
	const VfLcNode *child;

	if (node->name == NULL)
	{
		add_xml(b, node->text);
		return;
	}
	add_string(b, "<");
	add_name(b, node->name);
	for (a = node->attributes; a != NULL; a = a->next)
	{
		add_string(b, " ");
		add_name(b, a->name);
		add_string(b, "=\"");
		add_xml(b, a->value);
		add_string(b, "\"");
	}
	add_string(b, ">");
	for (child = node->first; child != NULL; child = child->next)
	{
		if (child->name != NULL)
			new_line(b, depth + 1);
		write_xml(b, child, depth + 1);
	}
	if (node->last != NULL && node->last->name != NULL)
		new_line(b, depth);
	add_string(b, "</");
	add_name(b, node->name);
	add_string(b, ">");
}

/* ---- canonical ---- */

static int
compare_texts(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

/* Add texts in their order, and free them. */
static void
add_sorted(Buffer *b, char **texts, size_t n)
{
	qsort(texts, n, sizeof(char *), compare_texts);
	for (size_t i = 0; i < n; i++)
	{
		add_string(b, texts[i]);
		free(texts[i]);
	}
	free(texts);
}

static bool
is_declaration(const VfLcAttribute *a)
{
	return strncmp(a->name, "xmlns", 5) == 0 &&
		(a->name[5] == '\0' || a->name[5] == ':');
}

static char *
canonical_attribute(const VfLcNode *node, const VfLcAttribute *a)
{
	Buffer		b = {0};
	const char *colon = strchr(a->name, ':');
	const char *uri = colon == NULL ? NULL :
		vf_s3_lcdoc_declared(node, a->name, (size_t) (colon - a->name));

	add_string(&b, " {");
	add_string(&b, uri ? uri : "");
	add_string(&b, "}");
	add_string(&b, uri ? vf_s3_lcdoc_local(a->name) : a->name);
	add_string(&b, "=\"");
	add_xml(&b, a->value);
	add_string(&b, "\"");
	return take(&b);
}

static void write_canonical(Buffer *b, const VfLcNode *node);

static char *
canonical_child(const VfLcNode *child)
{
	Buffer		b = {0};

	write_canonical(&b, child);
	return take(&b);
}

/*
 * The attributes or the children of an element, in the order of their texts:
 * stores give rules back in theirs.
 */
static void
write_parts(Buffer *b, const VfLcNode *node, bool attributes)
{
	const VfLcAttribute *a;
	const VfLcNode *child;
	size_t		count = 1;
	size_t		n = 0;
	char	  **texts;

	for (a = node->attributes; a != NULL; a = a->next)
		count++;
	for (child = node->first; child != NULL; child = child->next)
		count++;
	texts = calloc(count, sizeof(char *));
	if (texts == NULL)
	{
		b->failed = true;
		return;
	}
	if (attributes)
	{
		for (a = node->attributes; a != NULL; a = a->next)
			if (!is_declaration(a))
				texts[n++] = canonical_attribute(node, a);
	}
	else
	{
		for (child = node->first; child != NULL; child = child->next)
			texts[n++] = canonical_child(child);
	}
	for (size_t i = 0; i < n; i++)
	{
		if (texts[i] == NULL)
		{
			b->failed = true;
			texts[i] = calloc(1, 1);
		}
	}
	add_sorted(b, texts, n);
}

/*
 * The prefix that is all there is in a Filter, which says what the old version
 * says without one; or NULL.  There are stores that mix the two.
 */
static const VfLcNode *
bare_prefix(const VfLcNode *node)
{
	if (!vf_s3_lcdoc_is(node, "Filter") || node->attributes != NULL ||
		node->first == NULL || node->first->next != NULL ||
		!vf_s3_lcdoc_is(node->first, "Prefix"))
		return NULL;
	return node->first;
}

static void
write_canonical(Buffer *b, const VfLcNode *node)
{
	const char *uri;

	if (node->name == NULL)
	{
		add_xml(b, node->text);
		return;
	}
	if (bare_prefix(node) != NULL)
		node = bare_prefix(node);
	uri = vf_s3_lcdoc_namespace(node);
	add_string(b, "<");
	if (uri[0] != '\0')
	{
		add_string(b, "{");
		add_xml(b, uri);
		add_string(b, "}");
	}
	add_string(b, vf_s3_lcdoc_local(node->name));
	write_parts(b, node, true);
	add_string(b, ">");
	write_parts(b, node, false);
	add_string(b, "</>");
}

/* ---- JSON ---- */

static bool
is_one_of(const char *name, const char *const *names)
{
	for (; *names != NULL; names++)
	{
		if (strcmp(name, *names) == 0)
			return true;
	}
	return false;
}

static void
add_json_string(Buffer *b, const char *text)
{
	add_string(b, "\"");
	while (*text != '\0')
	{
		const char *from = text;
		unsigned int letter = next_letter(&text);

		if (letter == '"' || letter == '\\')
			add_format(b, "\\%c", letter);
		else if (letter < 0x20 || (letter >= 0x7F && b->ascii &&
								   letter < 0x10000))
			add_format(b, "\\u%04x", letter);
		else if (letter >= 0x10000 && b->ascii)
		{
			add_format(b, "\\u%04x", 0xD7C0 + (letter >> 10));
			add_format(b, "\\u%04x", 0xDC00 + (letter & 0x3FF));
		}
		else
			add(b, from, (size_t) (text - from));
	}
	add_string(b, "\"");
}

static bool
has_elements(const VfLcNode *node)
{
	const VfLcNode *child;

	for (child = node->first; child != NULL; child = child->next)
	{
		if (child->name != NULL)
			return true;
	}
	return false;
}

static void
write_leaf(Buffer *b, const char *name, const char *text)
{
	static const char *const numbers[] = {
		"Days", "NoncurrentDays", "NewerNoncurrentVersions",
		"DaysAfterInitiation", "ObjectSizeGreaterThan", "ObjectSizeLessThan",
		NULL
	};
	static const char *const flags[] = {"ExpiredObjectDeleteMarker", NULL};
	static const char *const objects[] = {
		"Filter", "And", "Expiration", "Transition", "Tag",
		"NoncurrentVersionTransition", "NoncurrentVersionExpiration",
		"AbortIncompleteMultipartUpload", "LifecycleConfiguration", "Rule",
		NULL
	};
	size_t		len = strlen(text);
	bool		is_number = len > 0 && len <= 18 &&
		strspn(text, "0123456789") == len && (text[0] != '0' || len == 1);

	if (text[0] == '\0' && is_one_of(name, objects))
		add_string(b, "{}");
	else if ((is_number && is_one_of(name, numbers)) ||
			 (is_one_of(name, flags) && (strcmp(text, "true") == 0 ||
										 strcmp(text, "false") == 0)))
		add_string(b, text);
	else
		add_json_string(b, text);
}

/* AWS's name of what can be there more than once; NULL if it cannot. */
static const char *
list_name(const VfLcNode *node)
{
	const char *name = vf_s3_lcdoc_local(node->name);

	if (strcmp(name, "Rule") == 0)
		return "Rules";
	if (strcmp(name, "Transition") == 0)
		return "Transitions";
	if (strcmp(name, "NoncurrentVersionTransition") == 0)
		return "NoncurrentVersionTransitions";
	if (strcmp(name, "Tag") == 0 && node->parent != NULL &&
		vf_s3_lcdoc_is(node->parent, "And"))
		return "Tags";
	return NULL;
}

static bool
are_alike(const VfLcNode *a, const VfLcNode *b)
{
	return a->name != NULL && b->name != NULL &&
		strcmp(vf_s3_lcdoc_local(a->name), vf_s3_lcdoc_local(b->name)) == 0;
}

static bool
is_first_alike(const VfLcNode *node)
{
	const VfLcNode *other = node->parent->first;

	while (!are_alike(other, node))
		other = other->next;
	return other == node;
}

static const VfLcNode *
next_alike(const VfLcNode *node)
{
	const VfLcNode *other = node->next;

	while (other != NULL && !are_alike(other, node))
		other = other->next;
	return other;
}

static void write_json(Buffer *b, const VfLcNode *node, int depth);

/* A member of an object: this child, and all that have its name. */
static void
write_member(Buffer *b, const VfLcNode *child, int depth)
{
	const char *list = list_name(child);
	const VfLcNode *next = next_alike(child);
	bool		is_list = list != NULL || next != NULL;

	add_json_string(b, list ? list : vf_s3_lcdoc_local(child->name));
	add_string(b, b->lines ? ": " : ":");
	if (!is_list)
	{
		write_json(b, child, depth);
		return;
	}
	add_string(b, "[");
	for (;;)
	{
		new_line(b, depth + 1);
		write_json(b, child, depth + 1);
		if (next == NULL)
			break;
		add_string(b, ",");
		child = next;
		next = next_alike(child);
	}
	new_line(b, depth);
	add_string(b, "]");
}

static void
write_json(Buffer *b, const VfLcNode *node, int depth)
{
	const VfLcNode *child;
	bool		first = true;

	if (!has_elements(node))
	{
		write_leaf(b, vf_s3_lcdoc_local(node->name),
				   vf_s3_lcdoc_leaf(node));
		return;
	}
	add_string(b, "{");
	for (child = node->first; child != NULL; child = child->next)
	{
		if (child->name == NULL || !is_first_alike(child))
			continue;
		if (!first)
			add_string(b, ",");
		first = false;
		new_line(b, depth + 1);
		write_member(b, child, depth + 1);
	}
	new_line(b, depth);
	add_string(b, "}");
}

/* ---- texts ---- */

char *
vf_s3_lcdoc_node_text(const VfLcNode *node, VfLcForm form, bool ascii)
{
	Buffer		b = {0};

	b.ascii = ascii;
	b.lines = form == VF_LC_XML_LINES || form == VF_LC_JSON;
	if (form == VF_LC_CANONICAL)
		write_canonical(&b, node);
	else if (form == VF_LC_JSON)
		write_json(&b, node, 0);
	else
		write_xml(&b, node, 0);
	return take(&b);
}

char *
vf_s3_lcdoc_text(const VfLcDoc *doc, VfLcForm form, bool ascii)
{
	static const char head[] = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>";
	char	   *text = vf_s3_lcdoc_node_text(doc->root, form, ascii);
	Buffer		b = {0};

	if (text == NULL || form == VF_LC_CANONICAL || form == VF_LC_JSON)
		return text;
	add_string(&b, head);
	b.lines = form == VF_LC_XML_LINES;
	new_line(&b, 0);
	add_string(&b, text);
	free(text);
	return take(&b);
}

char *
vf_s3_lcdoc_rule_text(const VfLcDoc *doc, int n, VfLcForm form, bool ascii)
{
	return vf_s3_lcdoc_node_text(vf_s3_lcdoc_rule(doc, n), form, ascii);
}
