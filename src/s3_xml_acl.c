/*-------------------------------------------------------------------------
 *
 * s3_xml_acl.c
 *	  The access control of an object: read, compared, written.
 *
 * The reader keeps to what s3_xml.c says of reading: expat is told that the
 * document is UTF-8, a DOCTYPE ends it, every text has a limit.  A grant that
 * is not understood in whole is a fault: what is not known cannot be kept.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include <expat.h>

#include "s3_xml_acl.h"

#define MAX_DEPTH	8

/* Elements by their depth: policy, list, grant, grantee, id. */
#define DEPTH_OWNER_ID	3
#define DEPTH_GRANT		3
#define DEPTH_OF_GRANT	4
#define DEPTH_WHO		5

typedef struct Reader
{
	XML_Parser	parser;
	VfS3Acl    *acl;
	const char *fault;
	int			depth;
	char		path[MAX_DEPTH + 1][32];	/* names of the open elements */
	char	   *open;			/* where text goes, or NULL */
	size_t		room;
	VfS3Grant	grant;			/* the one that is open */
	int			known;			/* grantees it has */
} Reader;

/* ---- reading ---- */

static void
stop(Reader *r, const char *fault)
{
	if (r->fault == NULL)
		r->fault = fault;
	XML_StopParser(r->parser, XML_FALSE);
}

static void
copy_name(char *to, size_t size, const char *name)
{
	const char *colon = strrchr(name, ':');
	size_t		len;

	name = colon ? colon + 1 : name;
	len = strlen(name);
	if (len >= size)
		len = size - 1;
	memcpy(to, name, len);
	to[len] = '\0';
}

static bool
is_at(const Reader *r, int depth, const char *parent, const char *name)
{
	return r->depth == depth && strcmp(r->path[depth], name) == 0 &&
		strcmp(r->path[depth - 1], parent) == 0;
}

static void
take_text(Reader *r, char *to, size_t size)
{
	if (to[0] != '\0')
	{
		stop(r, "an element comes twice");
		return;
	}
	r->open = to;
	r->room = size;
}

static void
begin_who(Reader *r, VfS3Grantee kind)
{
	r->grant.kind = kind;
	r->known++;
	take_text(r, r->grant.who, sizeof(r->grant.who));
}

static void XMLCALL
on_start(void *arg, const XML_Char *name, const XML_Char **attributes)
{
	Reader	   *r = arg;

	(void) attributes;
	if (++r->depth > MAX_DEPTH || r->open != NULL)
	{
		stop(r, "the document is nested too deeply");
		return;
	}
	copy_name(r->path[r->depth], sizeof(r->path[0]), name);
	if (r->depth == 1 && strcmp(r->path[1], "AccessControlPolicy") != 0)
		stop(r, "the answer is no access control policy");
	else if (is_at(r, DEPTH_OWNER_ID, "Owner", "ID"))
		take_text(r, r->acl->owner, sizeof(r->acl->owner));
	else if (is_at(r, DEPTH_GRANT, "AccessControlList", "Grant"))
	{
		memset(&r->grant, 0, sizeof(r->grant));
		r->known = 0;
	}
	else if (is_at(r, DEPTH_OF_GRANT, "Grant", "Permission"))
		take_text(r, r->grant.permission, sizeof(r->grant.permission));
	else if (is_at(r, DEPTH_WHO, "Grantee", "ID"))
		begin_who(r, VF_S3_GRANTEE_ID);
	else if (is_at(r, DEPTH_WHO, "Grantee", "URI"))
		begin_who(r, VF_S3_GRANTEE_GROUP);
	else if (is_at(r, DEPTH_WHO, "Grantee", "EmailAddress"))
		begin_who(r, VF_S3_GRANTEE_EMAIL);
}

static void
end_grant(Reader *r)
{
	if (r->known != 1 || r->grant.who[0] == '\0' ||
		r->grant.permission[0] == '\0')
		stop(r, "a grant is not understood");
	else if (r->acl->n == VF_S3_ACL_GRANTS)
		stop(r, "there are too many grants");
	else
		r->acl->grants[r->acl->n++] = r->grant;
}

static void XMLCALL
on_end(void *arg, const XML_Char *name)
{
	Reader	   *r = arg;

	(void) name;
	if (r->fault != NULL)
		return;
	r->open = NULL;
	if (is_at(r, DEPTH_GRANT, "AccessControlList", "Grant"))
		end_grant(r);
	r->depth--;
}

static void XMLCALL
on_text(void *arg, const XML_Char *text, int len)
{
	Reader	   *r = arg;
	size_t		used;

	if (r->open == NULL || r->fault != NULL)
		return;
	used = strlen(r->open);
	if (used + (size_t) len >= r->room)
	{
		stop(r, "a text is too long");
		return;
	}
	memcpy(r->open + used, text, (size_t) len);
	r->open[used + (size_t) len] = '\0';
}

static void XMLCALL
on_doctype(void *arg, const XML_Char *name, const XML_Char *system_id,
		   const XML_Char *public_id, int has_internal_subset)
{
	(void) name;
	(void) system_id;
	(void) public_id;
	(void) has_internal_subset;
	stop(arg, "the document has a DOCTYPE");
}

const char *
vf_s3_acl_read(const char *data, size_t len, VfS3Acl *acl)
{
	Reader		r;

	memset(acl, 0, sizeof(*acl));
	memset(&r, 0, sizeof(r));
	r.acl = acl;
	if (len > VF_S3_ACL_TEXT || memchr(data, '\0', len) != NULL)
		return "the answer is no access control policy";
	r.parser = XML_ParserCreate("UTF-8");
	if (r.parser == NULL)
		return "there is no memory to read the document";
	XML_SetUserData(r.parser, &r);
	XML_SetElementHandler(r.parser, on_start, on_end);
	XML_SetCharacterDataHandler(r.parser, on_text);
	XML_SetStartDoctypeDeclHandler(r.parser, on_doctype);
	if (XML_Parse(r.parser, data, (int) len, 1) != XML_STATUS_OK &&
		r.fault == NULL)
		r.fault = "the document is not well-formed XML";
	XML_ParserFree(r.parser);
	if (r.fault == NULL && acl->owner[0] == '\0')
		r.fault = "the policy names no owner";
	return r.fault;
}

/* ---- comparing ---- */

static bool
same_grantee(const VfS3Grant *a, const VfS3Grant *b)
{
	return a->kind == b->kind && strcmp(a->who, b->who) == 0;
}

static bool
is_full(const VfS3Grant *g)
{
	return strcmp(g->permission, "FULL_CONTROL") == 0;
}

static bool
grants(const VfS3Acl *acl, const VfS3Grant *wanted)
{
	for (int i = 0; i < acl->n; i++)
	{
		const VfS3Grant *g = &acl->grants[i];

		if (same_grantee(g, wanted) &&
			(is_full(g) || strcmp(g->permission, wanted->permission) == 0))
			return true;
	}
	return false;
}

static bool
is_of_owner(const VfS3Acl *acl, const VfS3Grant *g)
{
	return g->kind == VF_S3_GRANTEE_ID && strcmp(g->who, acl->owner) == 0;
}

bool
vf_s3_acl_is_private(const VfS3Acl *acl)
{
	for (int i = 0; i < acl->n; i++)
		if (!is_of_owner(acl, &acl->grants[i]))
			return false;
	return true;
}

bool
vf_s3_acl_add(VfS3Acl *to, const VfS3Acl *from, bool *full)
{
	bool		changed = false;

	*full = false;
	for (int i = 0; i < from->n; i++)
	{
		VfS3Grant	g = from->grants[i];

		if (is_of_owner(from, &g))
			memcpy(g.who, to->owner, sizeof(g.who));
		if (grants(to, &g))
			continue;
		changed = true;
		if (to->n == VF_S3_ACL_GRANTS)
		{
			*full = true;
			break;
		}
		to->grants[to->n++] = g;
	}
	return changed;
}

/* ---- writing ---- */

typedef struct Writer
{
	char	   *text;
	size_t		size;
	size_t		len;
	bool		failed;
} Writer;

static void
put(Writer *w, const char *text)
{
	size_t		n = strlen(text);

	if (w->failed || w->len + n >= w->size)
	{
		w->failed = true;
		return;
	}
	memcpy(w->text + w->len, text, n + 1);
	w->len += n;
}

static void
put_escaped(Writer *w, const char *text)
{
	for (; *text != '\0'; text++)
	{
		char		one[2] = {*text, '\0'};

		put(w, *text == '&' ? "&amp;" : *text == '<' ? "&lt;" :
			*text == '>' ? "&gt;" : *text == '"' ? "&quot;" :
			*text == '\r' ? "&#13;" : one);
	}
}

static void
put_grant(Writer *w, const VfS3Grant *g)
{
	static const char *const types[] = {
		"CanonicalUser", "Group", "AmazonCustomerByEmail"
	};
	static const char *const names[] = {"ID", "URI", "EmailAddress"};

	put(w, "<Grant><Grantee"
		" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\""
		" xsi:type=\"");
	put(w, types[g->kind]);
	put(w, "\"><");
	put(w, names[g->kind]);
	put(w, ">");
	put_escaped(w, g->who);
	put(w, "</");
	put(w, names[g->kind]);
	put(w, "></Grantee><Permission>");
	put_escaped(w, g->permission);
	put(w, "</Permission></Grant>");
}

size_t
vf_s3_acl_write(const VfS3Acl *acl, char *text, size_t size)
{
	Writer		w = {text, size, 0, false};

	put(&w, "<AccessControlPolicy"
		" xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Owner><ID>");
	put_escaped(&w, acl->owner);
	put(&w, "</ID></Owner><AccessControlList>");
	for (int i = 0; i < acl->n; i++)
		put_grant(&w, &acl->grants[i]);
	put(&w, "</AccessControlList></AccessControlPolicy>");
	return w.failed ? 0 : w.len;
}
