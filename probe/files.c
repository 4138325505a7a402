// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "content.h"
#include "files.h"
#include "system.h"

enum {
	BLOCKS = 512,
	/* A name may be of a folder, a link or a small file. */
	TRIES = 16 * BLOCKS,
};

/* Of a phone, and of what stands in for one. */
static const char *const folders[] = {
	"/system/lib64",
	"/system/lib",
	"/system/framework",
	"/usr/lib/aarch64-linux-gnu",
	"/usr/lib/x86_64-linux-gnu",
	"/usr/lib/arm-linux-gnueabihf",
};

struct names {
	struct dirent **name;
	int count;
};

static struct buffer blocks;

static bool repeats_one_word(const void *block, size_t bytes)
{
	return !memcmp(block, (const char *)block + 8, bytes - 8);
}

/* One block of the file, at a place that is drawn; false if it has none that is worth having. */
static bool read_block(const char *folder, const char *name, uint64_t draw, void *out)
{
	size_t bytes = page_bytes();
	char path[512];
	SCOPED_FD fd = -1;
	struct stat st;

	if ((size_t)snprintf(path, sizeof(path), "%s/%s", folder, name) >= sizeof(path))
		return false;
	fd = open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode) || (uint64_t)st.st_size < bytes)
		return false;
	draw %= (uint64_t)st.st_size / bytes;
	return pread(fd, out, bytes, (off_t)(draw * bytes)) == (ssize_t)bytes && !repeats_one_word(out, bytes);
}

/* Blocks in an order that the names decide; how many there are. */
static size_t read_blocks(const struct names *names, unsigned char *out)
{
	uint64_t state = 0;
	size_t got = 0;

	for (int i = 0; i < TRIES && got < BLOCKS; i++) {
		size_t folder = (size_t)i % COUNT(folders);
		uint64_t which = splitmix64(&state), place = splitmix64(&state);

		if (names[folder].count > 0 &&
		    read_block(folders[folder], names[folder].name[which % (uint64_t)names[folder].count]->d_name,
			       place, out + got * page_bytes()))
			got++;
	}
	return got;
}

int files_load(struct reply *rep)
{
	struct names names[COUNT(folders)];
	size_t got;

	if (blocks.data)
		return 0;
	if (buffer_make(&blocks, BLOCKS, page_bytes(), rep))
		return -1;
	for (size_t i = 0; i < COUNT(folders); i++)
		names[i].count = scandir(folders[i], &names[i].name, NULL, alphasort);
	got = read_blocks(names, blocks.data);
	for (size_t i = 0; i < COUNT(folders); i++) {
		while (names[i].count > 0)
			free(names[i].name[--names[i].count]);
		if (!names[i].count)
			free(names[i].name);
	}
	if (got == BLOCKS)
		return 0;
	buffer_free(&blocks);
	return reply_fail(rep, ENOENT, "mix: f: %zu of %d blocks found in /system and /usr/lib", got, BLOCKS);
}

void files_fill(uint64_t draw, void *out, size_t bytes)
{
	memcpy(out, (const unsigned char *)blocks.data + draw % BLOCKS * bytes, bytes);
}
