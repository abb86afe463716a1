/*-------------------------------------------------------------------------
 *
 * s3_class.c
 *	  The one table of answer classes, with a cure for every row.
 *
 * A row holds for a request as a whole, or for one key's error inside an
 * answer.  AccessDenied shows why: for a whole request it is the state of
 * the bucket, for one key it is final.
 *
 * A lookup takes the first row with the code; failing that, for a request,
 * the first row with the status, and then the one with its hundreds.  Rows
 * found by status give their code to answers that carry none (HEAD never
 * does).  Unknown codes of a key pass: they are tried again, and counted.
 *
 *-------------------------------------------------------------------------
 */
#include <stddef.h>
#include <string.h>

#include "s3_class.h"

typedef enum Scope
{
	REQUEST,
	KEY
} Scope;

typedef struct ClassRow
{
	Scope		scope;
	int			status;			/* 0: only found by its code */
	const char *code;
	VfS3Class	class;
	const char *cure;
} ClassRow;

/* Cures that several rows share. */
#define CURE_LATER \
	"Nothing needs to be done: it is tried again with growing pauses."
#define CURE_KEYS \
	"Check the access key and the secret key in the credentials file."
#define CURE_TOKEN \
	"Renew the temporary credentials, or remove an old session token from " \
	"the credentials file."
#define CURE_RIGHTS \
	"Give the credentials the right s3:DeleteObject on the bucket, and " \
	"s3:ListBucket, s3:GetBucketVersioning and s3:GetObject for the checks."
#define CURE_REGION \
	"Call vf_configure_bucket() with the region that the store names."
#define CURE_BUCKET \
	"Check the bucket's name and endpoint with vf_s3_check()."
#define CURE_BISECT \
	"Nothing needs to be done: the batch is halved until the key at fault " \
	"stands alone."
#define CURE_BUSY \
	"Nothing needs to be done: requests slow down until the store keeps up."
#define CURE_STORE \
	"Look at the store's own log and status page; it is tried again with " \
	"growing pauses."
#define CURE_DEAD_KEY \
	"No retry can help: correct the row that the key came from, or cancel " \
	"the key with vf_outbox_cancel()."
#define CURE_LEASE \
	"Look which server is meant: stop the other one, or keep this one from " \
	"the bucket. A server that is gone is waited for until its heartbeat is " \
	"15 minutes old."
#define CURE_ENDPOINT \
	"Check that the endpoint is an S3 store and that no proxy answers in " \
	"its place."
#define CURE_NETWORK \
	"Check the network between this server and the endpoint, and any " \
	"firewall on the way."

static const ClassRow rows[] = {
	/* The transport's outcomes, under our own codes. */
	{REQUEST, 0, "ResolveError", VF_S3_BUCKET,
		"Check the host name of the endpoint and this server's name "
	"resolution."},
	{REQUEST, 0, "ConnectError", VF_S3_BUCKET,
		"Check that the store is running and that this server may connect to "
	"the endpoint's port."},
	{REQUEST, 0, "TlsError", VF_S3_BUCKET,
		"Check the endpoint's certificate; for a private authority set "
	"voiceframe.s3_ca_file."},
	{REQUEST, 0, "Timeout", VF_S3_BUCKET, CURE_NETWORK},
	{REQUEST, 0, "ConnectionCut", VF_S3_BUCKET, CURE_NETWORK},
	{REQUEST, 0, "AnswerTooLarge", VF_S3_BUCKET, CURE_ENDPOINT},
	{REQUEST, 0, "TransportError", VF_S3_BUCKET, CURE_ENDPOINT},

	/* Answers that are not what S3 answers. */
	{REQUEST, 0, "MalformedAnswer", VF_S3_BUCKET, CURE_ENDPOINT},
	{REQUEST, 0, "EndlessList", VF_S3_KEY_PASSING,
		"Look at the object's versions with another client: there are more "
		"than could be listed in the time of a lease, or the store's list "
	"goes round in circles."},
	{REQUEST, 0, "UnorderedList", VF_S3_BUCKET,
		"The store lists its keys in another order than that of their UTF-8 "
		"bytes, as AWS's directory buckets do: it cannot be scanned."},
	{KEY, 0, "MissingFromAnswer", VF_S3_KEY_PASSING,
	"Nothing needs to be done: the key is asked for again."},

	/* What we find before anything is sent. */
	{REQUEST, 0, "NoCredentials", VF_S3_BUCKET,
		"Set voiceframe.s3_credentials_file to a file with an access key and "
		"a secret key, or give the server's environment a web identity, a "
	"container endpoint or an instance role."},
	{REQUEST, 0, "CredentialsFile", VF_S3_BUCKET,
		"Make the credentials file a regular file outside the data "
	"directory, owned by the server's user and closed to all others."},
	{REQUEST, 0, "WebIdentityToken", VF_S3_BUCKET,
		"Check AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN, or the "
		"profile's web_identity_token_file: a regular file outside the data "
		"directory, readable by the server's user, not writable for "
	"everybody, with a token that has not expired."},
	{REQUEST, 0, "StsAccessDenied", VF_S3_BUCKET,
		"Check the role's ARN, and let its trust policy allow "
		"sts:AssumeRoleWithWebIdentity for the token's issuer, audience and "
	"subject."},
	{REQUEST, 0, "StsError", VF_S3_BUCKET,
		"Check that this server reaches STS, directly or by "
		"voiceframe.s3_proxy, and that AWS_REGION or AWS_ENDPOINT_URL_STS is "
	"right; it is tried again with growing pauses."},
	{REQUEST, 0, "ContainerCredentials", VF_S3_BUCKET,
		"Check AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or _FULL_URI and the "
		"authorization token, and that the task or pod has a role; over http "
	"only this machine and the agents of ECS and EKS are asked."},
	{REQUEST, 0, "MetadataService", VF_S3_BUCKET,
		"Give the instance a role; in a container raise the hop limit of its "
		"metadata options (http-put-response-hop-limit) to 2; elsewhere set "
	"voiceframe.s3_credentials_file."},
	{REQUEST, 0, "CannotSign", VF_S3_BUCKET,
		"Check that the credentials, region and bucket are plain text of "
	"ordinary length."},
	{REQUEST, 0, "BodyTooLarge", VF_S3_BATCH, CURE_BISECT},
	{KEY, 0, "KeyTooLong", VF_S3_KEY_FINAL,
		"S3 allows 1,024 bytes, so no such object can exist: correct the row "
	"that the key came from."},
	{KEY, 0, "KeyIsUrl", VF_S3_KEY_FINAL,
		"Store the object's key instead of its URL; delete the object by "
	"hand if it is in the bucket."},
	{KEY, 0, "KeyNotUtf8", VF_S3_KEY_FINAL,
		"Keys are UTF-8, so no such object can exist: correct the row that "
	"the key came from."},
	{KEY, 0, "EmptyKey", VF_S3_KEY_FINAL,
	"Store NULL instead of an empty key."},

	/* Of a copy that was to be made. */
	{KEY, 0, "TargetDiffers", VF_S3_KEY_FINAL,
		"Compare the two objects: the message says why they are not the "
		"same. Move the one at the destination away, or let the order name "
	"it; then call vf_outbox_retry() or vf_outbox_cancel()."},
	{KEY, 0, "SourceMissing", VF_S3_KEY_FINAL,
		"Look for the file in older versions of the bucket, in a backup, or "
		"with the customer; put it back and call vf_outbox_retry(), or "
	"cancel the copy with vf_outbox_cancel()."},
	{KEY, 0, "SourceChanged", VF_S3_KEY_PASSING, CURE_LATER},
	{KEY, 0, "SourceEncrypted", VF_S3_KEY_FINAL,
		"Copy the object with the key that it is encrypted with and let the "
	"order name the copy; then call vf_outbox_cancel()."},
	{KEY, 0, "TooLargeToCopy", VF_S3_KEY_FINAL,
		"Copy the object in parts, with the store's own client, and let the "
	"order name the copy; then call vf_outbox_cancel()."},
	{KEY, 0, "CopyDenied", VF_S3_KEY_PASSING,
		"Give the credentials s3:GetObject, s3:GetObjectTagging and "
		"s3:GetObjectAcl on the bucket and s3:PutObject, "
		"s3:PutObjectTagging and s3:PutObjectAcl under permanent/, with the "
		"rights on the KMS key where there is one; then call "
	"vf_outbox_retry()."},
	{KEY, 0, "CopyMissing", VF_S3_KEY_PASSING, CURE_STORE},
	{KEY, 0, "CopyChanged", VF_S3_KEY_PASSING,
		"Look who else writes under permanent/; it is tried again with "
	"growing pauses."},
	{KEY, 0, "AclUnreadable", VF_S3_KEY_FINAL,
		"Look at the object's access control with the store's own client; "
		"copy the object by hand and let the order name the copy, then call "
	"vf_outbox_cancel()."},
	{KEY, 0, "AclNotKept", VF_S3_KEY_FINAL,
		"Look at the access control of both objects, and whether the bucket "
		"blocks public access; set it right by hand, then call "
	"vf_outbox_retry()."},
	{KEY, 0, "RowRefused", VF_S3_KEY_PASSING,
		"Look at the triggers and constraints of orders and sessions: the "
		"message is theirs. The copy stands; call vf_outbox_retry() when "
	"they are right."},
	{KEY, 0, "RowBusy", VF_S3_KEY_PASSING, CURE_LATER},

	{REQUEST, 0, "MfaDelete", VF_S3_BUCKET,
		"Switch MFA delete off in the bucket, or switch "
	"voiceframe.s3_delete_versions off: versions then stay under delete "
	"markers."},

	/* The lifecycle document. */
	{REQUEST, 0, "LifecycleUnknown", VF_S3_BUCKET,
		"The store knows no lifecycle rules, or not as S3 does: nothing was "
		"or will be written. Purge and drain delete what is due without "
	"them."},
	{REQUEST, 0, "LifecycleRefused", VF_S3_BUCKET,
		"The store lacks something that a rule asks for: leave parts out, "
		"such as infrequent_class => 'none', archive_class => 'none' or "
	"noncurrent_versions => false."},
	{REQUEST, 0, "NoSuchLifecycleConfiguration", VF_S3_BUCKET,
	"Write the rules with vf_s3_lifecycle_apply(dry_run => false)."},

	/* Who we are, and when. */
	{REQUEST, 403, "AccessDenied", VF_S3_BUCKET, CURE_RIGHTS},
	{KEY, 0, "AccessDenied", VF_S3_KEY_FINAL,
		"Look for an object lock, a legal hold, MFA delete or a bucket policy "
	"that protects the object, then call vf_outbox_retry()."},
	{REQUEST, 0, "AllAccessDisabled", VF_S3_BUCKET, CURE_RIGHTS},
	{REQUEST, 0, "Forbidden", VF_S3_BUCKET, CURE_RIGHTS},
	{REQUEST, 401, "Unauthorized", VF_S3_BUCKET, CURE_KEYS},
	{REQUEST, 0, "InvalidAccessKeyId", VF_S3_BUCKET, CURE_KEYS},
	{REQUEST, 0, "SignatureDoesNotMatch", VF_S3_BUCKET, CURE_KEYS},
	{REQUEST, 0, "AuthorizationHeaderMalformed", VF_S3_BUCKET, CURE_REGION},
	{REQUEST, 0, "InvalidSecurity", VF_S3_BUCKET, CURE_KEYS},
	{REQUEST, 0, "InvalidClientTokenId", VF_S3_BUCKET, CURE_KEYS},
	{REQUEST, 0, "MissingSecurityHeader", VF_S3_BUCKET, CURE_ENDPOINT},
	{REQUEST, 0, "ExpiredToken", VF_S3_BUCKET, CURE_TOKEN},
	{REQUEST, 0, "ExpiredTokenException", VF_S3_BUCKET, CURE_TOKEN},
	{REQUEST, 0, "InvalidToken", VF_S3_BUCKET, CURE_TOKEN},
	{REQUEST, 0, "TokenRefreshRequired", VF_S3_BUCKET, CURE_TOKEN},
	{REQUEST, 0, "AccountProblem", VF_S3_BUCKET,
	"Settle the matter with the provider of the store."},
	{REQUEST, 0, "NotSignedUp", VF_S3_BUCKET,
	"Sign the account up for S3 with the provider of the store."},
	{REQUEST, 0, "UserSuspended", VF_S3_BUCKET,
	"Ask the store's administrator to enable the user again."},
	{REQUEST, 0, "RequestTimeTooSkewed", VF_S3_BUCKET,
		"Set this server's clock right, for example with chrony; the store "
	"accepts a difference of 15 minutes."},
	{REQUEST, 0, "RequestExpired", VF_S3_BUCKET,
	"Set this server's clock right, for example with chrony."},

	/* Where the bucket is. */
	{REQUEST, 0, "WrongRegion", VF_S3_BUCKET, CURE_REGION},
	{REQUEST, 301, "PermanentRedirect", VF_S3_BUCKET, CURE_REGION},
	{REQUEST, 307, "TemporaryRedirect", VF_S3_BUCKET,
		"A bucket that was just created answers so for some hours; it is "
	"tried again with growing pauses."},
	{REQUEST, 302, "Redirect", VF_S3_BUCKET, CURE_REGION},
	{REQUEST, 0, "IllegalLocationConstraintException", VF_S3_BUCKET,
	CURE_REGION},
	{REQUEST, 404, "NoSuchBucket", VF_S3_BUCKET, CURE_BUCKET},
	{REQUEST, 0, "WrongBucket", VF_S3_BUCKET,
		"Register the bucket that holds the files, with "
		"vf_configure_bucket(); if it is the right one and is meant to hold "
	"none of them, register it with probe => false."},
	{REQUEST, 0, "LeaseHeldElsewhere", VF_S3_BUCKET, CURE_LEASE},
	{REQUEST, 0, "LostHistory", VF_S3_BUCKET,
		"Decide which database is the one that goes on, stop the others, and "
	"call vf_adopt() there; nothing is deleted until then."},
	{REQUEST, 0, "LeaseUnreadable", VF_S3_BUCKET,
		"Look at the object under .voiceframe_retention/ that vf_s3_check() "
		"names; remove it if no other server uses it, or call vf_adopt() "
	"and wait until it is 15 minutes old."},
	{REQUEST, 0, "UnknownReference", VF_S3_BUCKET,
		"Call vf_add_reference() or vf_waive_reference() for the columns that "
	"are unknown in vf_references; the keys are tried again within an hour."},
	{REQUEST, 0, "SharedBucket", VF_S3_BUCKET,
		"See vf_s3_shared and vf_s3_check(): give each database prefixes or a "
		"bucket of its own, or delete the marker of a database that is gone "
	"for good."},
	{REQUEST, 0, "InvalidBucketName", VF_S3_BUCKET, CURE_BUCKET},
	{REQUEST, 0, "NoSuchKey", VF_S3_BUCKET, CURE_ENDPOINT},
	{KEY, 0, "NoSuchBucket", VF_S3_KEY_PASSING, CURE_BUCKET},

	/* The store is busy or ill. */
	{REQUEST, 503, "SlowDown", VF_S3_BUCKET, CURE_BUSY},
	{REQUEST, 0, "ServiceUnavailable", VF_S3_BUCKET, CURE_STORE},
	{REQUEST, 0, "RequestLimitExceeded", VF_S3_BUCKET, CURE_BUSY},
	{REQUEST, 0, "Throttling", VF_S3_BUCKET, CURE_BUSY},
	{REQUEST, 0, "ThrottlingException", VF_S3_BUCKET, CURE_BUSY},
	{REQUEST, 429, "TooManyRequests", VF_S3_BUCKET, CURE_BUSY},
	{REQUEST, 500, "InternalError", VF_S3_BUCKET, CURE_STORE},
	{REQUEST, 501, "NotImplemented", VF_S3_BUCKET,
		"The store lacks what was asked for; see the README for what a store "
	"must offer."},
	{REQUEST, 502, "BadGateway", VF_S3_BUCKET, CURE_STORE},
	{REQUEST, 504, "GatewayTimeout", VF_S3_BUCKET, CURE_STORE},
	{REQUEST, 408, "RequestTimeout", VF_S3_BUCKET, CURE_NETWORK},
	{REQUEST, 409, "OperationAborted", VF_S3_BUCKET, CURE_LATER},
	{REQUEST, 0, "ConditionalRequestConflict", VF_S3_BUCKET, CURE_LATER},
	{REQUEST, 405, "MethodNotAllowed", VF_S3_BUCKET, CURE_ENDPOINT},
	{REQUEST, 407, "ProxyAuthenticationRequired", VF_S3_BUCKET,
		"Check voiceframe.s3_proxy: the proxy asks for a user and a "
	"password."},
	{REQUEST, 411, "MissingContentLength", VF_S3_BUCKET, CURE_ENDPOINT},
	{REQUEST, 412, "PreconditionFailed", VF_S3_BUCKET, CURE_LATER},
	{REQUEST, 0, "BadDigest", VF_S3_BUCKET,
		"Look for a proxy on the way that changes requests; it is tried "
	"again with growing pauses."},
	{REQUEST, 0, "InvalidDigest", VF_S3_BUCKET, CURE_ENDPOINT},
	{REQUEST, 0, "XAmzContentSHA256Mismatch", VF_S3_BUCKET,
		"Look for a proxy on the way that changes requests; it is tried "
	"again with growing pauses."},
	{REQUEST, 0, "InvalidRequest", VF_S3_BUCKET,
		"See the store's own words in the message; a bucket policy or the "
	"kind of the store may forbid the request."},

	/* The batch. */
	{REQUEST, 0, "MalformedXML", VF_S3_BATCH, CURE_BISECT},
	{REQUEST, 0, "InvalidArgument", VF_S3_BATCH, CURE_BISECT},
	{REQUEST, 0, "InvalidURI", VF_S3_BATCH, CURE_BISECT},
	{REQUEST, 0, "KeyTooLongError", VF_S3_BATCH, CURE_BISECT},
	{REQUEST, 0, "MaxMessageLengthExceeded", VF_S3_BATCH, CURE_BISECT},
	{REQUEST, 413, "EntityTooLarge", VF_S3_BATCH, CURE_BISECT},
	{REQUEST, 414, "UriTooLong", VF_S3_BATCH, CURE_BISECT},
	{REQUEST, 416, "InvalidRange", VF_S3_BATCH, CURE_BISECT},
	{REQUEST, 400, "BadRequest", VF_S3_BATCH, CURE_BISECT},

	/* One key, passing. */
	{KEY, 0, "SlowDown", VF_S3_KEY_PASSING, CURE_BUSY},
	{KEY, 0, "InternalError", VF_S3_KEY_PASSING, CURE_STORE},
	{KEY, 0, "ServiceUnavailable", VF_S3_KEY_PASSING, CURE_STORE},
	{KEY, 0, "OperationAborted", VF_S3_KEY_PASSING, CURE_LATER},
	{KEY, 0, "RequestTimeout", VF_S3_KEY_PASSING, CURE_LATER},
	{KEY, 0, "ExpiredToken", VF_S3_KEY_PASSING, CURE_TOKEN},

	/* One key, final. */
	{KEY, 0, "NoSuchKey", VF_S3_OK,
	"Nothing needs to be done: the object is not there."},
	{KEY, 0, "NoSuchVersion", VF_S3_OK,
	"Nothing needs to be done: the version is not there."},
	{KEY, 0, "ObjectLocked", VF_S3_KEY_FINAL,
		"Wait until the object's retention ends or lift its legal hold, then "
	"call vf_outbox_retry()."},
	{KEY, 0, "ObjectUnderRetention", VF_S3_KEY_FINAL,
		"Wait until the object's retention ends, then call "
	"vf_outbox_retry()."},
	{KEY, 0, "WORMProtected", VF_S3_KEY_FINAL,
		"Wait until the object's retention ends, then call "
	"vf_outbox_retry()."},
	{KEY, 0, "InvalidRequest", VF_S3_KEY_FINAL,
		"Look for an object lock or a legal hold on the object, then call "
	"vf_outbox_retry()."},
	{KEY, 0, "MethodNotAllowed", VF_S3_KEY_FINAL,
		"Look for a rule of the store that forbids to delete the object, "
	"then call vf_outbox_retry()."},
	{KEY, 0, "PreconditionFailed", VF_S3_KEY_FINAL,
		"The object has changed since it was looked at; look again before "
	"you delete it."},
	{KEY, 0, "KeyTooLongError", VF_S3_KEY_FINAL, CURE_DEAD_KEY},
	{KEY, 0, "InvalidArgument", VF_S3_KEY_FINAL, CURE_DEAD_KEY},
	{KEY, 0, "InvalidURI", VF_S3_KEY_FINAL, CURE_DEAD_KEY},
	{KEY, 0, "InvalidObjectName", VF_S3_KEY_FINAL, CURE_DEAD_KEY},
	{KEY, 0, "UserKeyMustBeSpecified", VF_S3_KEY_FINAL, CURE_DEAD_KEY},
	{KEY, 0, "NotImplemented", VF_S3_KEY_FINAL, CURE_DEAD_KEY},

	/* Whatever is left. */
	{REQUEST, 2, "UnexpectedStatus", VF_S3_BUCKET, CURE_ENDPOINT},
	{REQUEST, 3, "UnexpectedRedirect", VF_S3_BUCKET, CURE_ENDPOINT},
	{REQUEST, 4, "UnexpectedRefusal", VF_S3_BUCKET, CURE_ENDPOINT},
	{REQUEST, 5, "UnexpectedFailure", VF_S3_BUCKET, CURE_STORE},
	{KEY, 0, "UnknownError", VF_S3_KEY_PASSING,
		"See the store's own words in the message and its documentation of "
	"this code."}
};

#define NROWS	((int) (sizeof(rows) / sizeof(rows[0])))

static const ClassRow *
find_code(Scope scope, const char *code)
{
	int			i;

	for (i = 0; i < NROWS; i++)
	{
		if (rows[i].scope == scope && strcmp(rows[i].code, code) == 0)
			return &rows[i];
	}
	return NULL;
}

static const ClassRow *
find_status(int status)
{
	int			i;

	for (i = 0; i < NROWS; i++)
	{
		if (rows[i].status != 0 &&
			(rows[i].status == status || rows[i].status == status / 100))
			return &rows[i];
	}
	return find_code(REQUEST, "MalformedAnswer");
}

VfS3Class
vf_s3_class_of_request(int status, const char *code, const char **name)
{
	const ClassRow *row = NULL;

	if (code[0] != '\0')
		row = find_code(REQUEST, code);
	if (row == NULL)
		row = find_status(status);
	*name = code[0] != '\0' ? code : row->code;
	return row->class;
}

VfS3Class
vf_s3_class_of_key(const char *code)
{
	const ClassRow *row = find_code(KEY, code);

	return row ? row->class : VF_S3_KEY_PASSING;
}

static const char *
find_cure(const char *code, Scope first, Scope second)
{
	const ClassRow *row = find_code(first, code);

	if (row == NULL)
		row = find_code(second, code);
	if (row == NULL)
		row = find_code(KEY, "UnknownError");
	return row->cure;
}

const char *
vf_s3_cure(const char *code)
{
	return find_cure(code, REQUEST, KEY);
}

const char *
vf_s3_key_cure(const char *code)
{
	return find_cure(code, KEY, REQUEST);
}

bool
vf_s3_class_entry(int n, int *status, const char **code, VfS3Class *class,
				  const char **cure)
{
	if (n < 0 || n >= NROWS)
		return false;
	*status = rows[n].status;
	*code = rows[n].code;
	*class = rows[n].class;
	*cure = rows[n].cure;
	return true;
}
