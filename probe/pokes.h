/* SPDX-License-Identifier: Apache-2.0 */
/* Writes to attributes, over and over from threads of their own, while something else is done to the same zram. */
#ifndef PROBE_POKES_H
#define PROBE_POKES_H

#include <pthread.h>
#include <stdatomic.h>

#include "system.h"

enum { LOOPS_MAX = 8, STEPS_MAX = 6, ERRNOS_MAX = 4, STEP_BYTES = 128 };

/* "attribute:value" writes, "attribute" reads; README.md has the grammar. */
struct step {
	char text[STEP_BYTES], path[PATH_BYTES], value[STEP_BYTES];
	enum { STEP_READ, STEP_WRITE, STEP_SWAPOFF } kind;
	uint64_t done;
	struct refusal {
		int errnum;
		uint64_t count;
	} refused[ERRNOS_MAX];
};
int step_parse(struct step *step, const char *text, uint64_t zram, struct reply *rep);
/* 0 or an errno; state is of the random numbers, pages how many there are to choose from. */
int step_run(const struct step *step, uint64_t *state, uint64_t pages);

struct pokes {
	struct loop {
		struct pokes *pokes;
		pthread_t thread;
		uint64_t seed;
		int count;
		struct step step[STEPS_MAX];
	} loop[LOOPS_MAX];
	int count, running;
	uint64_t pages;
	atomic_bool stop;
};
/* By the keys zram= and pokes= of a request; without pokes= there are none. */
int pokes_start(struct pokes *pokes, const struct request *req, uint64_t pages, struct reply *rep);
/* Waits for what is inside the kernel. */
void pokes_stop(struct pokes *pokes);
void reply_pokes(struct reply *rep, const struct pokes *pokes);
#define SCOPED_POKES __attribute__((cleanup(pokes_stop))) struct pokes

/* Whether a value may be written to an attribute: a huge batch takes the phone down. */
int check_harmless(const char *path, const char *value, struct reply *rep);

#endif
