/*-------------------------------------------------------------------------
 *
 * digest.h
 *	  SHA-256, MD5, HMAC, hexadecimal and base64 over the server's own code.
 *
 * Needs nothing of the server in its interface, so the pure rooms above can
 * be built, tested and fuzzed outside it (with -DFRONTEND).
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_DIGEST_H
#define VF_DIGEST_H

#include <stdbool.h>
#include <stddef.h>

#define VF_SHA256_LEN		32
#define VF_MD5_LEN			16

/* Sizes of the texts, with their final NUL. */
#define VF_HEX_SIZE(n)		(2 * (n) + 1)
#define VF_BASE64_SIZE(n)	(((n) + 2) / 3 * 4 + 1)

/*
 * All return false when the server's cryptography refuses, which for MD5 is
 * an everyday matter (FIPS), and then leave out undefined.
 */
extern bool vf_digest_sha256(const void *data, size_t len,
							 unsigned char out[VF_SHA256_LEN]);
extern bool vf_digest_md5(const void *data, size_t len,
						  unsigned char out[VF_MD5_LEN]);
extern bool vf_digest_hmac(const void *key, size_t key_len,
						   const void *data, size_t len,
						   unsigned char out[VF_SHA256_LEN]);

/* The digest of data as lower-case hexadecimal. */
extern bool vf_digest_sha256_hex(const void *data, size_t len,
								 char out[VF_HEX_SIZE(VF_SHA256_LEN)]);

/* Texts; out has VF_HEX_SIZE(len) or VF_BASE64_SIZE(len) bytes. */
extern void vf_digest_hex(const unsigned char *data, size_t len, char *out);
extern void vf_digest_base64(const unsigned char *data, size_t len, char *out);

#endif							/* VF_DIGEST_H */
