/*-------------------------------------------------------------------------
 *
 * s3_class.h
 *	  The one table of answer classes, with a cure for every row.
 *
 * Pure: no postgres.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_S3_CLASS_H
#define VF_S3_CLASS_H

#include <stdbool.h>

/*
 * Four classes of failure.  What a class does to the keys is the drain's
 * affair.
 */
typedef enum VfS3Class
{
	VF_S3_OK,
	VF_S3_BUCKET,				/* the bucket waits, no attempt is counted */
	VF_S3_BATCH,				/* this batch: bisect it */
	VF_S3_KEY_PASSING,			/* try again, counted (but for SlowDown) */
	VF_S3_KEY_FINAL				/* dead at once */
} VfS3Class;

/*
 * The class of a failed request as a whole: by code, else by status.  Where
 * the answer had no code, pass "": then *name is the code the table gives to
 * that status, else it is code itself.
 */
extern VfS3Class vf_s3_class_of_request(int status, const char *code,
										const char **name);

/* The class of one key's error inside an answer that was carried out. */
extern VfS3Class vf_s3_class_of_key(const char *code);

/*
 * What a person can do about a code: a whole sentence, a constant string.
 * Every code of the table has one; an unknown code gets the general one.
 */
extern const char *vf_s3_cure(const char *code);

/* The same for the error of a single key, as a dead letter carries it. */
extern const char *vf_s3_key_cure(const char *code);

/*
 * Walks the table of classes: entry n, or false past the end.  status is 0
 * where it does not matter, and 3 to 5 for any of the 300s to 500s.
 */
extern bool vf_s3_class_entry(int n, int *status, const char **code,
							  VfS3Class *class, const char **cure);

#endif							/* VF_S3_CLASS_H */
