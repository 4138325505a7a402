// SPDX-License-Identifier: Apache-2.0
/* The kernel's unbound workers, one of which does a loop device's I/O, and their place in the scheduler. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "accounting.h"

enum {
	LISTED_MAX = 512,
	FEW = 64,
};

/* Unbound ones are called kworker/uPOOL:NUMBER; what stands behind it is the queue that they serve now. */
static bool is_unbound_kworker(int pid)
{
	char path[64], name[64];

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	return !read_text(path, name, sizeof(name)) && !strncmp(name, "kworker/u", 9);
}

/*
 * Looking at every process takes longer than what is measured. So those that are known are kept, and only numbers that
 * were given to processes since then are looked at; a worker keeps its number and the beginning of its name.
 */
static struct {
	int pid[LISTED_MAX];
	int count;
	uint64_t last_pid;
} known;

/* The number that was given to a process last; 0 if the kernel does not say. */
static uint64_t last_pid(void)
{
	char text[128];
	const char *last;

	if (read_text("/proc/loadavg", text, sizeof(text)) || !(last = strrchr(text, ' ')))
		return 0;
	return strtoull(last, NULL, 10);
}

static void learn(int pid)
{
	if (known.count < LISTED_MAX && is_unbound_kworker(pid))
		known.pid[known.count++] = pid;
}

static int learn_all(void)
{
	struct dirent *entry;
	DIR *dir = opendir("/proc");

	if (!dir)
		return -1;
	known.count = 0;
	while ((entry = readdir(dir)))
		if (atoi(entry->d_name) > 0)
			learn(atoi(entry->d_name));
	closedir(dir);
	return 0;
}

int each_unbound_kworker(void (*visit)(int pid, void *argument), void *argument)
{
	uint64_t last = last_pid();

	/* Smaller than before: numbers began anew, and those that were known may belong to others. */
	if (!known.last_pid || last < known.last_pid || last - known.last_pid > FEW) {
		if (learn_all())
			return -1;
	} else {
		for (uint64_t pid = known.last_pid + 1; pid <= last; pid++)
			learn((int)pid);
	}
	known.last_pid = last;
	for (int i = 0; i < known.count; i++)
		visit(known.pid[i], argument);
	return 0;
}

struct listing {
	int pid[LISTED_MAX];
	int count;
};

/* Those of ordinary priority: pools of high priority are not ours to lower again. */
static void list(int pid, void *argument)
{
	struct listing *listing = argument;

	if (listing->count < LISTED_MAX && is_unbound_kworker(pid) && !getpriority(PRIO_PROCESS, (id_t)pid))
		listing->pid[listing->count++] = pid;
}

int cmd_kworkers(const struct request *req, struct reply *rep)
{
	struct listing listing = { 0 };

	(void)req;
	if (each_unbound_kworker(list, &listing))
		return reply_fail(rep, errno, "open /proc");
	reply_open(rep, "pids", '[');
	for (int i = 0; i < listing.count; i++)
		reply_u64(rep, NULL, (uint64_t)listing.pid[i]);
	reply_close(rep, '[');
	return 0;
}

/* One that ended meanwhile is passed over; a process that took its number is none of ours to change. */
int cmd_renice(const struct request *req, struct reply *rep)
{
	uint64_t minus = arg_number(req, "minus", 0), changed = 0;
	char pids[LINE_BYTES], *rest = pids, *word;

	if (minus > 20)
		return reply_fail(rep, 0, "minus=%llu: expected 0 to 20", (unsigned long long)minus);
	snprintf(pids, sizeof(pids), "%s", arg_text(req, "pids", ""));
	while ((word = strtok_r(rest, ",", &rest))) {
		int pid = atoi(word);

		if (pid <= 0 || !is_unbound_kworker(pid))
			continue;
		if (setpriority(PRIO_PROCESS, (id_t)pid, -(int)minus))
			return reply_fail(rep, errno, "setpriority of kworker %d", pid);
		changed++;
	}
	reply_u64(rep, "changed", changed);
	return 0;
}
