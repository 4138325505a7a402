/* SPDX-License-Identifier: Apache-2.0 */
/* oom_score_adj as Android's activity manager gives it; for synthetic apps and for those of the virtual phone. */
#ifndef PROBE_RANKING_H
#define PROBE_RANKING_H

#include <stdbool.h>

enum {
	ADJ_FRONT = 0,
	ADJ_PREVIOUS = 700,
	ADJ_CACHED = 900,
	ADJ_CACHED_LAST = 999,
	ADJ_STEP = 5,
};

/* By how many others of those in the background were at the front later. */
static inline int adj_of(bool at_front, int later)
{
	int adj = ADJ_CACHED + ADJ_STEP * (later - 1);

	if (at_front)
		return ADJ_FRONT;
	if (!later)
		return ADJ_PREVIOUS;
	return adj < ADJ_CACHED_LAST ? adj : ADJ_CACHED_LAST;
}

#endif
