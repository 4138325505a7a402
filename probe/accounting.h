/* SPDX-License-Identifier: Apache-2.0 */
/* CPU time as the kernel accounts for it: by clock ticks, and to the ns by the scheduler where it is built to. */
#ifndef PROBE_ACCOUNTING_H
#define PROBE_ACCOUNTING_H

#include "system.h"

/* What this kernel does not tell. */
#define NOT_TOLD UINT64_MAX

/* Of all CPUs together since boot, as coarse as clock ticks; stolen time is in busy too. */
struct cpu_time {
	uint64_t busy_ns, steal_ns;
};
int cpu_time_read(struct cpu_time *time, struct reply *rep);

/* By the scheduler, in ns; each may be NOT_TOLD. */
struct run_time {
	uint64_t writer; /* of the calling thread */
	uint64_t kworkers; /* of the kernel's unbound workers together */
	uint64_t cpus; /* of all tasks on all CPUs, up to when each one left its CPU */
};
/* Looking for the workers takes longest: they come first at a start and last at an end. */
void run_time_start(struct run_time *run);
void run_time_stop(struct run_time *run);
/* Under this key, and not at all if it is not told. */
void reply_told(struct reply *rep, const char *key, uint64_t value);

uint64_t kworkers_run_ns(void);

/* kworkers.c: calls visit for each of the kernel's unbound workers; -1 with errno if /proc cannot be read. */
int each_unbound_kworker(void (*visit)(int pid, void *argument), void *argument);

#endif
