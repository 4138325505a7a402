// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "content.h"
#include "files.h"
#include "heap.h"

enum {
	/* A compressible page repeats this: random bytes, then copies of the page's own phrase. */
	BLOCK_BYTES = 256,
	PHRASE_BYTES = 16,
	/* What lz4, lzo-rle and zstd need to say "copy the phrase for the rest of the block". */
	COPY_BYTES = 5,
	RATIO_DEFAULT = 300,
	RATIO_MIN = 130,
	RATIO_MAX = 2000,
	/* All shares together. */
	WHOLE = 1000,
};

/* "zwbpage1" */
static const uint64_t page_magic = 0x316567617062777au;

struct header {
	uint64_t magic, seed, page, hash;
};

static const struct {
	char letter;
	const char *name;
} kind_names[KINDS] = {
	[KIND_ZERO] = { 'z', "zero" },
	[KIND_SAME] = { 's', "same" },
	[KIND_COMPRESSIBLE] = { 'c', "compressible" },
	[KIND_INCOMPRESSIBLE] = { 'i', "incompressible" },
	[KIND_HEAP] = { 'h', "heap" },
	[KIND_FILE] = { 'f', "file" },
};

/* Digits, at most four of them; -1 if there are none. */
static int take_digits(const char **at)
{
	const char *start = *at;
	int value = 0;

	while (**at >= '0' && **at <= '9' && *at - start < 4)
		value = value * 10 + (*(*at)++ - '0');
	return *at == start ? -1 : value;
}

/*
 * "3", "2.5" or "2.25" in units of the last decimal place: one is 10 for one place, 100 for two. -1 if there is no
 * number, or nothing behind its point.
 */
static int take_decimal(const char **at, int one)
{
	int value = take_digits(at), weight = one / 10;

	if (value < 0)
		return -1;
	value *= one;
	if (**at != '.')
		return value;
	for ((*at)++; **at >= '0' && **at <= '9' && weight; weight /= 10)
		value += weight * (*(*at)++ - '0');
	return weight == one / 10 ? -1 : value;
}

static bool take_share(const char **at, struct share *share)
{
	int permille, ratio = RATIO_DEFAULT;
	int kind = 0;

	while (kind < KINDS && kind_names[kind].letter != **at)
		kind++;
	if (kind == KINDS)
		return false;
	(*at)++;
	permille = take_decimal(at, 10);
	if (permille < 0 || permille > WHOLE)
		return false;
	if (kind == KIND_COMPRESSIBLE && **at == '@') {
		(*at)++;
		ratio = take_decimal(at, 100);
		if (ratio < RATIO_MIN || ratio > RATIO_MAX)
			return false;
	}
	*share = (struct share){ (enum kind)kind, (unsigned int)permille, (unsigned int)ratio };
	return true;
}

int mix_parse(struct mix *mix, const char *text, struct reply *rep)
{
	const char *at = text;
	unsigned int sum = 0;
	bool of_files = false;

	mix->count = 0;
	for (;;) {
		struct share *share = &mix->share[mix->count];

		if (mix->count == (int)(COUNT(mix->share)) || !take_share(&at, share))
			return reply_fail(
				rep, 0,
				"mix=%s: expected for example z5,s5,c60@3,i30 or s11.1,i8.3,h80.6 (ratio 1.3 to 20)",
				text);
		mix->count++;
		sum += share->permille;
		of_files |= share->kind == KIND_FILE;
		if (*at != ',')
			break;
		at++;
	}
	if (*at)
		return reply_fail(rep, 0, "mix=%s: not understood from \"%s\" on", text, at);
	if (sum != WHOLE)
		return reply_fail(rep, 0, "mix=%s: adds up to %g per cent, not to 100", text, sum / 10.0);
	return of_files ? files_load(rep) : 0;
}

/* The state that everything about a page is drawn from. */
static uint64_t page_state(uint64_t seed, uint64_t page)
{
	uint64_t state = page;

	state = seed ^ splitmix64(&state);
	return splitmix64(&state);
}

static const struct share *page_share(const struct mix *mix, uint64_t draw)
{
	unsigned int point = (unsigned int)(draw % WHOLE);
	int i = 0;

	while (i < mix->count - 1 && point >= mix->share[i].permille)
		point -= mix->share[i++].permille;
	return &mix->share[i];
}

bool content_has_object(const struct mix *mix, uint64_t seed, uint64_t page)
{
	uint64_t state = page_state(seed, page);
	enum kind kind = page_share(mix, splitmix64(&state))->kind;

	return kind != KIND_ZERO && kind != KIND_SAME;
}

static void fill_random(uint64_t *state, uint64_t *out, size_t words)
{
	for (size_t i = 0; i < words; i++)
		out[i] = splitmix64(state);
}

/*
 * Per block, random bytes in the share that is to be left after compression, then the phrase over and over. Nothing
 * but the random bytes costs any compressor more than COPY_BYTES a block.
 */
static void fill_compressible(uint64_t *state, unsigned char *out, size_t bytes, unsigned int ratio_x100)
{
	size_t literal = BLOCK_BYTES * 100 / ratio_x100 - COPY_BYTES;
	uint64_t phrase[PHRASE_BYTES / 8];

	fill_random(state, phrase, PHRASE_BYTES / 8);
	for (size_t at = 0; at < bytes; at += BLOCK_BYTES) {
		for (size_t i = 0; i < BLOCK_BYTES; i += PHRASE_BYTES)
			memcpy(out + at + i, phrase, PHRASE_BYTES);
		for (size_t i = 0; i < literal; i += 8) {
			uint64_t word = splitmix64(state);

			memcpy(out + at + i, &word, literal - i < 8 ? literal - i : 8);
		}
	}
}

static uint64_t body_hash(const void *page, size_t bytes)
{
	const uint64_t *word = page;
	uint64_t hash = bytes;

	for (size_t i = sizeof(struct header) / 8; i < bytes / 8; i++)
		hash = ((hash ^ word[i]) * 0x100000001b3u) ^ (hash >> 29);
	return hash;
}

enum kind content_make(const struct mix *mix, uint64_t seed, uint64_t page, void *out, size_t bytes)
{
	uint64_t state = page_state(seed, page);
	const struct share *share = page_share(mix, splitmix64(&state));
	uint32_t value;

	switch (share->kind) {
	case KIND_ZERO:
		memset(out, 0, bytes);
		return share->kind;
	case KIND_SAME:
		/* zram compares unsigned longs, which are 32 bits wide on some phones. */
		value = (uint32_t)splitmix64(&state) | 1;
		for (size_t i = 0; i < bytes / 4; i++)
			((uint32_t *)out)[i] = value;
		return share->kind;
	case KIND_COMPRESSIBLE:
		fill_compressible(&state, out, bytes, share->ratio_x100);
		break;
	case KIND_HEAP:
		heap_fill(seed, state, out, bytes);
		break;
	case KIND_FILE:
		files_fill(splitmix64(&state), out, bytes);
		break;
	default:
		fill_random(&state, out, bytes / 8);
		break;
	}
	*(struct header *)out = (struct header){ page_magic, seed, page, body_hash(out, bytes) };
	return share->kind;
}

bool content_zero(const void *page, size_t bytes)
{
	const uint64_t *word = page;

	for (size_t i = 0; i < bytes / 8; i++)
		if (word[i])
			return false;
	return true;
}

enum finding content_check(const struct mix *mix, uint64_t seed, uint64_t page, const void *found, void *scratch,
			   size_t bytes)
{
	enum kind kind = content_make(mix, seed, page, scratch, bytes);
	const struct header *header = found;

	if (!memcmp(found, scratch, bytes))
		return PAGE_GOOD;
	if (content_zero(found, bytes))
		return PAGE_ZEROED;
	if (header->magic != page_magic || header->hash != body_hash(found, bytes))
		return PAGE_DAMAGED;
	if (header->page != page || header->seed != seed)
		return PAGE_MISPLACED;
	/* The file has changed since the page was filled, and the page has not. */
	return kind == KIND_FILE ? PAGE_GOOD : PAGE_DAMAGED;
}

bool content_whole(const void *page, size_t bytes, uint64_t *seed, uint64_t *number)
{
	const struct header *header = page;

	*seed = header->seed;
	*number = header->page;
	return header->magic == page_magic && header->hash == body_hash(page, bytes);
}

void census_note(struct census *census, uint64_t page, enum finding finding)
{
	uint64_t corrupt = census->pages - census->findings[PAGE_GOOD];

	if (finding != PAGE_GOOD && corrupt < COUNT(census->first_corrupt))
		census->first_corrupt[corrupt] = page;
	census->findings[finding]++;
	census->pages++;
}

void census_check(struct census *census, const struct mix *mix, uint64_t seed, uint64_t page, const void *found,
		  void *scratch, size_t bytes)
{
	census_note(census, page, content_check(mix, seed, page, found, scratch, bytes));
}

void reply_kinds(struct reply *rep, const struct census *census)
{
	reply_u64(rep, "pages", census->pages);
	for (int i = 0; i < KINDS; i++)
		reply_u64(rep, kind_names[i].name, census->kinds[i]);
}

void reply_findings(struct reply *rep, const struct census *census)
{
	uint64_t corrupt = census->pages - census->findings[PAGE_GOOD];

	reply_u64(rep, "pages", census->pages);
	reply_u64(rep, "corrupt", corrupt);
	reply_u64(rep, "zeroed", census->findings[PAGE_ZEROED]);
	reply_u64(rep, "misplaced", census->findings[PAGE_MISPLACED]);
	reply_u64(rep, "damaged", census->findings[PAGE_DAMAGED]);
	reply_open(rep, "first_corrupt", '[');
	for (uint64_t i = 0; i < corrupt && i < COUNT(census->first_corrupt); i++)
		reply_u64(rep, NULL, census->first_corrupt[i]);
	reply_close(rep, '[');
}
