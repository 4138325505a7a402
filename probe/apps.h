/* SPDX-License-Identifier: Apache-2.0 */
/* The probe's side of its synthetic apps: who lives, who is at the front, what was killed. */
#ifndef PROBE_APPS_H
#define PROBE_APPS_H

#include <sys/types.h>

#include "app.h"

enum {
	APPS_MAX = 64,
	/* A round of switches is one command, so that its answer fits. */
	SWITCHES_MAX = 64,
	/* Everybody alive, and at every switch one that is started again and killed again. */
	DEATHS_MAX = APPS_MAX + 2 * SWITCHES_MAX,
};

struct app_process {
	char name[32];
	struct app_setup setup;
	pid_t pid; /* 0: does not run */
	int socket, pidfd;
	int oom_score_adj;
	uint64_t anonymous, file; /* addresses */
	uint64_t left_ns; /* the front */
	bool compacted;
};

/* An app that ended without being told to: by a signal, or by itself (0). */
struct death {
	uint64_t t_ns;
	int app, signal;
	pid_t pid;
};

struct app_table {
	int count;
	struct app_process app[APPS_MAX];
	int file; /* -1: none */
	int front; /* -1: nobody */
	uint64_t compact_ns;
	bool compacts_itself; /* process_madvise() is not to be had */
	uint64_t compactions;
	int deaths;
	struct death death[DEATHS_MAX];
};
extern struct app_table apps;

/* What became of an order. */
enum { APP_ANSWERED = 0, APP_FAILED = -1, APP_DIED = 1 };

/* Starts the process and has it fill its memory. */
int app_start(int number, struct reply *rep);
int app_ask(int number, const struct app_order *order, struct app_answer *answer, struct reply *rep);
/* Takes note of those that ended; waits for one that ends until the time comes. */
void apps_watch(uint64_t until_ns);
/* oom_score_adj by who is at the front, who was before, and how long ago the others were; as Android does. */
void apps_rank(void);
/* Has background apps swapped out, as CachedAppOptimizer does. */
int apps_compact(struct reply *rep);
int apps_alive(void);

/* What the rows of the answer of apps-switch hold, in this order; each ends with NULL. */
extern const char *const switch_columns[], *const death_columns[];

#endif
