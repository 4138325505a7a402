// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "system.h"

size_t page_bytes(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

int buffer_make(struct buffer *buf, uint64_t count, size_t each, struct reply *rep)
{
	if (count > SIZE_MAX / each)
		return reply_fail(rep, ENOMEM, "%llu times %zu bytes of working memory", (unsigned long long)count,
				  each);
	buf->bytes = count ? (size_t)count * each : 1;
	buf->data = mmap(NULL, buf->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (buf->data == MAP_FAILED) {
		buf->data = NULL;
		return reply_fail(rep, errno, "%zu bytes of working memory", buf->bytes);
	}
	/* Refused to a user who may not lock this much; hello says whether memory is locked at all. */
	mlock(buf->data, buf->bytes);
	return 0;
}

void buffer_free(struct buffer *buf)
{
	if (buf->data)
		munmap(buf->data, buf->bytes);
	buf->data = NULL;
}

static int write_all(int fd, const char *data, size_t bytes)
{
	while (bytes) {
		ssize_t n = write(fd, data, bytes);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		data += n;
		bytes -= (size_t)n;
	}
	return 0;
}

int write_out(const char *path, const void *data, size_t bytes, struct reply *rep)
{
	SCOPED_FD fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	struct stat st;

	if (fd < 0)
		return reply_fail(rep, errno, "create %s", path);
	if (!write_all(fd, data, bytes))
		return 0;
	reply_fail(rep, errno, "write %zu bytes to %s", bytes, path);
	/* What is no regular file is not ours to remove. */
	if (!fstat(fd, &st) && S_ISREG(st.st_mode))
		unlink(path);
	return -1;
}

static uint64_t timeval_ns(struct timeval tv)
{
	return (uint64_t)tv.tv_sec * 1000000000u + (uint64_t)tv.tv_usec * 1000u;
}

static void cost_now(struct cost *cost)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	cost->user_ns = timeval_ns(usage.ru_utime);
	cost->sys_ns = timeval_ns(usage.ru_stime);
	cost->majflt = usage.ru_majflt;
	cost->minflt = usage.ru_minflt;
	cost->nvcsw = usage.ru_nvcsw;
	cost->nivcsw = usage.ru_nivcsw;
}

void cost_start(struct cost *cost)
{
	cost_now(cost);
	cost->wall_ns = now_ns(CLOCK_MONOTONIC);
}

void cost_stop(struct cost *cost)
{
	struct cost end = { .wall_ns = now_ns(CLOCK_MONOTONIC) };

	cost_now(&end);
	cost->wall_ns = end.wall_ns - cost->wall_ns;
	cost->user_ns = end.user_ns - cost->user_ns;
	cost->sys_ns = end.sys_ns - cost->sys_ns;
	cost->majflt = end.majflt - cost->majflt;
	cost->minflt = end.minflt - cost->minflt;
	cost->nvcsw = end.nvcsw - cost->nvcsw;
	cost->nivcsw = end.nivcsw - cost->nivcsw;
}

int read_bd_stat(uint64_t zram, uint64_t bd[3], struct reply *rep)
{
	char path[PATH_BYTES];
	int count;

	snprintf(path, sizeof(path), "/sys/block/zram%llu/bd_stat", (unsigned long long)zram);
	count = read_numbers(path, bd, 3);
	if (count < 0)
		return reply_fail(rep, errno, "read %s", path);
	if (count < 3)
		return reply_fail(rep, 0, "%s: %d numbers, expected 3", path, count);
	return 0;
}

void reply_bd(struct reply *rep, const char *key, const uint64_t bd[3])
{
	reply_open(rep, key, '[');
	for (int i = 0; i < 3; i++)
		reply_u64(rep, NULL, bd[i]);
	reply_close(rep, '[');
}
