// SPDX-License-Identifier: Apache-2.0
// An app's process. system_server starts it with a socket and its base.apk: it fills its anonymous memory, reads the
// apk and says that it has drawn. Each time it comes back to the front it touches its working set and says so again.
// A page is half random and half constant: zram compresses it to about half.
#include "activity.h"

enum {
	PROT_READ = 1,
	PROT_READ_WRITE = 3,
	MAP_SHARED = 1,
	MAP_PRIVATE_ANONYMOUS = 0x22,
	PAGE = 4096,
	WORDS = PAGE / 8,
	HALF = WORDS / 2,
	RUN = 16,
	WRITTEN = 4,
	PR_SET_NAME = 15,
	SIGABRT = 6
};

static struct launch launch;

static void crash(void)
{
	for (;;)
		KERNEL(SYS_kill, KERNEL(SYS_getpid, 0, 0, 0), SIGABRT, 0);
}

static void fill(unsigned long *words)
{
	unsigned long state = 0;
	KERNEL(SYS_getrandom, &state, sizeof state, 0);
	state |= 1;
	for (long page = 0; page < launch.anonymous_pages; page++, words += WORDS) {
		for (int i = 0; i < HALF; i++) {
			state ^= state << 13, state ^= state >> 7, state ^= state << 17;
			words[i] = state;
		}
		for (int i = HALF; i < WORDS; i++)
			words[i] = (unsigned long)page;
	}
}

// The working set lies in runs of 64 KiB all over the memory, always the same ones.
static int is_hot(long page)
{
	long run = page / RUN, hot = launch.working_pages, all = launch.anonymous_pages;
	return run * hot / all != (run + 1) * hot / all;
}

// Reads every page of the working set, writes to some, and crashes on one that came back with the wrong content.
static void touch(unsigned long *words, const volatile char *file)
{
	for (long page = 0; page < launch.anonymous_pages; page++) {
		if (!is_hot(page))
			continue;
		volatile unsigned long *at = words + page * WORDS;
		if (at[HALF] != (unsigned long)page)
			crash();
		if (page % WRITTEN == 0)
			at[0]++;
	}
	for (long page = 0; page < launch.file_pages; page++) {
		if (is_hot(page))
			(void)file[page * PAGE];
	}
}

// comm holds the last 15 characters, as Android names the threads of an app.
static void take_name(const char *package)
{
	unsigned long size = length(package);
	KERNEL(SYS_prctl, PR_SET_NAME, size > 15 ? package + size - 15 : package, 0);
}

_Noreturn void start(int argc, char **argv, char **environment)
{
	(void)environment;
	if (argc != 1 || KERNEL(SYS_read, APP_SOCKET, &launch, sizeof launch) != sizeof launch) {
		fail("app: it is system_server that starts it\n", 2);
	}
	take_name(argv[0]);
	if (launch.crashes)
		crash();
	long memory = kernel(SYS_mmap, 0, launch.anonymous_pages * PAGE, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
	long file = kernel(SYS_mmap, 0, launch.file_pages * PAGE, PROT_READ, MAP_SHARED, APP_FILE, 0);
	if (memory < 0 || file < 0)
		crash();
	fill((unsigned long *)memory);
	for (long page = 0; page < launch.file_pages; page++)
		(void)((const volatile char *)file)[page * PAGE];
	char word = DRAWN;
	while (KERNEL(SYS_write, APP_SOCKET, &word, 1) == 1 && KERNEL(SYS_read, APP_SOCKET, &word, 1) == 1) {
		touch((unsigned long *)memory, (const volatile char *)file);
		word = DRAWN;
	}
	leave(0);
}
