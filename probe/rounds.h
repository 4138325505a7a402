/* SPDX-License-Identifier: Apache-2.0 */
/* Writebacks one after the other, each under a limit, and a record of each. */
#ifndef PROBE_ROUNDS_H
#define PROBE_ROUNDS_H

#include <stdatomic.h>
#include <sys/types.h>

#include "records.h"
#include "system.h"

enum { ROUNDS_MAX = 8192 };

struct rounds {
	uint64_t zram;
	uint64_t limit_4k; /* of one round */
	uint64_t left_4k; /* of all that are to come */
	uint64_t age_s; /* 0: what was marked idle one round before */
	bool single; /* the kernel takes one page_index= per write */
	struct buffer entries, numbers, records;
	size_t count;
	uint64_t not_recorded;
	uint64_t written_4k, limited, failed;
	struct reply reply; /* of the last round that failed */
	atomic_bool stop;
};

/* Finds out how slots can be marked; marks all when it takes two rounds. */
int rounds_begin(struct rounds *rounds, uint64_t zram, uint64_t limit_4k, uint64_t total_4k, uint64_t age_s,
		 struct reply *rep);
/* What is idle, by age or since the round before. */
void round_of_idle(struct rounds *rounds);
/* What a process has in swap. */
enum found { FOUND_NOBODY, FOUND_NOTHING, FOUND_SLOTS };
enum found round_of_process(struct rounds *rounds, pid_t pid);
/* Takes the limit off, and tells what was done. */
int rounds_end(struct rounds *rounds, const char *out, struct reply *rep);
void rounds_free(struct rounds *rounds);

#endif
