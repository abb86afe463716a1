/*-------------------------------------------------------------------------
 *
 * s3_cred_parse.c
 *	  Reads the text of an AWS shared credentials file.
 *
 * Order of things: spans of text, one line, the whole file.  A line of
 * another profile must be well formed, but its values do not matter.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>
#include <strings.h>

#include "s3_cred_parse.h"

/* A part of the text, not terminated. */
typedef struct Span
{
	const char *data;
	size_t		len;
} Span;

typedef struct Parser
{
	const char *profile;
	VfS3CredText *out;
	bool		in_section;		/* any */
	bool		in_profile;		/* the one asked for */
	bool		seen_profile;
	bool		unsupported;
	bool		nested;			/* after "name =" without a value */
} Parser;

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static Span
trim(Span span)
{
	while (span.len > 0 && is_blank(span.data[0]))
	{
		span.data++;
		span.len--;
	}
	while (span.len > 0 && is_blank(span.data[span.len - 1]))
		span.len--;
	return span;
}

static bool
equals(Span span, const char *text)
{
	return span.len == strlen(text) &&
		strncasecmp(span.data, text, span.len) == 0;
}

/* Without what follows a blank and # or ;. */
static Span
without_comment(Span span)
{
	size_t		i;

	for (i = 0; i < span.len; i++)
	{
		if ((span.data[i] == '#' || span.data[i] == ';') &&
			(i == 0 || is_blank(span.data[i - 1])))
		{
			span.len = i;
			break;
		}
	}
	return trim(span);
}

bool
vf_s3_cred_value_ok(const char *value, size_t len)
{
	size_t		i;

	for (i = 0; i < len; i++)
	{
		if (value[i] <= ' ' || value[i] > '~')
			return false;
	}
	return true;
}

static bool
store(char *to, size_t size, Span value)
{
	if (value.len >= size || !vf_s3_cred_value_ok(value.data, value.len))
		return false;
	memcpy(to, value.data, value.len);
	to[value.len] = '\0';
	return true;
}

static VfS3CredVerdict
read_section(Parser *parser, Span line)
{
	Span		name;
	size_t		profile_len = strlen(parser->profile);

	if (line.len < 2 || line.data[line.len - 1] != ']')
		return VF_S3_CRED_BAD_LINE;
	name.data = line.data + 1;
	name.len = line.len - 2;
	name = trim(name);
	if (name.len > 8 && strncmp(name.data, "profile", 7) == 0 &&
		is_blank(name.data[7]))
	{
		name.data += 7;
		name.len -= 7;
		name = trim(name);
	}
	if (name.len == 0)
		return VF_S3_CRED_BAD_LINE;
	parser->in_section = true;
	parser->nested = false;
	parser->in_profile = name.len == profile_len &&
		memcmp(name.data, parser->profile, profile_len) == 0;
	if (parser->in_profile)
		parser->seen_profile = true;
	return VF_S3_CRED_FOUND;
}

static bool
is_unsupported(Span name)
{
	return equals(name, "credential_process") ||
		equals(name, "credential_source") || equals(name, "source_profile") ||
		equals(name, "sso_session") || equals(name, "sso_start_url");
}

static VfS3CredVerdict
read_setting(Parser *parser, Span line)
{
	VfS3CredText *out = parser->out;
	const char *sign = memchr(line.data, '=', line.len);
	Span		name;
	Span		value;
	bool		ok = true;

	if (sign == NULL || !parser->in_section)
		return VF_S3_CRED_BAD_LINE;
	name.data = line.data;
	name.len = sign - line.data;
	name = trim(name);
	value.data = sign + 1;
	value.len = line.data + line.len - value.data;
	value = trim(value);
	if (name.len == 0)
		return VF_S3_CRED_BAD_LINE;
	parser->nested = value.len == 0;
	if (!parser->in_profile)
		return VF_S3_CRED_FOUND;
	if (equals(name, "aws_access_key_id"))
		ok = store(out->access_key, sizeof(out->access_key), value);
	else if (equals(name, "aws_secret_access_key"))
		ok = store(out->secret_key, sizeof(out->secret_key), value);
	else if (equals(name, "aws_session_token") ||
			 equals(name, "aws_security_token"))
		ok = store(out->session_token, sizeof(out->session_token), value);
	else if (equals(name, "role_arn"))
		ok = store(out->role_arn, sizeof(out->role_arn), value);
	else if (equals(name, "role_session_name"))
		ok = store(out->role_session, sizeof(out->role_session), value);
	else if (equals(name, "web_identity_token_file"))
		ok = store(out->token_file, sizeof(out->token_file), value);
	else if (is_unsupported(name))
		parser->unsupported = true;
	return ok ? VF_S3_CRED_FOUND : VF_S3_CRED_BAD_VALUE;
}

static VfS3CredVerdict
read_line(Parser *parser, Span raw)
{
	Span		line;

	if (memchr(raw.data, '\0', raw.len))
		return VF_S3_CRED_BAD_LINE;
	line = without_comment(raw);
	if (line.len == 0)
		return VF_S3_CRED_FOUND;
	if (line.data[0] == '[')
		return read_section(parser, line);

	/* "s3 =" opens a block of settings of its own, indented. */
	if (parser->nested && is_blank(raw.data[0]))
		return VF_S3_CRED_FOUND;
	return read_setting(parser, line);
}

static VfS3CredVerdict
judge(const Parser *parser)
{
	bool		access_key = parser->out->access_key[0] != '\0';
	bool		secret_key = parser->out->secret_key[0] != '\0';
	bool		role = parser->out->role_arn[0] != '\0';
	bool		token_file = parser->out->token_file[0] != '\0';

	if (!parser->seen_profile)
		return VF_S3_CRED_NO_PROFILE;
	if (access_key && secret_key)
		return VF_S3_CRED_FOUND;
	if (parser->unsupported || (role && !token_file))
		return VF_S3_CRED_UNSUPPORTED;
	if (token_file)
		return role ? VF_S3_CRED_WEB : VF_S3_CRED_NO_ROLE;
	return access_key ? VF_S3_CRED_NO_SECRET_KEY : VF_S3_CRED_NO_ACCESS_KEY;
}

VfS3CredVerdict
vf_s3_cred_parse(const char *text, size_t len, const char *profile,
				 VfS3CredText *out, int *line)
{
	static const char byte_order_mark[] = "\xEF\xBB\xBF";
	Parser		parser = {0};
	VfS3CredVerdict verdict = VF_S3_CRED_FOUND;
	const char *end = text + len;

	memset(out, 0, sizeof(*out));
	parser.profile = profile;
	parser.out = out;
	*line = 0;
	if (len >= 3 && memcmp(text, byte_order_mark, 3) == 0)
		text += 3;
	while (text < end && verdict == VF_S3_CRED_FOUND)
	{
		const char *stop = memchr(text, '\n', end - text);
		Span		span;

		span.data = text;
		span.len = (stop ? stop : end) - text;
		text = stop ? stop + 1 : end;
		(*line)++;
		verdict = read_line(&parser, span);
	}
	if (verdict == VF_S3_CRED_FOUND)
	{
		*line = 0;
		verdict = judge(&parser);
	}
	if (verdict != VF_S3_CRED_FOUND && verdict != VF_S3_CRED_WEB)
		vf_s3_cred_parse_wipe(out);
	return verdict;
}

void
vf_s3_cred_parse_wipe(VfS3CredText *text)
{
	explicit_bzero(text, sizeof(*text));
}
