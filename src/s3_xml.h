/*-------------------------------------------------------------------------
 *
 * s3_xml.h
 *	  The XML of S3 and STS: writes the body of DeleteObjects, reads answers.
 *
 * Pure: no postgres.h, nothing raised.  Keys are UTF-8 with a length.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_S3_XML_H
#define VF_S3_XML_H

#include <stdbool.h>
#include <stddef.h>

/* Can XML 1.0 carry every character of this (valid UTF-8) text? */
extern bool vf_s3_xml_can_carry(const char *text, size_t len);

/*
 * Writer.  begin, one call per key, end.  Each returns false, and leaves the
 * body unusable, when the buffer is too small; the sizes say beforehand what
 * will be needed, without the NUL that is always kept behind the text.
 */
typedef struct VfS3XmlBody
{
	char	   *data;
	size_t		size;
	size_t		len;
	bool		failed;
} VfS3XmlBody;

extern size_t vf_s3_xml_frame_size(void);
extern size_t vf_s3_xml_key_size(const char *key, size_t len);
/* The same with a version's id and an ETag; NULL for none. */
extern size_t vf_s3_xml_object_size(const char *key, size_t len,
									const char *version, const char *etag);
extern bool vf_s3_xml_begin(VfS3XmlBody *body, char *data, size_t size);
extern bool vf_s3_xml_key(VfS3XmlBody *body, const char *key, size_t len);
extern bool vf_s3_xml_object(VfS3XmlBody *body, const char *key, size_t len,
							 const char *version, const char *etag);
extern bool vf_s3_xml_end(VfS3XmlBody *body);

/*
 * Reader.  Takes the document in pieces of any size.  The callbacks must not
 * raise; strings they get live for the call only.  What they told counts
 * only if vf_s3_xml_finish returns true: a document that is cut, malformed,
 * too deep or carries a DOCTYPE is a fault, never a partial success.
 */
typedef enum VfS3XmlRoot
{
	VF_S3_XML_NOTHING,			/* no element seen */
	VF_S3_XML_OTHER,
	VF_S3_XML_DELETE_RESULT,
	VF_S3_XML_ERROR,
	VF_S3_XML_VERSIONING,
	VF_S3_XML_LIST,
	VF_S3_XML_VERSIONS,			/* ListVersionsResult */
	VF_S3_XML_UPLOADS,			/* ListMultipartUploadsResult */
	VF_S3_XML_PARTS,			/* ListPartsResult */
	VF_S3_XML_LIFECYCLE,		/* LifecycleConfiguration, read elsewhere */
	VF_S3_XML_COPY,				/* CopyObjectResult */
	VF_S3_XML_WEB_IDENTITY,		/* AssumeRoleWithWebIdentityResponse */
	VF_S3_XML_STS_ERROR			/* ErrorResponse */
} VfS3XmlRoot;

/*
 * An object of a list, a version, a delete marker, an unfinished upload or one
 * of its parts, in the store's words.
 */
typedef struct VfS3XmlObject
{
	const char *key;			/* as it is sent: encoded, or not */
	size_t		len;
	const char *version;		/* or upload; "" where there was none, like all
								 * below */
	bool		marker;			/* of a deletion */
	bool		latest;
	const char *size;
	const char *etag;
	const char *modified;
	const char *storage_class;
	bool		cut;			/* one of these texts was too long */
} VfS3XmlObject;

typedef struct VfS3XmlHandler
{
	/* The key is empty where the element had none. */
	void		(*deleted) (void *arg, const char *key, size_t len);
	void		(*failed) (void *arg, const char *key, size_t len,
						   const char *code, const char *message);
	/* Told before either of them: the entry's VersionId, "" if none. */
	void		(*of_version) (void *arg, const char *version);
	/* An entry of a list. */
	void		(*listed) (void *arg, const VfS3XmlObject *object);
	/* Of an AssumeRoleWithWebIdentityResponse; "" where there was none. */
	void		(*credentials) (void *arg, const char *access_key,
								const char *secret_key, const char *token,
								const char *expiration);
	void	   *arg;
} VfS3XmlHandler;

typedef struct VfS3XmlDocument
{
	VfS3XmlRoot root;
	char		code[64];		/* of an Error document, S3's or STS's */
	char		message[1024];
	char		region[64];
	char		status[16];		/* of a VersioningConfiguration */
	char		mfa_delete[16];
	/*
	 * Of a list: whether and where it goes on (next_version: or its token, an
	 * upload, the number of a part).
	 */
	char		truncated[8];
	char		encoding[8];
	char		next_key[4097];
	char		next_version[1025];
	char		etag[128];		/* of a CopyObjectResult */
	const char *fault;			/* NULL, or what is wrong: a constant */
} VfS3XmlDocument;

typedef struct VfS3XmlReader VfS3XmlReader;

/* handler may be NULL.  Returns NULL only for want of memory. */
extern VfS3XmlReader *vf_s3_xml_open(const VfS3XmlHandler *handler);
extern bool vf_s3_xml_feed(VfS3XmlReader *reader, const char *data,
						   size_t len);
/* Fills doc, frees the reader; false if doc->fault is set. */
extern bool vf_s3_xml_finish(VfS3XmlReader *reader, VfS3XmlDocument *doc);

/* All of it at once. */
extern bool vf_s3_xml_read(const char *data, size_t len,
						   const VfS3XmlHandler *handler,
						   VfS3XmlDocument *doc);

#endif							/* VF_S3_XML_H */
