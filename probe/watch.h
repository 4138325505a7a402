/* SPDX-License-Identifier: Apache-2.0 */
/* Watches disks by their own counters while a command runs: keys disks=a,b and sample=0|1. */
#ifndef PROBE_WATCH_H
#define PROBE_WATCH_H

#include <pthread.h>
#include <stdatomic.h>

#include "blockstat.h"
#include "system.h"

enum { WATCHED_MAX = 4 };

struct watched {
	char name[32];
	int inflight, stat;
	int64_t deepest;
	struct blockstat before;
};

struct watch {
	struct watched disk[WATCHED_MAX];
	int count;
	bool sampling;
	atomic_bool stop;
	uint64_t samples;
	pthread_t thread;
};

int watch_start(struct watch *watch, const struct request *req, struct reply *rep);
/* Adds "disks" to the answer: what each one counted since the start. */
int watch_stop(struct watch *watch, struct reply *rep);
void watch_free(struct watch *watch);
#define SCOPED_WATCH __attribute__((cleanup(watch_free))) struct watch

#endif
