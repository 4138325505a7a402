/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a page holds: a function of (mix, seed, page number), so that it can be checked without keeping a copy. One of a
 * system file follows from the phone's files too.
 */
#ifndef PROBE_CONTENT_H
#define PROBE_CONTENT_H

#include "probe.h"

enum kind { KIND_ZERO, KIND_SAME, KIND_COMPRESSIBLE, KIND_INCOMPRESSIBLE, KIND_HEAP, KIND_FILE, KINDS };

struct mix {
	int count;
	struct share {
		enum kind kind;
		unsigned int permille;
		unsigned int ratio_x100;
	} share[8];
};

enum finding { PAGE_GOOD, PAGE_ZEROED, PAGE_MISPLACED, PAGE_DAMAGED, FINDINGS };

/* Pages by kind, and what verifying found. */
struct census {
	uint64_t pages;
	uint64_t kinds[KINDS];
	uint64_t findings[FINDINGS];
	uint64_t first_corrupt[8];
};

static inline uint64_t splitmix64(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* "z5,s5,c60@3,i30": per cent, to a tenth, of zero, same-filled, compressible (to 1/3) and incompressible. */
int mix_parse(struct mix *mix, const char *text, struct reply *rep);
/* Whether zram stores an object for the page, without making it: not for zeros and not for one repeated word. */
bool content_has_object(const struct mix *mix, uint64_t seed, uint64_t page);
/* Writes the page; bytes is a multiple of 4096 and out is aligned to 8. */
enum kind content_make(const struct mix *mix, uint64_t seed, uint64_t page, void *out, size_t bytes);
/* Compares a whole page with what it should hold; scratch is as large as a page. */
enum finding content_check(const struct mix *mix, uint64_t seed, uint64_t page, const void *found, void *scratch,
			   size_t bytes);

bool content_zero(const void *page, size_t bytes);
/* Whether it is a page of any seed and number, whole by its own hash; tells which. */
bool content_whole(const void *page, size_t bytes, uint64_t *seed, uint64_t *number);

void census_check(struct census *census, const struct mix *mix, uint64_t seed, uint64_t page, const void *found,
		  void *scratch, size_t bytes);
void reply_kinds(struct reply *rep, const struct census *census);
void census_note(struct census *census, uint64_t page, enum finding finding);
void reply_findings(struct reply *rep, const struct census *census);

#endif
