// SPDX-License-Identifier: Apache-2.0
/* What lies in each block of a backing device: a page of the probe's own, something else, or nothing. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "content.h"
#include "system.h"

struct found {
	uint64_t whole, zero, other, shortest_tail;
	uint64_t (*page)[2]; /* seed and number of each page that is whole */
};

static uint64_t zeros_at_the_end(const unsigned char *block, size_t bytes)
{
	size_t zeros = 0;

	while (zeros < bytes && !block[bytes - 1 - zeros])
		zeros++;
	return zeros;
}

static void look(struct found *found, const void *block, size_t bytes)
{
	uint64_t *page = found->page[found->whole], tail = zeros_at_the_end(block, bytes);

	if (tail == bytes) {
		found->zero++;
	} else if (content_whole(block, bytes, &page[0], &page[1])) {
		found->whole++;
	} else {
		found->other++;
		if (tail < found->shortest_tail)
			found->shortest_tail = tail;
	}
}

static int by_page(const void *a, const void *b)
{
	const uint64_t *left = a, *right = b;

	if (left[0] != right[0])
		return left[0] < right[0] ? -1 : 1;
	return (left[1] > right[1]) - (left[1] < right[1]);
}

static uint64_t count_repeated(const struct found *found)
{
	uint64_t repeated = 0;

	qsort(found->page, (size_t)found->whole, sizeof(*found->page), by_page);
	for (uint64_t i = 1; i < found->whole; i++)
		repeated += !by_page(found->page[i - 1], found->page[i]);
	return repeated;
}

int cmd_blocks(const struct request *req, struct reply *rep)
{
	const char *path = arg_text(req, "path", "");
	struct found found = { .shortest_tail = page_bytes() };
	SCOPED_BUFFER block = { 0 }, pages = { 0 };
	uint64_t count;
	off_t bytes;

	SCOPED_FD fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (fd < 0)
		return reply_fail(rep, errno, "open %s", path);
	bytes = lseek(fd, 0, SEEK_END);
	if (bytes < 0)
		return reply_fail(rep, errno, "size of %s", path);
	count = (uint64_t)bytes / page_bytes();
	if (buffer_make(&block, 1, page_bytes(), rep) || buffer_make(&pages, count + 1, sizeof(*found.page), rep))
		return -1;
	found.page = pages.data;
	for (uint64_t i = 0; i < count; i++) {
		if (pread(fd, block.data, page_bytes(), (off_t)(i * page_bytes())) != (ssize_t)page_bytes())
			return reply_fail(rep, errno ? errno : EIO, "read block %llu of %s", (unsigned long long)i,
					  path);
		look(&found, block.data, page_bytes());
	}
	reply_u64(rep, "blocks", count);
	reply_u64(rep, "whole", found.whole);
	reply_u64(rep, "repeated", count_repeated(&found));
	reply_u64(rep, "other", found.other);
	reply_u64(rep, "zero", found.zero);
	reply_u64(rep, "shortest_tail", found.shortest_tail);
	return 0;
}
