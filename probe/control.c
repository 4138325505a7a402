// SPDX-License-Identifier: Apache-2.0
/* How fast a phone is just now and who else uses it: work that is always the same, timed, and counters beside it. */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "accounting.h"

enum {
	/* About 2 ms on an emulated CPU. */
	CPU_WORK = 1200000,
	READS = 8,
	READ_BYTES = 4096,
	/* Apart, so that no two make one request; near the beginning, where every writeback writes. */
	READ_EVERY = 4,
	POLICIES_MAX = 32,
};

/* The result is looked at, else the compiler leaves the work out. */
static volatile uint64_t looked_at;

static uint64_t cpu_work_ns(void)
{
	uint64_t state = 1, began_ns = now_ns(CLOCK_MONOTONIC);

	for (int i = 0; i < CPU_WORK; i++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
	}
	looked_at = state;
	return now_ns(CLOCK_MONOTONIC) - began_ns;
}

static int reads_ns(const char *path, uint64_t *took_ns, struct reply *rep)
{
	SCOPED_FD fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	SCOPED_BUFFER data = { 0 };
	uint64_t began_ns;

	if (fd < 0)
		return reply_fail(rep, errno, "open %s", path);
	if (buffer_make(&data, READ_BYTES, 1, rep))
		return -1;
	began_ns = now_ns(CLOCK_MONOTONIC);
	for (int i = 0; i < READS; i++)
		if (pread(fd, data.data, READ_BYTES, (off_t)(1 + i * READ_EVERY) * READ_BYTES) < 0)
			return reply_fail(rep, errno, "read %s", path);
	*took_ns = now_ns(CLOCK_MONOTONIC) - began_ns;
	return 0;
}

static uint64_t psi_cpu_us(void)
{
	char text[512], *total;

	if (read_text("/proc/pressure/cpu", text, sizeof(text)) || !(total = strstr(text, "total=")))
		return NOT_TOLD;
	return strtoull(total + strlen("total="), NULL, 10);
}

static uint64_t khz(const char *policy, const char *file)
{
	char path[PATH_BYTES];
	uint64_t number[1];

	snprintf(path, sizeof(path), "%s/%s", policy, file);
	return read_numbers(path, number, 1) == 1 ? number[0] : 0;
}

static void reply_clocks(struct reply *rep)
{
	glob_t found = { 0 };

	reply_open(rep, "clocks", '[');
	if (!glob("/sys/devices/system/cpu/cpufreq/policy*", 0, NULL, &found))
		for (size_t i = 0; i < found.gl_pathc && i < POLICIES_MAX; i++) {
			const char *policy = found.gl_pathv[i];

			reply_open(rep, NULL, '[');
			reply_u64(rep, NULL, khz(policy, "scaling_cur_freq"));
			reply_u64(rep, NULL, khz(policy, "scaling_max_freq"));
			reply_u64(rep, NULL, khz(policy, "cpuinfo_max_freq"));
			reply_close(rep, '[');
		}
	reply_close(rep, '[');
	globfree(&found);
}

int cmd_control(const struct request *req, struct reply *rep)
{
	const char *file = arg_text(req, "file", "");
	uint64_t monotonic_ns = now_ns(CLOCK_MONOTONIC), read_ns = NOT_TOLD;
	struct cpu_time time;

	if (*file && reads_ns(file, &read_ns, rep))
		return -1;
	reply_u64(rep, "cpu_ns", cpu_work_ns());
	reply_told(rep, "read_ns", read_ns);
	if (cpu_time_read(&time, rep))
		return -1;
	reply_u64(rep, "monotonic_ns", monotonic_ns);
	reply_u64(rep, "busy_ns", time.busy_ns);
	reply_u64(rep, "steal_ns", time.steal_ns);
	reply_u64(rep, "own_ns", now_ns(CLOCK_PROCESS_CPUTIME_ID));
	reply_told(rep, "kworkers_ns", kworkers_run_ns());
	reply_told(rep, "psi_cpu_us", psi_cpu_us());
	reply_clocks(rep);
	return 0;
}
