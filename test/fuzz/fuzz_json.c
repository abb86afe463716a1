/*-------------------------------------------------------------------------
 *
 * fuzz_json.c
 *	  Any bytes as the JSON of a service of credentials.
 *
 * Promises: a fault leaves nothing behind but itself; what is found is ASCII,
 * fits its field and, where nothing is escaped, stands in the document in
 * quotes; no document counts when cut; a document inside another gives no
 * field away; blanks around it do not matter; credentials can stand in a
 * header.
 *
 * The parser keeps some memory when it gives up, which belongs to a memory
 * context in the server: here to a list that ends with the input.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres_fe.h"

#include "fuzz.h"
#include "s3_cred_json.h"
#include "s3_cred_parse.h"

#undef snprintf

/* palloc, for the parser too: each chunk a block, so that all is watched */

typedef struct Block
{
	struct Block *next;
	struct Block *previous;
} Block;

static Block blocks = {&blocks, &blocks};

static void *
link_block(Block *block)
{
	PROMISE(block != NULL);
	block->next = blocks.next;
	block->previous = &blocks;
	block->next->previous = block;
	blocks.next = block;
	return block + 1;
}

static Block *
unlink_block(void *pointer)
{
	Block	   *block = (Block *) pointer - 1;

	block->next->previous = block->previous;
	block->previous->next = block->next;
	return block;
}

void *
palloc(Size size)
{
	return link_block(malloc(sizeof(Block) + size));
}

void *
palloc0(Size size)
{
	return link_block(calloc(1, sizeof(Block) + size));
}

void *
repalloc(void *pointer, Size size)
{
	return link_block(realloc(unlink_block(pointer), sizeof(Block) + size));
}

void
pfree(void *pointer)
{
	free(unlink_block(pointer));
}

char *
pstrdup(const char *text)
{
	size_t		size = strlen(text) + 1;

	return memcpy(palloc(size), text, size);
}

static void
end_input(void)
{
	while (blocks.next != &blocks)
		pfree(blocks.next + 1);
}

/* One reading */

static bool
read_copy(const char *text, size_t len, VfS3CredAnswer *answer)
{
	char	   *copy = fuzz_copy(text, len);
	bool		ok;

	memset(answer, 'x', sizeof(*answer));
	ok = vf_s3_cred_json_read(copy, len, answer);
	PROMISE(ok == (answer->fault == NULL));
	free(copy);
	return ok;
}

static void
check_value(const char *value, size_t size, const char *text, size_t len)
{
	char		quoted[9000];
	size_t		n;
	size_t		i;

	PROMISE(memchr(value, '\0', size) != NULL);
	n = strlen(value);
	for (i = 0; i < n; i++)
		PROMISE((unsigned char) value[i] < 0x80);
	if (n == 0 || memchr(text, '\\', len) != NULL)
		return;
	quoted[0] = '"';
	memcpy(quoted + 1, value, n);
	quoted[n + 1] = '"';
	PROMISE(fuzz_contains(text, len, quoted, n + 2));
}

static void
check_fault(const VfS3CredAnswer *answer)
{
	VfS3CredAnswer clear;

	memset(&clear, 0, sizeof(clear));
	clear.fault = answer->fault;
	PROMISE(memcmp(answer, &clear, offsetof(VfS3CredAnswer, fault)) == 0);
}

static void
check_found(const VfS3CredAnswer *a, const char *text, size_t len)
{
	size_t		i;

	for (i = 0; i < len; i++)
		PROMISE((unsigned char) text[i] < 0x7F);
	check_value(a->access_key, sizeof(a->access_key), text, len);
	check_value(a->secret_key, sizeof(a->secret_key), text, len);
	check_value(a->session_token, sizeof(a->session_token), text, len);
	check_value(a->expiration, sizeof(a->expiration), text, len);
	check_value(a->code, sizeof(a->code), text, len);
	check_value(a->message, sizeof(a->message), text, len);
	if (vf_s3_cred_answer_fault(a) != NULL)
		return;
	PROMISE(a->expiration[0] != '\0' && a->access_key[0] != '\0' &&
			a->secret_key[0] != '\0');
	PROMISE(vf_s3_cred_value_ok(a->secret_key, strlen(a->secret_key)));
	PROMISE(strpbrk(a->access_key, " \t\r\n") == NULL);
	PROMISE(strpbrk(a->session_token, " \t\r\n") == NULL);
}

/* Without its last brace, and at a few more places. */
static void
check_cuts(const char *text, size_t len)
{
	static VfS3CredAnswer answer;
	size_t		end = len;
	size_t		step;

	while (text[end - 1] != '}')
		end--;
	step = end / 6 + 1;
	for (end--; end > 0; end = end > step ? end - step : 0)
		PROMISE(!read_copy(text, end, &answer));
}

/* As the text between two others; NULL if it counts, else the fault. */
static const char *
read_inside(const char *before, const char *text, size_t len,
			const char *behind, VfS3CredAnswer *answer)
{
	size_t		n = strlen(before);
	size_t		all = n + len + strlen(behind);
	char	   *whole = malloc(all + 1);

	memcpy(whole, before, n);
	memcpy(whole + n, text, len);
	strcpy(whole + n + len, behind);
	read_copy(whole, all, answer);
	free(whole);
	return answer->fault;
}

static void
check_places(const char *text, size_t len, const VfS3CredAnswer *answer)
{
	static VfS3CredAnswer other;
	static const VfS3CredAnswer none;
	const char *fault;

	PROMISE(read_inside(" \t\r\n", text, len, "\n ", &other) == NULL);
	PROMISE(memcmp(answer, &other, offsetof(VfS3CredAnswer, fault)) == 0);
	PROMISE(read_inside("[", text, len, "]", &other) != NULL);
	PROMISE(read_inside("", text, len, "{}", &other) != NULL);
	PROMISE(read_inside("{\"Code\":", text, len, "}", &other) != NULL);
	fault = read_inside("{\"x\":", text, len, "}", &other);
	PROMISE(fault == NULL ||
			strcmp(fault, "the document is nested too deeply") == 0);
	PROMISE(memcmp(&none, &other, offsetof(VfS3CredAnswer, fault)) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static VfS3CredAnswer answer;
	const char *text = (const char *) data;

	if (read_copy(text, size, &answer))
	{
		check_found(&answer, text, size);
		check_cuts(text, size);
		check_places(text, size, &answer);
	}
	else
		check_fault(&answer);
	end_input();
	return 0;
}
