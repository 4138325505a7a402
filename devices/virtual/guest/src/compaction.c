// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "compaction.h"
#include "guest.h"
#include "syscalls.h"

/* At a time, so that one that is killed ends soon. */
enum { PIECE = 4 << 20 };

static char *server_name;

void compaction_begin(char *own_name)
{
	server_name = own_name;
}

/* Nobody is to take it for its parent. */
static void take_name(void)
{
	static const char name[] = "compaction";

	memset(server_name, 0, strlen(server_name));
	memcpy(server_name, name, sizeof(name));
	prctl(PR_SET_NAME, name);
}

static void page_out_range(int pidfd, unsigned long start, unsigned long end)
{
	for (; start < end; start += PIECE) {
		struct iovec range = { (void *)start, end - start < PIECE ? end - start : PIECE };

		sys_process_madvise(pidfd, &range, MADV_PAGEOUT);
	}
}

static _Noreturn void page_out(pid_t pid)
{
	static char maps[64 * 1024];
	int pidfd;

	take_name();
	/* Whoever waits for the end of am's output must not wait for this. */
	close_from(0);
	pidfd = sys_pidfd_open(pid);
	if (pidfd < 0 || read_process(pid, "maps", maps, sizeof(maps)) <= 0)
		_exit(1);
	for (char *rest = maps, *line; (line = strtok_r(rest, "\n", &rest));) {
		unsigned long start, end;

		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			page_out_range(pidfd, start, end);
	}
	_exit(0);
}

pid_t compaction_start(pid_t pid)
{
	pid_t child = fork();

	if (!child)
		page_out(pid);
	return child;
}
