/*-------------------------------------------------------------------------
 *
 * s3_lcdoc.c
 *	  A bucket's lifecycle document: its tree, read with expat.
 *
 * Order of things: memory, nodes, expat's handlers, reading.
 *
 * Unlike the reader of answers (s3_xml.c) this one forgets nothing but
 * comments, processing instructions and blanks between elements: what others
 * wrote has to come out again.  Expat is told that the document is UTF-8
 * whatever it declares, a NUL is a fault, and parsing stops at a DOCTYPE.
 * Depth and number of nodes have limits.
 *
 * An ereport would jump over expat's frames: nothing here raises.
 *
 *-------------------------------------------------------------------------
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <expat.h>

#include "s3_lcdoc_internal.h"

/* A thousand rules, which is the most that S3 takes, have fewer. */
#define MAX_NODES	200000
#define MAX_CHILDREN 4000
#define BLOCK_SIZE	16384
#define ALIGNMENT	sizeof(void *)

struct VfLcBlock
{
	VfLcBlock  *next;
	size_t		size;
	size_t		used;
	void	   *data[];			/* for its alignment */
};

typedef struct Reader
{
	XML_Parser	parser;
	VfLcDoc    *doc;
	VfLcNode   *open;			/* the element that we are in */
	int			depth;
	int			nodes;
	int			children[VF_LC_MAX_DEPTH + 1];	/* so far, of those open */
	char	   *text;			/* since the last element began or ended */
	size_t		text_len;
	size_t		text_size;
	const char *fault;
} Reader;

static const char no_memory[] = "there is no memory for the document";

/* ---- memory ---- */

void *
vf_s3_lcdoc_alloc(VfLcDoc *doc, size_t size)
{
	VfLcBlock  *block = doc->blocks;
	char	   *result;

	if (size > SIZE_MAX / 2)
		return NULL;
	size = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
	if (block == NULL || block->size - block->used < size)
	{
		size_t		room = size > BLOCK_SIZE ? size : BLOCK_SIZE;

		block = malloc(sizeof(VfLcBlock) + room);
		if (block == NULL)
			return NULL;
		block->size = room;
		block->used = 0;
		block->next = doc->blocks;
		doc->blocks = block;
	}
	result = (char *) block->data + block->used;
	block->used += size;
	memset(result, 0, size);
	return result;
}

const char *
vf_s3_lcdoc_copy(VfLcDoc *doc, const char *text, size_t len)
{
	char	   *copy = vf_s3_lcdoc_alloc(doc, len + 1);

	if (copy != NULL && len > 0)
		memcpy(copy, text, len);
	return copy;
}

VfLcDoc *
vf_s3_lcdoc_empty(void)
{
	return calloc(1, sizeof(VfLcDoc));
}

void
vf_s3_lcdoc_free(VfLcDoc *doc)
{
	if (doc == NULL)
		return;
	while (doc->blocks != NULL)
	{
		VfLcBlock  *next = doc->blocks->next;

		free(doc->blocks);
		doc->blocks = next;
	}
	free(doc);
}

/* ---- nodes ---- */

VfLcNode *
vf_s3_lcdoc_add(VfLcDoc *doc, VfLcNode *parent, const char *name,
				const char *text)
{
	VfLcNode   *node = vf_s3_lcdoc_alloc(doc, sizeof(VfLcNode));

	if (node == NULL)
		return NULL;
	if (name != NULL)
		node->name = vf_s3_lcdoc_copy(doc, name, strlen(name));
	else if (text != NULL)
		node->text = vf_s3_lcdoc_copy(doc, text, strlen(text));
	if (node->name == NULL && node->text == NULL)
		return NULL;
	node->parent = parent;
	if (parent == NULL)
		doc->root = node;
	else if (parent->last == NULL)
		parent->first = parent->last = node;
	else
	{
		parent->last->next = node;
		parent->last = node;
	}
	return node;
}

bool
vf_s3_lcdoc_add_attribute(VfLcDoc *doc, VfLcNode *node, const char *name,
						  const char *value)
{
	VfLcAttribute *attribute = vf_s3_lcdoc_alloc(doc, sizeof(VfLcAttribute));
	VfLcAttribute **end = &node->attributes;

	if (attribute == NULL)
		return false;
	attribute->name = vf_s3_lcdoc_copy(doc, name, strlen(name));
	attribute->value = vf_s3_lcdoc_copy(doc, value, strlen(value));
	while (*end != NULL)
		end = &(*end)->next;
	*end = attribute;
	return attribute->name != NULL && attribute->value != NULL;
}

const char *
vf_s3_lcdoc_local(const char *name)
{
	const char *colon = strrchr(name, ':');

	return colon ? colon + 1 : name;
}

const char *
vf_s3_lcdoc_declared(const VfLcNode *node, const char *prefix, size_t len)
{
	const VfLcAttribute *a;

	for (; node != NULL; node = node->parent)
	{
		for (a = node->attributes; a != NULL; a = a->next)
		{
			if (strncmp(a->name, "xmlns", 5) != 0)
				continue;
			if (len == 0 ? a->name[5] == '\0' :
				a->name[5] == ':' && strlen(a->name + 6) == len &&
				memcmp(a->name + 6, prefix, len) == 0)
				return a->value;
		}
	}
	return NULL;
}

const char *
vf_s3_lcdoc_namespace(const VfLcNode *node)
{
	const char *colon = strrchr(node->name, ':');
	const char *uri =
		vf_s3_lcdoc_declared(node, node->name,
							 colon ? (size_t) (colon - node->name) : 0);
	size_t		len = sizeof(VF_LC_NAMESPACE) - 1;

	/* Some stores leave the last slash out. */
	if (uri == NULL || strcmp(uri, VF_LC_NAMESPACE) == 0 ||
		(strlen(uri) == len - 1 && strncmp(uri, VF_LC_NAMESPACE,
										   len - 1) == 0))
		return "";
	return uri;
}

bool
vf_s3_lcdoc_is(const VfLcNode *node, const char *local)
{
	return node->name != NULL &&
		strcmp(vf_s3_lcdoc_local(node->name), local) == 0 &&
		vf_s3_lcdoc_namespace(node)[0] == '\0';
}

VfLcNode *
vf_s3_lcdoc_child(const VfLcNode *node, const char *local)
{
	VfLcNode   *child;

	for (child = node->first; child != NULL; child = child->next)
	{
		if (vf_s3_lcdoc_is(child, local))
			return child;
	}
	return NULL;
}

const char *
vf_s3_lcdoc_leaf(const VfLcNode *node)
{
	if (node->first == NULL || node->first->name != NULL ||
		node->first->next != NULL)
		return "";
	return node->first->text;
}

/* ---- expat's handlers ---- */

static void
stop(Reader *reader, const char *fault)
{
	if (reader->fault == NULL)
		reader->fault = fault;
	XML_StopParser(reader->parser, XML_FALSE);
}

static bool
is_blank(const char *text)
{
	return text[strspn(text, " \t\r\n")] == '\0';
}

/*
 * The text that has come becomes a node; blanks between elements do not.
 * Between rules there is no other text: it would run into what is behind a
 * rule that goes.
 */
static void
flush_text(Reader *reader, bool ends)
{
	bool		leaf = ends && reader->open->first == NULL;
	bool		root = reader->depth == 1;

	if (reader->text_len == 0 || reader->fault != NULL)
		return;
	if (root && !is_blank(reader->text))
		stop(reader, "the document has text between its rules");
	else if ((leaf && !root) || !is_blank(reader->text))
	{
		if (vf_s3_lcdoc_add(reader->doc, reader->open, NULL,
							reader->text) == NULL)
			stop(reader, no_memory);
	}
	reader->text_len = 0;
}

static void
on_start(void *arg, const XML_Char *name, const XML_Char **attributes)
{
	Reader	   *reader = arg;
	VfLcNode   *node;

	if (reader->open != NULL)
		flush_text(reader, false);
	if (reader->fault != NULL)
		return;
	if (++reader->depth > VF_LC_MAX_DEPTH)
	{
		stop(reader, "the document is too deep");
		return;
	}
	reader->doc->deepest = reader->depth > reader->doc->deepest ?
		reader->depth : reader->doc->deepest;
	reader->children[reader->depth] = 0;
	if (++reader->nodes > MAX_NODES ||
		++reader->children[reader->depth - 1] > MAX_CHILDREN)
	{
		stop(reader, "the document has too many elements");
		return;
	}
	node = vf_s3_lcdoc_add(reader->doc, reader->open, name, NULL);
	if (node == NULL)
	{
		stop(reader, no_memory);
		return;
	}
	reader->open = node;
	for (; attributes[0] != NULL; attributes += 2)
	{
		reader->nodes++;
		if (!vf_s3_lcdoc_add_attribute(reader->doc, node, attributes[0],
									   attributes[1]))
		{
			stop(reader, no_memory);
			return;
		}
	}
	if (reader->depth == 1 && !vf_s3_lcdoc_is(node, "LifecycleConfiguration"))
		stop(reader, "the document is no LifecycleConfiguration");
}

static void
on_end(void *arg, const XML_Char *name)
{
	Reader	   *reader = arg;

	(void) name;
	if (reader->fault != NULL)
		return;
	flush_text(reader, true);
	reader->open = reader->open->parent;
	reader->depth--;
}

static void
on_text(void *arg, const XML_Char *text, int len)
{
	Reader	   *reader = arg;
	size_t		need = reader->text_len + (size_t) len + 1;

	if (reader->fault != NULL)
		return;
	if (need > reader->text_size)
	{
		size_t		size = need * 2;
		char	   *grown = realloc(reader->text, size);

		if (grown == NULL)
		{
			stop(reader, no_memory);
			return;
		}
		reader->text = grown;
		reader->text_size = size;
	}
	memcpy(reader->text + reader->text_len, text, (size_t) len);
	reader->text_len += (size_t) len;
	reader->text[reader->text_len] = '\0';
}

static void
on_doctype(void *arg, const XML_Char *name, const XML_Char *system_id,
		   const XML_Char *public_id, int has_internal_subset)
{
	(void) name;
	(void) system_id;
	(void) public_id;
	(void) has_internal_subset;
	stop(arg, "the document has a DOCTYPE");
}

/* ---- reading ---- */

static void
parse(Reader *reader, const char *data, size_t len)
{
	XML_SetUserData(reader->parser, reader);
	XML_SetElementHandler(reader->parser, on_start, on_end);
	XML_SetCharacterDataHandler(reader->parser, on_text);
	XML_SetStartDoctypeDeclHandler(reader->parser, on_doctype);
	if (len > INT_MAX / 2)
		reader->fault = "the document is too large";
	else if (memchr(data, '\0', len) != NULL)
		reader->fault = "the document has a NUL";
	else if (XML_Parse(reader->parser, data, (int) len, XML_TRUE) !=
			 XML_STATUS_OK && reader->fault == NULL)
		reader->fault = XML_GetErrorCode(reader->parser) ==
			XML_ERROR_NO_MEMORY ? no_memory : "the document is malformed";
}

VfLcDoc *
vf_s3_lcdoc_read(const char *data, size_t len, const char **fault)
{
	Reader		reader;

	memset(&reader, 0, sizeof(reader));
	*fault = NULL;
	reader.doc = vf_s3_lcdoc_empty();
	reader.parser = XML_ParserCreate("UTF-8");
	if (reader.doc == NULL || reader.parser == NULL)
		reader.fault = no_memory;
	else
		parse(&reader, data, len);
	if (reader.parser != NULL)
		XML_ParserFree(reader.parser);
	free(reader.text);
	if (reader.fault == NULL && !vf_s3_lcdoc_mend(reader.doc))
		reader.fault = no_memory;
	if (reader.fault == NULL)
		return reader.doc;
	vf_s3_lcdoc_free(reader.doc);
	*fault = reader.fault;
	return NULL;
}
