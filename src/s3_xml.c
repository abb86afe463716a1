/*-------------------------------------------------------------------------
 *
 * s3_xml.c
 *	  The XML of S3 and STS: reads answers.
 *
 * Order of things: text fields, elements, entries, expat's handlers.
 *
 * The reader knows ten documents by the name of their root, and the few
 * elements in them that matter; everything else is parsed and ignored.  A
 * name counts without its prefix.  Expat is told that the document is UTF-8
 * whatever it declares, a NUL (UTF-16 has some, and expat would read it) is a
 * fault, and parsing stops at a DOCTYPE, so no entity is ever defined.
 * Memory is bounded: fields have fixed sizes, depth has a limit, and the
 * caller's cap on an answer limits what expat can be given.
 *
 * An ereport would jump over expat's frames: nothing here raises.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include <expat.h>

#include "s3_xml.h"

#define MAX_DEPTH	16
#define MAX_KEY		4096
#define MAX_VERSION	1024
#define MAX_CODE	64
#define MAX_MESSAGE	1024
#define MAX_ACCESS_KEY	128
#define MAX_SECRET_KEY	256
#define MAX_TOKEN	8192
#define MAX_TIME	64
#define MAX_ETAG	128
#define MAX_WORD	32

/*
 * Only because expat counts in int: small pieces would make it scan a long
 * token again and again.
 */
#define MAX_PIECE	(1024 * 1024 * 1024)

typedef enum Element
{
	ELEMENT_OTHER,
	ELEMENT_DELETED,
	ELEMENT_ERROR,
	ELEMENT_KEY,
	ELEMENT_CODE,
	ELEMENT_MESSAGE,
	ELEMENT_REGION,
	ELEMENT_STATUS,
	ELEMENT_MFA_DELETE,
	ELEMENT_CONTENTS,
	ELEMENT_VERSION,
	ELEMENT_DELETE_MARKER,
	ELEMENT_UPLOAD,
	ELEMENT_PART,
	ELEMENT_VERSION_ID,
	ELEMENT_LATEST,
	ELEMENT_SIZE,
	ELEMENT_ETAG,
	ELEMENT_MODIFIED,
	ELEMENT_STORAGE_CLASS,
	ELEMENT_TRUNCATED,
	ELEMENT_ENCODING,
	ELEMENT_NEXT_KEY,
	ELEMENT_NEXT_VERSION,
	ELEMENT_CREDENTIALS,
	ELEMENT_ACCESS_KEY,
	ELEMENT_SECRET_KEY,
	ELEMENT_TOKEN,
	ELEMENT_EXPIRATION
} Element;

/* The text of an element.  What does not fit is dropped, but noticed. */
typedef struct Field
{
	char	   *data;
	size_t		size;
	size_t		len;
	bool		seen;
	bool		overflow;
} Field;

struct VfS3XmlReader
{
	XML_Parser	parser;
	const VfS3XmlHandler *handler;
	VfS3XmlDocument doc;
	int			depth;
	Element		entry;			/* at depth two, of STS's answer three */
	Field	   *open;			/* where text goes, or NULL */
	int			open_depth;
	Field		key;
	Field		code;
	Field		message;
	Field		version;
	Field		latest;
	Field		size;
	Field		etag;
	Field		modified;
	Field		storage_class;
	Field		region;
	Field		status;
	Field		mfa_delete;
	Field		truncated;
	Field		encoding;
	Field		next_key;
	Field		next_version;
	char		key_text[MAX_KEY + 1];
	char		version_text[MAX_VERSION + 1];
	char		code_text[MAX_CODE];
	char		message_text[MAX_MESSAGE];
	char		latest_text[MAX_WORD];
	char		size_text[MAX_WORD];
	char		etag_text[MAX_ETAG];
	char		modified_text[MAX_TIME];
	char		class_text[MAX_WORD];
	Field		access_key;
	Field		secret_key;
	Field		token;
	Field		expiration;
	char		access_key_text[MAX_ACCESS_KEY + 1];
	char		secret_key_text[MAX_SECRET_KEY + 1];
	char		token_text[MAX_TOKEN + 1];
	char		expiration_text[MAX_TIME + 1];
};

/* Text fields */

static void
set_up_field(Field *field, char *data, size_t size)
{
	field->data = data;
	field->size = size;
}

static void
clear_field(Field *field)
{
	field->len = 0;
	field->data[0] = '\0';
	field->seen = false;
	field->overflow = false;
}

static void
add_text(Field *field, const char *text, size_t len)
{
	size_t		room = field->size - 1 - field->len;

	if (len > room)
	{
		field->overflow = true;
		len = room;
	}
	memcpy(field->data + field->len, text, len);
	field->len += len;
	field->data[field->len] = '\0';
}

static void
trim(Field *field)
{
	static const char blanks[] = " \t\r\n";
	size_t		skip = strspn(field->data, blanks);

	field->len -= skip;
	memmove(field->data, field->data + skip, field->len + 1);
	while (field->len > 0 && strchr(blanks, field->data[field->len - 1]))
		field->data[--field->len] = '\0';
}

/* Elements */

static void
stop(VfS3XmlReader *reader, const char *fault)
{
	if (reader->doc.fault == NULL)
		reader->doc.fault = fault;
	XML_StopParser(reader->parser, XML_FALSE);
}

/* Without its prefix, if any. */
static const char *
local_name(const char *name)
{
	const char *colon = strrchr(name, ':');

	return colon ? colon + 1 : name;
}

static VfS3XmlRoot
identify_root(const char *name)
{
	if (strcmp(name, "DeleteResult") == 0)
		return VF_S3_XML_DELETE_RESULT;
	if (strcmp(name, "Error") == 0)
		return VF_S3_XML_ERROR;
	if (strcmp(name, "VersioningConfiguration") == 0)
		return VF_S3_XML_VERSIONING;
	if (strcmp(name, "ListBucketResult") == 0)
		return VF_S3_XML_LIST;
	if (strcmp(name, "ListVersionsResult") == 0)
		return VF_S3_XML_VERSIONS;
	if (strcmp(name, "ListMultipartUploadsResult") == 0)
		return VF_S3_XML_UPLOADS;
	if (strcmp(name, "ListPartsResult") == 0)
		return VF_S3_XML_PARTS;
	if (strcmp(name, "LifecycleConfiguration") == 0)
		return VF_S3_XML_LIFECYCLE;
	if (strcmp(name, "CopyObjectResult") == 0)
		return VF_S3_XML_COPY;
	if (strcmp(name, "AssumeRoleWithWebIdentityResponse") == 0)
		return VF_S3_XML_WEB_IDENTITY;
	if (strcmp(name, "ErrorResponse") == 0)
		return VF_S3_XML_STS_ERROR;
	return VF_S3_XML_OTHER;
}

static Element
identify_element(const char *name)
{
	static const struct
	{
		const char *name;
		Element		element;
	}			names[] = {
		{"Deleted", ELEMENT_DELETED},
		{"Error", ELEMENT_ERROR},
		{"Key", ELEMENT_KEY},
		{"Code", ELEMENT_CODE},
		{"Message", ELEMENT_MESSAGE},
		{"Region", ELEMENT_REGION},
		{"Status", ELEMENT_STATUS},
		{"MfaDelete", ELEMENT_MFA_DELETE},
		{"Version", ELEMENT_VERSION},
		{"DeleteMarker", ELEMENT_DELETE_MARKER},
		{"Contents", ELEMENT_CONTENTS},
		{"Upload", ELEMENT_UPLOAD},
		{"Part", ELEMENT_PART},
		{"VersionId", ELEMENT_VERSION_ID},
		{"UploadId", ELEMENT_VERSION_ID},
		{"IsLatest", ELEMENT_LATEST},
		{"Size", ELEMENT_SIZE},
		{"ETag", ELEMENT_ETAG},
		{"LastModified", ELEMENT_MODIFIED},
		{"StorageClass", ELEMENT_STORAGE_CLASS},
		{"IsTruncated", ELEMENT_TRUNCATED},
		{"EncodingType", ELEMENT_ENCODING},
		{"NextKeyMarker", ELEMENT_NEXT_KEY},
		{"NextVersionIdMarker", ELEMENT_NEXT_VERSION},
		{"NextContinuationToken", ELEMENT_NEXT_VERSION},
		{"NextUploadIdMarker", ELEMENT_NEXT_VERSION},
		{"NextPartNumberMarker", ELEMENT_NEXT_VERSION},
		{"Credentials", ELEMENT_CREDENTIALS},
		{"AccessKeyId", ELEMENT_ACCESS_KEY},
		{"SecretAccessKey", ELEMENT_SECRET_KEY},
		{"SessionToken", ELEMENT_TOKEN},
		{"Expiration", ELEMENT_EXPIRATION}
	};
	size_t		i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		if (strcmp(name, names[i].name) == 0)
			return names[i].element;
	}
	return ELEMENT_OTHER;
}

/* The field that an element fills in the Credentials of STS, or NULL. */
static Field *
find_secret(VfS3XmlReader *reader, Element element)
{
	if (reader->doc.root != VF_S3_XML_WEB_IDENTITY || reader->depth != 4 ||
		reader->entry != ELEMENT_CREDENTIALS)
		return NULL;
	switch (element)
	{
		case ELEMENT_ACCESS_KEY:
			return &reader->access_key;
		case ELEMENT_SECRET_KEY:
			return &reader->secret_key;
		case ELEMENT_TOKEN:
			return &reader->token;
		case ELEMENT_EXPIRATION:
			return &reader->expiration;
		default:
			return NULL;
	}
}

static bool
is_list(const VfS3XmlReader *reader)
{
	return reader->doc.root == VF_S3_XML_LIST ||
		reader->doc.root == VF_S3_XML_VERSIONS ||
		reader->doc.root == VF_S3_XML_UPLOADS ||
		reader->doc.root == VF_S3_XML_PARTS;
}

/* The field of an entry of a list beside its key and version, or NULL. */
static Field *
find_of_object(VfS3XmlReader *reader, Element element)
{
	if (reader->doc.root == VF_S3_XML_COPY && reader->depth == 2)
		return element == ELEMENT_ETAG ? &reader->etag : NULL;
	if (!is_list(reader) || reader->depth != 3 ||
		reader->entry == ELEMENT_OTHER)
		return NULL;
	switch (element)
	{
		case ELEMENT_LATEST:
			return &reader->latest;
		case ELEMENT_SIZE:
			return &reader->size;
		case ELEMENT_ETAG:
			return &reader->etag;
		case ELEMENT_MODIFIED:
			return &reader->modified;
		case ELEMENT_STORAGE_CLASS:
			return &reader->storage_class;
		default:
			return NULL;
	}
}

/* The field of what a list says of itself, or NULL. */
static Field *
find_of_list(VfS3XmlReader *reader, Element element)
{
	if (!is_list(reader) || reader->depth != 2)
		return NULL;
	switch (element)
	{
		case ELEMENT_TRUNCATED:
			return &reader->truncated;
		case ELEMENT_ENCODING:
			return &reader->encoding;
		case ELEMENT_NEXT_KEY:
			return &reader->next_key;
		case ELEMENT_NEXT_VERSION:
			return &reader->next_version;
		default:
			return NULL;
	}
}

/* Does the document have entries at depth two? */
static bool
has_entries(const VfS3XmlReader *reader)
{
	return reader->doc.root == VF_S3_XML_DELETE_RESULT || is_list(reader);
}

/* The field that an element fills at this place, or NULL. */
static Field *
find_field(VfS3XmlReader *reader, Element element)
{
	bool		in_error;
	bool		in_entry;

	in_error = (reader->doc.root == VF_S3_XML_ERROR && reader->depth == 2) ||
		(reader->doc.root == VF_S3_XML_STS_ERROR && reader->depth == 3 &&
		 reader->entry == ELEMENT_ERROR);
	in_entry = has_entries(reader) && reader->depth == 3 &&
		reader->entry != ELEMENT_OTHER;
	switch (element)
	{
		case ELEMENT_KEY:
			return in_entry ? &reader->key : NULL;
		case ELEMENT_VERSION_ID:
			return in_entry ? &reader->version : NULL;
		case ELEMENT_CODE:
			return in_error || in_entry ? &reader->code : NULL;
		case ELEMENT_MESSAGE:
			return in_error || in_entry ? &reader->message : NULL;
		case ELEMENT_REGION:
			return in_error ? &reader->region : NULL;
		case ELEMENT_STATUS:
			return reader->doc.root == VF_S3_XML_VERSIONING &&
				reader->depth == 2 ? &reader->status : NULL;
		case ELEMENT_MFA_DELETE:
			return reader->doc.root == VF_S3_XML_VERSIONING &&
				reader->depth == 2 ? &reader->mfa_delete : NULL;
		case ELEMENT_TRUNCATED:
		case ELEMENT_ENCODING:
		case ELEMENT_NEXT_KEY:
		case ELEMENT_NEXT_VERSION:
			return find_of_list(reader, element);
		case ELEMENT_LATEST:
		case ELEMENT_SIZE:
		case ELEMENT_ETAG:
		case ELEMENT_MODIFIED:
		case ELEMENT_STORAGE_CLASS:
			return find_of_object(reader, element);
		default:
			return find_secret(reader, element);
	}
}

/* Is this an entry of the document? */
static bool
is_entry(const VfS3XmlReader *reader, Element element)
{
	switch (reader->doc.root)
	{
		case VF_S3_XML_LIST:
			return element == ELEMENT_CONTENTS;
		case VF_S3_XML_VERSIONS:
			return element == ELEMENT_VERSION ||
				element == ELEMENT_DELETE_MARKER;
		case VF_S3_XML_UPLOADS:
			return element == ELEMENT_UPLOAD;
		case VF_S3_XML_PARTS:
			return element == ELEMENT_PART;
		default:
			return element == ELEMENT_DELETED || element == ELEMENT_ERROR;
	}
}

static void
begin_entry(VfS3XmlReader *reader, Element element)
{
	reader->entry = is_entry(reader, element) ? element : ELEMENT_OTHER;
	clear_field(&reader->key);
	clear_field(&reader->version);
	clear_field(&reader->code);
	clear_field(&reader->message);
	clear_field(&reader->latest);
	clear_field(&reader->size);
	clear_field(&reader->etag);
	clear_field(&reader->modified);
	clear_field(&reader->storage_class);
}

/* Tell of an object of a list. */
static void
end_object(VfS3XmlReader *reader)
{
	VfS3XmlObject object;

	trim(&reader->latest);
	trim(&reader->size);
	trim(&reader->etag);
	trim(&reader->modified);
	trim(&reader->storage_class);
	object.key = reader->key.data;
	object.len = reader->key.len;
	object.version = reader->version.data;
	object.marker = reader->entry == ELEMENT_DELETE_MARKER;
	object.latest = reader->entry == ELEMENT_CONTENTS ||
		strcmp(reader->latest.data, "true") == 0;
	object.size = reader->size.data;
	object.etag = reader->etag.data;
	object.modified = reader->modified.data;
	object.storage_class = reader->storage_class.data;
	object.cut = reader->latest.overflow || reader->size.overflow ||
		reader->etag.overflow || reader->modified.overflow ||
		reader->storage_class.overflow;
	reader->handler->listed(reader->handler->arg, &object);
}

static void
end_entry(VfS3XmlReader *reader)
{
	const VfS3XmlHandler *handler = reader->handler;

	/* A key cut short would be somebody else's key. */
	if (reader->key.overflow || reader->version.overflow)
	{
		stop(reader, reader->key.overflow ? "a key is too long" :
			 "the id of a version is too long");
		return;
	}
	trim(&reader->code);
	trim(&reader->version);
	if (handler == NULL || reader->entry == ELEMENT_OTHER)
		return;
	if (is_list(reader))
	{
		if (handler->listed)
			end_object(reader);
		return;
	}
	if (handler->of_version)
		handler->of_version(handler->arg, reader->version.data);
	if (reader->entry == ELEMENT_DELETED && handler->deleted)
		handler->deleted(handler->arg, reader->key.data, reader->key.len);
	else if (reader->entry == ELEMENT_ERROR && handler->failed)
		handler->failed(handler->arg, reader->key.data, reader->key.len,
						reader->code.data, reader->message.data);
}

/* An entry of STS's documents lies at another depth, and has other fields. */
static void
begin_sts_entry(VfS3XmlReader *reader, Element element)
{
	if (reader->doc.root == VF_S3_XML_WEB_IDENTITY && reader->depth == 3)
		reader->entry = element;
	else if (reader->doc.root == VF_S3_XML_STS_ERROR && reader->depth == 2)
		reader->entry = element;
}

static void
end_credentials(VfS3XmlReader *reader)
{
	const VfS3XmlHandler *handler = reader->handler;

	if (reader->access_key.overflow || reader->secret_key.overflow ||
		reader->token.overflow || reader->expiration.overflow)
	{
		stop(reader, "a value is too long");
		return;
	}
	trim(&reader->access_key);
	trim(&reader->secret_key);
	trim(&reader->token);
	trim(&reader->expiration);
	if (handler && handler->credentials)
		handler->credentials(handler->arg, reader->access_key.data,
							 reader->secret_key.data, reader->token.data,
							 reader->expiration.data);
}

/* Expat's handlers */

static void XMLCALL
on_start(void *arg, const XML_Char *name, const XML_Char **attributes)
{
	VfS3XmlReader *reader = arg;
	Element		element = identify_element(local_name(name));
	Field	   *field;

	(void) attributes;
	if (reader->doc.fault)
		return;
	if (++reader->depth > MAX_DEPTH)
	{
		stop(reader, "the document is nested too deeply");
		return;
	}
	if (reader->open)
	{
		stop(reader, "an element stands where only text belongs");
		return;
	}
	if (reader->depth == 1)
		reader->doc.root = identify_root(local_name(name));
	if (reader->depth == 2 && has_entries(reader))
		begin_entry(reader, element);
	begin_sts_entry(reader, element);
	field = find_field(reader, element);
	if (field == NULL)
		return;
	if (field->seen)
	{
		stop(reader, "an element comes twice");
		return;
	}
	field->seen = true;
	reader->open = field;
	reader->open_depth = reader->depth;
}

static void XMLCALL
on_end(void *arg, const XML_Char *name)
{
	VfS3XmlReader *reader = arg;

	(void) name;
	if (reader->doc.fault)
		return;
	if (reader->open && reader->open_depth == reader->depth)
		reader->open = NULL;
	if (reader->depth == 2 && has_entries(reader))
		end_entry(reader);
	if (reader->depth == 3 && reader->doc.root == VF_S3_XML_WEB_IDENTITY &&
		reader->entry == ELEMENT_CREDENTIALS)
		end_credentials(reader);
	reader->depth--;
}

static void XMLCALL
on_text(void *arg, const XML_Char *text, int len)
{
	VfS3XmlReader *reader = arg;

	if (reader->open && reader->doc.fault == NULL)
		add_text(reader->open, text, (size_t) len);
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

/* The reader */

VfS3XmlReader *
vf_s3_xml_open(const VfS3XmlHandler *handler)
{
	VfS3XmlReader *reader = calloc(1, sizeof(VfS3XmlReader));

	if (reader == NULL)
		return NULL;
	reader->parser = XML_ParserCreate("UTF-8");
	if (reader->parser == NULL)
	{
		free(reader);
		return NULL;
	}
	reader->handler = handler;
	set_up_field(&reader->key, reader->key_text, sizeof(reader->key_text));
	set_up_field(&reader->version, reader->version_text,
				 sizeof(reader->version_text));
	set_up_field(&reader->mfa_delete, reader->doc.mfa_delete,
				 sizeof(reader->doc.mfa_delete));
	set_up_field(&reader->truncated, reader->doc.truncated,
				 sizeof(reader->doc.truncated));
	set_up_field(&reader->encoding, reader->doc.encoding,
				 sizeof(reader->doc.encoding));
	set_up_field(&reader->next_key, reader->doc.next_key,
				 sizeof(reader->doc.next_key));
	set_up_field(&reader->next_version, reader->doc.next_version,
				 sizeof(reader->doc.next_version));
	set_up_field(&reader->code, reader->code_text,
				 sizeof(reader->code_text));
	set_up_field(&reader->message, reader->message_text,
				 sizeof(reader->message_text));
	set_up_field(&reader->latest, reader->latest_text,
				 sizeof(reader->latest_text));
	set_up_field(&reader->size, reader->size_text,
				 sizeof(reader->size_text));
	set_up_field(&reader->etag, reader->etag_text,
				 sizeof(reader->etag_text));
	set_up_field(&reader->modified, reader->modified_text,
				 sizeof(reader->modified_text));
	set_up_field(&reader->storage_class, reader->class_text,
				 sizeof(reader->class_text));
	set_up_field(&reader->region, reader->doc.region,
				 sizeof(reader->doc.region));
	set_up_field(&reader->status, reader->doc.status,
				 sizeof(reader->doc.status));
	set_up_field(&reader->access_key, reader->access_key_text,
				 sizeof(reader->access_key_text));
	set_up_field(&reader->secret_key, reader->secret_key_text,
				 sizeof(reader->secret_key_text));
	set_up_field(&reader->token, reader->token_text,
				 sizeof(reader->token_text));
	set_up_field(&reader->expiration, reader->expiration_text,
				 sizeof(reader->expiration_text));
	XML_SetUserData(reader->parser, reader);
	XML_SetElementHandler(reader->parser, on_start, on_end);
	XML_SetCharacterDataHandler(reader->parser, on_text);
	XML_SetStartDoctypeDeclHandler(reader->parser, on_doctype);
	return reader;
}

static bool
parse(VfS3XmlReader *reader, const char *data, size_t len, bool final)
{
	if (reader->doc.fault == NULL &&
		XML_Parse(reader->parser, data, (int) len, final) != XML_STATUS_OK &&
		reader->doc.fault == NULL)
		reader->doc.fault = "the document is not well-formed XML";
	return reader->doc.fault == NULL;
}

bool
vf_s3_xml_feed(VfS3XmlReader *reader, const char *data, size_t len)
{
	if (memchr(data, '\0', len) != NULL && reader->doc.fault == NULL)
		reader->doc.fault = "the document is not UTF-8";
	while (len > 0)
	{
		size_t		piece = len < MAX_PIECE ? len : MAX_PIECE;

		if (!parse(reader, data, piece, false))
			return false;
		data += piece;
		len -= piece;
	}
	return reader->doc.fault == NULL;
}

bool
vf_s3_xml_finish(VfS3XmlReader *reader, VfS3XmlDocument *doc)
{
	bool		ok = parse(reader, "", 0, true);

	if (reader->doc.root == VF_S3_XML_ERROR ||
		reader->doc.root == VF_S3_XML_STS_ERROR)
	{
		trim(&reader->code);
		memcpy(reader->doc.code, reader->code.data, reader->code.len + 1);
		memcpy(reader->doc.message, reader->message.data,
			   reader->message.len + 1);
	}
	if (reader->doc.root == VF_S3_XML_COPY)
	{
		trim(&reader->etag);
		memcpy(reader->doc.etag, reader->etag.data, reader->etag.len + 1);
	}
	trim(&reader->region);
	trim(&reader->status);
	trim(&reader->mfa_delete);
	trim(&reader->truncated);
	trim(&reader->encoding);
	if (ok && (reader->next_key.overflow || reader->next_version.overflow))
	{
		reader->doc.fault = "where the list goes on is too long";
		ok = false;
	}
	*doc = reader->doc;
	XML_ParserFree(reader->parser);
	explicit_bzero(reader, sizeof(*reader));
	free(reader);
	return ok;
}

bool
vf_s3_xml_read(const char *data, size_t len, const VfS3XmlHandler *handler,
			   VfS3XmlDocument *doc)
{
	VfS3XmlReader *reader = vf_s3_xml_open(handler);

	if (reader == NULL)
	{
		memset(doc, 0, sizeof(*doc));
		doc->fault = "there is no memory to read the document";
		return false;
	}
	vf_s3_xml_feed(reader, data, len);
	return vf_s3_xml_finish(reader, doc);
}
