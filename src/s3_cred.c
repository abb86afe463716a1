/*-------------------------------------------------------------------------
 *
 * s3_cred.c
 *	  Where S3 credentials come from.
 *
 * Order of things: faults in words; a profile of a file; the environment's
 * keys; web identity, container and metadata service as the environment names
 * them; the search.  What is read from a file is wiped from every buffer but
 * the result's.
 *
 * A step of the search fills *cred, or describes a source of keys that
 * expire, which s3_cred_cache.c then asks; or it tells that nothing was named
 * there (NOTHING_NAMED).
 *
 * Faults are returned, not raised.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <pwd.h>
#include <stdlib.h>
#include <unistd.h>

#include "utils/timestamp.h"

#include "s3_cred_internal.h"
#include "s3_name.h"

#define MAX_FILE	(64 * 1024)

/* The settings' and variables' names, for people. */
#define ORIGIN_SETTING	"voiceframe.s3_credentials_file"
#define ORIGIN_ENV		"environment"
#define ORIGIN_SHARED	"shared credentials file"
#define ORIGIN_WEB		"web identity"
#define ORIGIN_CONTAINER "container endpoint"
#define ORIGIN_METADATA	"metadata service"

/* Where the agents of ECS and the metadata service of EC2 listen. */
#define ECS_AGENT		"http://169.254.170.2"
#define EC2_METADATA	"http://169.254.169.254"
#define EC2_METADATA_IPV6 "http://[fd00:ec2::254]"

#define DEFAULT_SESSION	"voiceframe-retention"

typedef enum Step
{
	NOTHING_NAMED,				/* look further */
	KEYS,						/* *cred is filled */
	SOURCE,						/* search->source is */
	FAULT						/* search->fault and code are */
} Step;

typedef struct Search
{
	const VfS3CredQuery *query;
	VfS3Credentials *cred;
	VfS3CredSource source;
	char	   *fault;
	const char *code;
} Search;

const char *
vf_s3_cred_variable(const char *name)
{
	const char *value = getenv(name);

	return value ? value : "";
}

static bool
is_set(const char *name)
{
	return vf_s3_cred_variable(name)[0] != '\0';
}

static Step
fault(Search *search, const char *code, char *words)
{
	search->code = code;
	search->fault = words;
	return FAULT;
}

/* A profile of a file */

static char *
explain(VfS3CredVerdict verdict, const char *path, const char *profile,
		int line)
{
	switch (verdict)
	{
		case VF_S3_CRED_FOUND:
		case VF_S3_CRED_WEB:
			break;
		case VF_S3_CRED_NO_PROFILE:
			return psprintf("\"%s\" has no profile \"%s\".", path, profile);
		case VF_S3_CRED_NO_ACCESS_KEY:
			return psprintf("Profile \"%s\" of \"%s\" has no "
							"aws_access_key_id.", profile, path);
		case VF_S3_CRED_NO_SECRET_KEY:
			return psprintf("Profile \"%s\" of \"%s\" has no "
							"aws_secret_access_key.", profile, path);
		case VF_S3_CRED_NO_ROLE:
			return psprintf("Profile \"%s\" of \"%s\" has a "
							"web_identity_token_file but no role_arn.",
							profile, path);
		case VF_S3_CRED_UNSUPPORTED:
			return psprintf("Profile \"%s\" of \"%s\" names a role without a "
							"web identity, a sign-on or a process instead of "
							"keys, which is not supported.", profile, path);
		case VF_S3_CRED_BAD_LINE:
			return psprintf("Line %d of \"%s\" is neither a section, a "
							"setting nor a comment.", line, path);
		case VF_S3_CRED_BAD_VALUE:
			return psprintf("The value on line %d of \"%s\" is too long, or "
							"not plain ASCII without blanks.", line, path);
	}
	return NULL;
}

static void
fill(VfS3Credentials *cred, const VfS3CredText *text, const char *origin)
{
	cred->access_key = pstrdup(text->access_key);
	cred->secret_key = pstrdup(text->secret_key);
	cred->session_token = text->session_token[0] ?
		pstrdup(text->session_token) : NULL;
	cred->expires_at = DT_NOEND;
	cred->origin = origin;
}

static Step web_source(Search *search, const char *role,
					   const char *role_session, const char *token_file);

static Step
read_profile(Search *search, const char *path, const char *profile,
			 const char *origin)
{
	char		buffer[MAX_FILE];
	VfS3CredText text;
	VfS3CredVerdict verdict;
	char	   *words;
	size_t		len;
	int			line;

	words = vf_s3_cred_file_read(path, VF_S3_CRED_FILE_KEYS, buffer,
								 sizeof(buffer), &len);
	if (words)
		return fault(search, "CredentialsFile", words);
	verdict = vf_s3_cred_parse(buffer, len, profile, &text, &line);
	explicit_bzero(buffer, sizeof(buffer));
	if (verdict == VF_S3_CRED_WEB)
		return web_source(search, text.role_arn, text.role_session,
						  text.token_file);
	if (verdict != VF_S3_CRED_FOUND)
		return fault(search, "CredentialsFile",
					 explain(verdict, path, profile, line));
	fill(search->cred, &text, origin);
	vf_s3_cred_parse_wipe(&text);
	return KEYS;
}

/* The environment's keys */

static bool
take_variable(const char *name, char *to, size_t size)
{
	const char *value = vf_s3_cred_variable(name);
	size_t		len = strlen(value);

	if (len >= size || !vf_s3_cred_value_ok(value, len))
		return false;
	memcpy(to, value, len + 1);
	return true;
}

static Step
environment_keys(Search *search)
{
	VfS3CredText text;
	Step		step = KEYS;

	if (!is_set("AWS_ACCESS_KEY_ID"))
		return NOTHING_NAMED;
	memset(&text, 0, sizeof(text));
	if (!take_variable("AWS_ACCESS_KEY_ID", text.access_key,
					   sizeof(text.access_key)) ||
		!take_variable("AWS_SECRET_ACCESS_KEY", text.secret_key,
					   sizeof(text.secret_key)) ||
		!take_variable("AWS_SESSION_TOKEN", text.session_token,
					   sizeof(text.session_token)))
		step = fault(search, "NoCredentials",
					 pstrdup("A value in the server's environment is too "
							 "long, or not plain ASCII without blanks."));
	else if (text.secret_key[0] == '\0')
		step = fault(search, "NoCredentials",
					 pstrdup("AWS_ACCESS_KEY_ID is in the server's "
							 "environment, but AWS_SECRET_ACCESS_KEY is "
							 "not."));
	else
		fill(search->cred, &text, ORIGIN_ENV);
	vf_s3_cred_parse_wipe(&text);
	return step;
}

/* Web identity */

/* The STS to ask, palloc'd, or NULL with a fault. */
static char *
sts_url(Search *search)
{
	const char *url = vf_s3_cred_variable("AWS_ENDPOINT_URL_STS");
	const char *region = vf_s3_cred_variable("AWS_REGION");
	const char *wrong;

	if (url[0])
	{
		wrong = vf_s3_cred_url_fault(VF_S3_CRED_STS, url);
		if (wrong == NULL)
			return pnstrdup(url, vf_s3_cred_url_origin(url));
		fault(search, "StsError",
			  psprintf("AWS_ENDPOINT_URL_STS cannot be used. %s", wrong));
		return NULL;
	}
	if (region[0] == '\0')
		region = vf_s3_cred_variable("AWS_DEFAULT_REGION");
	if (region[0] == '\0')
		region = search->query->region ? search->query->region : "";
	if (vf_s3_cred_region_ok(region))
		return psprintf("https://sts.%s.amazonaws.com%s", region,
						strncmp(region, "cn-", 3) == 0 ? ".cn" : "");
	fault(search, "StsError",
		  pstrdup("The region whose STS is to be asked is not known."));
	return NULL;
}

static Step
web_source(Search *search, const char *role, const char *role_session,
		   const char *token_file)
{
	VfS3CredSource *source = &search->source;

	if (role[0] == '\0')
		return fault(search, "WebIdentityToken",
					 pstrdup("AWS_WEB_IDENTITY_TOKEN_FILE is in the server's "
							 "environment, but AWS_ROLE_ARN is not."));
	if (!vf_s3_cred_value_ok(role, strlen(role)))
		return fault(search, "WebIdentityToken",
					 pstrdup("The role's ARN is not plain ASCII without "
							 "blanks."));
	if (role_session[0] == '\0')
		role_session = DEFAULT_SESSION;
	if (!vf_s3_cred_name_ok(role_session, strlen(role_session)))
		return fault(search, "WebIdentityToken",
					 pstrdup("The role's session name has other characters "
							 "than letters, digits and +=,.@_-, or is longer "
							 "than 64."));
	source->service = VF_S3_CRED_STS;
	source->url = sts_url(search);
	if (source->url == NULL)
		return FAULT;
	source->role_arn = pstrdup(role);
	source->role_session = pstrdup(role_session);
	source->token_file = pstrdup(token_file);
	search->cred->origin = ORIGIN_WEB;
	return SOURCE;
}

static Step
environment_web(Search *search)
{
	if (!is_set("AWS_WEB_IDENTITY_TOKEN_FILE"))
		return NOTHING_NAMED;
	return web_source(search, vf_s3_cred_variable("AWS_ROLE_ARN"),
					  vf_s3_cred_variable("AWS_ROLE_SESSION_NAME"),
					  vf_s3_cred_variable("AWS_WEB_IDENTITY_TOKEN_FILE"));
}

/* The shared file */

/* ~/.aws/credentials of the server's user, or NULL. */
static char *
home_file(void)
{
	const char *home = vf_s3_cred_variable("HOME");

	if (home[0] == '\0')
	{
		struct passwd *entry = getpwuid(geteuid());

		if (entry == NULL)
			return NULL;
		home = entry->pw_dir;
	}
	return psprintf("%s/.aws/credentials", home);
}

static Step
shared_file(Search *search, const char *profile)
{
	const char *named = vf_s3_cred_variable("AWS_SHARED_CREDENTIALS_FILE");
	char	   *path = named[0] ? pstrdup(named) : home_file();

	if (!named[0] && (path == NULL ||
					  (access(path, F_OK) != 0 && errno != EACCES)))
		return NOTHING_NAMED;
	return read_profile(search, path, profile, ORIGIN_SHARED);
}

/* Container and metadata service */

static Step
container_endpoint(Search *search)
{
	const char *relative =
		vf_s3_cred_variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
	const char *full =
		vf_s3_cred_variable("AWS_CONTAINER_CREDENTIALS_FULL_URI");
	VfS3CredSource *source = &search->source;
	const char *wrong;

	if (!relative[0] && !full[0])
		return NOTHING_NAMED;
	if (relative[0] && relative[0] != '/')
		return fault(search, "ContainerCredentials",
					 pstrdup("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI does "
							 "not begin with a slash."));
	source->url = relative[0] ? psprintf("%s%s", ECS_AGENT, relative) :
		pstrdup(full);
	wrong = vf_s3_cred_url_fault(VF_S3_CRED_CONTAINER, source->url);
	if (wrong)
		return fault(search, "ContainerCredentials",
					 psprintf("AWS_CONTAINER_CREDENTIALS_%s_URI cannot be "
							  "used. %s", relative[0] ? "RELATIVE" : "FULL",
							  wrong));
	source->service = VF_S3_CRED_CONTAINER;
	if (is_set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"))
		source->token_file =
			vf_s3_cred_variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
	else if (is_set("AWS_CONTAINER_AUTHORIZATION_TOKEN"))
		source->token =
			vf_s3_cred_variable("AWS_CONTAINER_AUTHORIZATION_TOKEN");
	search->cred->origin = ORIGIN_CONTAINER;
	return SOURCE;
}

static Step
metadata_service(Search *search)
{
	const char *url =
		vf_s3_cred_variable("AWS_EC2_METADATA_SERVICE_ENDPOINT");
	const char *mode =
		vf_s3_cred_variable("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");
	VfS3CredSource *source = &search->source;
	const char *wrong;

	if (pg_strcasecmp(vf_s3_cred_variable("AWS_EC2_METADATA_DISABLED"),
					  "true") == 0)
		return NOTHING_NAMED;
	source->named = url[0] != '\0';
	if (!source->named)
		url = pg_strcasecmp(mode, "ipv6") == 0 ? EC2_METADATA_IPV6 :
			EC2_METADATA;
	wrong = vf_s3_cred_url_fault(VF_S3_CRED_METADATA, url);
	if (wrong)
		return fault(search, "MetadataService",
					 psprintf("AWS_EC2_METADATA_SERVICE_ENDPOINT cannot be "
							  "used. %s", wrong));
	source->service = VF_S3_CRED_METADATA;
	source->url = pnstrdup(url, vf_s3_cred_url_origin(url));
	search->cred->origin = ORIGIN_METADATA;
	return SOURCE;
}

/* The search */

static Step
search_all(Search *search)
{
	const VfS3CredQuery *query = search->query;
	bool		named = query->profile != NULL && query->profile[0] != '\0';
	const char *profile = named ? query->profile : "default";
	Step		step = NOTHING_NAMED;

	if (query->file != NULL && query->file[0] != '\0')
		return read_profile(search, query->file, profile, ORIGIN_SETTING);
	if (!named)
		step = environment_keys(search);
	if (!named && step == NOTHING_NAMED)
		step = environment_web(search);
	if (step == NOTHING_NAMED)
		step = shared_file(search, profile);
	if (!named && step == NOTHING_NAMED)
		step = container_endpoint(search);
	if (!named && step == NOTHING_NAMED)
		step = metadata_service(search);
	return step;
}

char *
vf_s3_cred_find(const VfS3CredQuery *query, VfS3Credentials *cred,
				const char **code)
{
	Search		search;

	memset(cred, 0, sizeof(*cred));
	memset(&search, 0, sizeof(search));
	search.query = query;
	search.cred = cred;
	*code = NULL;
	switch (search_all(&search))
	{
		case KEYS:
			return NULL;
		case SOURCE:
			return vf_s3_cred_cached(&search.source, query, cred, code);
		case FAULT:
			*code = search.code;
			return search.fault;
		case NOTHING_NAMED:
			break;
	}
	*code = "NoCredentials";
	return pstrdup("There are no credentials: "
				   "voiceframe.s3_credentials_file is not set, the server's "
				   "environment names none, and its user has no shared "
				   "credentials file.");
}

bool
vf_s3_cred_due(const VfS3Credentials *cred, TimestampTz now)
{
	return cred->expires_at <= now + 5 * USECS_PER_MINUTE;
}

static void
wipe_string(char **string)
{
	if (*string == NULL)
		return;
	explicit_bzero(*string, strlen(*string));
	pfree(*string);
	*string = NULL;
}

void
vf_s3_cred_wipe(VfS3Credentials *cred)
{
	wipe_string(&cred->access_key);
	wipe_string(&cred->secret_key);
	wipe_string(&cred->session_token);
}
