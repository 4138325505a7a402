// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hammer.h"
#include "syscalls.h"

static unsigned char *at(const struct target *target, uint64_t page)
{
	return target->area->base + page * page_bytes();
}

static int transfer(const struct target *target, bool write, unsigned char *data, uint64_t page)
{
	for (size_t done = 0; done < page_bytes(); done += target->piece) {
		off_t where = (off_t)(page * page_bytes() + done);
		ssize_t n = write ? pwrite(target->fd, data + done, target->piece, where) :
				    pread(target->fd, data + done, target->piece, where);

		if (n != (ssize_t)target->piece)
			return n < 0 ? errno : EIO;
	}
	return 0;
}

int target_read(const struct target *target, uint64_t page, void *data)
{
	if (!target->area)
		return transfer(target, false, data, page);
	memcpy(data, at(target, page), page_bytes());
	return 0;
}

int target_write(const struct target *target, uint64_t page, void *data)
{
	if (!target->area)
		return transfer(target, true, data, page);
	memcpy(at(target, page), data, page_bytes());
	return 0;
}

int target_free(const struct target *target, uint64_t page)
{
	uint64_t range[2] = { page * page_bytes(), page_bytes() };
	int failed;

	if (target->area)
		failed = madvise(at(target, page), page_bytes(), MADV_DONTNEED);
	else if (target->is_block)
		failed = ioctl(target->fd, BLKDISCARD, range);
	else
		failed = fallocate(target->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)range[0],
				   (off_t)range[1]);
	return failed ? errno : 0;
}

int target_page_out(const struct target *target, uint64_t page, size_t pages)
{
	return target->area && madvise(at(target, page), pages * page_bytes(), MADV_PAGEOUT) ? errno : 0;
}
