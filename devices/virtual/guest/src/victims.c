// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guest.h"
#include "victims.h"

#define APPS "/sys/fs/cgroup/apps"

static void consider(struct victim *best, int uid, pid_t pid, int min_adj)
{
	struct victim one = { .pid = pid, .uid = uid };
	char text[32];

	if (read_process(pid, "oom_score_adj", text, sizeof(text)) <= 0)
		return;
	one.adj = atoi(text);
	one.rss_kib = rss_kib(pid);
	if (one.adj < min_adj || !one.rss_kib)
		return;
	if (!best->pid || one.adj > best->adj || (one.adj == best->adj && one.rss_kib > best->rss_kib))
		*best = one;
}

/* Considers each pid_P of a uid_U, or looks into each uid_U when the uid is 0. */
static void look(struct victim *best, const char *folder, int uid, int min_adj)
{
	const char *prefix = uid ? "pid_" : "uid_";
	DIR *dir = opendir(folder);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		char below[PATH_ROOM + sizeof(entry->d_name)];
		int id;

		if (!begins_with(entry->d_name, prefix))
			continue;
		id = parse_number(entry->d_name + strlen(prefix));
		snprintf(below, sizeof(below), "%s/%s", folder, entry->d_name);
		if (uid)
			consider(best, uid, id, min_adj);
		else
			look(best, below, id, min_adj);
	}
	if (dir)
		closedir(dir);
}

struct victim find_victim(int min_adj)
{
	struct victim best = { 0 };

	look(&best, APPS, 0, min_adj);
	return best;
}
