// SPDX-License-Identifier: Apache-2.0
/*
 * An app's process. system_server starts it with a socket and its base.apk: it fills its anonymous memory, reads the
 * apk and says that it has drawn. Each time it comes back to the front it touches its working set and says so again.
 * A page is half random and half constant: zram compresses it to about half.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <unistd.h>

#include "activity.h"
#include "guest.h"

enum { WORDS = PAGE_UNIT / sizeof(uint64_t), HALF = WORDS / 2, RUN = 16, WRITTEN = 4, NAME_BYTES = 15 };

static struct launch launch;

static void fill(uint64_t *words)
{
	uint64_t state = 0;

	if (getrandom(&state, sizeof(state), 0) < 0)
		abort();
	state |= 1;
	for (int64_t page = 0; page < launch.anonymous_pages; page++, words += WORDS) {
		for (int i = 0; i < HALF; i++) {
			state ^= state << 13;
			state ^= state >> 7;
			state ^= state << 17;
			words[i] = state;
		}
		for (int i = HALF; i < (int)WORDS; i++)
			words[i] = (uint64_t)page;
	}
}

/* The working set lies in runs of 64 KiB all over the memory, always the same ones. */
static bool is_hot(int64_t page)
{
	int64_t run = page / RUN, hot = launch.working_pages, all = launch.anonymous_pages;

	return run * hot / all != (run + 1) * hot / all;
}

/* Reads every page of the working set, writes to some, and crashes on one that came back with the wrong content. */
static void touch(volatile uint64_t *words, const volatile char *file)
{
	for (int64_t page = 0; page < launch.anonymous_pages; page++) {
		volatile uint64_t *at = words + page * WORDS;

		if (!is_hot(page))
			continue;
		if (at[HALF] != (uint64_t)page)
			abort();
		if (page % WRITTEN == 0)
			at[0]++;
	}
	for (int64_t page = 0; page < launch.file_pages; page++)
		if (is_hot(page))
			(void)file[page * PAGE_UNIT];
}

/* comm holds the last 15 characters, as Android names the threads of an app. */
static void take_name(const char *package)
{
	size_t size = strlen(package);

	prctl(PR_SET_NAME, size > NAME_BYTES ? package + size - NAME_BYTES : package);
}

int main(int argc, char **argv)
{
	const volatile char *file;
	uint64_t *memory;
	char word = DRAWN;

	if (argc != 1 || read(APP_SOCKET, &launch, sizeof(launch)) != sizeof(launch))
		fail(2, "app: it is system_server that starts it\n");
	take_name(argv[0]);
	if (launch.crashes)
		abort();
	memory = mmap(NULL, (size_t)launch.anonymous_pages * PAGE_UNIT, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	file = mmap(NULL, (size_t)launch.file_pages * PAGE_UNIT, PROT_READ, MAP_SHARED, APP_FILE, 0);
	if (memory == MAP_FAILED || file == MAP_FAILED)
		abort();
	fill(memory);
	for (int64_t page = 0; page < launch.file_pages; page++)
		(void)file[page * PAGE_UNIT];
	while (write(APP_SOCKET, &word, 1) == 1 && read(APP_SOCKET, &word, 1) == 1) {
		touch(memory, file);
		word = DRAWN;
	}
	return 0;
}
