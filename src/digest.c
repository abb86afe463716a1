/*-------------------------------------------------------------------------
 *
 * digest.c
 *	  SHA-256, MD5, HMAC, hexadecimal and base64 over the server's own code.
 *
 * Every context is made and freed within one call, so nothing outlives it.
 * Inside a server an error for want of memory is the only thing raised.
 *
 * base64 is our own: pg_b64_encode takes other types from version 18 on.
 *
 *-------------------------------------------------------------------------
 */
#ifdef FRONTEND
#include "postgres_fe.h"
#else
#include "postgres.h"
#endif

#include "common/cryptohash.h"
#include "common/hmac.h"
#ifndef FRONTEND
#include "utils/resowner.h"
#endif

#include "digest.h"

#ifndef FRONTEND

/*
 * The server remembers every digest context in CurrentResourceOwner and
 * crashes without one.  A worker signs between transactions, where there is
 * none; then this one stands in.
 */
static ResourceOwner stand_in = NULL;

static ResourceOwner
enter_owner(void)
{
	ResourceOwner before = CurrentResourceOwner;

	if (before == NULL)
	{
		if (stand_in == NULL)
			stand_in = ResourceOwnerCreate(NULL, "voiceframe digest");
		CurrentResourceOwner = stand_in;
	}
	return before;
}

static void
leave_owner(ResourceOwner before)
{
	CurrentResourceOwner = before;
}

#else

static void *
enter_owner(void)
{
	return NULL;
}

static void
leave_owner(void *before)
{
	(void) before;
}

#endif							/* FRONTEND */

static bool
digest(pg_cryptohash_type type, const void *data, size_t len,
	   unsigned char *out, size_t out_len)
{
	pg_cryptohash_ctx *ctx;
	void	   *before = enter_owner();
	bool		ok = false;

	ctx = pg_cryptohash_create(type);
	if (ctx != NULL)
	{
		ok = pg_cryptohash_init(ctx) >= 0 &&
			pg_cryptohash_update(ctx, data, len) >= 0 &&
			pg_cryptohash_final(ctx, out, out_len) >= 0;
		pg_cryptohash_free(ctx);
	}
	leave_owner(before);
	return ok;
}

bool
vf_digest_sha256(const void *data, size_t len,
				 unsigned char out[VF_SHA256_LEN])
{
	return digest(PG_SHA256, data, len, out, VF_SHA256_LEN);
}

bool
vf_digest_md5(const void *data, size_t len, unsigned char out[VF_MD5_LEN])
{
	return digest(PG_MD5, data, len, out, VF_MD5_LEN);
}

bool
vf_digest_hmac(const void *key, size_t key_len, const void *data, size_t len,
			   unsigned char out[VF_SHA256_LEN])
{
	pg_hmac_ctx *ctx;
	void	   *before = enter_owner();
	bool		ok = false;

	ctx = pg_hmac_create(PG_SHA256);
	if (ctx != NULL)
	{
		ok = pg_hmac_init(ctx, key, key_len) >= 0 &&
			pg_hmac_update(ctx, data, len) >= 0 &&
			pg_hmac_final(ctx, out, VF_SHA256_LEN) >= 0;
		pg_hmac_free(ctx);
	}
	leave_owner(before);
	return ok;
}

bool
vf_digest_sha256_hex(const void *data, size_t len,
					 char out[VF_HEX_SIZE(VF_SHA256_LEN)])
{
	unsigned char sum[VF_SHA256_LEN];

	if (!vf_digest_sha256(data, len, sum))
		return false;
	vf_digest_hex(sum, sizeof(sum), out);
	return true;
}

void
vf_digest_hex(const unsigned char *data, size_t len, char *out)
{
	static const char digits[] = "0123456789abcdef";
	size_t		i;

	for (i = 0; i < len; i++)
	{
		*out++ = digits[data[i] >> 4];
		*out++ = digits[data[i] & 15];
	}
	*out = '\0';
}

void
vf_digest_base64(const unsigned char *data, size_t len, char *out)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t		i;

	for (i = 0; i < len; i += 3)
	{
		unsigned	word = data[i] << 16;

		if (i + 1 < len)
			word |= data[i + 1] << 8;
		if (i + 2 < len)
			word |= data[i + 2];
		*out++ = digits[word >> 18];
		*out++ = digits[(word >> 12) & 63];
		*out++ = i + 1 < len ? digits[(word >> 6) & 63] : '=';
		*out++ = i + 2 < len ? digits[word & 63] : '=';
	}
	*out = '\0';
}
