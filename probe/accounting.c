// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "accounting.h"

enum {
	/* A line for each CPU and, in between, for each of its domains: long on machines of many. */
	SCHEDSTAT_BYTES = 256 * 1024,
};

int cpu_time_read(struct cpu_time *time, struct reply *rep)
{
	const uint64_t tick_ns = 1000000000u / (uint64_t)sysconf(_SC_CLK_TCK);
	unsigned long long t[8];
	char line[512];

	if (read_text("/proc/stat", line, sizeof(line)))
		return reply_fail(rep, errno, "read /proc/stat");
	if (sscanf(line, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &t[0], &t[1], &t[2], &t[3], &t[4], &t[5], &t[6],
		   &t[7]) != 8)
		return reply_fail(rep, 0, "/proc/stat: not understood: %.80s", line);
	/* User, nice, system, irq, softirq and steal. */
	time->busy_ns = (t[0] + t[1] + t[2] + t[5] + t[6] + t[7]) * tick_ns;
	time->steal_ns = t[7] * tick_ns;
	return 0;
}

static uint64_t run_ns_of(const char *path)
{
	uint64_t numbers[1];

	return read_numbers(path, numbers, 1) == 1 ? numbers[0] : NOT_TOLD;
}

static void add_run_ns(int pid, void *argument)
{
	uint64_t *sum = argument, run_ns;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/schedstat", pid);
	run_ns = run_ns_of(path);
	/* One that ended meanwhile takes its time along. */
	if (run_ns != NOT_TOLD)
		*sum += run_ns;
}

uint64_t kworkers_run_ns(void)
{
	uint64_t sum = 0;

	if (run_ns_of("/proc/self/schedstat") == NOT_TOLD || each_unbound_kworker(add_run_ns, &sum))
		return NOT_TOLD;
	return sum;
}

static uint64_t cpus_run_ns(void)
{
	uint64_t sum = 0, found = 0;
	struct reply unused;
	char *line, *rest;

	reply_init(&unused, NULL);
	SCOPED_BUFFER text = { 0 };
	if (buffer_make(&text, SCHEDSTAT_BYTES, 1, &unused) || read_file("/proc/schedstat", text.data, text.bytes) < 0)
		return NOT_TOLD;
	rest = text.data;
	while ((line = strsep(&rest, "\n"))) {
		unsigned long long run;

		if (sscanf(line, "cpu%*u %*u %*u %*u %*u %*u %*u %llu", &run) != 1)
			continue;
		sum += run;
		found++;
	}
	return found ? sum : NOT_TOLD;
}

void run_time_start(struct run_time *run)
{
	run->kworkers = kworkers_run_ns();
	run->cpus = cpus_run_ns();
	run->writer = run_ns_of("/proc/thread-self/schedstat");
}

static uint64_t since(uint64_t now, uint64_t before)
{
	return now == NOT_TOLD || before == NOT_TOLD || now < before ? NOT_TOLD : now - before;
}

void run_time_stop(struct run_time *run)
{
	run->writer = since(run_ns_of("/proc/thread-self/schedstat"), run->writer);
	run->cpus = since(cpus_run_ns(), run->cpus);
	run->kworkers = since(kworkers_run_ns(), run->kworkers);
}

void reply_told(struct reply *rep, const char *key, uint64_t value)
{
	if (value != NOT_TOLD)
		reply_u64(rep, key, value);
}
