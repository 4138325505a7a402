// SPDX-License-Identifier: Apache-2.0
/* Fill, verify, free and damage the pages of a block device, past the page cache. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "content.h"
#include "selection.h"

enum { READ_PAGES = 64 };

/*
 * Opens a device (or, for tests on the host, a regular file) and counts its pages. A device that is to be changed is
 * opened exclusively: the kernel then refuses one that is mounted or swapped on.
 */
static int open_device(const char *path, int flags, uint64_t *pages, struct reply *rep)
{
	struct stat st;
	off_t bytes;
	int fd;

	if (stat(path, &st))
		return reply_fail(rep, errno, "%s", path);
	if (!S_ISBLK(st.st_mode) && !S_ISREG(st.st_mode))
		return reply_fail(rep, ENOTBLK, "%s", path);
	if (flags != O_RDONLY && S_ISBLK(st.st_mode))
		flags |= O_EXCL;
	fd = open(path, flags | O_DIRECT | O_CLOEXEC);
	if (fd < 0)
		return reply_fail(rep, errno, "open %s", path);
	bytes = lseek(fd, 0, SEEK_END);
	if (bytes < 0) {
		reply_fail(rep, errno, "size of %s", path);
		close(fd);
		return -1;
	}
	*pages = (uint64_t)bytes / page_bytes();
	return fd;
}

static int transfer(int fd, bool write, void *data, uint64_t page, size_t pages, const char *path, struct reply *rep)
{
	size_t bytes = pages * page_bytes();
	off_t at = (off_t)(page * page_bytes());
	ssize_t n = write ? pwrite(fd, data, bytes, at) : pread(fd, data, bytes, at);

	if (n == (ssize_t)bytes)
		return 0;
	return reply_fail(rep, n < 0 ? errno : EIO, "%s page %llu (and %llu after it) of %s", write ? "write" : "read",
			  (unsigned long long)page, (unsigned long long)pages - 1, path);
}

/* How many neighbours follow each other in the selection from i on. */
static size_t run_length(const struct selection *sel, size_t i, size_t most)
{
	size_t run = 1;

	while (run < most && i + run < sel->count && sel->page[i + run] == sel->page[i] + run)
		run++;
	return run;
}

int cmd_fill_device(const struct request *req, struct reply *rep)
{
	const char *path = arg_text(req, "path", "");
	uint64_t seed = arg_number(req, "seed", 0), pages, start = now_ns(CLOCK_MONOTONIC);
	SCOPED_SELECTION sel = { 0 };
	SCOPED_BUFFER page = { 0 };
	struct census census = { 0 };
	struct mix mix;
	SCOPED_FD fd = -1;

	if (mix_parse(&mix, arg_text(req, "mix", ""), rep))
		return -1;
	fd = open_device(path, O_RDWR, &pages, rep);
	if (fd < 0 || selection_make(&sel, req, pages, rep) || buffer_make(&page, 1, page_bytes(), rep))
		return -1;
	for (; census.pages < sel.count; census.pages++) {
		uint64_t at = sel.page[census.pages];

		census.kinds[content_make(&mix, seed, at, page.data, page_bytes())]++;
		if (transfer(fd, true, page.data, at, 1, path, rep))
			return -1;
	}
	reply_kinds(rep, &census);
	reply_u64(rep, "wall_ns", now_ns(CLOCK_MONOTONIC) - start);
	return 0;
}

/* In order and many pages at a time: nobody times it, and pages on the backing device are then read side by side. */
int cmd_verify_device(const struct request *req, struct reply *rep)
{
	const char *path = arg_text(req, "path", "");
	uint64_t seed = arg_number(req, "seed", 0), pages, start = now_ns(CLOCK_MONOTONIC);
	SCOPED_BUFFER found = { 0 }, scratch = { 0 };
	SCOPED_SELECTION sel = { 0 };
	struct census census = { 0 };
	struct mix mix;
	SCOPED_FD fd = -1;

	if (mix_parse(&mix, arg_text(req, "mix", ""), rep))
		return -1;
	fd = open_device(path, O_RDONLY, &pages, rep);
	if (fd < 0 || selection_make(&sel, req, pages, rep) || buffer_make(&found, READ_PAGES, page_bytes(), rep) ||
	    buffer_make(&scratch, 1, page_bytes(), rep))
		return -1;
	selection_sort(&sel);
	for (size_t i = 0, run; i < sel.count; i += run) {
		run = run_length(&sel, i, READ_PAGES);
		if (transfer(fd, false, found.data, sel.page[i], run, path, rep))
			return -1;
		for (size_t k = 0; k < run; k++)
			census_check(&census, &mix, seed, sel.page[i + k], (char *)found.data + k * page_bytes(),
				     scratch.data, page_bytes());
	}
	reply_findings(rep, &census);
	reply_u64(rep, "wall_ns", now_ns(CLOCK_MONOTONIC) - start);
	return 0;
}

/* Discards the selected pages; neighbours in the selection's order go in one call. */
int cmd_free_device(const struct request *req, struct reply *rep)
{
	const char *path = arg_text(req, "path", "");
	SCOPED_SELECTION sel = { 0 };
	uint64_t pages, bytes = page_bytes();
	SCOPED_FD fd = open_device(path, O_RDWR, &pages, rep);

	if (fd < 0 || selection_make(&sel, req, pages, rep))
		return -1;
	for (size_t i = 0, run; i < sel.count; i += run) {
		uint64_t range[2] = { sel.page[i] * bytes, 0 };

		run = run_length(&sel, i, sel.count);
		range[1] = run * bytes;
		if (ioctl(fd, BLKDISCARD, range))
			return reply_fail(rep, errno, "BLKDISCARD page %u of %s", sel.page[i], path);
	}
	reply_u64(rep, "pages", sel.count);
	return 0;
}

int cmd_corrupt_device(const struct request *req, struct reply *rep)
{
	const char *path = arg_text(req, "path", "");
	uint64_t page = arg_number(req, "page", 0), pages;
	SCOPED_BUFFER data = { 0 };
	SCOPED_FD fd = open_device(path, O_RDWR, &pages, rep);

	if (fd < 0)
		return -1;
	if (page >= pages)
		return reply_fail(rep, 0, "page=%llu: %s has %llu pages", (unsigned long long)page, path,
				  (unsigned long long)pages);
	if (buffer_make(&data, 1, page_bytes(), rep) || transfer(fd, false, data.data, page, 1, path, rep))
		return -1;
	((unsigned char *)data.data)[page_bytes() / 2] ^= 0x01;
	return transfer(fd, true, data.data, page, 1, path, rep);
}
